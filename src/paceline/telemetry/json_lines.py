"""Events as JSON lines, one object a line, for log collectors."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, TextIO

from .words import LEVELS, LONGEST_TEXT, timestamp

if TYPE_CHECKING:
    from ..events import Event, Sink

__all__ = ["json_lines"]


class _JsonLines:
    __slots__ = ("_stream", "_threshold")

    def __init__(self, stream: TextIO | None, level: str) -> None:
        self._stream = stream
        self._threshold = LEVELS[level]

    @property
    def debug(self) -> bool:
        return self._threshold <= 10

    def __call__(self, event: Event) -> None:
        if LEVELS[event.level] < self._threshold:
            return
        line: dict[str, Any] = {"ts": timestamp(event.at), "level": event.level, "event": event.name}
        facts = event.facts()
        del facts["at"]
        line.update((name, _plain(value)) for name, value in facts.items())
        # One write a line, so that lines of several threads or processes do not run into each other.
        stream = self._stream or sys.stderr
        stream.write(json.dumps(line, allow_nan=False) + "\n")
        stream.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None  # JSON has no infinity
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[: LONGEST_TEXT - 1]}…"
    return value


def json_lines(stream: TextIO | None = None, level: str = "info") -> Sink:
    """A sink that writes one JSON object a line to `stream`: `ts` (RFC 3339), `level`, `event`, and the facts.

    stream: None is standard error, whatever that is when an event comes. level: the least that is written
    (debug, info, warning or error). Numbers that are not finite become null.

    >>> import sys
    >>> from paceline.events import CooldownEnded
    >>> json_lines(sys.stdout)(CooldownEnded(at=1700000000.5, scope="api", lasted=7.0))
    {"ts": "2023-11-14T22:13:20.500Z", "level": "info", "event": "cooldown_ended", "scope": "api", "lasted": 7.0}
    """
    return _JsonLines(stream, level)
