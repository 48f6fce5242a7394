"""Limiter and AsyncLimiter: order, waiting, cancelling, steering; on clocks that the tests move."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time

import pytest
from tests.clocks import FakeClock, run_virtual

from paceline import AcquireTimeout, AsyncLimiter, CostAboveQuota, Limiter
from paceline.errors import LimitSyntaxError


def test_burst_then_pace() -> None:
    """A fresh limiter lets the quota out at once and then one permit an interval."""
    clock = FakeClock()
    limiter = Limiter("5/s", clock=clock)
    moments = [limiter.acquire().at - 1000.0 for _ in range(8)]
    assert moments[:5] == [0.0] * 5
    assert moments[5:] == pytest.approx([1.02, 1.224, 1.428])


def test_waits_are_exact_and_one_each() -> None:
    """A thread sleeps once, to the known moment: no polling."""
    clock = FakeClock()
    limiter = Limiter("1/10s sliding", clock=clock)
    limiter.acquire()
    permit = limiter.acquire()
    assert clock.waits == [pytest.approx(10.2)]
    assert permit.waited == pytest.approx(10.2)
    assert permit.reason == "pace"


def test_timeout_costs_nothing() -> None:
    """A timed-out wait raises AcquireTimeout and leaves the quota as it was."""
    clock = FakeClock()
    limiter = Limiter("1/10s sliding", clock=clock)
    limiter.acquire()
    with pytest.raises(AcquireTimeout, match="no permit for limiter within 3 s, held up by pace"):
        limiter.acquire(timeout=3)
    assert limiter.state().waiting == 0
    assert limiter.acquire().at == pytest.approx(1010.2)


def test_cost_above_quota() -> None:
    """A cost that could never be granted is an error at once."""
    with pytest.raises(CostAboveQuota, match="a cost of 11 can never be granted under the limit 10/s"):
        Limiter("10/s").acquire(11)


def test_cost_zero_is_free() -> None:
    """A cost of 0 takes nothing."""
    limiter = Limiter("1/h sliding", clock=FakeClock())
    for _ in range(5):
        limiter.acquire(0)
    assert limiter.state().limits[0].left == 1


def test_reserve_then_settle() -> None:
    """What a settled reservation did not use is there for others."""
    clock = FakeClock()
    limiter = Limiter("100 tokens/min sliding", clock=clock)
    permit = limiter.reserve(100)
    permit.settle(30)
    assert limiter.state().limits[0].left == 70
    limiter.acquire(70)
    assert clock.waits == []


def test_all_or_nothing() -> None:
    """A second limit that refuses leaves the first uncharged."""
    clock = FakeClock()
    limiter = Limiter(["10/s sliding", "2/min sliding"], clock=clock)
    limiter.acquire()
    limiter.acquire()
    assert limiter.try_acquire() is None
    assert limiter.state().limits[0].left == 8


def test_concurrent_places_come_back() -> None:
    """A place in flight is free again when its block ends, also by an exception."""
    limiter = Limiter("1 concurrent")

    def breaks() -> None:
        with limiter:
            assert limiter.try_acquire() is None
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()
    with limiter:
        pass


def test_update_retimes_the_next() -> None:
    """A changed limit counts what went before."""
    clock = FakeClock()
    limiter = Limiter("2/10s sliding", clock=clock)
    limiter.acquire()
    limiter.acquire()
    limiter.update("3/10s sliding")
    limiter.acquire()
    assert clock.waits == []
    assert limiter.try_acquire() is None


def test_pause_and_resume() -> None:
    """A pause holds everything up, resume ends it at once."""
    limiter = Limiter("10/s", clock=FakeClock())
    limiter.pause(60)
    assert limiter.try_acquire() is None
    assert limiter.state().paused_until == pytest.approx(1_700_000_060.0)
    limiter.resume()
    assert limiter.try_acquire() is not None


def test_bad_limit_text() -> None:
    """A limit that cannot be read is named with the part at fault."""
    with pytest.raises(LimitSyntaxError, match="'10 per second'"):
        Limiter("10 per second")


def test_decorates_functions_of_both_kinds() -> None:
    """One limiter decorates sync and async functions; both take permits of the one limit."""
    limiter = Limiter("2/h sliding")

    @limiter
    def double(value: int) -> int:
        """Doubles."""
        return 2 * value

    @limiter
    async def triple(value: int) -> int:
        return 3 * value

    assert double(2) == 4
    assert double.__doc__ == "Doubles."
    assert asyncio.run(triple(2)) == 6
    assert limiter.try_acquire() is None


def test_fifo_among_tasks() -> None:
    """Tasks are served in the order in which they came."""

    async def main(clock: object) -> list[int]:
        limiter = AsyncLimiter("1/s sliding", clock=clock)
        served: list[int] = []

        async def one(number: int) -> None:
            await limiter.acquire()
            served.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        return served

    assert run_virtual(main) == list(range(20))


def test_cancelled_waiter_gives_its_place_on() -> None:
    """A cancelled wait charges nothing; the next in line takes the moment."""

    async def main(clock: object) -> list[tuple[int, float]]:
        limiter = AsyncLimiter("1/s sliding", clock=clock)
        served: list[tuple[int, float]] = []

        async def one(number: int) -> None:
            permit = await limiter.acquire()
            served.append((number, round(permit.at - 1000.0, 6)))

        tasks = [asyncio.create_task(one(number)) for number in range(4)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.state().waiting == 0
        return served

    assert run_virtual(main) == [(0, 0.0), (2, 1.02), (3, 2.04)]


def test_priority_goes_first_and_starves_nobody() -> None:
    """Higher priorities are served first, but one permit in eight goes to those below."""

    async def main(clock: object) -> list[str]:
        limiter = AsyncLimiter("1/s sliding", clock=clock)
        await limiter.acquire()
        served: list[str] = []

        async def one(name: str, priority: int) -> None:
            await limiter.acquire(priority=priority)
            served.append(name)

        low = [asyncio.create_task(one("low", 0)) for _ in range(2)]
        await asyncio.sleep(0)
        high = [asyncio.create_task(one("high", 5)) for _ in range(16)]
        await asyncio.gather(*low, *high)
        return served

    served = run_virtual(main)
    assert served[:7] == ["high"] * 7
    assert served.index("low") == 7
    assert served.count("high") == 16


def test_async_timeout() -> None:
    """AsyncLimiter.acquire(timeout=…) raises when the time is over and charges nothing."""

    async def main(clock: object) -> None:
        limiter = AsyncLimiter("1/10s sliding", clock=clock)
        await limiter.acquire()
        with pytest.raises(AcquireTimeout):
            await limiter.acquire(timeout=2)
        assert (await limiter.acquire()).at == pytest.approx(1010.2)

    run_virtual(main)


def test_hundred_thousand_waiters() -> None:
    """A hundred thousand tasks wait with one timer, and leave in order."""

    async def main(clock: object) -> int:
        limiter = AsyncLimiter("1000/s", clock=clock)
        tasks = [asyncio.create_task(limiter.acquire()) for _ in range(100_000)]
        permits = await asyncio.gather(*tasks)
        moments = [permit.at for permit in permits]
        assert moments == sorted(moments)
        return round(moments[-1] - moments[0])

    assert run_virtual(main) == 102


def test_threads_and_loops_share_one_limiter() -> None:
    """Threads and tasks of two event loops share one limiter; together they get the quota, and all are served."""
    limiter = Limiter("200/s bucket burst 1")
    moments: list[float] = []
    lock = threading.Lock()

    def note(at: float) -> None:
        with lock:
            moments.append(at)

    def worker() -> None:
        for _ in range(10):
            note(limiter.acquire().at)

    def looper() -> None:
        async def main() -> None:
            async def one() -> None:
                note((await limiter._line.acquire_async()).at)

            await asyncio.gather(*(one() for _ in range(20)))

        asyncio.run(main())

    threads = [threading.Thread(target=worker) for _ in range(3)] + [threading.Thread(target=looper) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(moments) == 70
    moments.sort()
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert min(gaps) >= 0.005 - 1e-6
    assert limiter.state().waiting == 0


def test_a_waiter_of_a_closed_loop_holds_nobody_up() -> None:
    """A loop that was closed while a task waited does not block those behind it."""
    limiter = Limiter("1/s sliding", clock=None)
    limiter.acquire()
    loop = asyncio.new_event_loop()
    task = loop.create_task(limiter._line.acquire_async())
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # its loop goes away on purpose
    loop.close()
    began = time.monotonic()
    limiter.acquire(timeout=5)
    assert time.monotonic() - began < 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_starts_clean() -> None:
    """A child forked while a thread held the lock can use the limiter, and nobody waits in it."""
    limiter = Limiter("1 concurrent")
    limiter.acquire()
    limiter._line.lock.acquire()
    child = os.fork()
    if child == 0:
        ok = limiter.try_acquire() is not None and limiter.state().waiting == 0
        os._exit(0 if ok else 1)
    limiter._line.lock.release()
    assert os.waitpid(child, 0)[1] == 0
    assert limiter.try_acquire() is None


def test_interrupted_wait_keeps_the_permit() -> None:
    """An exception in the middle of a wait (Ctrl-C) leaves no waiter behind and no permit spent."""

    class Interrupting(FakeClock):
        def wait(self, lock: object, timeout: float | None) -> bool:
            raise KeyboardInterrupt

    limiter = Limiter("1/10s sliding", clock=Interrupting())
    limiter.acquire()
    with pytest.raises(KeyboardInterrupt):
        limiter.acquire()
    assert limiter.state().waiting == 0
