"""bucket: a token bucket of rate quota/period and a burst, as GCRA keeps it (nginx, Stripe, Shopify).

`tat` is the moment at which the server's bucket will be full again. A little of the burst is left unused, because
arrivals are spread around departures: one token for the boundary and what flows in within the guard.
"""

from __future__ import annotations

from math import floor, inf
from typing import TYPE_CHECKING, Any

from ._base import Schedule

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["Bucket", "BucketState"]


class BucketState:
    """tat: when the bucket is full.

    burst_at: when it was last seen full, moved on by late writes; written: how many are on the wire since.
    """

    __slots__ = ("burst_at", "tat", "written")

    def __init__(self) -> None:
        self.tat = -inf
        self.burst_at = -inf
        self.written = 0.0


class Bucket(Schedule[BucketState]):
    """See the module."""

    __slots__ = ("burst", "depth", "guard", "interval", "limit", "period", "sigma")

    def __init__(self, limit: Limit, *, guard: float, scale: float = 1.0, credit: bool = True) -> None:
        self.limit = limit
        self.period = limit.period
        self.guard = guard
        quota = limit.quota * scale
        self.interval = limit.period / quota
        full = limit.burst if limit.burst is not None else limit.quota
        jitter = min(guard, 0.020)
        spread = jitter / self.interval
        self.burst = max(1.0, full - 1 - spread) if credit else 1.0
        # A bucket too small to leave any of it unused has no room for jitter: then the interval gets a little.
        self.interval += max(0.0, min(jitter - (full - self.burst) * self.interval, 0.1 * self.interval))
        # Lateness that the unused part of the burst covers is made good; of a bucket of one, nothing is.
        self.sigma = 0.5 * max(0.0, min(full - 1 - self.burst, spread)) * self.interval
        self.depth = self.burst * self.interval

    def start(self, now: float, offset: float) -> BucketState:
        return BucketState()

    def earliest(self, state: BucketState, now: float, cost: float) -> float:
        # A cost above the burst goes when the bucket is as full as it gets, and leaves a debt.
        share = self.interval * cost
        at = state.tat + (share if share < self.depth else self.depth) - self.depth
        return at if at > now else now

    def commit(self, state: BucketState, at: float, cost: float, pending: bool = False) -> None:
        tat = state.tat
        late = at - self.sigma
        if late > tat:
            state.burst_at, state.written = at, 0.0
            tat = late
        state.tat = tat + self.interval * cost

    def written(self, state: BucketState, granted: float, wrote: float, cost: float, pending: bool = True) -> None:
        # The server's bucket stays full until the first request arrives, and what would flow in is lost: its k-th
        # write later than k - 1 intervals after the beginning means that the whole schedule begins later.
        if granted >= state.burst_at:
            late = wrote - (state.burst_at + state.written * self.interval) - self.sigma
            state.written += cost
            if late > 0:
                state.tat += late
                state.burst_at += late

    def cancel(self, state: BucketState, granted: float, cost: float, pending: bool = False) -> None:
        state.tat -= self.interval * cost

    def release(self, state: BucketState, cost: float) -> None:
        pass

    def left(self, state: BucketState, now: float) -> float:
        return max(0.0, floor(self.burst - max(0.0, state.tat - now) / self.interval + 1e-9))

    def export(self, state: BucketState, offset: float) -> dict[str, Any]:
        return {} if state.tat == -inf else {"tat": state.tat + offset}

    def restore(self, state: BucketState, saved: dict[str, Any], offset: float) -> None:
        if "tat" in saved:
            state.tat = float(saved["tat"]) - offset
