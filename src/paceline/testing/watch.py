"""Whether the clients of one key keep still while a refusal asks for patience, and how they come back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .tally import Tally

__all__ = ["Watch"]

# An answer is known to the client a little after it was given; what comes sooner had left before.
_REACTION: Final = 0.05
# A herd is what comes in this time after a pause.
_HERD: Final = 0.1


class Watch:
    """One key's pauses; what it sees is counted in a tally. key: whose it is, "" where all share the limits."""

    __slots__ = ("_ends", "_from", "_herd", "_open", "_until", "awake", "key")

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.awake = False
        self._open = False
        self._from = math.inf
        self._until = self._ends = -math.inf
        self._herd = 0

    def see(self, now: float, tally: Tally) -> None:
        """A request in a pause, or behind one: the herd is all that comes within 100 ms of its end."""
        if self._open and now >= self._until:
            self._open = False
            tally.pauses_over += 1
            self._ends, self._herd = self._until + _HERD, 0
        if now < self._ends:
            self._herd += 1
            tally.herd = max(tally.herd, self._herd)
        elif self._from < now < self._until:
            tally.in_pause += 1
        elif not self._open:
            self.awake = False

    def refuse(self, now: float, answered: float, told: float | None, tally: Tally) -> None:
        """A request was refused, answered at a moment, and told to wait so many seconds; None: it was not told."""
        tally.herd_refused += now < self._ends
        if told is None:
            return
        if now >= self._until:
            self._from = answered + _REACTION
            tally.pauses += 1
            self._open = self.awake = True
        self._until = max(self._until, now + told)
