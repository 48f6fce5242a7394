"""Frozen facts of what happened, one class a kind; sinks in `paceline.telemetry` write them out.

Every event has `at` (epoch seconds) and `scope`. URLs in events are masked already
(see `mask_url`): no event carries a credential.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

__all__ = [
    "Attempted",
    "CooldownBegan",
    "CooldownEnded",
    "CredentialRefreshed",
    "Event",
    "GaveUp",
    "LimitLearned",
    "LimitMismatch",
    "Progress",
    "Refused",
    "Retrying",
    "Sink",
    "Steered",
    "StoreBack",
    "StoreLost",
    "StoreReplaced",
    "Waited",
    "heard_too",
    "listening",
    "tell_listeners",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events share."""

    name: ClassVar[str] = "event"
    level: ClassVar[str] = "debug"

    at: float
    scope: str

    def facts(self) -> dict[str, Any]:
        """The event's fields as a dictionary that JSON can hold.

        >>> Waited(at=0.0, scope="api", seconds=0.5, reason="pace").facts()
        {'at': 0.0, 'scope': 'api', 'seconds': 0.5, 'reason': 'pace'}
        """
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited(Event):
    """A request waited `seconds` for its permit; `reason`: pace, cooldown, quota, concurrency, backoff or credential."""

    name: ClassVar[str] = "waited"
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted(Event):
    """One send ended: with a `status`, or with an `error` (the kind and text of the failure)."""

    name: ClassVar[str] = "attempt"
    method: str
    url: str
    attempt: int
    status: int | None
    error: str | None
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """The server refused a request for its limit's sake; `wait` is the pause that follows, in seconds."""

    name: ClassVar[str] = "refused"
    level: ClassVar[str] = "info"
    method: str
    url: str
    attempt: int
    status: int
    retry_after: float | None
    remaining: float | None
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CooldownBegan(Event):
    """A whole scope pauses until `until` (epoch seconds)."""

    name: ClassVar[str] = "cooldown_began"
    level: ClassVar[str] = "info"
    until: float
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CooldownEnded(Event):
    """A scope's pause is over; departures ramp up again."""

    name: ClassVar[str] = "cooldown_ended"
    level: ClassVar[str] = "info"
    lasted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """Another attempt follows in `wait` seconds or more."""

    name: ClassVar[str] = "retry"
    level: ClassVar[str] = "warning"
    method: str
    url: str
    attempt: int
    status: int | None
    error: str | None
    retry_after: float | None
    remaining: float | None
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp(Event):
    """A request ended without a final answer."""

    name: ClassVar[str] = "gave_up"
    level: ClassVar[str] = "error"
    method: str
    url: str
    attempts: int
    status: int | None
    error: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitMismatch(Event):
    """Refused inside our own limit: the server enforces less than `limit` says, or shares it with others."""

    name: ClassVar[str] = "limit_mismatch"
    level: ClassVar[str] = "warning"
    limit: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLearned(Event):
    """The server's headers named a quota that nobody told us, or another one than before."""

    name: ClassVar[str] = "limit_learned"
    level: ClassVar[str] = "info"
    limit: str
    before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRefreshed(Event):
    """A 401 made the credential hook run, once for all who waited."""

    name: ClassVar[str] = "credential_refreshed"
    level: ClassVar[str] = "info"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLost(Event):
    """The shared store does not answer; `then`: what this worker does meanwhile (share, stop or open)."""

    name: ClassVar[str] = "store_lost"
    level: ClassVar[str] = "warning"
    error: str
    then: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBack(Event):
    """The shared store answers again, after `lasted` seconds."""

    name: ClassVar[str] = "store_back"
    level: ClassVar[str] = "info"
    lasted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReplaced(Event):
    """The store forgot this scope, went back in time or was replaced: the workers told it anew what they know."""

    name: ClassVar[str] = "store_replaced"
    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered(Event):
    """Somebody steers a shared scope, for all its workers; `action`: pause, resume, set or reset.

    until: when a pause ends by itself (epoch seconds; None: not before `resume`). limits, before: those in force from
    now on, which win over what policies say after `set`, and until now.
    """

    name: ClassVar[str] = "steered"
    level: ClassVar[str] = "warning"
    action: Literal["pause", "resume", "set", "reset"]
    until: float | None = None
    reason: str = ""
    limits: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far the batch job is."""

    name: ClassVar[str] = "progress"
    level: ClassVar[str] = "info"
    done: int
    total: int | None
    fetched: int
    failed: int
    refused: int
    rate: float
    waiting_for: str | None
    waiting_until: float | None
    pages: int = 0


Sink = Callable[[Event], None]

# Who hears every event of this process, whatever sinks its policies have; replaced, never changed.
listeners: tuple[Sink, ...] = ()


@contextmanager
def listening(sink: Sink) -> Iterator[None]:
    """Tells `sink` every event of this process in the block, also those of policies that have no sink: for tests.

    >>> import paceline
    >>> heard = []
    >>> with listening(heard.append):
    ...     tell_listeners(Waited(at=0.0, scope="api", seconds=0.5, reason="pace"))
    >>> [event.name for event in heard]
    ['waited']
    """
    global listeners
    listeners = (*listeners, sink)
    try:
        yield
    finally:
        left = list(listeners)
        left.remove(sink)
        listeners = tuple(left)


def tell_listeners(event: Event) -> None:
    """Tells those who listen to the whole process."""
    for listener in listeners:
        listener(event)


def heard_too(sink: Sink | None, wanted: Literal["all", "notable", "none"]) -> Sink:
    """A sink that tells the listeners every event, and `sink` those that it wanted.

    >>> heard_too(print, "notable")(Waited(at=0.0, scope="api", seconds=0.5, reason="pace"))
    """

    def both(event: Event) -> None:
        tell_listeners(event)
        if sink is not None and (wanted == "all" or (wanted == "notable" and event.level != "debug")):
            sink(event)

    return both
