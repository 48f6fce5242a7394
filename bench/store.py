"""What a shared limit costs the store: round trips, CPU, bytes and waits for each permit, peers beside it in one run.

    python -m venv build/bench && build/bench/bin/pip install -r bench/requirements.txt -e '.[redis]'
    build/bench/bin/python bench/store.py [--only NAME ...] [--rates 2000 100 10] [--processes 1 4 16] [--seconds 6]

Every contender runs in processes of its own that begin together and always want more than the limit gives; where the
name says `half`, requests come at random at half the limit. Round trips are counted twice: at the store's client in
each process (one for each write to a connection), and by the server (INFO commandstats: scripts that were run). CPU of
the store: INFO cpu; bytes: INFO stats. For SQLite, the CPU time that the processes spend in calls of the store.
Departures are counted from the second period on by this program, not by what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.measures import jain, most_in

if TYPE_CHECKING:
    from collections.abc import Callable

WAITING = 8  # threads, or tasks, that always want a permit, in each process
TRIPS = {2000: 0.05, 10: 2.0}  # at most so many round trips a permit, by permits a second


@dataclass
class Part:
    """What one process measured after the warm-up."""

    moments: list[float] = field(default_factory=list)  # departures
    beyond: list[float] = field(default_factory=list)  # seconds that a permit came after its due moment
    trips: int = 0
    in_store: float = 0.0  # CPU seconds in calls of a SQLite store
    cpu: float = 0.0


# ---- contenders: each makes something that waits for a permit and returns the moment that it was due at, if it tells ----


class Threads:
    """Blocking contenders: `WAITING` threads each."""

    def __init__(self, acquire: Callable[[float], float | None]) -> None:
        self.acquire = acquire

    def run(self, ends: float, part: Part, gaps: Callable[[], float] | None) -> None:
        def work() -> None:
            due = time.monotonic()
            while time.monotonic() < ends:
                if gaps is not None:
                    due += gaps()
                    time.sleep(max(0.0, due - time.monotonic()))
                begun = time.monotonic()
                try:
                    at = self.acquire(max(0.001, ends - begun))
                except TimeoutError:
                    return
                now = time.monotonic()
                if now < ends:
                    part.moments.append(now)
                    part.beyond.append(now - (at if at is not None and gaps is None else begun))

        threads = [threading.Thread(target=work) for _ in range(WAITING)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def due_at(line: Any, permit: Any) -> float:
    """The moment of a permit's slot: it is told apart by a clock's first reading (`Shared._ref`), due by its best one."""
    booted = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic() if hasattr(time, "CLOCK_BOOTTIME") else 0.0
    due: float = permit.at - line.shared._ref + line.shared._off - booted
    return due


class Tasks:
    """paceline's own way with many waiters: tasks of an event loop. exchange: each permit is one whole exchange of a client."""

    def __init__(self, limiter: Any, exchange: bool) -> None:
        self.limiter, self.exchange = limiter, exchange

    def run(self, ends: float, part: Part, gaps: Callable[[], float] | None) -> None:
        asyncio.run(self.main(ends, part, gaps))

    async def main(self, ends: float, part: Part, gaps: Callable[[], float] | None) -> None:
        from paceline.signals import Signal

        line = self.limiter._line
        served = Signal()

        async def work() -> None:
            due = time.monotonic()
            while time.monotonic() < ends:
                if gaps is not None:
                    due += gaps()
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                begun = time.monotonic()
                try:
                    permit = await line.acquire_async(1, 0, max(0.001, ends - begun), self.exchange)
                except TimeoutError:
                    return
                now = time.monotonic()
                if now < ends:
                    part.moments.append(now)
                    part.beyond.append(now - (begun if gaps is not None else due_at(line, permit)))
                if self.exchange:
                    permit.sent()
                    await asyncio.sleep(0.005)
                    line.served(permit, served)
                else:
                    permit.release()

        await asyncio.gather(*(work() for _ in range(4 * WAITING)))
        await line.leave_store()
        if line.store is not None and hasattr(line.store, "aclose"):
            await line.store.aclose()


def paceline_threads(url: str, rate: float) -> Threads:
    from paceline import Limiter

    limiter = Limiter(f"{rate:g}/s", scope="bench", store=url)
    return Threads(lambda timeout: due_at(limiter._line, limiter.acquire(timeout=timeout)))


def paceline_tasks(url: str, rate: float) -> Tasks:
    from paceline import AsyncLimiter

    return Tasks(AsyncLimiter(f"{rate:g}/s", scope="bench", store=url), exchange=False)


