"""concurrent: so many in flight at once, whatever the rate."""

from __future__ import annotations

from math import floor, inf
from typing import TYPE_CHECKING, Any

from ._base import Schedule

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["Concurrent", "ConcurrentState"]


class ConcurrentState:
    """in_flight: permits granted and not yet released."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0.0


class Concurrent(Schedule[ConcurrentState]):
    """See the module."""

    __slots__ = ("limit", "most")

    def __init__(self, limit: Limit, *, guard: float, scale: float = 1.0, credit: bool = True) -> None:
        self.limit = limit
        self.most = max(1.0, floor(limit.quota * scale))

    def start(self, now: float, offset: float) -> ConcurrentState:
        return ConcurrentState()

    def earliest(self, state: ConcurrentState, now: float, cost: float) -> float:
        # One call holds one place, whatever its cost in other units.
        return now if state.in_flight + 1 <= self.most else inf

    def commit(self, state: ConcurrentState, at: float, cost: float, pending: bool = False) -> None:
        state.in_flight += 1

    def written(self, state: ConcurrentState, granted: float, wrote: float, cost: float, pending: bool = True) -> None:
        pass

    def cancel(self, state: ConcurrentState, granted: float, cost: float, pending: bool = False) -> None:
        self.release(state, cost)

    def release(self, state: ConcurrentState, cost: float) -> None:
        state.in_flight = max(0.0, state.in_flight - 1)

    def left(self, state: ConcurrentState, now: float) -> float:
        return max(0.0, self.most - state.in_flight)

    def export(self, state: ConcurrentState, offset: float) -> dict[str, Any]:
        return {}  # nothing in flight outlives its process

    def restore(self, state: ConcurrentState, saved: dict[str, Any], offset: float) -> None:
        pass
