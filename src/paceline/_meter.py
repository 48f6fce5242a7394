"""Our own use of a limit, as the server that counts it may see it: what headers are compared with."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

__all__ = ["Meter"]

_SLICES: Final = 32  # to a period
_KEPT: Final = 3 * _SLICES + 4


class Meter:
    """Departures of the last three periods, in slices of a 32nd.

    >>> meter = Meter(2.0)
    >>> for moment in (0.0, 0.5, 2.4):
    ...     meter.add(moment, 1)
    >>> meter.since(0.4, 2.4)
    2.0
    """

    __slots__ = ("_counts", "_newest", "_width")

    def __init__(self, period: float) -> None:
        self._width = max(period, 1e-6) / _SLICES
        self._counts = [0.0] * _KEPT
        self._newest = -1

    def add(self, at: float, cost: float) -> None:
        """`cost` went at the moment `at`; what is older than three periods is left out."""
        index = int(at / self._width)
        if index != self._newest:
            if index > self._newest:
                self._advance(index)
            elif index <= self._newest - _KEPT:
                return
        self._counts[index % _KEPT] += cost

    def _advance(self, index: int) -> None:
        for slot in range(max(self._newest + 1, index - _KEPT + 1), index + 1):
            self._counts[slot % _KEPT] = 0.0
        self._newest = index

    def since(self, begin: float, now: float) -> float:
        """What went from the moment `begin` on, rounded up to whole slices."""
        return sum(self._slices(now, int(now / self._width) - int(begin / self._width) + 1))

    def most(self, heard: float, now: float) -> float:
        """The most that a server may have counted when a request of the moment `heard` came, whatever its method.

        A sliding counter (this window's count and the share of the last one's that still overlaps) may count
        more of a burst than a log does, and for up to two periods; where its windows begin is not known.
        """
        late = int(now / self._width) - int(heard / self._width)
        # Sums of the newest 1, 2, 3 … slices.
        sums = [0.0, *accumulate(self._slices(now, _KEPT))]
        best = 0.0
        for phase in range(_SLICES + 1):
            begun = min(late + phase + 1, _KEPT)
            before = min(begun + _SLICES + 1, _KEPT)
            best = max(best, sums[begun] + (sums[before] - sums[begun]) * (1.0 - phase / _SLICES))
        return best

    def _slices(self, now: float, count: int) -> list[float]:
        """The newest `count` slices, the present one first."""
        index = int(now / self._width)
        if index > self._newest:
            self._advance(index)
        newest = self._newest
        return [self._counts[(newest - back) % _KEPT] for back in range(min(count, _KEPT))]