def paceline_exchanges(url: str, rate: float) -> Tasks:
    from paceline import AsyncLimiter

    return Tasks(AsyncLimiter(f"{rate:g}/s", scope="bench", store=url), exchange=True)


def limits_by(strategy: str, url: str, rate: float) -> Threads:
    from limits import RateLimitItemPerSecond, strategies
    from limits.storage import RedisStorage

    limiter = getattr(strategies, strategy)(RedisStorage(url))
    item = RateLimitItemPerSecond(int(rate))

    def acquire(timeout: float) -> None:
        # It only says no: whoever wants to wait asks when its window begins, and sleeps until then.
        ends = time.monotonic() + timeout
        while not limiter.hit(item, "bench"):
            wait = max(0.001, limiter.get_window_stats(item, "bench").reset_time - time.time())
            if time.monotonic() + wait >= ends:
                raise TimeoutError
            time.sleep(wait)

    return Threads(acquire)


def limits_moving(url: str, rate: float) -> Threads:
    return limits_by("MovingWindowRateLimiter", url, rate)


def limits_fixed(url: str, rate: float) -> Threads:
    return limits_by("FixedWindowRateLimiter", url, rate)


def throttled(url: str, rate: float) -> Threads:
    from throttled import Throttled, rate_limiter, store

    throttle = Throttled(
        key="bench", using="gcra", quota=rate_limiter.per_sec(int(rate)), store=store.RedisStore(server=url)
    )

    def acquire(timeout: float) -> None:
        if throttle.limit(timeout=timeout).limited:
            raise TimeoutError

    return Threads(acquire)


def pyrate(url: str, rate: float) -> Threads:
    import redis
    from pyrate_limiter import Limiter, Rate, RedisBucket

    limiter = Limiter(RedisBucket.init([Rate(int(rate), 1000)], redis.Redis.from_url(url), "bench"))

    def acquire(timeout: float) -> None:
        if not limiter.try_acquire("bench", timeout=timeout):
            raise TimeoutError

    return Threads(acquire)


CONTENDERS: dict[str, tuple[str, Callable[[str, float], Any]]] = {
    "paceline, threads": ("redis", paceline_threads),
    "paceline, tasks": ("redis", paceline_tasks),
    "paceline, exchanges": ("redis", paceline_exchanges),
    "paceline, SQLite": ("sqlite", paceline_tasks),
    "limits, moving window": ("redis", limits_moving),
    "limits, fixed window": ("redis", limits_fixed),
    "throttled-py, gcra": ("redis", throttled),
    "pyrate-limiter": ("redis", pyrate),
}


# ---- one process --------------------------------------------------------------------------------


def count_trips(part: Part) -> None:
    """Counts, in this process, each write to a connection of redis-py and each call of a SQLite store."""
    import redis.asyncio.connection
    import redis.connection

    from paceline.stores.sqlite import SQLiteStore

    lock = threading.Lock()
    plain, unblocked = redis.connection.AbstractConnection.send_packed_command, redis.asyncio.connection.AbstractConnection.send_packed_command
    in_file = SQLiteStore.call

    def write(connection: Any, *args: Any, **kwargs: Any) -> Any:
        with lock:
            part.trips += 1
        return plain(connection, *args, **kwargs)

    def write_unblocked(connection: Any, *args: Any, **kwargs: Any) -> Any:
        part.trips += 1
        return unblocked(connection, *args, **kwargs)

    def call(store: Any, scope: str, message: Any) -> Any:
        begun = time.thread_time()
        reply = in_file(store, scope, message)
        with lock:
            part.trips += 1
            part.in_store += time.thread_time() - begun
        return reply

    redis.connection.AbstractConnection.send_packed_command = write
    redis.asyncio.connection.AbstractConnection.send_packed_command = write_unblocked
    SQLiteStore.call = call  # type: ignore[method-assign,assignment]


