"""Keeps waits out of the time that aiohttp gives a request: a permit waited for is not the request's time.

aiohttp starts the clock of `ClientTimeout.total` before it calls any middleware, and tells the middleware neither how
long it is nor how to put it off. What rings is a `TimerContext`; a request that has to wait gets one here that asks
first whether the attempt under way has had its time. Seen in aiohttp 3.11 to 3.14; should a later one be built
otherwise, waits count as they do without this.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import helpers

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PutOff", "begin", "end", "put_off", "timed_out"]

_Timer: Final[Any] = getattr(helpers, "TimerContext", None)
_KNOWN: Final = set(getattr(_Timer, "__slots__", ())) == {"_loop", "_tasks", "_cancelled", "_cancelling"}


class _Tasks(list[Any]):
    """The tasks that a ring would cancel; it is asked for them when it rings, and at no other time.

    first: when the request began. since: when the attempt under way began, None while it waits. total: seconds that
    one attempt may take, known once the timer has rung.
    """

    def __init__(self, timer: Any, first: float) -> None:
        super().__init__(timer._tasks)
        self.loop: asyncio.AbstractEventLoop = timer._loop
        self.ring = timer.timeout
        self.first = first
        self.since: float | None = None
        self.total: float | None = None
        self.handle: asyncio.TimerHandle | None = None
        self.early = False

    def __iter__(self) -> Iterator[Any]:
        now = self.loop.time()
        if self.total is None:
            self.total = now - self.first
        self.early = self.since is None or now < self.since + self.total - 0.001
        if not self.early:
            return super().__iter__()
        self.arm()
        return iter(())

    def arm(self) -> None:
        """Sets the alarm for the attempt under way."""
        self.disarm()
        if self.total is not None and self.since is not None:
            self.handle = self.loop.call_at(self.since + self.total, self.ring)

    def disarm(self) -> None:
        """Stops the alarm."""
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None


PutOff: Any = None
if _KNOWN:

    class _PutOff(_Timer):  # type: ignore[misc]
        """A timer that has rung only if its tasks say so."""

        # No slot of its own: only then may an object of the one class become one of the other.
        __slots__ = ()

        @property
        def _cancelled(self) -> bool:
            return bool(_Timer._cancelled.__get__(self))

        @_cancelled.setter
        def _cancelled(self, rung: bool) -> None:
            tasks = self._tasks
            if rung and tasks.early:
                tasks.early = False
                return
            _Timer._cancelled.__set__(self, rung)

    PutOff = _PutOff


def put_off(timer: Any, first: float) -> None:
    """The request waits from now on; `first`: the loop's time when it began."""
    if not _KNOWN:
        return
    kind = type(timer)
    if kind is _Timer:
        timer._tasks = _Tasks(timer, first)
        timer.__class__ = PutOff
    elif kind is not PutOff:
        return  # no time limit
    timer._tasks.since = None
    timer._tasks.disarm()


def begin(timer: Any) -> None:
    """An attempt begins: from now on it has its time."""
    if _KNOWN and type(timer) is PutOff:
        tasks = timer._tasks
        tasks.since = tasks.loop.time()
        tasks.arm()


def end(timer: Any, first: float) -> None:
    """An attempt ended without an answer; a timer that has rung can ring again, for the next one."""
    if not _KNOWN or not isinstance(timer, _Timer):
        return
    if timer._cancelled:
        put_off(timer, first)
        if timer._tasks.total is None:
            timer._tasks.total = timer._loop.time() - first
        timer._cancelled = False
    elif type(timer) is PutOff:
        timer._tasks.disarm()


def timed_out(timer: Any) -> bool:
    """Whether the cancellation just caught was this timer's; it is taken back then."""
    if not _KNOWN or not isinstance(timer, _Timer) or not timer._cancelled:
        return False
    task = asyncio.current_task()
    if task is None or task.cancelling() - 1 > timer._cancelling:
        return False  # somebody else cancelled it as well: that one counts
    task.uncancel()
    return True
