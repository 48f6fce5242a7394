"""CPU time of an uncontended permit in memory, as a multiple of the floor (GCRA under a lock), peers beside it.

    python -m venv build/bench && build/bench/bin/pip install -r bench/requirements.txt -e .
    build/bench/bin/python bench/permits.py [--n 20000] [--rounds 9]

Every contender has a limit that it never reaches, so that what is timed is the permit and no wait. All run in one
process and take turns, round by round, so that a drifting machine hits all alike; the median of the rounds counts.
Below it: what it costs when 10,000 and 100,000 tasks wait for one limiter, in virtual time, each in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import multiprocessing
import os
import selectors
import statistics
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

A_LOT = 10**9
SYNC_BAR, ASYNC_BAR = 3.0, 4.5


class Floor:
    """The least that a rate limiter can do: the generic cell rate algorithm, one moment under a lock."""

    def __init__(self, rate: float, burst: float) -> None:
        self.lock = threading.Lock()
        self.interval = 1.0 / rate
        self.depth = burst / rate
        self.tat = 0.0

    def acquire(self) -> bool:
        with self.lock:
            now = time.monotonic()
            tat = self.tat
            if tat < now:
                tat = now
            if tat - now > self.depth:
                return False
            self.tat = tat + self.interval
            return True


def floor() -> Callable[[], Any]:
    return Floor(A_LOT, A_LOT).acquire


def paceline_sync() -> Callable[[], Any]:
    from paceline import Limiter

    return Limiter(f"{A_LOT}/s").acquire


def paceline_async() -> Callable[[], Awaitable[Any]]:
    from paceline import AsyncLimiter

    return AsyncLimiter(f"{A_LOT}/s").acquire


def ratelimit() -> Callable[[], Any]:
    module = importlib.import_module("ratelimit")
    return module.limits(calls=A_LOT, period=1)(lambda: None)  # type: ignore[no-any-return]


def aiolimiter() -> Callable[[], Awaitable[Any]]:
    module = importlib.import_module("aiolimiter")
    return module.AsyncLimiter(A_LOT, 1).acquire  # type: ignore[no-any-return]


def limits() -> Callable[[], Any]:
    module = importlib.import_module("limits")
    strategies = importlib.import_module("limits.strategies")
    storage = importlib.import_module("limits.storage").MemoryStorage()
    hit, rate = strategies.FixedWindowRateLimiter(storage).hit, module.parse(f"{A_LOT}/second")
    return lambda: hit(rate, "api")


def pyrate_limiter() -> Callable[[], Any]:
    module = importlib.import_module("pyrate_limiter")
    # It keeps every permit of the last period, so a period of a millisecond keeps its bucket small.
    limiter = module.Limiter(module.Rate(A_LOT, 1))
    return lambda: limiter.try_acquire("api")


def throttled() -> Callable[[], Any]:
    module = importlib.import_module("throttled")
    throttle = module.Throttled(key="api", using="gcra", quota=module.rate_limiter.per_sec(A_LOT, burst=A_LOT))
    return throttle.limit  # type: ignore[no-any-return]


SYNC: dict[str, Callable[[], Callable[[], Any]]] = {
    "floor": floor,
    "paceline": paceline_sync,
    "ratelimit": ratelimit,
    "limits": limits,
    "throttled-py": throttled,
    "pyrate-limiter": pyrate_limiter,
}
ASYNC: dict[str, Callable[[], Callable[[], Awaitable[Any]]]] = {
    "paceline, async": paceline_async,
    "aiolimiter, async": aiolimiter,
}


def time_sync(act: Callable[[], Any], count: int) -> float:
    began = time.thread_time()
    for _ in range(count):
        act()
    return (time.thread_time() - began) / count


def time_async(runner: asyncio.Runner, act: Callable[[], Awaitable[Any]], count: int) -> float:
    async def main() -> float:
        began = time.thread_time()
        for _ in range(count):
            await act()
        return (time.thread_time() - began) / count

    return runner.run(main())


def make(kinds: dict[str, Any]) -> dict[str, Any]:
    """The contenders whose packages are installed."""
    made = {}
    for name, build in kinds.items():
        try:
            made[name] = build()
        except ImportError as error:
            print(f"{name:18s} left out: {error.name} is not installed (bench/requirements.txt)")
    return made


def permits(count: int, rounds: int) -> bool:
    sync, unsync = make(SYNC), make(ASYNC)
    times: dict[str, list[float]] = {name: [] for name in [*sync, *unsync]}
    gc.disable()
    with asyncio.Runner() as runner:
        for turn in range(rounds + 1):
            for name, each in times.items():
                taken = time_sync(sync[name], count) if name in sync else time_async(runner, unsync[name], count)
                if turn:  # the first round warms up
                    each.append(taken)
            gc.collect()
    gc.enable()
    least = statistics.median(times["floor"])
    multiples = {name: statistics.median(each) / least for name, each in times.items()}
    for name, each in times.items():
        print(f"{name:18s} {statistics.median(each) * 1e6:7.2f} µs   {multiples[name]:6.2f} × floor")
    good = multiples["paceline"] <= SYNC_BAR and multiples["paceline, async"] <= ASYNC_BAR
    print(f"bars: sync <= {SYNC_BAR:g} ×, async <= {ASYNC_BAR:g} ×: {'held' if good else 'MISSED'}")
    return good


class Jumping(selectors.DefaultSelector):
    """Moves the loop's time instead of sleeping."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes at once."""

    def __init__(self) -> None:
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


class LoopClock:
    """That time as a limiter's clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.now = self.epoch = loop.time

    def wait(self, lock: Any, timeout: float | None) -> bool:
        raise RuntimeError("no thread waits here")


def wait_in_line(count: int, weigh: bool, answer: Any) -> None:
    """So many tasks wait for one limiter; sends the bytes, or the CPU seconds, that each took."""
    from paceline import AsyncLimiter

    loop = VirtualLoop()

    async def main() -> float:
        limiter = AsyncLimiter("1000/s", clock=LoopClock(loop))
        if weigh:
            tracemalloc.start()
        began = time.process_time()
        tasks = [loop.create_task(limiter.acquire()) for _ in range(count)]
        await asyncio.sleep(0)
        if weigh:
            return tracemalloc.get_traced_memory()[0] / count
        await asyncio.gather(*tasks)
        return (time.process_time() - began) / count

    answer.send(loop.run_until_complete(main()))
    os._exit(0)  # those who still wait are left alone


def alone(*facts: Any) -> float:
    """What `wait_in_line` sends from a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=wait_in_line, args=(*facts, its))
    process.start()
    its.close()
    figure: float = mine.recv()
    process.join()
    return figure


def waiters() -> bool:
    figures = []
    for count in (10_000, 100_000):
        size, seconds = alone(count, True), alone(count, False)
        figures.append((size, seconds))
        print(f"{count:7,d} waiters: {size:6.0f} bytes and {seconds * 1e6:5.1f} µs of CPU time each, task and future included")
    good = all(large <= 2 * small for small, large in zip(*figures, strict=True))
    print(f"linear (ten times as many cost at most twice as much each): {'held' if good else 'MISSED'}")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000, help="permits a round")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    held = permits(given.n, given.rounds)
    held = waiters() and held
    raise SystemExit(0 if held else 1)