def process(name: str, url: str, rate: float, seconds: float, demand: float | None, number: int, pipe: Any) -> None:
    """Waits for the word to begin, then sends as much as it may; what came before the warm-up ended is left out."""
    part, rng = Part(), random.Random(number)
    count_trips(part)
    contender = CONTENDERS[name][1](url, rate)
    pipe.send("ready")
    begins, warm = pipe.recv()
    time.sleep(max(0.0, begins - time.monotonic()))
    at_warm: list[float] = []

    def note() -> None:
        time.sleep(max(0.0, warm - time.monotonic()))
        at_warm.extend((part.trips, part.in_store, time.process_time()))

    watch = threading.Thread(target=note)
    watch.start()
    waiters = WAITING if isinstance(contender, Threads) else 4 * WAITING
    contender.run(warm + seconds, part, None if demand is None else lambda: rng.expovariate(demand / waiters))
    watch.join()
    part.trips -= int(at_warm[0])
    part.in_store -= at_warm[1]
    part.cpu = time.process_time() - at_warm[2]
    kept = [index for index, moment in enumerate(part.moments) if moment >= warm]
    part.moments, part.beyond = [part.moments[each] for each in kept], [part.beyond[each] for each in kept]
    pipe.send(asdict(part))
    pipe.close()
    sys.stdout.flush()
    os._exit(0)  # threads that still wait are left alone


# ---- a run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One contender at one rate; trips and bytes are for each permit, CPU is milliseconds for 1,000 permits."""

    name: str
    rate: float
    processes: int
    half: bool
    permits: int
    use: float  # of the limit
    most: int  # in any window
    jain: float
    trips: float
    scripts: float
    cpu: float
    bytes: float
    p50: float
    p99: float
    own_cpu: float


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else math.nan


def server_facts(client: Any) -> dict[str, float]:
    """CPU seconds, bytes and scripts run, as the server tells them."""
    cpu, stats, commands = client.info("cpu"), client.info("stats"), client.info("commandstats")
    scripts = sum(facts["calls"] for name, facts in commands.items() if name.startswith(("cmdstat_eval", "cmdstat_fcall")))
    return {
        "cpu": cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"],
        "bytes": stats["total_net_input_bytes"] + stats["total_net_output_bytes"],
        "scripts": scripts,
    }


def measure(name: str, rate: float, processes: int, seconds: float, folder: Path, half: bool = False) -> Found:
    """Runs one contender in so many processes that share one limit."""
    kind = CONTENDERS[name][0]
    server = None
    if kind == "redis":
        from tests.servers import RedisServer

        server = RedisServer(folder)
        url = server.url
    else:
        url = f"sqlite:///{tempfile.mkdtemp(dir=folder)}/scopes.db"
    context = multiprocessing.get_context("spawn")
    pipes, children = [], []
    for number in range(processes):
        mine, its = context.Pipe()
        demand = rate / 2 / processes if half else None
        child = context.Process(target=process, args=(name, url, rate, seconds, demand, number, its), daemon=True)
        child.start()
        its.close()
        pipes.append(mine)
        children.append(child)
    try:
        for pipe in pipes:
            pipe.recv()
        begins = time.monotonic() + 0.2
        warm = begins + 2.0  # the first period, in which a limit that was idle gives more, and then another
        for pipe in pipes:
            pipe.send((begins, warm))
        before = None
        if server is not None:
            time.sleep(max(0.0, warm - time.monotonic()))
            before = server_facts(server.client)
        time.sleep(max(0.0, warm + seconds - time.monotonic()))
        after = server_facts(server.client) if server is not None else None
        parts = [Part(**pipe.recv()) for pipe in pipes]
    finally:
        for child in children:
            child.join(10)
            child.kill()
        if server is not None:
            server.close()
    moments = sorted(moment for part in parts for moment in part.moments)
    beyond = [late for part in parts for late in part.beyond]
    count = max(1, len(moments))
    if before is not None and after is not None:
        cpu, size, scripts = (after[each] - before[each] for each in ("cpu", "bytes", "scripts"))
    else:
        cpu, size, scripts = sum(part.in_store for part in parts), math.nan, math.nan
    return Found(
        name, rate, processes, half, len(moments), len(moments) / (rate * seconds), most_in(moments, 1.0),
        jain([float(len(part.moments)) for part in parts]), sum(part.trips for part in parts) / count, scripts / count,
        cpu / count * 1e6, size / count, percentile(beyond, 0.5), percentile(beyond, 0.99),
        sum(part.cpu for part in parts) / count * 1e6,
    )  # fmt: skip


# ---- what one call costs a store ----------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """CPU seconds of a server's core: for a call, each entry (of 200 bytes) it brings back, each byte of whole books."""

    call: float
    entry: float
    byte: float


