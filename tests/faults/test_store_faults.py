"""A store that forgets, restarts, stalls, refuses or dies, and workers that do, while four processes send.

Each fault runs against a server of its own, under an independent count of what arrives: never more than the quota
in any period, every item once, and no more of the quota lost than docs/reference/stores.md says. The faults
run side by side: they mostly wait.
"""

from __future__ import annotations

import os
import pickle
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import redis
from tests.fleet import Arrivals, Fleet, Task, Worker
from tests.relay import Relay
from tests.servers import RedisServer, binaries, wait_until

from paceline import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.xdist_group("processes")  # many processes each: one after another, and what they share is started once

QUOTA, PERIOD = 100, 1.0
PACE = 1.02 * PERIOD / QUOTA  # seconds a permit, the guard included
WORKERS = 4
AT_ONCE = 5  # faults that run side by side
BUSY = 150  # permits that a machine with other things to do may cost on top


@dataclass
class Run:
    """One fault: a server, workers that send through relays, and what arrived."""

    folder: Path
    arrivals: Arrivals
    fleet: Fleet
    server: RedisServer
    relays: list[Relay]
    items: int
    timeout: float = 0.4
    workers: list[Worker] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def start(self, number: int, items: tuple[int, ...], **settings: Any) -> Worker:
        relay = self.relays[number % len(self.relays)]
        worker = self.fleet.start(
            Task(
                f"redis://127.0.0.1:{relay.port}/0?timeout={self.timeout}", (f"{QUOTA}/s",), items, self.arrivals.port, number,
                tasks=4 * (number % 2), **settings,
            )
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def share(self, number: int) -> tuple[int, ...]:
        """The items of one worker."""
        return tuple(range(number, self.items, WORKERS))

    def lost(self) -> float:
        """Permits that the quota's own pace would have granted in the same time, and that were not."""
        return self.arrivals.spread() / PACE - self.items


def nothing(run: Run) -> None:
    """No fault: what the harness itself costs."""


def worker_killed(run: Run) -> None:
    """kill -9 of a worker; another one takes its items that have not arrived."""
    victim = run.workers[1]
    victim.kill()
    arrived = {item for _, number, item in list(run.arrivals.moments) if number == 1}
    run.start(5, tuple(item for item in run.share(1) if item not in arrived))


def worker_stopped(run: Run) -> None:
    """SIGSTOP of a worker for a second: its slots in hand go unused, or back."""
    run.workers[0].signal(signal.SIGSTOP)
    time.sleep(1.0)
    run.workers[0].signal(signal.SIGCONT)


def store_stopped(run: Run) -> None:
    """SIGSTOP of the server for a second: longer than anybody waits for it."""
    run.server.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    run.server.process.send_signal(signal.SIGCONT)


def scripts_forgotten(run: Run) -> None:
    """SCRIPT FLUSH, three times: the script is sent again."""
    for _ in range(3):
        run.server.client.execute_command("SCRIPT", "FLUSH")
        time.sleep(0.3)


def all_forgotten(run: Run) -> None:
    """FLUSHALL."""
    run.server.client.flushall()


def restarted_empty(run: Run) -> None:
    """kill -9 of a server without persistence, and a start a moment later."""
    run.server.kill()
    time.sleep(0.3)
    run.server.start()


def restarted_older(run: Run) -> None:
    """A restart from a dump that is half a second old: the log was put back in time."""
    run.server.client.save()
    time.sleep(0.5)
    run.server.kill()
    run.server.start()


def network_cut(run: Run) -> None:
    """All connections are reset, and none can be made for a second."""
    for relay in run.relays:
        relay.cut()
    time.sleep(1.0)
    for relay in run.relays:
        relay.mend()


def network_silent(run: Run) -> None:
    """Packets vanish for a second: nothing is refused, nothing is answered."""
    for relay in run.relays:
        relay.silent = True
    time.sleep(1.0)
    for relay in run.relays:
        relay.cut()
        relay.mend()


def cut_off_alone(run: Run) -> None:
    """One worker alone loses the store for two seconds, while the others keep it."""
    run.relays[0].cut()
    time.sleep(2.0)
    run.relays[0].mend()


def slow_store(run: Run) -> None:
    """Each answer takes 100 ms longer: it costs latency, no quota."""
    for relay in run.relays:
        relay.delay = 0.1


def answers_lost(run: Run) -> None:
    """Calls that the server takes in, and whose answers never come."""
    for relay in run.relays:
        relay.lose = 2
    wait_until(lambda: sum(relay.lost for relay in run.relays) >= WORKERS, "answers were lost")
    for relay in run.relays:
        relay.lose = 0


def never_back(run: Run) -> None:
    """kill -9 of the server, for good: each worker goes on with its part, and nobody stands still."""
    run.server.kill()


def read_only(run: Run) -> None:
    """The server becomes somebody's replica and takes no writes for a moment (READONLY)."""
    run.server.client.execute_command("REPLICAOF", "127.0.0.1", run.server.port + 1)
    time.sleep(0.5)
    run.server.client.execute_command("REPLICAOF", "NO", "ONE")


def out_of_memory(run: Run) -> None:
    """The server's memory is used up for a moment (OOM)."""
    run.server.client.config_set("maxmemory", 1)
    time.sleep(0.5)
    run.server.client.config_set("maxmemory", 0)


def busy(run: Run) -> None:
    """Somebody's script keeps the server for most of a second (BUSY)."""
    run.server.client.config_set("busy-reply-threshold", 50)
    spin = "local ends = redis.call('TIME')[1] + 1 while redis.call('TIME')[1] + 0 < ends + 0 do end return 1"
    with redis.Redis(port=run.server.port, socket_timeout=10) as other:
        other.eval(spin, 0)


def loading(run: Run) -> None:
    """The server says that it reads its data from disk (LOADING), and that a script is unknown where it is known."""
    for relay in run.relays:
        relay.answer = b"-LOADING Redis is loading the dataset in memory"
    time.sleep(0.5)
    for relay in run.relays:
        relay.only, relay.answer = b"EVALSHA", b"-NOSCRIPT No matching script. Please use EVAL."
    time.sleep(0.3)
    for relay in run.relays:
        relay.answer = b""
    run.notes["answered"] = min(relay.answered for relay in run.relays)


def stepped(run: Run) -> None:
    """The server's clock goes a second and a half ahead, back again, and then an hour each way."""
    clock = run.folder / "clock"
    for step in ("+1.5", "-1.5", "+3600", "-3600"):
        new = run.folder / "clock.new"
        new.write_text(step + "\n")
        os.replace(new, clock)
        time.sleep(1.5)


def all_at_once(run: Run) -> None:
    """One after another, as on a bad day: a worker stops, scripts and all are forgotten, the server starts anew."""
    run.workers[3].signal(signal.SIGSTOP)
    run.server.client.execute_command("SCRIPT", "FLUSH")
    time.sleep(0.3)
    run.server.client.flushall()
    time.sleep(0.3)
    run.workers[3].signal(signal.SIGCONT)
    restarted_empty(run)


@dataclass(frozen=True)
class Fault:
    """What is done, and what it may cost. loses: permits at most, as the documentation says (in seconds of the quota).

    tells: events that must come. quiet: whether the store must not be called lost or replaced at all.
    over: permits above the quota in a period, where the documentation says that it cannot be held.
    """

    act: Callable[[Run], None]
    loses: float
    tells: tuple[str, ...] = ()
    quiet: bool = False
    items: int = 400
    own_relays: bool = False
    over: int = 0


FAULTS: Final = {
    fault.act.__name__: fault
    for fault in (
        Fault(nothing, 0.1, quiet=True),
        Fault(worker_killed, 0.5, quiet=True),
        Fault(worker_stopped, 0.5),
        Fault(store_stopped, 2.5, ("StoreLost", "StoreBack"), items=600),
        Fault(scripts_forgotten, 0.1, quiet=True),
        Fault(all_forgotten, 1.2, ("StoreReplaced",)),
        Fault(restarted_empty, 2.0, ("StoreLost", "StoreReplaced", "StoreBack"), items=550),
        Fault(restarted_older, 2.0, ("StoreReplaced",)),
        Fault(network_cut, 2.0, ("StoreLost", "StoreBack"), items=600),
        Fault(network_silent, 2.5, ("StoreLost", "StoreBack"), items=600),
        Fault(cut_off_alone, 2.0, ("StoreLost", "StoreBack"), items=600, own_relays=True, over=QUOTA // WORKERS),
        Fault(slow_store, 1.0, quiet=True),
        Fault(answers_lost, 1.5, own_relays=True),
        Fault(never_back, 1.0, ("StoreLost",)),
        Fault(read_only, 2.0, ("StoreLost", "StoreBack"), items=550),
        Fault(out_of_memory, 2.0, ("StoreLost", "StoreBack"), items=550),
        Fault(busy, 2.5, ("StoreLost", "StoreBack"), items=550),
        Fault(loading, 2.0, ("StoreLost", "StoreBack"), items=550),
        Fault(stepped, 7.0, ("StoreReplaced",), items=600),
        Fault(all_at_once, 3.0, ("StoreReplaced",), items=500),
    )
}


def run_fault(name: str, folder: Path, fleet: Fleet) -> Run:
    """Starts a server, relays and workers, does the fault after a second, and waits until all is done."""
    fault = FAULTS[name]
    environment = _with_clock(folder) if fault.act is stepped else None
    binary = binaries()[-1] if fault.act is restarted_older else None
    server = RedisServer(folder, binary=binary, environment=environment)
    relays = [Relay(server.port) for _ in range(WORKERS if fault.own_relays else 1)]
    try:
        with Arrivals() as arrivals:
            run = Run(folder, arrivals, fleet, server, relays, fault.items, 2.0 if fault.quiet else 0.4)
            for number in range(WORKERS):
                run.start(number, run.share(number))
            arrivals.wait_for(QUOTA + QUOTA // 2)
            fault.act(run)
            for worker in run.workers:
                status = worker.wait()
                assert status == 0 or (status == -signal.SIGKILL and fault.act is worker_killed)
        return run
    finally:
        for relay in relays:
            relay.close()
        server.close()


def _with_clock(folder: Path) -> dict[str, str]:
    """What makes a server read its clock through a file."""
    import libfaketime

    (folder / "clock").write_text("+0\n")
    library = next((Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src").glob("libfaketime.*.*"))
    return {
        **os.environ, "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """The faults that are to be tested, under way."""
    selected = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    ]
    fleet = Fleet()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(run_fault, name, tmp_path_factory.mktemp(name), fleet) for name in selected}
    fleet.close()


@pytest.mark.parametrize("name", FAULTS)
def test_never_above_the_quota_and_nothing_lost(name: str, runs: dict[str, Future[Run]]) -> None:
    """Under each fault: at most the quota in any period, every item once, and what it costs is within what is written."""
    fault, run = FAULTS[name], runs[name].result(120)
    told = run.arrivals.kinds()
    print(f"{name}: most {run.arrivals.most(PERIOD)}, lost {run.lost():.0f}, {dict(told)} {run.notes}")
    assert sorted(item for _, _, item in run.arrivals.moments) == list(range(run.items))
    assert run.arrivals.most(PERIOD) <= QUOTA + fault.over
    assert run.lost() <= fault.loses * QUOTA + BUSY
    for kind in fault.tells:
        assert told[kind], (kind, told)
    if fault.quiet:
        assert not told, told


def test_a_policy_travels(tmp_path: Path) -> None:
    """A pickled policy is small, names no password in its repr, and meets the other in the store."""
    server = RedisServer(tmp_path)
    policy = Policy(limits=["50/500ms sliding"], store=server.url.replace("redis://", "redis://:@"))
    text = pickle.dumps(policy)
    assert len(text) < 2500
    assert "redis" not in repr(policy)
    other = pickle.loads(text)
    scope = policy.scope_of("https://api.example.com/", "Bearer abc")
    assert other.scope_of("https://api.example.com/", "Bearer abc") == scope
    mine = sum(policy.line(scope).acquire(timeout=0.4) is not None for _ in range(30))
    theirs = 0
    while True:
        try:
            other.line(scope).acquire(timeout=0.2)
        except TimeoutError:
            break
        theirs += 1
    assert mine == 30
    assert 15 <= theirs <= 20
    for each in (policy, other):
        each._store.close()  # type: ignore[union-attr]
    server.close()
