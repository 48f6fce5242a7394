"""Time limits for many attempts at once, with one timer for the one that is due first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

__all__ = ["Deadlines"]


class Deadlines:
    """Cancels tasks that are over their time; `expired` tells such a cancellation from any other.

    A timer an attempt would cost as much as a tenth of the attempt. Nearly all attempts of a job have the same time
    limit, so those that began first are due first: one timer for the oldest is enough.
    """

    __slots__ = ("_due", "_expired", "_loop", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: OrderedDict[asyncio.Task[object], float] = OrderedDict()
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[object], seconds: float) -> None:
        """From now on `task` has `seconds`; `end` must follow."""
        when = self._loop.time() + seconds
        self._due[task] = when
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._ring)
        elif when < self._timer.when():
            # Shorter than those before it: put first, where the timer looks.
            self._due.move_to_end(task, last=False)
            self._timer.cancel()
            self._timer = self._loop.call_at(when, self._ring)

    def end(self, task: asyncio.Task[object]) -> None:
        """The attempt is over."""
        self._due.pop(task, None)
        self._expired.discard(task)

    def expired(self, task: asyncio.Task[object]) -> bool:
        """Whether the cancellation that `task` has just met was its time limit's; it is taken back then."""
        if task not in self._expired:
            return False
        self._expired.discard(task)
        # Somebody else may have cancelled it as well: that one counts (as in asyncio.timeout).
        return task.uncancel() == 0

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time() + 0.001
        for task in [task for task, when in self._due.items() if when <= now]:
            del self._due[task]
            self._expired.add(task)
            task.cancel()
        if self._due:
            self._timer = self._loop.call_at(min(self._due.values()), self._ring)

    def close(self) -> None:
        """Ends the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