def service(folder: Path, calls: int = 3000) -> Service:
    """Measures calls of the real script with short and long replies, one call at a time (a busy server wakes less often)."""
    from tests.servers import RedisServer

    from paceline.stores.protocol import Message
    from paceline.stores.redis import RedisStore

    server = RedisServer(folder)
    store = RedisStore(server.url)
    try:
        def cost(entries: int, books: int = 0) -> float:
            scope, text = f"s{entries}-{books}", "x" * 200
            store.call(scope, Message(found="log", snapshot="x" * books, base=1, snapshot_at=1))
            for seq in range(1, entries + 1):
                store.call(scope, Message(log="log", since=seq, worker="w", seq=seq, text=text))
            count = calls if entries + books < 100 else calls // 5
            before = server_facts(server.client)["cpu"]
            for seq in range(entries + 1, entries + count + 1):
                # A caller who knows nothing yet is given the books; of what came since, none here.
                since = 0 if books else seq - entries
                message = Message(log="log", since=since, worker="w", seq=seq, text=None if books else text)
                store.call(scope, message)
            return (server_facts(server.client)["cpu"] - before) / count

        few, many, whole = cost(1), cost(201), cost(0, 100_000)
    finally:
        store.close()
        server.close()
    entry = max(0.0, (many - few) / 200)
    return Service(few - entry, entry, max(0.0, (whole - few + entry) / 100_000))


HEAD = (
    f"{'':26s} {'procs':>5s} {'permits':>8s} {'use':>6s} {'most':>6s} {'Jain':>6s} {'trips':>7s} {'scripts':>7s} "
    f"{'CPU ms/k':>8s} {'bytes':>7s} {'p50 ms':>7s} {'p99 ms':>7s} {'own ms/k':>8s}"
)


def row(one: Found) -> str:
    return (
        f"{one.name + (', half' if one.half else ''):26s} {one.processes:5d} {one.permits:8,d} {one.use:6.1%} {one.most:6,d} "
        f"{one.jain:6.4f} {one.trips:7.3f} {one.scripts:7.3f} {one.cpu:8.1f} {one.bytes:7,.0f} {one.p50 * 1e3:7.2f} "
        f"{one.p99 * 1e3:7.2f} {one.own_cpu:8.0f}"
    )


def main() -> int:
    """Measures, prints, judges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), metavar="NAME", choices=list(CONTENDERS))
    parser.add_argument("--rates", nargs="*", type=float, default=[2000, 100, 10])
    parser.add_argument("--processes", nargs="*", type=int, default=[4])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--half", action="store_true", help="requests that come at random at half the limit as well")
    parser.add_argument("--service", action="store_true", help="measure what one call costs the server, and nothing else")
    parser.add_argument("--json", type=Path, help="write the figures into this file as well")
    options = parser.parse_args()
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cost = service(folder)
        print(
            f"one call costs a core of the server {cost.call * 1e6:.1f} µs, each entry it brings back {cost.entry * 1e6:.2f} µs, "
            f"each kilobyte of books {cost.byte * 1e9:.2f} µs", flush=True,
        )  # fmt: skip
        for rate in [] if options.service else options.rates:
            print(f"\n{rate:g} permits a second\n{HEAD}")
            for contender in options.only:
                for processes in options.processes:
                    for half in (False, True) if options.half and contender.startswith("paceline") else (False,):
                        one = measure(contender, rate, processes, options.seconds, folder, half)
                        found.append(one)
                        print(row(one), flush=True)
    good = True
    ours = [one for one in found if one.name == "paceline, tasks" and one.processes == 4 and not one.half]
    for one in ours:
        peers = [other for other in found if not other.name.startswith("paceline") and (other.rate, other.processes) == (one.rate, 4)]
        if peers:
            print(
                f"{one.rate:g}/s: peers make {min(each.trips for each in peers) / one.trips:.0f} to "
                f"{max(each.trips for each in peers) / one.trips:.0f} times as many round trips and take "
                f"{min(each.cpu for each in peers) / one.cpu:.1f} to {max(each.cpu for each in peers) / one.cpu:.1f} times the store's CPU"
            )
        print(f"{one.rate:g}/s: one core of the store carries {1e6 / one.cpu:,.0f} permits a second (from its CPU for each)")
        if one.rate in TRIPS:
            held = one.trips <= TRIPS[int(one.rate)]
            good = good and held
            print(f"bar: at most {TRIPS[int(one.rate)]:g} round trips a permit at {one.rate:g}/s: {'held' if held else 'MISSED'}")
    if options.json:
        options.json.write_text(json.dumps({"service": asdict(cost), "found": [asdict(one) for one in found]}, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
