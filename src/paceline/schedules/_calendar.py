"""Edges of fixed windows: aligned to the Unix epoch, or to the wall clock of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import floor
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["window_at"]

_EPOCH = datetime(1970, 1, 1)
_MONDAY = timedelta(days=4)  # the epoch fell on a Thursday; weeks begin on Monday
_WEEK = 604800.0

Window = tuple[float, float]


def window_at(period: float, zone: str | None) -> Callable[[float], Window]:
    """A function from epoch seconds to the (start, end) of the window that holds them.

    Windows of a zone begin at its local midnight and at multiples of the period from there, so a day may have
    23 or 25 hours; weeks begin on Monday. Periods longer than a day count days from the epoch.

    >>> window_at(10.0, None)(25.0)
    (20.0, 30.0)
    >>> start, end = window_at(86400.0, "America/Los_Angeles")(1772960400.0)  # 8 March 2026, the clock goes forward
    >>> (end - start) / 3600
    23.0
    """
    if zone is None:
        return lambda epoch: _epoch_window(period, epoch)
    return _zone_windows(period, zone)


def _epoch_window(period: float, epoch: float) -> Window:
    index = floor(epoch / period)
    start = index * period
    if epoch < start:  # rounding in the division
        index -= 1
    elif epoch >= (index + 1) * period:
        index += 1
    return index * period, (index + 1) * period


def _zone_windows(period: float, zone: str) -> Callable[[float], Window]:
    info = ZoneInfo(zone)
    shift = _MONDAY if period % _WEEK == 0 else timedelta(0)
    length = timedelta(seconds=period)

    @lru_cache(maxsize=64)
    def edge(index: int) -> float:
        wall = _EPOCH + shift + index * length
        # A wall time that the clock skips is read with the offset before the jump: the instant of the jump.
        return wall.replace(tzinfo=info).timestamp()

    def window(epoch: float) -> Window:
        wall = datetime.fromtimestamp(epoch, UTC).astimezone(info).replace(tzinfo=None)
        index = (wall - _EPOCH - shift) // length
        # Around a jump of the clock the wall time alone may name a neighbour.
        while epoch < edge(index):
            index -= 1
        while epoch >= edge(index + 1):
            index += 1
        return edge(index), edge(index + 1)

    return window
