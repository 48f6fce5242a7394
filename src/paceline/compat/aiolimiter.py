"""`aiolimiter.AsyncLimiter` on paceline's limiter: change the import, keep the code.

What is better than in aiolimiter 1.3: never more than `max_rate` in any stretch of `time_period` seconds, where its
leaky bucket lets nearly twice as many through after a pause; first come, first served, whatever the amounts; a wait that
is cancelled gives its place to the next; and one limiter serves several event loops and threads.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from ..limiter import AsyncLimiter as _Limiter
from ..limits import Limit

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AsyncLimiter"]


class AsyncLimiter(AbstractAsyncContextManager[None]):
    """Lets `max_rate` acquisitions through in any `time_period` seconds; `async with` acquires one.

    max_rate: how many, or how much, a period; all of it may be taken at once. time_period: seconds, 0.001 to 366 days.

    Raises ValueError where that makes no limit.

    >>> import asyncio
    >>> async def main():
    ...     limiter = AsyncLimiter(4, 60)
    ...     async with limiter:
    ...         await limiter.acquire(2.5)
    ...     return limiter.has_capacity(0.5), limiter.has_capacity()
    >>> asyncio.run(main())
    (True, False)
    """

    __slots__ = ("_limiter", "_max_rate", "_time_period")

    def __init__(self, max_rate: float, time_period: float = 60) -> None:
        self._max_rate = max_rate
        self._time_period = time_period
        self._limiter = _Limiter(self._limit(), scope="aiolimiter")

    def _limit(self) -> Limit:
        return Limit(self._max_rate, self._time_period, "sliding")

    @property
    def max_rate(self) -> float:
        """How much a period allows; set anew, it holds for those who wait already."""
        return self._max_rate

    @max_rate.setter
    def max_rate(self, value: float) -> None:
        self._max_rate = value
        self._limiter.update(self._limit())

    @property
    def time_period(self) -> float:
        """The period in seconds; set anew, it holds for those who wait already."""
        return self._time_period

    @time_period.setter
    def time_period(self, value: float) -> None:
        self._time_period = value
        self._limiter.update(self._limit())

    def has_capacity(self, amount: float = 1) -> bool:
        """Whether so much is left of the period now."""
        return self._limiter.state().limits[0].left + 1e-9 >= amount

    async def acquire(self, amount: float = 1) -> None:
        """Waits until `amount` is left, and takes it; raises ValueError for more than `max_rate`, or below 0."""
        if not 0 <= amount <= self._max_rate:
            raise ValueError("Amount must be a number between 0 and the maximum capacity")
        await self._limiter.acquire(amount)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __repr__(self) -> str:
        state = self._limiter.state()
        return (
            f"<AsyncLimiter(max_rate={self._max_rate!r}, time_period={self._time_period!r}) "
            f"[left: {state.limits[0].left:g}, waiters: {state.waiting}]>"
        )
