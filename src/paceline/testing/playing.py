"""Where a scenario stands: which of its phases has begun, and when the next one does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scenario import Phase

__all__ = ["Play"]


class Play:
    """A scenario under way, told what has come until now.

    A phase begins so many requests, refusals or seconds after the phase before did; the first of them counts from
    the first request.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases = tuple(phases)
        self._next = 0
        self._began: float | None = None
        self._arrived = self._refused = 0

    @property
    def over(self) -> bool:
        """Whether no phase is left to begin."""
        return self._next == len(self._phases)

    @property
    def phase(self) -> Phase | None:
        """The phase that has begun last, None before the first."""
        return self._phases[self._next - 1] if self._next else None

    @property
    def changes_at(self) -> float:
        """The moment at which the next phase begins by itself; infinity where it waits for requests."""
        if self._began is None or self.over or self._phases[self._next].trigger != "after_seconds":
            return math.inf
        return self._began + self._phases[self._next].count

    def advance(self, now: float, arrived: int, refused: int) -> tuple[Phase, float] | None:
        """The next phase and its moment, if that has come; to be asked again until it says None.

        arrived, refused: how many requests came, and were refused, before the one that arrives now.
        """
        if self._began is None:
            self._began = now
        if self.over:
            return None
        phase, moment = self._phases[self._next], now
        if phase.trigger == "after_seconds":
            moment = self.changes_at
            due = moment <= now
        elif phase.trigger == "after_requests":
            due = arrived - self._arrived >= phase.count
        else:
            due = refused - self._refused >= phase.count
        if not due:
            return None
        self._next += 1
        self._began, self._arrived, self._refused = moment, arrived, refused
        return phase, moment
