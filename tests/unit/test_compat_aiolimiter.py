"""`paceline.compat.aiolimiter` beside the real `aiolimiter`, on an event loop whose time jumps, and one law more."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import aiolimiter as theirs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clocks import LoopClock, run_virtual

from paceline.compat import aiolimiter as ours
from paceline.limiter import AsyncLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

both = pytest.mark.parametrize("library", [theirs, ours], ids=["aiolimiter", "paceline"])


def run(main: Callable[[Any], Any]) -> Any:
    """Runs `main(time)` on a loop whose time jumps; the limiters made in it live in that time."""

    async def within(clock: LoopClock) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ours, "_Limiter", functools.partial(AsyncLimiter, clock=clock))
            return await main(asyncio.get_running_loop().time)

    return run_virtual(within)


def test_the_same_arguments_and_names() -> None:
    """Constructor and methods take what theirs take."""
    for name in ("__init__", "acquire", "has_capacity"):
        mine = inspect.signature(getattr(ours.AsyncLimiter, name)).parameters
        real = inspect.signature(getattr(theirs.AsyncLimiter, name)).parameters
        assert {key: each.default for key, each in mine.items()} == {key: each.default for key, each in real.items()}


@both
def test_a_burst_goes_at_once_and_the_rest_in_its_time(library: Any) -> None:
    """`max_rate` may go at once, and n periods' worth take n - 1 periods, with two in a hundred for jitter at most."""

    async def main(time: Callable[[], float]) -> list[float]:
        limiter = library.AsyncLimiter(5, 10)
        began, moments = time(), []
        for _ in range(15):
            async with limiter:
                moments.append(time() - began)
        return moments

    moments = run(main)
    assert moments[:5] == [0] * 5
    assert all(moment > 0 for moment in moments[5:])
    assert 19.9 <= moments[-1] <= 20.5


@both
def test_capacity_is_told_without_waiting(library: Any) -> None:
    """`has_capacity` says what `acquire` would find."""

    async def main(time: Callable[[], float]) -> list[bool]:
        limiter = library.AsyncLimiter(4, 10)
        told = [limiter.has_capacity(), limiter.has_capacity(4), limiter.has_capacity(4.5)]
        await limiter.acquire(3.5)
        told += [limiter.has_capacity(0.5), limiter.has_capacity()]
        await asyncio.sleep(10.3)
        told.append(limiter.has_capacity(4))
        return told

    assert run(main) == [True, True, False, True, False, True]


@both
@pytest.mark.parametrize("amount", [4.5, -1, float("inf"), float("nan")])
def test_an_amount_that_never_fits_is_an_error(library: Any, amount: float) -> None:
    """The same exception with the same words."""

    async def main(time: Callable[[], float]) -> None:
        await library.AsyncLimiter(4, 10).acquire(amount)

    with pytest.raises(ValueError, match=r"^Amount must be a number between 0 and the maximum capacity$"):
        run(main)


@both
def test_nothing_costs_nothing(library: Any) -> None:
    """An amount of 0 never waits."""

    async def main(time: Callable[[], float]) -> float:
        limiter, began = library.AsyncLimiter(4, 10), time()
        await limiter.acquire(4)
        for _ in range(100):
            await limiter.acquire(0)
        return time() - began

    assert run(main) == 0


@both
def test_its_settings_can_be_read(library: Any) -> None:
    """`max_rate` and `time_period` stand on the limiter, a minute by default."""
    limiter = library.AsyncLimiter(4)
    assert (limiter.max_rate, limiter.time_period) == (4, 60)
    assert repr(limiter).startswith("<AsyncLimiter(max_rate=4, time_period=60)")


@both
def test_a_cancelled_wait_takes_nothing(library: Any) -> None:
    """Whoever times out leaves the capacity to the others; what the block raises passes."""

    async def main(time: Callable[[], float]) -> float:
        limiter, began = library.AsyncLimiter(2, 10), time()
        await limiter.acquire(2)
        waiting = [asyncio.create_task(asyncio.wait_for(limiter.acquire(2), 1)) for _ in range(3)]
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in ended] == [TimeoutError] * 3
        with pytest.raises(ZeroDivisionError):
            async with limiter:
                raise ZeroDivisionError
        return time() - began

    assert run(main) <= 10.3


# ---- what is better ---------------------------------------------------------------------------


@given(
    rate=st.integers(1, 8),
    gaps=st.lists(st.floats(0, 12), max_size=40),
)
def test_never_more_than_the_rate_in_any_period(rate: int, gaps: list[float]) -> None:
    """Whatever the moments at which it is asked."""

    async def main(time: Callable[[], float]) -> list[float]:
        limiter, moments = ours.AsyncLimiter(rate, 10), []
        for gap in gaps:
            await asyncio.sleep(gap)
            await limiter.acquire()
            moments.append(time())
        return moments

    moments = run(main)
    for first, last in zip(moments, moments[rate:], strict=False):
        assert last - first >= 10


def most_in_a_period(library: Any) -> int:
    async def main(time: Callable[[], float]) -> list[float]:
        limiter, moments = library.AsyncLimiter(10, 10), []
        for _ in range(40):
            await limiter.acquire()
            moments.append(time())
        return moments

    moments = run(main)
    return max(sum(1 for each in moments if moment <= each < moment + 9.99) for moment in moments)


def test_a_burst_is_not_followed_by_another_periods_worth() -> None:
    """After a burst of 10, aiolimiter lets 9 more through in the same 10 s."""
    assert (most_in_a_period(theirs), most_in_a_period(ours)) == (19, 10)


def served_in(library: Any) -> list[str]:
    async def main(time: Callable[[], float]) -> list[str]:
        limiter, served = library.AsyncLimiter(10, 10), []

        async def take(name: str, amount: float) -> None:
            await limiter.acquire(amount)
            served.append(name)

        await limiter.acquire(10)
        tasks = [asyncio.create_task(take("big", 10))]
        for number in range(20):
            tasks.append(asyncio.create_task(take(f"small {number}", 1)))
        await asyncio.gather(*tasks)
        return served

    return run(main)  # type: ignore[no-any-return]


def test_first_come_is_first_served_whatever_the_amount() -> None:
    """aiolimiter serves small amounts first: a big one waits as long as small ones come."""
    assert served_in(theirs)[-1] == "big"
    assert served_in(ours)[0] == "big"


def test_the_rate_can_be_changed_for_those_who_wait() -> None:
    """Both settings can be set; those who wait are timed anew."""

    async def main(time: Callable[[], float]) -> float:
        limiter, began = ours.AsyncLimiter(1, 1000), time()
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(1)
        limiter.time_period = 10
        limiter.max_rate = 2
        await waiting
        return time() - began

    assert run(main) < 12


def test_one_limiter_serves_several_loops() -> None:
    """aiolimiter warns of that, and forgets those who wait."""
    limiter = ours.AsyncLimiter(1000, 10)
    for _ in range(3):
        asyncio.run(limiter.acquire(300))
    assert not limiter.has_capacity(300)


@pytest.mark.parametrize(("rate", "period"), [(0, 10), (-1, 10), (1, 0), (1, -5)])
def test_what_makes_no_limit_is_told(rate: float, period: float) -> None:
    """aiolimiter divides by zero, or never lets anything through."""
    with pytest.raises(ValueError, match="cannot read the limit"):
        ours.AsyncLimiter(rate, period)
