"""The least time that a scenario leaves: a client that knows each next moment, played through it without waiting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .core import Core
from .verdict import Request

if TYPE_CHECKING:
    from .scenario import Scenario
    from .settings import Settings

__all__ = ["replay"]

_REQUEST = Request("GET", "/items/1")
# A moment may lie between two floats; a microsecond later it is past.
_CRUMB = 1e-6


def replay(scenario: Scenario, origin: float, count: int) -> float:
    """The seconds from the first to the last of `count` accepted requests, from idle, for a client that knows it all.

    origin: the epoch (seconds) of the first request. Faults, refusals by chance and other consumers are left out,
    and requests end at once: what is left is what the limits allow, so no client is faster.

    >>> from paceline.testing.scenario import Scenario
    >>> replay(Scenario.named("halved"), 0.0, 800)
    20.0
    """
    phases = tuple(replace(phase, settings=_calm(phase.settings)) for phase in scenario.phases)
    core = Core(replace(scenario, settings=_calm(scenario.settings), phases=phases), origin=origin)
    now = 0.0
    for _ in range(count):
        core.advance(now)
        while wait := core.wait(now):
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
