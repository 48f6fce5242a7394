"""`paceline.compat.ratelimit` beside the real `ratelimit`: the same names, signatures and exceptions, and one law more."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
import ratelimit as theirs
from hypothesis import given
from hypothesis import strategies as st

from paceline.compat import ratelimit as ours

if TYPE_CHECKING:
    from collections.abc import Callable

both = pytest.mark.parametrize("library", [theirs, ours], ids=["ratelimit", "paceline"])


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_all_their_names_are_here() -> None:
    """What `from ratelimit import …` finds, `from paceline.compat.ratelimit import …` finds, with the same arguments."""
    for name in theirs.__all__:
        mine, real = getattr(ours, name), getattr(theirs, name)
        assert list(inspect.signature(mine).parameters) == list(inspect.signature(real).parameters), name
    parameters = inspect.signature(ours.limits).parameters
    defaults = inspect.signature(theirs.limits).parameters
    assert {name: parameters[name].default for name in ("calls", "period", "raise_on_limit")} == {
        name: defaults[name].default for name in ("calls", "period", "raise_on_limit")
    }


@both
def test_a_call_too_many_is_refused_until_the_period_is_over(library: Any) -> None:
    """N calls are served, the next raises with the seconds that remain; after these it is served."""
    clock = Clock()
    call = library.limits(calls=3, period=10, clock=clock)(lambda number: number)
    assert [call(number) for number in range(3)] == [0, 1, 2]
    clock.time += 4
    for _ in range(2):
        with pytest.raises(library.RateLimitException, match=r"^too many calls$") as caught:
            call(3)
        assert caught.value.args == ("too many calls",)
        assert 6 <= caught.value.period_remaining <= 6.25
    clock.time += caught.value.period_remaining
    assert [call(number=number) for number in range(3)] == [0, 1, 2]


@both
@pytest.mark.parametrize(("calls", "served"), [(0, 1), (-3, 1), (2.9, 2), (4, 4), (1e300, 50)])
def test_the_number_of_calls_is_whole_and_at_least_one(library: Any, calls: float, served: int) -> None:
    """Fractions are cut off, and at least one call is let through."""
    clock = Clock()
    call = library.limits(calls, 10, clock, raise_on_limit=False)(lambda: True)
    assert [call() for _ in range(50)].count(True) == served


@both
def test_a_refused_call_may_be_none_instead(library: Any) -> None:
    """`raise_on_limit=False` drops the call silently."""
    clock = Clock()
    call = library.rate_limited(calls=1, period=10, clock=clock, raise_on_limit=False)(lambda: "served")
    assert (call(), call()) == ("served", None)


@both
def test_a_period_of_nothing_is_no_limit(library: Any) -> None:
    """As ratelimit takes it."""
    call = library.sleep_and_retry(library.limits(calls=1, period=0, clock=Clock())(lambda: "served"))
    assert {call() for _ in range(20)} == {"served"}


@both
def test_one_decorator_object_is_one_limit(library: Any) -> None:
    """Functions decorated by the same object share its calls."""
    limit = library.limits(calls=2, period=10, clock=Clock())
    first, second = limit(lambda: 1), limit(lambda: 2)
    assert (first(), second()) == (1, 2)
    with pytest.raises(library.RateLimitException):
        first()


@both
def test_decorated_functions_keep_their_names_and_errors(library: Any) -> None:
    """Name and docstring are the function's own; its exceptions pass."""

    @library.sleep_and_retry
    @library.limits(calls=5, period=10, clock=Clock())
    def divide(number: float, by: float = 0) -> float:
        """Divides."""
        return number / by

    assert (divide.__name__, divide.__doc__) == ("divide", "Divides.")
    assert divide(6, by=3) == 2
    with pytest.raises(ZeroDivisionError):
        divide(6)


@both
def test_the_exception_is_made_as_theirs(library: Any) -> None:
    """People raise it themselves, to be slept on."""
    error = library.RateLimitException("slow down", 0.001)
    assert (str(error), error.period_remaining) == ("slow down", 0.001)
    raised = iter([error, error])

    @library.sleep_and_retry
    def call() -> str:
        for each in raised:
            raise each
        return "served"

    assert call() == "served"


