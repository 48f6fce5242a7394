"""fixed: so many in each window of a clock, the windows aligned to the epoch, to a zone, or to the server's reset.

The whole quota goes as soon as a window is safely open and nothing goes in its last moments: what is sent close
to an edge may be counted on either side of it, and is charged to both.
"""

from __future__ import annotations

from math import floor, inf
from typing import TYPE_CHECKING, Any, Final

from ._base import Schedule
from ._calendar import window_at

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["Fixed", "FixedState"]

_LEAD: Final = 0.005
_EDGE: Final = 0.004
_JUMP: Final = 0.050
_NEAR: Final = 0.050
_SKEW: Final = 0.250


class FixedState:
    """start, end: the window, on the scope's clock; used: charged to it; next_used: charged to the one after.

    offset: epoch seconds minus the scope's clock.
    """

    __slots__ = ("end", "last", "next_used", "offset", "start", "used")

    def __init__(self, offset: float) -> None:
        self.offset = offset
        self.start = -inf
        self.end = -inf
        self.used = 0.0
        self.next_used = 0.0
        self.last = -inf


class Fixed(Schedule[FixedState]):
    """See the module."""

    __slots__ = ("_window", "edge", "guard", "lead", "limit", "quota")

    def __init__(self, limit: Limit, *, guard: float, scale: float = 1.0, credit: bool = True) -> None:
        self.limit = limit
        base = limit.quota if credit else max(limit.quota - 1, limit.quota / 2)
        self.quota = base if scale == 1 else max(1.0 if limit.quota >= 1 else limit.quota, floor(base * scale))
        # The margins never take more than a fifth of a short window.
        self.guard = min(guard, limit.period / 10)
        self.lead = min(_LEAD, limit.period / 10)
        self.edge = min(_EDGE, limit.period / 20)
        self._window = window_at(limit.period, limit.zone)

    def start(self, now: float, offset: float) -> FixedState:
        return FixedState(offset)

    def realign(self, state: FixedState, offset: float) -> None:
        """The wall clock now reads `offset` more than the scope's clock.

        After a step (more than 50 ms) the windows move, but what was used counts on: the server's clock has
        not stepped with ours.
        """
        if abs(offset - state.offset) > _JUMP and state.end > -inf:
            used = state.used
            state.offset = offset
            state.start, state.end = self._bounds(state, max(state.last, state.start))
            state.used, state.next_used = used, used
        else:
            state.offset = offset

    def agrees(self, state: FixedState, departed: float, reset_at: float) -> bool:
        """Whether the end that the server gave for the window of a request lies where that window ends here.

        It may be rounded up to a whole second, and the two clocks differ a little.
        """
        start, end = self._bounds(state, departed)
        if departed - start < _NEAR or end - departed < _NEAR:
            return True  # it may have been counted on the other side of the edge
        return end - _SKEW <= reset_at <= end + 1.0 + _SKEW

    def began(self, state: FixedState, departed: float) -> float:
        """When the window began that a request of the moment `departed` is charged to."""
        return self._bounds(state, departed)[0]

    def _bounds(self, state: FixedState, now: float) -> tuple[float, float]:
        start, end = self._window(now + state.offset)
        return start - state.offset, end - state.offset

    def _roll(self, state: FixedState, now: float) -> None:
        if now >= state.end:
            follows = state.end
            state.start, state.end = self._bounds(state, now)
            adjoining = state.start - self.edge <= follows
            state.used = state.next_used if adjoining else 0.0
            state.next_used = 0.0

    def earliest(self, state: FixedState, now: float, cost: float) -> float:
        self._roll(state, now)
        opens = state.start + self.lead
        if state.used + cost <= self.quota + 1e-9 or (cost > self.quota and state.used <= 0):
            if now < opens:
                return opens
            if now <= state.end - self.guard:
                return now
        return state.end + self.lead

    def commit(self, state: FixedState, at: float, cost: float, pending: bool = False) -> None:
        self._roll(state, at)
        state.used += cost
        state.last = at

    def written(self, state: FixedState, granted: float, wrote: float, cost: float, pending: bool = True) -> None:
        if granted < state.end <= wrote:
            # Written in a later window than it was granted in: that one pays for it.
            self._roll(state, wrote)
            state.used += cost
        elif state.end - wrote < self.edge and granted >= state.start:
            state.next_used += cost
        state.last = max(state.last, wrote)

    def cancel(self, state: FixedState, granted: float, cost: float, pending: bool = False) -> None:
        if state.start <= granted < state.end:
            state.used = max(0.0, state.used - cost)

    def release(self, state: FixedState, cost: float) -> None:
        pass

    def left(self, state: FixedState, now: float) -> float:
        self._roll(state, now)
        return max(0.0, self.quota - state.used)

    def export(self, state: FixedState, offset: float) -> dict[str, Any]:
        return {} if state.last == -inf else {"end": state.end + state.offset, "used": state.used, "last": state.last + offset}

    def restore(self, state: FixedState, saved: dict[str, Any], offset: float) -> None:
        if "last" in saved:
            last = float(saved["last"]) - offset
            self._roll(state, last)
            if abs(state.end + state.offset - float(saved.get("end", 0.0))) < 1.0:
                state.used, state.last = float(saved["used"]), last
