"""Events as sentences on a stream, for the person at the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

from .words import LEVELS, sentence, timestamp

if TYPE_CHECKING:
    from ..events import Event, Sink

__all__ = ["console"]

_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[36m", "warning": "\x1b[33m", "error": "\x1b[31m"}


class _Console:
    __slots__ = ("_colour", "_stream", "_threshold")

    def __init__(self, stream: TextIO | None, level: str, colour: bool) -> None:
        self._stream = stream
        self._threshold = LEVELS[level]
        self._colour = colour

    @property
    def debug(self) -> bool:
        return self._threshold <= 10

    def __call__(self, event: Event) -> None:
        level = event.level
        if LEVELS[level] < self._threshold:
            return
        label = f"{_COLOURS[level]}{level:<7}\x1b[0m" if self._colour else f"{level:<7}"
        stream = self._stream or sys.stderr
        stream.write(f"{timestamp(event.at)[11:19]} {label} {sentence(event)}\n")
        stream.flush()


def console(stream: TextIO | None = None, level: str = "info", colour: bool | None = None) -> Sink:
    """A sink that writes a sentence an event to `stream`: the time of day (UTC), the level, what happened.

    stream: None is standard error, whatever that is when an event comes. level: the least that is written
    (debug, info, warning or error). colour: None asks the stream whether it is a terminal, and honours
    NO_COLOR (https://no-color.org).

    >>> import sys
    >>> from paceline.events import CooldownEnded
    >>> console(sys.stdout, colour=False)(CooldownEnded(at=1700000000.5, scope="api", lasted=7.0))
    22:13:20 info    api: goes on after a pause of 7 s
    """
    if colour is None:
        colour = (
            (stream or sys.stderr).isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )
    return _Console(stream, level, colour)
