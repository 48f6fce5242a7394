"""What tests and benches ask of departures: how many at most in a window, and how evenly they were given out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["jain", "most_in"]


def jain(parts: Sequence[float]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has all."""
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts)) if any(parts) else 0.0


def most_in(moments: Sequence[float], period: float) -> int:
    """The most moments in any window [t, t + period); they are in order."""
    first = most = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= period:
            first += 1
        most = max(most, last - first + 1)
    return most
