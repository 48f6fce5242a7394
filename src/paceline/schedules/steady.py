"""steady: one departure every (period + guard)/quota, and a burst after a long idle spell.

Pacing is the one shape that stays inside a sliding log, a fixed window, a bucket and a sliding counter alike,
because the server counts arrivals while we control departures. It is GCRA with a burst of one: `tat` is the
theoretical arrival time of ITU-T I.371, here the next free slot. The idle credit lets a burst out when even the strictest
enforcer has forgotten us; every credited departure still moves the schedule one interval, so after a burst
of n the next one goes n intervals later, and no window ever holds more than the quota.
"""

from __future__ import annotations

from math import floor, inf
from typing import TYPE_CHECKING, Any, Final

from ._base import Schedule
from .sliding import Sliding, SlidingState

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["Steady", "SteadyState"]

_SHORT: Final = 10.0  # seconds
_FEW: Final = 10


class SteadyState:
    """tat: the next free slot; last: the last departure; slip: the worst lateness seen since slip_at.

    burst_at: when the present run of departures began; written: how many of it are known to be on the wire.
    count, before: what went in this turn, which ends at `turn`, and in the one before it.
    """

    __slots__ = (
        "before", "burst_at", "count", "credit", "credit_until", "last", "log", "slip", "slip_at", "tat", "turn", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.tat = -inf
        self.last = -inf
        self.credit = 0.0
        self.credit_until = -inf
        self.slip = 0.0
        self.slip_at = -inf
        self.burst_at = -inf
        self.written = 0.0
        self.turn = -inf
        self.count = self.before = 0.0
        self.log: SlidingState | None = None


class Steady(Schedule[SteadyState]):
    """See the module."""

    __slots__ = ("_sliding", "burst", "guard", "idle", "interval", "limit", "period", "quota", "sigma", "whole")

    def __init__(self, limit: Limit, *, guard: float, scale: float = 1.0, credit: bool = True) -> None:
        self.limit = limit
        self.period = limit.period
        self.guard = guard
        # Without credit (refused inside our limit: perhaps the strictest counter) one permit less goes a period.
        self.whole = limit.quota
        base = limit.quota if credit else max(limit.quota - 1, limit.quota / 2)
        self.quota = base * scale
        self.interval = (limit.period + guard) / self.quota
        # A server that allows the quota a period may all the same allow only a few at once (nginx with a small
        # burst). Where a period is short, holding back costs a job less than one period; where it is long, hours.
        self.burst = self.quota if limit.period > _SHORT else min(self.quota, _FEW)
        # Lateness of timers up to sigma is made good by the next slot, so that it does not add up.
        self.sigma = min(guard / 2, 0.020)
        self.idle = limit.period + guard if credit else inf
        self._sliding = Sliding(limit, guard=guard, scale=scale, credit=credit)

    def start(self, now: float, offset: float) -> SteadyState:
        return SteadyState()

    def earliest(self, state: SteadyState, now: float, cost: float) -> float:
        if state.log is not None or cost != 1:
            return max(self._paced(state, now, cost), self._sliding.earliest(self._log(state, now), now, cost))
        tat = state.tat
        if now >= tat or (state.credit >= 1 and now < state.credit_until):
            return now
        return tat

    def _paced(self, state: SteadyState, now: float, cost: float) -> float:
        if now >= state.tat or (state.credit >= cost and now < state.credit_until):
            return now
        return state.tat

    def _log(self, state: SteadyState, now: float) -> SlidingState:
        """The log that costs other than one need, begun as if all of this turn and the last had gone just now."""
        if state.log is None:
            state.log = self._sliding.start(now, 0.0)
            if state.last > -inf:
                self._sliding.commit(state.log, state.last, min(self.whole, state.before + state.count))
        return state.log

    def _next_turn(self, state: SteadyState, now: float) -> None:
        """Turns are as long as a period and its guard: what went in the last one lies in this turn or the one before."""
        span = self.period + self.guard
        state.before = state.count if now < state.turn + span else 0.0
        state.count = 0.0
        state.turn = state.turn + span if now < state.turn + span else now + span

    def commit(self, state: SteadyState, at: float, cost: float, pending: bool = False) -> None:
        tat = state.tat
        if at >= tat:
            idle = at - state.last - self.idle
            if idle > 0:
                # All of it on first use, and again after two periods; a part in between.
                fresh = floor(self.burst * min(1.0, idle / self.period))
                if at >= state.credit_until or fresh > state.credit:
                    state.credit, state.credit_until = fresh, at + self.period
            if at - self.sigma > tat:
                state.slip, state.burst_at, state.written = 0.0, at, 0.0
        if state.credit >= cost and at < state.credit_until:
            state.credit -= cost
            state.tat = (tat if tat > at else at) + self.interval * cost
        else:
            late = at - self.sigma
            state.tat = (tat if tat > late else late) + self.interval * cost
        state.last = at
        if at >= state.turn:
            self._next_turn(state, at)
        if state.log is not None or cost != 1:
            self._sliding.commit(self._log(state, at), at, cost, pending)
        state.count += cost

    def take(self, state: SteadyState, now: float, pending: bool = False) -> float:
        # What `earliest` and `commit` do, for the commonest case alone: on time, one permit, no log, no new credit.
        tat = state.tat
        if state.log is None and now - state.last <= self.idle:
            if state.credit >= 1 and now < state.credit_until:
                state.credit -= 1
                state.tat = (tat if tat > now else now) + self.interval
                if now - self.sigma > tat:
                    state.slip, state.burst_at, state.written = 0.0, now, 0.0
            elif now >= tat:
                late = now - self.sigma
                if late > tat:
                    state.slip, state.burst_at, state.written = 0.0, now, 0.0
                    tat = late
                state.tat = tat + self.interval
            else:
                return tat
            state.last = now
            if now >= state.turn:
                self._next_turn(state, now)
            state.count += 1
            return now
        at = self.earliest(state, now, 1)
        if at <= now:
            self.commit(state, now, 1, pending)
        return at

    def written(self, state: SteadyState, granted: float, wrote: float, cost: float, pending: bool = True) -> None:
        # The k-th write of a burst may come k - 1 intervals after its beginning and still be on time: no window
        # then holds more than if it had gone at once. What is later than that moves the whole schedule, once.
        slot = granted
        if granted >= state.burst_at:
            before = state.written
            if before and (due := state.burst_at + before * self.interval) > granted:
                slot = due
            state.written = before + cost
        late, slip = wrote - slot, state.slip
        if slip > self.sigma and wrote - state.slip_at > self.period + self.guard:
            state.slip = slip = self.sigma
        if late > slip:
            state.tat += late - slip
            state.slip, state.slip_at = late, wrote
        if wrote > state.last:
            state.last = wrote
        if state.log is not None:
            self._sliding.written(state.log, granted, wrote, cost, pending)

    def cancel(self, state: SteadyState, granted: float, cost: float, pending: bool = False) -> None:
        # A slot that others have followed cannot be moved up without crowding them: it is given up.
        if state.last == granted:
            state.tat -= self.interval * cost
            if granted < state.credit_until:
                state.credit += cost
        if state.log is not None:
            self._sliding.cancel(state.log, granted, cost, pending)

    def refund(self, state: SteadyState, at: float, cost: float, pending: bool = False) -> None:
        # The next slot moves up by what was not used: the server has not seen it, whoever followed meanwhile.
        state.tat -= self.interval * cost
        if at < state.credit_until:
            state.credit += cost
        if state.log is not None:
            self._sliding.refund(state.log, at, cost, pending)

    def spend(self, state: SteadyState, at: float, count: float) -> None:
        # Of permits of one each no log is needed: the credit and the schedule say it all.
        if at - state.last > self.idle:
            state.credit, state.credit_until = self.burst, at + self.period
        state.credit = max(0.0, state.credit - count)
        state.tat = max(state.tat, at) + self.interval * count
        state.last = max(state.last, at)
        if at >= state.turn:
            self._next_turn(state, at)
        state.count += count
        if state.log is not None:
            self._sliding.commit(state.log, at, count)

    def release(self, state: SteadyState, cost: float) -> None:
        pass

    def left(self, state: SteadyState, now: float) -> float:
        booked = max(0.0, state.tat - now) / self.interval
        return max(0.0, floor(self.whole - booked + 1e-9))

    def export(self, state: SteadyState, offset: float) -> dict[str, Any]:
        if state.last == -inf:
            return {}
        saved: dict[str, Any] = {"tat": state.tat + offset, "last": state.last + offset}
        if state.log is not None:
            saved["log"] = self._sliding.export(state.log, offset)
        return saved

    def restore(self, state: SteadyState, saved: dict[str, Any], offset: float) -> None:
        # Credit is not taken over: the run that had it may have spent it.
        if "tat" in saved and "last" in saved:
            state.tat, state.last = float(saved["tat"]) - offset, float(saved["last"]) - offset
            # What of it lies in the last period is not known: all of a quota, for a cost that needs a log.
            state.turn, state.count = state.last + self.period + self.guard, self.whole
        if "log" in saved:
            state.log = self._sliding.start(state.last, offset)
            self._sliding.restore(state.log, saved["log"], offset)
