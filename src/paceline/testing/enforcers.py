"""The limits a server may enforce, each a small state machine that is told the time.

Readings of time are seconds on the server's own clock, never decreasing; windows that follow the calendar
are given the epoch of reading 0. Nothing here looks at a clock, so a whole day is tested in a millisecond.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

from .windows import whole, window_end

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = [
    "Concurrency",
    "Enforcement",
    "Enforcer",
    "FixedWindow",
    "SlidingCounter",
    "SlidingLog",
    "TokenBucket",
    "build",
]

Enforcement = Literal[
    "sliding", "fixed", "anchored", "counter", "counter-lenient", "bucket", "concurrent", "none"
]
ENFORCEMENTS: Final[tuple[str, ...]] = get_args(Enforcement)

# Sums of floats miss the whole token by an ulp; a billionth of a request is nobody's advantage.
_CRUMB: Final = 1e-9


class Enforcer(Protocol):
    """One limit as one server counts it: `allows` asks, `charge` counts; both are told the time."""

    kind: str
    limit: Limit

    def allows(self, now: float, /) -> bool:
        """Whether a request arriving now is within the limit; charges nothing."""

    def charge(self, now: float, /) -> None:
        """Counts a request that arrived now; a refused one where refusals cost quota too."""

    def remaining(self, now: float, /) -> int:
        """How many more requests would be accepted at this very moment."""

    def reset_after(self, now: float, /) -> float:
        """Seconds until more is available (what reset headers tell)."""

    def wait(self, now: float, /) -> float:
        """Seconds until a request would be accepted if nobody sent one before; 0: at once."""

    def resume(self, before: Enforcer) -> None:
        """Takes over what `before` has counted, when a limit changes while the server runs."""


class SlidingLog:
    """At most `quota` requests in any window of one period: the log of what was charged.

    The log holds the last `quota` entries only: a request fits exactly when the quota-th last is a period old.
    """

    kind = "sliding"

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._most, self._period = whole(limit)
        self._log: deque[float] = deque(maxlen=self._most)

    def allows(self, now: float) -> bool:
        log = self._log
        return len(log) < self._most or log[0] + self._period <= now

    def charge(self, now: float) -> None:
        self._log.append(now)

    def remaining(self, now: float) -> int:
        log, period = self._log, self._period
        while log and log[0] + period <= now:
            log.popleft()
        return self._most - len(log)

    def reset_after(self, now: float) -> float:
        return max(0.0, self._log[0] + self._period - now) if self._log else 0.0

    def wait(self, now: float) -> float:
        return 0.0 if self.allows(now) else self._log[0] + self._period - now

    def resume(self, before: Enforcer) -> None:
        if isinstance(before, SlidingLog):
            self._log.extend(before._log)


class FixedWindow:
    """At most `quota` requests in each window: windows of the epoch, of a zone's calendar, or begun by the first use."""

    def __init__(self, limit: Limit, origin: float = 0.0, *, anchored: bool = False) -> None:
        self.kind = "anchored" if anchored else "fixed"
        self.limit = limit
        self._quota = limit.quota if limit.quota >= 1 else 1.0
        self._period = whole(limit)[1]
        self._origin = origin
        self._anchored = anchored
        self._count = 0
        self._ends = -math.inf

    def _roll(self, now: float) -> None:
        if now < self._ends:
            return
        if self._anchored:
            # The window begins with the request that finds no open one; until then none is open.
            ends = -math.inf
        else:
            ends = window_end(self.limit, now + self._origin) - self._origin
        # At an edge, rounding may find the same window once more: it is still the same, with the same count.
        if ends != self._ends or self._anchored:
            self._count, self._ends = 0, ends

    def allows(self, now: float) -> bool:
        if now >= self._ends:
            self._roll(now)
        return self._count + 1 <= self._quota

    def charge(self, now: float) -> None:
        self._roll(now)
        if self._anchored and self._ends == -math.inf:
            self._ends = now + self._period
        self._count += 1

    def remaining(self, now: float) -> int:
        self._roll(now)
        return max(0, int(self._quota - self._count))

    def reset_after(self, now: float) -> float:
        self._roll(now)
        return max(0.0, self._ends - now) if self._ends > now else self._period

    def wait(self, now: float) -> float:
        return 0.0 if self.allows(now) else self._ends - now

    def resume(self, before: Enforcer) -> None:
        if isinstance(before, FixedWindow) and before._period == self._period and before.kind == self.kind:
            self._count, self._ends = before._count, before._ends


