"""Clocks that tests move: one for threads that never sleep, one event loop whose time jumps."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class FakeClock:
    """Stands still until somebody waits; a wait that nothing ends jumps to its end."""

    def __init__(self, start: float = 1000.0, epoch: float = 1_700_000_000.0) -> None:
        self.time = start
        self.offset = epoch - start
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return self.time + self.offset

    def wait(self, lock: Any, timeout: float | None) -> bool:
        if lock.acquire(blocking=False):
            return True
        assert timeout is not None, "a wait that nothing would end"
        self.waits.append(timeout)
        self.time += timeout
        return False


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of sleeping, moves the loop's time; real sockets are still looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.time += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only when every task sleeps."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.time

    def end(self) -> None:
        """Cancels whatever is still under way, also what that begins, and closes the loop."""
        while tasks := asyncio.all_tasks(self):
            for task in tasks:
                task.cancel()
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.close()


class LoopClock:
    """The time of a VirtualLoop as a line's clock."""

    def __init__(self, loop: VirtualLoop, epoch: float = 1_700_000_000.0) -> None:
        self.loop = loop
        self.offset = epoch - loop.time()

    def now(self) -> float:
        return self.loop.time()

    def epoch(self) -> float:
        return self.loop.time() + self.offset

    def wait(self, lock: Any, timeout: float | None) -> bool:
        raise AssertionError("a thread's wait on an event loop's clock")


def run_virtual(make: Any) -> Any:
    """Runs `make(clock)`, a coroutine function, on a new virtual loop."""
    loop = VirtualLoop()
    try:
        coroutine: Coroutine[Any, Any, T] = make(LoopClock(loop))
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
