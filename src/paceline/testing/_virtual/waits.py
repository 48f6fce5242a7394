"""One wait, as virtual time saw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Wait"]

Kind = Literal["sleep", "timer", "lock", "io"]


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait in which virtual time passed.

    seconds: how long. kind: sleep (`time.sleep`, `asyncio.sleep`), timer (any other timer of an event loop that came
    due), lock (a lock, condition, event, queue or future), io (a socket of a thread). thread: its name.
    task: the name of the asyncio task that set the timer; None in a thread. began: seconds after the block began.
    """

    seconds: float
    kind: Kind
    thread: str
    task: str | None
    began: float
