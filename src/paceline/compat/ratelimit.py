"""`ratelimit` (limits, sleep_and_retry, RateLimitException) on paceline's limiter: change the import, keep the code.

What is better than in ratelimit 2.2: never more than `calls` in any stretch of `period` seconds, where ratelimit lets
twice as many through at the edge of its window; those who wait are served in their order, each at its exact moment;
of several limits on one function all hold, or none is charged; and an async function waits without blocking its loop.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
from math import floor
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from ..limiter import Limiter, Permit
from ..limits import Limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["RateLimitDecorator", "RateLimitException", "limits", "rate_limited", "sleep_and_retry"]

P = ParamSpec("P")
R = TypeVar("R")

now: Final = time.monotonic
_SHORTEST: Final = 0.001
_MOST_CALLS: Final = 10**14
_GATES: Final = "__paceline_gates__"


class RateLimitException(Exception):
    """A call was one too many; `period_remaining`: seconds until another one is allowed.

    >>> RateLimitException("too many calls", 0.5).period_remaining
    0.5
    """

    def __init__(self, message: str, period_remaining: float) -> None:
        super().__init__(message)
        self.period_remaining = period_remaining

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.period_remaining)


class _Clock:
    """The clock that the caller gave, as a limiter's."""

    __slots__ = ("epoch", "now")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self.epoch = time.time

    def wait(self, lock: Any, timeout: float | None) -> bool:
        return bool(lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)))


class RateLimitDecorator:
    """Decorates functions that together may be called `calls` times in any `period` seconds; `limits` is this.

    calls: at least 1; fractions are cut off. period: seconds; 0 or less: no limit. clock: a function that returns
    seconds, for tests. raise_on_limit: False returns None for a call too many, instead of RateLimitException.

    Raises ValueError for a period that is not finite or above 366 days.

    >>> @limits(calls=2, period=60)
    ... def call():
    ...     return "served"
    >>> call(), call()
    ('served', 'served')
    >>> call()
    Traceback (most recent call last):
    ...
    paceline.compat.ratelimit.RateLimitException: too many calls
    """

    def __init__(
        self,
        calls: float = 15,
        period: float = 900,
        clock: Callable[[], float] = now,
        raise_on_limit: bool = True,
    ) -> None:
        self.clamped_calls: int = max(1, min(sys.maxsize, floor(calls)))
        self.period = period
        self.clock = clock
        self.raise_on_limit = raise_on_limit
        self._limiter: Limiter | None = None
        if period > 0 or period != period:
            quota = min(self.clamped_calls, _MOST_CALLS)
            limit = Limit(quota, max(float(period), _SHORTEST), "sliding")
            given = None if clock is now else _Clock(clock)
            self._limiter = Limiter(limit, scope="ratelimit", clock=given)

    def __call__(self, func: Callable[P, R]) -> Callable[P, R]:
        """The function, limited; functions decorated by one object share its limit."""
        gates, function = _gates_of(func)
        gates = (self, *gates)

        @functools.wraps(func)
        def wrapper(*args: P.args, **kargs: P.kwargs) -> R:
            refused, wait = _enter(gates)
            if refused is None:
                return function(*args, **kargs)
            if refused.raise_on_limit:
                raise RateLimitException("too many calls", wait)
            return cast("R", None)

        setattr(wrapper, _GATES, (wrapper, gates, function))
        return wrapper


limits = RateLimitDecorator
rate_limited = RateLimitDecorator


def sleep_and_retry(func: Callable[P, R]) -> Callable[P, R]:
    """The function, which now waits until its limit allows the call instead of raising RateLimitException.

    Directly around `limits`, callers wait in their order, each until its own moment. Around anything else that raises
    RateLimitException, it sleeps `period_remaining` and calls again. An async function waits as a task.

    >>> @sleep_and_retry
    ... @limits(calls=2, period=0.1)
    ... def call():
    ...     return "served"
    >>> [call() for _ in range(3)]
    ['served', 'served', 'served']
    """
    gates, function = _gates_of(func)
    # One limit on the real clock has a queue to stand in. Several are all or nothing: waiting for one of them while
    # another is charged would waste it.
    only = gates[0]._limiter if len(gates) == 1 and gates[0].raise_on_limit and gates[0].clock is now else None

    if inspect.iscoroutinefunction(inspect.unwrap(func)):

        @functools.wraps(func)
        async def waiting_task(*args: P.args, **kargs: P.kwargs) -> Any:
            import asyncio

            while True:
                try:
                    if only is None:
                        return await cast("Awaitable[Any]", func(*args, **kargs))
                    await only._line.acquire_async()
                    return await cast("Awaitable[Any]", function(*args, **kargs))
                except RateLimitException as exception:
                    await asyncio.sleep(exception.period_remaining)

        return cast("Callable[P, R]", waiting_task)

    @functools.wraps(func)
    def wrapper(*args: P.args, **kargs: P.kwargs) -> R:
        while True:
            try:
                if only is None:
                    return func(*args, **kargs)
                only.acquire()
                return function(*args, **kargs)
            except RateLimitException as exception:
                time.sleep(exception.period_remaining)

    return wrapper


def _gates_of(func: Callable[P, R]) -> tuple[tuple[RateLimitDecorator, ...], Callable[P, R]]:
    """The limits that a function was decorated with already, the outermost first, and the function itself."""
    marked: Any = getattr(func, _GATES, None)
    # `functools.wraps` copies attributes: only those of this very wrapper are its own.
    if marked is None or marked[0] is not func:
        return (), func
    return marked[1], marked[2]


def _enter(gates: tuple[RateLimitDecorator, ...]) -> tuple[RateLimitDecorator | None, float]:
    """Takes a permit of every limit; or none, and says which limit refused and for how many seconds it will."""
    taken: list[Permit] = []
    for gate in gates:
        if gate._limiter is None:
            continue
        permit, wait = _try(gate._limiter)
        if permit is None:
            for each in taken:
                each.cancel()
            return gate, wait
        taken.append(permit)
    return None, 0.0


def _try(limiter: Limiter) -> tuple[Permit | None, float]:
    line = limiter._line
    with line.lock:
        moment = line.now()
        # Those who wait in `sleep_and_retry` come first.
        at = moment if not line.waiting else max(moment, line._next_at or moment)
        if not line.waiting:
            at = line.ledger.take(moment, 1)
            if at <= moment:
                return Permit(line, 1, moment), 0.0
    # A moment more, so that whoever sleeps so long is not too early by a rounding.
    return None, at - moment + _SHORTEST
