"""The time that a scenario leaves: clients that know its limits, played through it without waiting."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from .core import Core
from .verdict import Request

if TYPE_CHECKING:
    from .scenario import Scenario
    from .settings import Settings

__all__ = ["Replayed", "replay"]

_REQUEST = Request("GET", "/items/1")
# A moment may lie between two floats; a microsecond later it is past.
_CRUMB = 1e-6


class Replayed(NamedTuple):
    """Seconds from the first to the last accepted request: the least that is possible, and at the quota's own pace."""

    least: float
    paced: float


def replay(scenario: Scenario, origin: float, count: int) -> Replayed:
    """How long `count` accepted requests take from idle: for a client that knows each next moment, and for one that
    sends evenly, at the rate of the limit in force.

    origin: the epoch (seconds) of the first request. Faults, refusals by chance and other consumers are left out,
    and requests end at once: what is left is what the limits allow, so no client is faster than the least.

    >>> from paceline.testing.scenario import Scenario
    >>> replay(Scenario.named("halved"), 0.0, 800)
    Replayed(least=20.0, paced=21.98)
    """
    return Replayed(_play(scenario, origin, count, paced=False), _play(scenario, origin, count, paced=True))


def _play(scenario: Scenario, origin: float, count: int, *, paced: bool) -> float:
    phases = tuple(replace(phase, settings=_calm(phase.settings)) for phase in scenario.phases)
    core = Core(replace(scenario, settings=_calm(scenario.settings), phases=phases), origin=origin)
    now = 0.0
    for number in range(count):
        core.advance(now)
        if paced:
            rate = min((limit.rate for limit in core.settings.limits if limit.period), default=math.inf)
            now += 1 / rate if number else 0.0
            core.advance(now)
        while not paced and (wait := core.wait(now)):
            now = min(now + wait + _CRUMB, max(now, core.changes_at))
            core.advance(now)
        core.settle(core.decide(_REQUEST, now), now, True)
    return round(now, 3)


def _calm(settings: Settings) -> Settings:
    return replace(
        settings,
        headers="none",
        retry_after=None,
        dialect=None,
        latency=0.0,
        jitter=0.0,
        fail_rate=0.0,
        cut_rate=0.0,
        reset_rate=0.0,
        truncate_rate=0.0,
        slow_rate=0.0,
        refuse_rate=0.0,
        noise_rps=0.0,
        lockout=0.0,
        key="all",
        token=None,
    )
