"""sliding: at most the quota in any stretch of one period, from a log of the last departures.

Best against servers that keep a log or a bucket of the whole quota. A permit enters the log when its request
is written; until then it is pending, and log + pending stay within the quota. Memory is bounded: neighbours are
merged into the *later* time (never the earlier: that would forget too soon), at most 256 runs.
"""

from __future__ import annotations

from collections import deque
from math import floor, inf
from typing import TYPE_CHECKING, Any, Final

from ._base import Schedule

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["RUNS", "Sliding", "SlidingState"]

RUNS: Final = 256


class SlidingState:
    """runs: [last moment, permits, first moment], oldest first; used: their sum; pending: granted, not yet written."""

    __slots__ = ("pending", "runs", "used")

    def __init__(self) -> None:
        self.runs: deque[list[float]] = deque()
        self.used = 0.0
        self.pending = 0.0


class Sliding(Schedule[SlidingState]):
    """See the module."""

    __slots__ = ("guard", "limit", "quota", "resolution", "span")

    def __init__(self, limit: Limit, *, guard: float, scale: float = 1.0, credit: bool = True) -> None:
        self.limit = limit
        base = limit.quota if credit else max(limit.quota - 1, limit.quota / 2)
        self.quota = base if scale == 1 else max(1.0 if limit.quota >= 1 else limit.quota, floor(base * scale))
        self.guard = guard
        self.span = limit.period + guard
        # Small quotas are kept exactly; large ones in slices of a 250th, so that 256 runs always suffice.
        self.resolution = 0.0 if limit.quota <= RUNS else self.span / 250

    def start(self, now: float, offset: float) -> SlidingState:
        return SlidingState()

    def earliest(self, state: SlidingState, now: float, cost: float) -> float:
        self._forget(state, now)
        excess = state.used + state.pending + cost - self.quota
        if excess <= 1e-9:
            return now
        if cost > self.quota and state.used + state.pending <= 0:
            # Tightened below one call's own cost: it still goes, alone.
            return now
        for moment, permits, _ in state.runs:
            excess -= permits
            if excess <= 1e-9:
                return moment + self.span
        if cost > self.quota and not state.pending and state.runs:
            return state.runs[-1][0] + self.span
        return inf  # what is pending decides; `written` or `cancel` asks again

    def _forget(self, state: SlidingState, now: float) -> None:
        runs = state.runs
        horizon = now - self.span
        while runs and runs[0][0] <= horizon:
            state.used -= runs.popleft()[1]
        if not runs:
            state.used = 0.0

    def commit(self, state: SlidingState, at: float, cost: float, pending: bool = False) -> None:
        if pending:
            state.pending += cost
        else:
            self._enter(state, at, cost)

    def _enter(self, state: SlidingState, at: float, cost: float) -> None:
        runs = state.runs
        state.used += cost
        if runs:
            newest = runs[-1]
            at = max(at, newest[0])
            if at - newest[2] <= self.resolution or len(runs) >= RUNS:
                newest[0] = at
                newest[1] += cost
                return
        runs.append([at, cost, at])

    def written(self, state: SlidingState, granted: float, wrote: float, cost: float, pending: bool = True) -> None:
        if pending:
            state.pending = max(0.0, state.pending - cost)
            self._enter(state, wrote, cost)
        elif wrote > granted:
            moved = self._take_out(state, granted, cost)
            if moved > 0:
                self._insert(state, wrote, moved)

    def cancel(self, state: SlidingState, granted: float, cost: float, pending: bool = False) -> None:
        if pending:
            state.pending = max(0.0, state.pending - cost)
            return
        self._take_out(state, granted, cost)

    def _take_out(self, state: SlidingState, granted: float, cost: float) -> float:
        """Takes up to `cost` of what went at `granted` out of the log; returns how much it was."""
        for run in reversed(state.runs):
            if run[2] <= granted <= run[0]:
                taken = min(cost, run[1])
                run[1] -= taken
                state.used -= taken
                return taken
        return 0.0

    def _insert(self, state: SlidingState, at: float, cost: float) -> None:
        """Enters what went before others that are in the log already."""
        runs = state.runs
        index = len(runs)
        while index and runs[index - 1][0] > at:
            index -= 1
        if index == len(runs):
            self._enter(state, at, cost)
            return
        state.used += cost
        if len(runs) < RUNS:
            runs.insert(index, [at, cost, at])
        else:
            runs[index][1] += cost  # into the later one, whose end is not moved

    def release(self, state: SlidingState, cost: float) -> None:
        pass

    def left(self, state: SlidingState, now: float) -> float:
        self._forget(state, now)
        return max(0.0, self.quota - state.used - state.pending)

    def export(self, state: SlidingState, offset: float) -> dict[str, Any]:
        runs = [[run[0] + offset, run[1]] for run in state.runs]
        if state.pending:
            # Whoever reads this cannot know when these were written: count them as written last of all.
            runs.append([(runs[-1][0] if runs else offset), state.pending])
        return {"runs": runs} if runs else {}

    def restore(self, state: SlidingState, saved: dict[str, Any], offset: float) -> None:
        for moment, permits in saved.get("runs", ())[:RUNS]:
            if permits > 0:
                self._enter(state, float(moment) - offset, float(permits))
