"""Several sinks as one, where a sink that raises is reported once and dropped, and the pipeline goes on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..events import Event, Sink

__all__ = ["all_of", "wanted"]

_log = logging.getLogger("paceline")


class _Fan:
    __slots__ = ("_sinks",)

    def __init__(self, sinks: tuple[Sink, ...]) -> None:
        self._sinks = sinks

    @property
    def debug(self) -> bool:
        return any(wanted(sink) == "all" for sink in self._sinks)

    def __call__(self, event: Event) -> None:
        for sink in self._sinks:
            try:
                sink(event)
            except Exception as error:  # noqa: BLE001 - telemetry must never stop the work it tells of
                self._drop(sink, error)

    def _drop(self, sink: Sink, error: Exception) -> None:
        # A new tuple: another thread may be walking the old one.
        self._sinks = tuple(other for other in self._sinks if other is not sink)
        # Only the kind of the error is told: its text may hold what the sink was given.
        _log.error(
            "the event sink %s failed with %s and gets no more events; the work goes on",
            getattr(sink, "__qualname__", type(sink).__qualname__),
            type(error).__name__,
        )


def all_of(*sinks: Sink) -> Sink:
    """One sink that hands every event to each of `sinks`, in order.

    A sink that raises is reported once, under the logger `paceline` (standard error where logging is not
    set up), and then dropped; the others and the caller go on.

    >>> from paceline.events import Waited
    >>> seen = []
    >>> all_of(seen.append, seen.append)(Waited(at=0.0, scope="api", seconds=0.1, reason="pace"))
    >>> len(seen)
    2
    """
    return _Fan(sinks)


def wanted(sink: Sink | None) -> Literal["all", "notable", "none"]:
    """Which events are worth building for `sink`: all, those above the level debug, or none.

    A sink says so by an attribute `debug`; one without it gets all.

    >>> wanted(None), wanted(print)
    ('none', 'all')
    """
    if sink is None:
        return "none"
    return "all" if getattr(sink, "debug", True) else "notable"