@both
def test_sleepers_are_all_served(library: Any) -> None:
    """More calls than the period allows are slept on, not lost, from several threads too."""
    served: list[int] = []
    call = library.sleep_and_retry(library.limits(calls=4, period=0.05)(served.append))
    threads = [threading.Thread(target=lambda: [call(n) for n in range(3)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(served) == sorted([0, 1, 2] * 3)


# ---- what is better ---------------------------------------------------------------------------


@given(calls=st.integers(1, 8), gaps=st.lists(st.floats(0, 15), max_size=60), waits=st.booleans())
def test_never_more_than_the_limit_in_any_period(calls: int, gaps: list[float], waits: bool) -> None:
    """Whatever the moments of the calls; who sleeps what remains is served, and not later than needed."""
    clock, served, late = Clock(), [], []
    call = ours.limits(calls=calls, period=10, clock=clock)(lambda: served.append(clock.time))
    for gap in gaps:
        clock.time += gap
        try:
            call()
        except ours.RateLimitException as error:
            late.append(clock.time + error.period_remaining - served[-calls])
            if waits:
                clock.time += error.period_remaining
                call()
    assert max(late, default=10) <= 10 + 0.2 + 0.01
    for first, last in zip(served, served[calls:], strict=False):
        assert last - first >= 10


def most_at_the_edge(library: Any) -> int:
    """How many of 40 eager calls are let through within half a second around the window's edge."""
    clock, served = Clock(), []
    call = library.limits(calls=10, period=10, clock=clock, raise_on_limit=False)(lambda: served.append(clock.time))
    clock.time += 9.8
    for _ in range(40):
        call()
        clock.time += 0.01
    return len(served)


def test_the_edge_of_the_window_is_no_loophole() -> None:
    """ratelimit lets two periods' calls through there."""
    assert (most_at_the_edge(theirs), most_at_the_edge(ours)) == (20, 10)


def drained(library: Any) -> int:
    """How much of the wide limit is left over after calls that the narrow limit refused."""
    clock = Clock()
    wide = library.limits(calls=10, period=1000, clock=clock)
    narrow = library.limits(calls=1, period=10, clock=clock)
    call = wide(narrow(lambda: "served"))
    served = 0
    for _ in range(8):
        try:
            served += call() == "served"
        except library.RateLimitException:
            pass
    left = 0
    free = wide(lambda: "served")
    try:
        while free():
            left += 1
    except library.RateLimitException:
        pass
    return left


def test_of_several_limits_none_is_charged_for_a_refused_call() -> None:
    """ratelimit charges the outer limit for every call that the inner one refuses."""
    assert (drained(theirs), drained(ours)) == (2, 9)


def test_another_decorator_between_is_not_jumped_over() -> None:
    """Only limits that stand directly on each other are taken together."""
    clock, seen = Clock(), []

    def loud(function: Callable[[], str]) -> Callable[[], str]:
        import functools

        @functools.wraps(function)
        def wrapper() -> str:
            seen.append(1)
            return function()

        return wrapper

    inner = ours.limits(calls=5, period=10, clock=clock)(lambda: "served")
    call = ours.sleep_and_retry(ours.limits(calls=5, period=10, clock=clock)(loud(inner)))
    assert call() == "served"
    assert seen == [1]


def test_an_async_function_waits_as_a_task() -> None:
    """Other tasks go on while it waits; ratelimit's sleep stops the whole loop."""

    @ours.sleep_and_retry
    @ours.limits(calls=2, period=0.05)
    async def call(number: int) -> int:
        return number

    async def main() -> tuple[list[int], int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        busy = asyncio.create_task(other())
        came = await asyncio.gather(*(call(number) for number in range(6)))
        busy.cancel()
        return came, turns

    came, turns = asyncio.run(main())
    assert came == list(range(6))
    assert turns > 5


def test_an_async_function_under_two_limits_waits_too() -> None:
    """All or nothing, slept on without blocking."""

    @ours.sleep_and_retry
    @ours.limits(calls=2, period=0.03)
    @ours.limits(calls=3, period=0.05)
    async def call(number: int) -> int:
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(call(number) for number in range(7)))

    assert asyncio.run(main()) == list(range(7))


def test_the_exception_crosses_processes() -> None:
    """theirs does not unpickle."""
    error = pickle.loads(pickle.dumps(ours.RateLimitException("too many calls", 1.5)))
    assert (error.args, error.period_remaining) == (("too many calls",), 1.5)


@pytest.mark.parametrize("period", [float("nan"), float("inf"), 400 * 86400])
def test_a_period_that_cannot_be_kept_is_told(period: float) -> None:
    """No limit is silently another one."""
    with pytest.raises(ValueError, match="period"):
        ours.limits(calls=1, period=period)
