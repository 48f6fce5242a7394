"""What each enforcer has to accept, counted anew in whole numbers from sorted lists: slow beside it, and plainly right.

Time is in ticks of 1/1024 s, so that the enforcers' floats are exact and ties are real ties.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

from paceline.limits import Limit
from paceline.testing.enforcers import build
from paceline.testing.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICKS = 1024
KINDS = ("sliding", "fixed", "anchored", "counter", "counter-lenient", "bucket")


class Model:
    """One limit of `quota` per `period` ticks; `origin` is the epoch of tick 0, in ticks."""

    def __init__(self, kind: str, quota: int, period: int, origin: int) -> None:
        self.quota, self.period, self.origin = quota, period, origin
        self.log: list[int] = []
        self.windows: Counter[int] = Counter()
        self.opened = -(10**18)
        self.inside = 0
        # Tokens in units of 1/period, so that a tick brings `quota` of them.
        self.tokens, self.at = quota * period, 0
        accepts: dict[str, Callable[[int], bool]] = {
            "sliding": self._sliding,
            "fixed": self._fixed,
            "anchored": self._anchored,
            "counter": lambda now: self._estimate(now) + period <= quota * period,
            "counter-lenient": lambda now: self._estimate(now) < quota * period,
            "bucket": self._bucket,
        }
        self.accepts = accepts[kind]

    def charge(self, now: int) -> None:
        """Counts a request, in every way at once."""
        self.log.append(now)
        self.windows[(now + self.origin) // self.period] += 1
        if now >= self.opened + self.period:
            self.opened, self.inside = now, 0
        self.inside += 1
        self._fill(now)
        self.tokens = max(0, self.tokens - self.period)

    def _sliding(self, now: int) -> bool:
        return len(self.log) - bisect_right(self.log, now - self.period) < self.quota

    def _fixed(self, now: int) -> bool:
        return self.windows[(now + self.origin) // self.period] < self.quota

    def _anchored(self, now: int) -> bool:
        return now >= self.opened + self.period or self.inside < self.quota

    def _estimate(self, now: int) -> int:
        """In units of 1/period: this window's count, and the share of the last one's that is within a period."""
        window, into = divmod(now + self.origin, self.period)
        return self.windows[window - 1] * (self.period - into) + self.windows[window] * self.period

    def _bucket(self, now: int) -> bool:
        self._fill(now)
        return self.tokens >= self.period

    def _fill(self, now: int) -> None:
        self.tokens = min(self.quota * self.period, self.tokens + (now - self.at) * self.quota)
        self.at = now


def arrivals(chance: random.Random, quota: int, period: int, count: int) -> Iterator[int]:
    """Moments in ticks: bursts, ties, paces below and above the quota's, silences."""
    now = 0
    while count > 0:
        pace = chance.choice([0.3, 0.9, 1.0, 1.1, 3.0, 20.0])
        gap = max(1, int(2 * period / quota / pace))
        for _ in range(min(count, chance.randint(1, 4 * quota))):
            now += chance.randrange(gap + 1)
            yield now
            count -= 1
        if chance.random() < 0.3:
            now += chance.randrange(3 * period)


def compare(kind: str, charge_refused: bool, count: int, seed: int) -> int:
    """Sends `count` random arrivals through an enforcer and its model; raises where they differ; how many were accepted."""
    chance = random.Random(f"{kind}{charge_refused}{seed}")
    accepted = left = 0
    while left < count:
        quota, period = chance.choice([1, 2, 7, 10, 32, 100]), chance.choice([256, 1024, 2048, 8192])
        origin = chance.randrange(10**12)
        size = min(count - left, 20_000)
        gate = Gate([build(Limit(quota, period / TICKS), kind, origin / TICKS)], charge_refused=charge_refused)
        model = Model(kind, quota, period, origin)
        for now in arrivals(chance, quota, period, size):
            right = model.accepts(now)
            if (gate.admit(now / TICKS) is None) != right:
                raise AssertionError(f"{kind} {quota} per {period} ticks, origin {origin}: {now} is to be {right}")
            if right or charge_refused:
                model.charge(now)
            accepted += right
        left += size
    return accepted
