"""The records that the books of a scope are made of: limits in force, quotas led by headers, the pause, the ramp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ._meter import Meter
    from .limits import Limit
    from .schedules import Schedule

__all__ = ["Cost", "Learned", "Led", "LimitState", "Pause", "Ramp", "ScopeState", "Told"]

Cost = float | Mapping[str, float]


class Learned(NamedTuple):
    """What one answer changed for its scope.

    wait: seconds until the scope goes on, 0 if it is not paused; until: the same as epoch seconds.
    began: this refusal began the pause (others of its volley did not).
    others_served: another request of the scope was served since this one departed, or since the pause before began.
    remaining: what the server says is left, where it says so.
    """

    wait: float = 0.0
    until: float = 0.0
    began: bool = False
    others_served: bool = False
    remaining: float | None = None
    mismatch: str | None = None
    learned: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit now: how many permits are left, what share of the told quota is used since refusals."""

    limit: Limit
    left: float
    scale: float
    told: bool


@dataclass(frozen=True, slots=True)
class ScopeState:
    """One scope now: its limits, who waits, and until when it is paused (epoch seconds) and why."""

    limits: tuple[LimitState, ...]
    waiting: int
    next_at: float | None
    in_flight: int
    paused_until: float | None
    paused_for: str | None


@dataclass(slots=True)
class Led:
    """A quota as the server's headers keep it: `budget` more may go before `reset_at`."""

    limit: float | None
    budget: float
    reset_at: float
    heard_at: float  # departure of the request whose answer said so: older ones know less
    more: bool  # the reset is the time to more, not to all (IETF)
    unit: str


@dataclass(slots=True)
class Told:
    """One limit in force: its schedule and the schedule's state.

    full: the limit as it was told, while headers or refusals keep `limit` below it; told: not learned or guessed.
    heard: the name under which the server's headers gave this very quota. since: when it came into force.
    """

    limit: Limit
    schedule: Schedule[Any]
    state: Any
    told: bool = True
    meter: Meter | None = None
    full: Limit | None = None
    heard: str | None = None
    since: float = -inf


@dataclass(slots=True)
class Pause:
    """The scope's cooldown. volley: departures before this moment, as those before `until`, belong to a refusal already counted."""

    until: float = -inf
    reason: str = ""
    volley: float = -inf
    streak: int = 0  # pauses in a row with nothing served between


@dataclass(slots=True)
class Ramp:
    """After a pause: from a tenth of the rate to all of it."""

    start: float
    length: float
    rate: float
    next: float = field(default=-inf)
