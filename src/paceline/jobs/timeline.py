"""A run's course in at most 600 spans of equal width, which merge in pairs as the run grows."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["MOST_SPANS", "Timeline"]

MOST_SPANS: Final = 600
FIRST_WIDTH: Final = 0.1
_FARTHEST: Final = (
    10 * 366 * 86400.0
)  # nothing is booked later than this after the origin: bounds the merging


class Timeline:
    """What was sent, refused and broken, and how long sending was paused, a span of time each.

    origin: epoch seconds of the first span's beginning; what comes before it is booked there.
    Memory is the same for a second and for a year.

    >>> line = Timeline(0.0)
    >>> for at in (0.0, 0.05, 59.99, 60.0):
    ...     line.sent[line.index(at)] += 1
    >>> line.width, line.sent[0], line.sent[299], line.sent[300]
    (0.2, 2, 1, 1)
    """

    __slots__ = ("broken", "origin", "paused", "refused", "sent", "used", "width")

    def __init__(self, origin: float) -> None:
        self.origin = origin
        self.width = FIRST_WIDTH
        self.used = 0
        self.sent = [0] * MOST_SPANS
        self.refused = [0] * MOST_SPANS
        self.broken = [0] * MOST_SPANS
        self.paused = [0.0] * MOST_SPANS

    def index(self, at: float) -> int:
        """The number of the span that holds `at` (epoch seconds), after making room for it."""
        offset = at - self.origin
        if not offset > 0:
            offset = 0.0
        elif offset > _FARTHEST:
            offset = _FARTHEST
        index = int(offset / self.width)
        while index >= MOST_SPANS:
            self._merge()
            index = int(offset / self.width)
        if index >= self.used:
            self.used = index + 1
        return index

    def pause(self, begin: float, end: float) -> None:
        """Books a pause from `begin` to `end` (epoch seconds) into the spans it touches."""
        begin = max(begin, self.origin)
        end = min(end, self.origin + _FARTHEST)
        if not end > begin:
            return
        last = self.index(end)
        first = self.index(begin)
        for index in range(first, last + 1):
            left = self.origin + index * self.width
            inside = min(end, left + self.width) - max(begin, left)
            # Several scopes may pause at once; the span is no longer for that.
            self.paused[index] = min(self.width, self.paused[index] + max(0.0, inside))

    def as_dict(self) -> dict[str, Any]:
        """The spans in use, ready for JSON: `begin` (epoch seconds), `span_s`, and one list a kind."""
        used = self.used
        return {
            "begin": self.origin,
            "span_s": self.width,
            "sent": self.sent[:used],
            "refused": self.refused[:used],
            "broken": self.broken[:used],
            "paused_s": [round(seconds, 3) for seconds in self.paused[:used]],
        }

    def _merge(self) -> None:
        half = MOST_SPANS // 2
        for counts in (self.sent, self.refused, self.broken):
            counts[:] = [a + b for a, b in zip(counts[::2], counts[1::2], strict=True)] + [0] * half
        paused = self.paused
        paused[:] = [a + b for a, b in zip(paused[::2], paused[1::2], strict=True)] + [0.0] * half
        self.width *= 2
        self.used = (self.used + 1) // 2
