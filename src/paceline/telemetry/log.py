"""Events to the application's own log: structlog where the application uses it, else standard logging."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from .words import LEVELS, sentence, timestamp

if TYPE_CHECKING:
    from ..events import Event, Sink

__all__ = ["log_sink"]


class _LogSink:
    __slots__ = ("_logger", "_name", "_structured")

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger = logging.getLogger(name)
        self._structured: Any = None

    def _structlog(self) -> Any:
        # Only a structlog that was set up is written to: left alone it prints every level to standard
        # output, where a pipeline's data may be. Looked for anew, since applications configure late.
        structlog = sys.modules.get("structlog")
        if structlog is None or not structlog.is_configured():
            return None
        if self._structured is None:
            self._structured = structlog.get_logger(self._name)
        return self._structured.bind()

    @property
    def debug(self) -> bool:
        return self._enabled(self._structlog(), 10)

    def _enabled(self, structured: Any, level: int) -> bool:
        if structured is None:
            return self._logger.isEnabledFor(level)
        asks = getattr(structured, "is_enabled_for", None) or getattr(structured, "isEnabledFor", None)
        try:
            return bool(asks(level)) if asks is not None else True
        except AttributeError:
            # structlog's stdlib wrapper over a logger that has no levels: everything is written.
            return True

    def __call__(self, event: Event) -> None:
        level = LEVELS[event.level]
        structured = self._structlog()
        if not self._enabled(structured, level):
            return
        if structured is None:
            self._logger.log(
                level, "%s", sentence(event), extra={"paceline": {"event": event.name, **event.facts()}}
            )
            return
        facts = event.facts()
        # Processors own the keys `event` and `timestamp`; the moment it happened stands beside.
        facts["at"] = timestamp(facts["at"])
        getattr(structured, event.level)(event.name, **facts)


def log_sink(name: str = "paceline") -> Sink:
    """A sink that writes events to structlog where the application has configured it, else to `logging`.

    With structlog, the event's name is the message and its facts are the keys. With standard logging, under
    the logger `name`, the message is a sentence, and the facts stand in the record as `record.paceline`, for
    formatters. Every class of events has its level: retries warn, give-ups are errors, waits and attempts
    are debug and cost next to nothing where that level is off.

    >>> import logging
    >>> from paceline.events import Waited
    >>> log_sink()(Waited(at=0.0, scope="api", seconds=0.5, reason="pace"))  # debug is off: nothing is built
    """
    return _LogSink(name)
