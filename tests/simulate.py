"""A client and a server in virtual time: departures from a real Ledger, arrivals counted by an independent enforcer."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from paceline.ledger import Ledger
from paceline.testing.enforcers import build
from paceline.testing.gate import Gate

if TYPE_CHECKING:
    from paceline.limits import Limit


@dataclass
class Run:
    """What a simulated run came to."""

    departures: list[float] = field(default_factory=list)
    refused: int = 0
    ended: float = 0.0


def run(
    limit: Limit | list[Limit],
    enforced: str | None,
    demand: list[float],
    *,
    late: float = 0.0,
    delay: float = 0.0,
    tick: float = 0.0,
    seed: int = 0,
    offset: float = 0.0,
    charge_refused: bool = True,
    cancel_every: int = 0,
    cold: float = 0.0,
) -> Run:
    """Sends one request for each moment of `demand` (sorted), first come first served.

    late: most seconds between grant and write; delay: most seconds between write and arrival; tick: timers fire
    up to this late; cold: after an idle spell, writes wait up to this long for their connections. Arrivals are judged by `enforced` in the order in which they arrive.
    """
    rng = random.Random(seed)
    limits = limit if isinstance(limit, list) else [limit]
    ledger = Ledger(limits, now=0.0, offset=offset)
    result = Run()
    arrivals: list[float] = []
    writes: list[tuple[float, float]] = []
    now = warm_at = 0.0
    for number, wanted in enumerate(demand):
        now = max(now, wanted)
        while True:
            # Writes that are due before `now` are reported first, as they would be.
            while writes and writes[0][0] <= now:
                wrote, granted = heapq.heappop(writes)
                ledger.written(granted, wrote, 1)
            at = ledger.take(now, 1, tracked=True)
            if at <= now:
                break
            if at == inf:
                assert writes, "held up for ever"
                now = max(now, writes[0][0])
            else:
                now = min(at, writes[0][0]) if writes and now < writes[0][0] < at else at
                now += rng.uniform(0.0, tick)
        if cancel_every and number % cancel_every == cancel_every - 1:
            ledger.cancel(now, 1, True)
            continue
        if not result.departures or now - result.departures[-1] > limits[0].period:
            warm_at = now + rng.uniform(cold / 2, cold)
        wrote = max(now + rng.uniform(0.0, late), rng.uniform(now, warm_at) if now < warm_at else now)
        heapq.heappush(writes, (wrote, now))
        arrivals.append(wrote + rng.uniform(0.0, delay))
        result.departures.append(now)
    gate = Gate([build(each, enforced, offset) for each in limits], charge_refused=charge_refused)
    arrivals.sort()
    result.refused = sum(gate.admit(moment) is not None for moment in arrivals)
    result.ended = now
    return result


def random_demand(rng: random.Random, count: int, rate: float, period: float) -> list[float]:
    """Bursts, steady stretches and idle spells in a random order."""
    moments: list[float] = []
    now = rng.uniform(0.0, period)
    while len(moments) < count:
        kind = rng.random()
        if kind < 0.4:
            moments += [now] * rng.randint(1, max(1, int(2 * rate * period)))
        elif kind < 0.7:
            gap = rng.uniform(0.3, 3.0) / rate
            for _ in range(rng.randint(1, 40)):
                moments.append(now)
                now += rng.expovariate(1 / gap)
        else:
            now += rng.uniform(0.1, 3.5) * period
    return moments[:count]
