"""How a task of trio waits in a line: it sleeps to the known moment itself, as a thread does, and blocks none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TrioGate", "running_trio"]


def running_trio() -> Any:
    """The module trio where the caller is a task of it, else None.

    >>> running_trio() is None
    True
    """
    trio = sys.modules.get("trio")
    # While another thread is importing it, it has hardly anything yet, and nobody is a task of it.
    lowlevel = getattr(trio, "lowlevel", None)
    inside = getattr(lowlevel, "in_trio_task", None)
    return trio if inside is not None and inside() else None


class TrioGate:
    """To the line it is the lock that a waiting thread sleeps on: `release` wakes the task, from any thread."""

    __slots__ = ("_event", "_token", "_trio")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._event = trio.Event()

    def locked(self) -> bool:
        """Whether the task has not been woken yet."""
        return not self._event.is_set()

    def release(self) -> None:
        """Wakes the task; where its loop has ended, there is nobody to wake (RuntimeError, as of a free lock)."""
        wake: Callable[[], None] = self._event.set
        try:
            here = self._trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            here = False
        if here:
            wake()
            return
        try:
            self._token.run_sync_soon(wake)
        except self._trio.RunFinishedError:
            raise RuntimeError("its loop has ended") from None

    async def in_thread(self, action: Callable[[], None]) -> None:
        """Runs what blocks in a thread of trio's, to its end."""
        await self._trio.to_thread.run_sync(action)

    async def wait(self, seconds: float | None) -> None:
        """Sleeps until it is woken, or `seconds` have passed (None: for ever)."""
        if seconds is None:
            await self._event.wait()
        else:
            with self._trio.move_on_after(max(0.0, seconds)):
                await self._event.wait()
        self._event = self._trio.Event()
