"""When the next request may depart under one limit: a schedule a shape, pure and in O(1) state.

Every schedule answers the same two questions about a state that it made itself:
`earliest(state, now, cost)` is the first moment at which `cost` permits may go (`<= now`: at once; infinite:
not before something is released), and `commit(state, at, cost, pending)` books them for the moment `at`.
States are small mutable records that belong to one scope; a call that is given one may change it in place.
No schedule reads a clock: `now` is a number of seconds on whatever clock the store keeps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ._base import Schedule, base_guard, widest_guard
from .bucket import Bucket
from .concurrent import Concurrent
from .fixed import Fixed
from .sliding import Sliding
from .steady import Steady

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["SCHEDULES", "Schedule", "base_guard", "schedule_for", "widest_guard"]

SCHEDULES: Final[dict[str, type[Schedule[Any]]]] = {
    "steady": Steady,
    "sliding": Sliding,
    "fixed": Fixed,
    "bucket": Bucket,
    "concurrent": Concurrent,
}


def schedule_for(limit: Limit, *, guard: float | None = None, scale: float = 1.0, credit: bool = True) -> Schedule[Any]:
    """The schedule that keeps `limit`.

    guard: seconds of each period kept free for jitter; None: `base_guard(limit.period)`.
    scale: the share of the quota to use, 0 < scale <= 1; below 1 after refusals inside the limit.
    credit: whether an idle scope may begin with a burst.

    >>> from paceline.limits import Limit
    >>> schedule = schedule_for(Limit.parse("10/s"))
    >>> state = schedule.start(now=0.0, offset=0.0)
    >>> [schedule.earliest(state, 0.0, 1) for _ in range(3)]
    [0.0, 0.0, 0.0]
    """
    if limit.period and limit.quota < 1:
        # Half a request a second is one in two seconds.
        limit = replace(limit, quota=1, period=min(limit.period / limit.quota, 366 * 86400.0))
    return SCHEDULES[limit.shape](limit, guard=base_guard(limit.period) if guard is None else guard, scale=scale, credit=credit)
