"""How much of a quota a run used: the least time that its requests could take, over the time they took."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ..telemetry.words import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..limits import Limit

__all__ = ["Utilisation", "least_time", "utilisation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """The use of one limit: `share` = `least` / `took`, None where the limit held nothing back.

    limit: the one that bound. requests: those that counted (sent and not refused). least: seconds from the
    first to the last of them that no client could beat. took: seconds from the first to the last one sent.
    """

    limit: str
    requests: int
    least: float
    took: float
    share: float | None

    def sentence(self) -> str:
        """How the share was computed, in words."""
        if self.share is None and self.least > 0:
            return f"{self.requests:,} requests took no measurable time, against {self.limit}"
        if self.share is None:
            return f"{self.requests:,} requests are within one quota of {self.limit}: the limit held nothing back"
        return (
            f"{self.share:.1%} of {self.limit}: {self.requests:,} requests took {duration(self.took)} "
            f"from first to last, the least possible is {duration(self.least)}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "limit": self.limit,
            "requests": self.requests,
            "least_time_s": round(self.least, 3),
            "taken_s": round(self.took, 3),
            "utilisation": None if self.share is None else round(self.share, 4),
            "explained": self.sentence(),
        }


def least_time(limit: Limit, count: int, *, first: float = 0.0, from_idle: bool = True) -> float:
    """Seconds from the first to the last of `count` requests that no client could beat under `limit`.

    first: epoch seconds of the first one, which says how much of its window a `fixed` limit had left.
    from_idle: False where a run before this one had just spent the quota: then each request costs its share of
    the period. With q requests a period w: steady and sliding (ceil(n/q) - 1) * w; bucket (n - burst) * w/q;
    fixed the rest of the first window, then whole ones. A number in flight bounds no time.

    >>> from paceline.limits import Limit
    >>> [least_time(Limit.parse(text), 600) for text in ("100/2s", "100/2s bucket", "100/2s fixed")]
    [10.0, 10.0, 10.0]
    >>> least_time(Limit.parse("100/2s"), 650), least_time(Limit.parse("100/2s bucket"), 650)
    (12.0, 11.0)
    """
    quota, period = limit.quota, limit.period
    if limit.shape == "concurrent" or limit.unit != "requests" or count < 2:
        return 0.0
    if not from_idle:
        return (count - 1) * period / quota
    if limit.shape == "bucket":
        return max(0.0, count - (limit.burst or quota)) * period / quota
    if count <= quota:
        return 0.0
    windows = math.ceil(count / quota) - 1
    if limit.shape == "fixed":
        local = first
        if limit.zone is not None:
            offset = datetime.fromtimestamp(first, UTC).astimezone(ZoneInfo(limit.zone)).utcoffset()
            local += offset.total_seconds() if offset is not None else 0.0
        return period - local % period + (windows - 1) * period
    return windows * period


def utilisation(
    limits: Sequence[Limit], count: int, *, first: float, last: float, from_idle: bool = True
) -> Utilisation | None:
    """The use of the limit that bound the most, of those told; None without any that bounds a rate.

    count: requests sent and not refused; first, last: epoch seconds of the first and the last one.

    >>> from paceline.limits import Limit
    >>> utilisation([Limit.parse("100/2s")], 600, first=0.0, last=10.2).share.__round__(3)
    0.98
    """
    rated = [limit for limit in limits if limit.shape != "concurrent" and limit.unit == "requests"]
    if not rated or count < 1:
        return None
    least, binding = max(
        ((least_time(limit, count, first=first, from_idle=from_idle), limit) for limit in rated),
        key=lambda pair: (pair[0], -pair[1].rate),
    )
    took = max(0.0, last - first)
    # Clocks that were set back, or less than a tick: no share is told rather than a wrong one.
    share = least / took if least > 0 and took > 0.001 else None
    return Utilisation(limit=str(binding), requests=count, least=least, took=took, share=share)
