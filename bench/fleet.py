"""Fleets of workers on one store, simulated: the real lines, replicas and ledgers in virtual time, a store that is modelled.

    python bench/fleet.py --case 100 1000 1     so many workers, permits a second, milliseconds to the store and back

`docs/fleets.py` runs the cases of docs/explanation/fleets.md and writes it.

Real: `paceline.stores.line.Line` with all below it (shared, replica, ledger, codec), one for each worker, on an event loop
whose time jumps; each worker has a clock of its own. Modelled: the way to the store (half the round trip each way, jittered),
and the store itself, a `MemoryStore` that serves one call after the other; how long each takes comes from `bench/store.py
--service`. Workers always want more than the limit gives. What is sent is counted here, by the moment of the write.

To replay each entry in each of 10,000 simulated workers would cost what 10,000 machines pay. Above `EXACT` workers one replica
replays for all who read the same log (all would come to the same books: that is a law of the tests), and what the others would
have spent is counted instead: entries that they were sent, times the CPU that one replay took.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import math
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.clocks import VirtualLoop
from tests.measures import jain, most_in

from paceline.limits import Limit
from paceline.signals import Signal
from paceline.stores import shared
from paceline.stores.line import Line
from paceline.stores.memory import MemoryStore
from paceline.stores.protocol import Message, Reply, Store, StoreUnavailable
from paceline.stores.replica import Replica

EXACT: Final = 64  # workers up to which each replays for itself
ANSWER: Final = 0.05  # seconds that a server takes to answer a request
EPOCH: Final = 1_700_000_000.0


# ---- the store ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """Seconds of a store's core: for each call, each entry it brings back, each byte of whole books (bench/store.py --service)."""

    call: float = 40e-6
    entry: float = 0.6e-6
    byte: float = 0.5e-9


@dataclass
class Load:
    """What the store had to do since the warm-up."""

    calls: int = 0
    entries: int = 0
    bytes: int = 0
    snapshots: int = 0
    busy: float = 0.0
    longest_queue: float = 0.0