class SlidingCounter:
    """This window's count plus the share of the last one's that still overlaps, as edge proxies estimate it.

    strict: a request fits while `estimate + 1 <= quota`; else while `estimate < quota`.
    """

    def __init__(self, limit: Limit, origin: float = 0.0, *, strict: bool = True) -> None:
        self.kind = "counter" if strict else "counter-lenient"
        self.limit = limit
        self._quota = limit.quota if limit.quota >= 1 else 1.0
        self._period = whole(limit)[1]
        self._origin = origin
        self._strict = strict
        self._window = -1
        self._begins = -math.inf
        self._count = self._previous = 0

    def _roll(self, now: float) -> None:
        if now < self._begins + self._period:
            return
        window = int((now + self._origin) // self._period)
        if window != self._window:
            self._previous = self._count if window == self._window + 1 else 0
            self._count, self._window = 0, window
            self._begins = window * self._period - self._origin

    def estimate(self, now: float) -> float:
        """How many requests the server believes to have come in the last period."""
        self._roll(now)
        left = 1.0 - (now - self._begins) / self._period
        return self._previous * max(0.0, left) + self._count

    def allows(self, now: float) -> bool:
        estimate = self.estimate(now)
        return estimate + 1 <= self._quota if self._strict else estimate < self._quota

    def charge(self, now: float) -> None:
        self._roll(now)
        self._count += 1

    def remaining(self, now: float) -> int:
        left = self._quota - self.estimate(now)
        return max(0, math.floor(left) if self._strict else math.ceil(left))

    def reset_after(self, now: float) -> float:
        self._roll(now)
        return max(0.0, self._begins + self._period - now)

    def wait(self, now: float) -> float:
        if self.allows(now):
            return 0.0
        room = self._quota - 1 if self._strict else self._quota
        # Inside this window the last one's share has to shrink to what is left beside this one's count …
        if self._previous and room - self._count > 0:
            return max(0.0, self._begins + self._period * (1 - (room - self._count) / self._previous) - now)
        # … or this window becomes the last one and shrinks in its turn.
        share = max(0.0, 1 - room / self._count) if self._count else 0.0
        return max(0.0, self._begins + self._period * (1 + share) - now)

    def resume(self, before: Enforcer) -> None:
        if isinstance(before, SlidingCounter) and before._period == self._period:
            self._window, self._begins = before._window, before._begins
            self._count, self._previous = before._count, before._previous


class TokenBucket:
    """A bucket of `burst` tokens (the quota where none is told) that fills at quota / period; a request takes one.

    A refused request that is charged takes what is left of the bucket, and never runs into debt.
    """

    kind = "bucket"

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._rate = limit.rate
        self._size = max(1.0, float(limit.burst if limit.burst is not None else limit.quota))
        self._tokens = self._size
        self._at = -math.inf

    def tokens(self, now: float) -> float:
        """What is in the bucket at a moment."""
        if now > self._at:
            if self._at != -math.inf:
                self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
            self._at = now
        return self._tokens

    def allows(self, now: float) -> bool:
        return self.tokens(now) >= 1 - _CRUMB

    def charge(self, now: float) -> None:
        self._tokens = max(0.0, self.tokens(now) - 1)

    def remaining(self, now: float) -> int:
        return int(self.tokens(now) + _CRUMB)

    def reset_after(self, now: float) -> float:
        tokens = self.tokens(now)
        # The time to the next whole token: "more", as the IETF drafts mean it, not "full".
        return 0.0 if tokens >= self._size else (math.floor(tokens + _CRUMB) + 1 - tokens) / self._rate

    def wait(self, now: float) -> float:
        return 0.0 if self.allows(now) else (1 - self._tokens) / self._rate

    def resume(self, before: Enforcer) -> None:
        if isinstance(before, TokenBucket):
            used = before._size - before._tokens
            self._tokens, self._at = max(0.0, self._size - used), before._at


class Concurrency:
    """At most `quota` requests in flight; a refused one is not in flight, so refusals are never charged."""

    kind = "concurrent"

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.in_flight = 0

    def allows(self, _now: float, /) -> bool:
        return self.in_flight + 1 <= self.limit.quota

    def charge(self, _now: float, /) -> None:
        self.in_flight += 1

    def release(self) -> None:
        """One request is over."""
        self.in_flight = max(0, self.in_flight - 1)

    def remaining(self, _now: float, /) -> int:
        return max(0, int(self.limit.quota) - self.in_flight)

    def reset_after(self, _now: float, /) -> float:
        return 0.0

    def wait(self, _now: float, /) -> float:
        # Nobody knows when a request in flight will be over; servers say "soon".
        return 0.0 if self.allows(_now) else 0.1

    def resume(self, before: Enforcer) -> None:
        if isinstance(before, Concurrency):
            self.in_flight = before.in_flight


def build(limit: Limit, enforcement: str | None = None, origin: float = 0.0) -> Enforcer:
    """The enforcer for a limit: as told, or by the limit's own shape (steady is enforced as a sliding log).

    origin: the epoch of reading 0, for windows that follow the calendar.

    >>> from paceline.limits import Limit
    >>> build(Limit.parse("100/2s")).kind, build(Limit.parse("100/2s"), "bucket").kind
    ('sliding', 'bucket')
    """
    kind = enforcement or ("sliding" if limit.shape == "steady" else limit.shape)
    if kind == "sliding":
        return SlidingLog(limit)
    if kind in ("fixed", "anchored"):
        return FixedWindow(limit, origin, anchored=kind == "anchored")
    if kind in ("counter", "counter-lenient"):
        return SlidingCounter(limit, origin, strict=kind == "counter")
    if kind == "bucket":
        return TokenBucket(limit)
    if kind == "concurrent":
        return Concurrency(limit)
    raise ValueError(f"there is no way to enforce a limit called {kind!r}")
