"""All events of a test, counted and ready to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..events import Attempted, Event, GaveUp, Refused, Retrying, Waited

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EventLog"]

Kind = TypeVar("Kind", bound=Event)


class EventLog:
    """Keeps the events that it is called with; the pytest fixture `events` is one, for the whole process.

    >>> log = EventLog()
    >>> log(Waited(at=0.0, scope="api", seconds=0.5, reason="pace"))
    >>> log.waits, log.waited, log.refusals, [event.name for event in log]
    (1, 0.5, 0, ['waited'])
    """

    def __init__(self) -> None:
        self._events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self._events.append(event)

    def of(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """The events of one kind, in order."""
        return tuple(event for event in list(self._events) if isinstance(event, kind))

    @property
    def refusals(self) -> int:
        """How often a server refused a request for its limit's sake."""
        return len(self.of(Refused))

    @property
    def retries(self) -> int:
        """How often another attempt followed, after a refusal or a failure."""
        return len(self.of(Retrying))

    @property
    def attempts(self) -> int:
        """How many requests were sent."""
        return len(self.of(Attempted))

    @property
    def gave_up(self) -> int:
        """How many requests ended without a final answer."""
        return len(self.of(GaveUp))

    @property
    def waits(self) -> int:
        """How often a request waited, for a permit or before another attempt."""
        return len(self.of(Waited))

    @property
    def waited(self) -> float:
        """Seconds that requests waited, all together."""
        return sum(event.seconds for event in self.of(Waited))

    def clear(self) -> None:
        """Forgets all events so far."""
        self._events.clear()

    def __iter__(self) -> Iterator[Event]:
        return iter(list(self._events))

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"<EventLog {len(self)} events, {self.refusals} refusals, {self.retries} retries>"
