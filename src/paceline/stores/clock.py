"""The clocks that this process reads: one that counts suspended time and never steps, and the wall clock."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where a line gets its time from; tests give one that they move themselves.

    now: seconds on a monotonic clock; epoch: seconds since 1970; wait: blocks the thread until the lock is free
    or `timeout` seconds have passed, and says which (True: the lock).
    """

    now: Callable[[], float]
    epoch: Callable[[], float]

    def wait(self, lock: Any, timeout: float | None) -> bool: ...


class SystemClock:
    """The real clocks: CLOCK_BOOTTIME where there is one, so that a laptop's sleep counts as time passed."""

    __slots__ = ("epoch", "now")

    def __init__(self) -> None:
        self.now: Callable[[], float] = (
            partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
        )
        self.epoch: Callable[[], float] = time.time

    def wait(self, lock: Any, timeout: float | None) -> bool:
        """Blocks until the lock is free, or `timeout` seconds (None: for ever)."""
        return bool(lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)))