class ModelledStore(Store):
    """One core behind a network: serves calls in the order of their arrival, on its own clock."""

    remote = True

    def __init__(self, loop: VirtualLoop, rtt: float, service: Service, rng: random.Random) -> None:
        self.name = "redis://modelled"
        self.loop, self.rtt, self.service, self.rng = loop, rtt, service, rng
        self.load = Load()
        self.free = 0.0
        self.moment = 0.0
        self.down_until = -math.inf
        self.life = 0
        self.over = False
        self.logs = MemoryStore(clock=lambda: int((EPOCH + self.moment) * 1e6))

    def _way(self) -> float:
        """Half a round trip: most of it fixed, a tenth of it exponential."""
        return self.rtt / 2 * (0.9 + 0.1 * self.rng.expovariate(1.0))

    async def acall(self, scope: str, message: Message) -> Reply:
        if self.over:
            raise StoreUnavailable(self.name, "the simulation is over")
        await asyncio.sleep(self._way())
        life, arrived = self.life, self.loop.time()
        if arrived < self.down_until:
            raise StoreUnavailable(self.name, "refused")
        begins = max(arrived, self.free)
        if isinstance(message.snapshot, Books):
            message = replace(message, snapshot_at=message.snapshot.index)
        self.moment = begins
        reply = self.logs.call(scope, message)
        size = 200 + len(message.text or "") + len(message.snapshot or "") + len(reply.snapshot or "")
        size += sum(len(entry.text) + 24 for entry in reply.entries)
        books = len(message.snapshot or "") + len(reply.snapshot or "")
        took = self.service.call + self.service.entry * len(reply.entries) + self.service.byte * books
        self.free = begins + took
        load = self.load
        load.calls += 1
        load.entries += len(reply.entries)
        load.bytes += size
        load.snapshots += reply.snapshot is not None
        load.busy += took
        load.longest_queue = max(load.longest_queue, begins - arrived)
        await asyncio.sleep(self.free - arrived + self._way())
        if life != self.life:
            raise StoreUnavailable(self.name, "the connection was closed")
        return reply

    def failing_over(self, lag: float, gone: float) -> None:
        """The server dies now-plus-`lag`, and a replica that knows only what is now takes its place after `gone` seconds."""
        behind = copy.deepcopy(self.logs._logs)

        def die() -> None:
            self.life += 1
            self.down_until = self.loop.time() + gone
            self.logs._logs = behind
            self.logs.run += "'"

        self.loop.call_later(lag, die)

    def call(self, scope: str, message: Message) -> Reply:
        assert self.over, "a thread's call in a simulation"
        raise StoreUnavailable(self.name, "the simulation is over")

    async def aclose(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""

    def scopes(self) -> list[str]:
        return self.logs.scopes()

    def forget(self, scope: str) -> bool:
        return self.logs.forget(scope)

    def key(self) -> bytes:
        return self.logs.key()


class DeadEnd(ModelledStore):
    """What a killed worker reaches: nothing, for ever."""

    async def acall(self, scope: str, message: Message) -> Reply:
        if not self.over:
            await self.loop.create_future()
        raise StoreUnavailable(self.name, "the simulation is over")


# ---- one replay for many ------------------------------------------------------------------------


@dataclass
class Spent:
    """What replays took: entries and CPU seconds."""

    applied: int = 0
    applying: float = 0.0
    text: int = 0  # bytes of the last books


class Books(str):
    """A snapshot that remembers whose it is, and after which entry."""

    chain: Chain
    index: int


class Chain:
    """The one replica of a log, what each of its entries came to, and its books now and then."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.outcomes: dict[int, Any] = {}
        self.books: deque[Books] = deque()

    def apply(self, entry: Any) -> None:
        begun = time.thread_time()
        self.outcomes[entry.index] = self.replica.apply(entry)
        Common.spent.applying += time.thread_time() - begun
        Common.spent.applied += 1
        seats = len(self.replica.seats)
        self.outcomes.pop(entry.index - 4 * seats - 4096, None)
        if entry.index % max(16, seats // 16) == 0:
            self.write()

    def write(self) -> Books:
        books = Books(self.replica.snapshot())
        books.chain, books.index = self, self.replica.replayed
        Common.spent.text = len(books)
        self.books.append(books)
        while self.books[0].index < books.index - 4 * len(self.replica.seats) - 2048:
            self.books.popleft()
        return books


class Common:
    """A worker's view of a chain: replays what nobody has replayed yet, and looks the rest up."""

    spent = Spent()

    def __init__(self, offset: float = 0.0, chain: Chain | None = None, replayed: int = 0) -> None:
        self.__dict__.update(_chain=chain or Chain(Replica(offset)), replayed=replayed, paused=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain.replica, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("replayed", "paused"):
            self.__dict__[name] = value
        else:
            setattr(self._chain.replica, name, value)

    def apply(self, entry: Any) -> Any:
        chain = self._chain
        if entry.index > chain.replica.replayed:
            chain.apply(entry)
        self.replayed = entry.index
        self.paused = chain.replica.paused
        return chain.outcomes[entry.index]

    def snapshot(self) -> str:
        """Books that this worker could have written: those of the last entry it knows, or of one a little before."""
        for books in reversed(self._chain.books):
            if books.index <= self.replayed:
                return books
        return self._chain.write()

    of = classmethod(Replica.of.__func__)  # type: ignore[attr-defined] # by the `restore` and `apply` of this class

    @classmethod
    def restore(cls, text: str, replayed: int, offset: float) -> Common:
        assert isinstance(text, Books)
        return cls(offset, text.chain, replayed)


class Timed(Replica):
    """A replica that notes what its replays cost."""

    spent = Common.spent

    def apply(self, entry: Any) -> Any:
        begun = time.thread_time()
        outcome = super().apply(entry)
        self.spent.applying += time.thread_time() - begun
        self.spent.applied += 1
        return outcome

    def snapshot(self) -> str:
        text = super().snapshot()
        self.spent.text = len(text)
        return text


# ---- workers ------------------------------------------------------------------------------------


class OwnClock:
    """A worker's own clock: it began at another moment than all others."""

    def __init__(self, loop: VirtualLoop, rng: random.Random) -> None:
        self.loop, self.shift = loop, rng.uniform(0.0, 1e6)

    def now(self) -> float:
        return self.loop.time() + self.shift

    def epoch(self) -> float:
        return self.loop.time() + EPOCH

    def wait(self, lock: Any, timeout: float | None) -> bool:
        raise AssertionError("a thread's wait in a simulation")


@dataclass
class Sent:
    """What one worker did since the warm-up."""

    born: float
    died: float | None = None
    permits: int = 0
    waits: list[float] = field(default_factory=list)


class Fleet:
    """So many workers, always in want, and what became of them."""

    def __init__(self, case: Case, loop: VirtualLoop) -> None:
        self.case, self.loop, self.rng = case, loop, random.Random(case.seed)
        self.store = ModelledStore(loop, case.rtt, case.service, self.rng)
        self.dead_end = DeadEnd(loop, 0.0, case.service, self.rng)
        self.limit = Limit.parse(case.limit)
        self.moments: list[float] = []
        self.workers: dict[Line, tuple[Sent, list[asyncio.Task[None]]]] = {}
        self.past: list[Sent] = []
        self.warm = math.inf
        self.hired = 0

    def hire(self) -> None:
        part = self.hired % self.case.parts
        self.hired += 1
        line = Line(f"api-{part}", [self.limit], clock=OwnClock(self.loop, self.rng), store=self.store)
        sent = Sent(self.loop.time())
        tasks = [self.loop.create_task(self.work(line, sent)) for _ in range(self.case.tasks)]
        self.workers[line] = (sent, tasks)

    def kill(self, line: Line) -> None:
        """As kill -9 does: what it holds is never given back, and nobody is told."""
        sent, tasks = self.workers.pop(line)
        line.store = self.dead_end
        sent.died = self.loop.time()
        self.past.append(sent)
        for task in tasks:
            task.cancel()

    async def work(self, line: Line, sent: Sent) -> None:
        served = Signal()
        while True:
            begun = self.loop.time()
            permit = await line.acquire_async(1, 0, None, True)
            if sent.died is not None:
                return
            permit.sent()
            now = self.loop.time()
            self.moments.append(now)
            if now >= self.warm:
                sent.permits += 1
                sent.waits.append(now - max(begun, self.warm))
            self.loop.call_later(ANSWER, self.answered, line, permit, served)

    def answered(self, line: Line, permit: Any, served: Signal) -> None:
        if line in self.workers:
            line.served(permit, served)

    async def main(self) -> Found:
        case = self.case
        for _ in range(case.workers):
            # Not all in one moment: as an orchestrator starts them.
            self.loop.call_later(self.rng.uniform(0.0, 1.0), self.hire)
        await asyncio.sleep(case.warm_up)
        self.warm = begun = self.loop.time()
        self.store.load = Load()
        Common.spent.__init__()  # type: ignore[misc]
        spent, cpu = Common.spent, time.process_time()
        if case.failover:
            self.loop.call_later(case.seconds / 3, self.store.failing_over, 0.3, 1.0)
        while (now := self.loop.time()) < begun + case.seconds:
            await asyncio.sleep(min(0.25, begun + case.seconds - now))
            if case.deaths:
                for line in [line for line in self.workers if self.rng.random() < case.deaths * 0.25]:
                    self.kill(line)
                    self.hire()
        cpu = time.process_time() - cpu
        return self.found(spent, begun, cpu)

    def found(self, spent: Spent, begun: float, cpu: float) -> Found:
        case, load, seconds = self.case, self.store.load, self.loop.time() - begun
        stayed = [sent for sent, _ in self.workers.values() if sent.born < begun]
        counted = [moment for moment in self.moments if moment >= begun]
        permits = len(counted)
        still = [self.loop.time() - begun for sent in stayed if not sent.permits]
        waits = sorted(wait for sent in stayed for wait in sent.waits)
        per_apply = spent.applying / max(1, spent.applied)
        return Found(
            case.workers, case.rate, case.parts, case.rtt, case.deaths, case.failover, permits,
            permits / (case.rate * seconds), most_in(self.moments, self.limit.period),
            jain([sent.permits for sent in stayed]), sum(not sent.permits for sent in stayed),
            max(waits[-1:] + still, default=0.0), waits[len(waits) // 2] if waits else math.nan,
            load.calls / seconds, load.calls / max(1, permits), load.entries / max(1, load.calls),
            load.bytes / max(1, load.calls), load.snapshots / max(1, load.calls), load.busy / seconds,
            load.longest_queue, per_apply, per_apply * load.entries / seconds / case.workers, spent.text, cpu / seconds,
        )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One fleet.

    rate: permits a second; parts: scopes that share them, and the workers. rtt: seconds to the store and back.
    deaths: share of the workers killed and replaced each second. tasks: that wait, in each worker.
    failover: a third into the run the store dies, and a replica that is 0.3 s behind takes its place a second later.
    exact: each worker replays for itself, however many they are.
    """

    workers: int
    rate: float
    rtt: float = 0.001
    seconds: float = 20.0
    warm_up: float = 8.0
    deaths: float = 0.0
    failover: bool = False
    parts: int = 1
    tasks: int = 4
    exact: bool | None = None
    seed: int = 1
    service: Service = Service()
    shape: str = ""

    @property
    def limit(self) -> str:
        return f"{self.rate / self.parts:g}/s {self.shape}".strip()


@dataclass(frozen=True)
class Found:
    """What a fleet came to after the warm-up.

    use: share of the limit that was sent; most: permits in any period of it, the warm-up's too. jain: over the permits of the
    workers that lived throughout; unserved: those of them that got none; longest, median: seconds that a request waited.
    calls: a second; trips: calls a permit; entries, bytes: of a call, on average; snapshots: share of the calls that brought whole
    books. busy: share of the store's core; queue: the longest wait for it. per_apply: CPU seconds for one entry;
    replaying: share of a core that each worker replays for; books: bytes of a snapshot. simulating: CPU seconds a second.
    """

    workers: int
    rate: float
    parts: int
    rtt: float
    deaths: float
    failover: bool
    permits: int
    use: float
    most: int
    jain: float
    unserved: int
    longest: float
    median: float
    calls: float
    trips: float
    entries: float
    bytes: float
    snapshots: float
    busy: float
    queue: float
    per_apply: float
    replaying: float
    books: int
    simulating: float


def simulate(case: Case) -> Found:
    """Runs one fleet to its end."""
    exact = case.workers <= EXACT if case.exact is None else case.exact
    real, shared.Replica = shared.Replica, Timed if exact else Common  # type: ignore[misc,assignment]
    loop = VirtualLoop()
    fleet = Fleet(case, loop)
    try:
        return loop.run_until_complete(fleet.main())
    finally:
        shared.Replica = real  # type: ignore[misc]
        fleet.store.over = fleet.dead_end.over = True
        # Who is cancelled may call the store a last time.
        loop.end()


HEAD: Final = (
    f"{'workers':>7s} {'parts':>5s} {'per s':>6s} {'RTT ms':>6s} {'use':>6s} {'most':>6s} {'Jain':>6s} {'none':>5s} {'longest':>7s} {'calls/s':>7s} "
    f"{'trips':>6s} {'entries':>7s} {'KB/call':>7s} {'whole':>6s} {'store':>7s} {'µs/entry':>8s} {'replay':>7s} {'books KB':>8s}"
)


def row(one: Found) -> str:
    return (
        f"{one.workers:7,d} {one.parts:5d} {one.rate:6g} {one.rtt * 1e3:6g} {one.use:6.1%} {one.most:6,d} {one.jain:6.4f} {one.unserved:5d} "
        f"{one.longest:6.1f}s {one.calls:7,.0f} {one.trips:6.2f} {one.entries:7.1f} {one.bytes / 1e3:7.1f} {one.snapshots:6.1%} "
        f"{one.busy:7.1%} {one.per_apply * 1e6:8.1f} {one.replaying:7.2%} {one.books / 1e3:8.1f}"
    )


def main() -> int:
    """Simulates and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=3, type=float, action="append", metavar=("WORKERS", "RATE", "RTT"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--deaths", type=float, default=0.0)
    parser.add_argument("--failover", action="store_true")
    parser.add_argument("--exact", action="store_true", default=None)
    parser.add_argument("--shape", default="")
    parser.add_argument("--parts", type=int, default=1, help="scopes that the limit is split into")
    options = parser.parse_args()
    print(HEAD)
    for workers, rate, rtt in options.case or []:
        begun = time.process_time()
        one = simulate(
            Case(int(workers), rate, rtt / 1e3, options.seconds, deaths=options.deaths, failover=options.failover,
                 exact=options.exact, tasks=options.tasks, shape=options.shape, parts=options.parts)
        )
        print(row(one), f"  ({time.process_time() - begun:.0f} s CPU)", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
