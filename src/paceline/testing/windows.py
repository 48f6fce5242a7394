"""Where the windows of a limit lie: whole quotas, and the ends of windows of the epoch and of calendars."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["whole", "window_end"]


def whole(limit: Limit) -> tuple[int, float]:
    """Quota and period with a whole quota: half a request a second is one in two seconds."""
    if limit.quota < 1:
        return 1, limit.period / limit.quota
    return int(limit.quota), limit.period


def window_end(limit: Limit, epoch: float) -> float:
    """The epoch at which the fixed window around `epoch` ends: of the Unix epoch, or of the zone's calendar.

    In a zone, days and weeks (which begin on Monday) follow the wall clock, so that a day has 23 or 25 hours
    where the clocks change; shorter periods divide the local day as it stands.

    >>> from paceline.limits import Limit
    >>> window_end(Limit.parse("100/2s fixed"), 7.5)
    8.0
    >>> window_end(Limit.parse("100/day fixed@Europe/Berlin"), 0.0)
    82800.0
    """
    period = whole(limit)[1]
    if limit.zone is None:
        end = (epoch // period + 1) * period
        # The product may be rounded down to the moment itself.
        return end if end > epoch else end + period
    zone = ZoneInfo(limit.zone)
    local = datetime.fromtimestamp(epoch, zone)
    if period % 86400:
        shift = (local.utcoffset() or timedelta(0)).total_seconds()
        return ((epoch + shift) // period + 1) * period - shift
    days = int(period // 86400)
    # 1970-01-05 was a Monday; whole weeks count from it, other spans of days from 1970-01-01.
    start = date(1970, 1, 5 if days % 7 == 0 else 1)
    passed = (local.date() - start).days
    following = start + timedelta(days=passed - passed % days + days)
    return datetime(following.year, following.month, following.day, tzinfo=zone).astimezone(UTC).timestamp()
