"""What every schedule offers, and the guard that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["Schedule", "base_guard", "widest_guard"]

S = TypeVar("S")


class Schedule(Protocol[S]):
    """The rules of one limit; holds no state, so that a changed limit can take over a running state."""

    limit: Limit

    def __init__(self, limit: Limit, *, guard: float, scale: float = 1.0, credit: bool = True) -> None: ...

    def start(self, now: float, offset: float) -> S:
        """The state of a scope never used; `offset` = epoch seconds minus `now`'s clock."""
        ...

    def earliest(self, state: S, now: float, cost: float) -> float:
        """The first moment at which `cost` permits may depart, given what was committed; <= now: at once."""
        ...

    def commit(self, state: S, at: float, cost: float, pending: bool = False) -> None:
        """Books `cost` permits for the moment `at`; `pending`: the request is yet to be written (`written` follows)."""
        ...

    def take(self, state: S, now: float, pending: bool = False) -> float:
        """`earliest` for one permit and, where it may go now, `commit`: the hot path in one call."""
        at = self.earliest(state, now, 1)
        if at <= now:
            self.commit(state, now, 1, pending)
        return at

    def written(self, state: S, granted: float, wrote: float, cost: float, pending: bool = True) -> None:
        """A permit granted at `granted` went on the wire at `wrote`; not `pending`: it was booked as gone at `granted`."""
        ...

    def cancel(self, state: S, granted: float, cost: float, pending: bool = False) -> None:
        """A permit was never used: gives back what can be given back without harm."""
        ...

    def refund(self, state: S, at: float, cost: float, pending: bool = False) -> None:
        """A permit that was used at `at` cost so much less than was booked for it (`pending`: it is yet to be written)."""
        self.cancel(state, at, cost, pending)

    def spend(self, state: S, at: float, count: float) -> None:
        """Books `count` permits of one each that are known to have gone by the moment `at`."""
        self.commit(state, at, count)

    def release(self, state: S, cost: float) -> None:
        """The exchange behind a permit ended (only a number in flight cares)."""
        ...

    def left(self, state: S, now: float) -> float:
        """How many permits the quota still holds now, for people and for the retry budget."""
        ...

    def export(self, state: S, offset: float) -> dict[str, Any]:
        """The state as plain numbers in epoch seconds, for a checkpoint."""
        ...

    def restore(self, state: S, saved: dict[str, Any], offset: float) -> None:
        """Takes over what `export` gave; numbers that make no sense are left out."""
        ...


def base_guard(period: float) -> float:
    """The share of a period, in seconds, kept free for jitter: 2 %, at least 2 ms, at most 250 ms.

    >>> base_guard(1.0), base_guard(0.01), base_guard(3600.0)
    (0.02, 0.002, 0.25)
    """
    return max(0.002, min(0.02 * period, 0.25))


def widest_guard(period: float) -> float:
    """How far refusals inside the limit may widen the guard: 5 % of the period, or 250 ms.

    >>> widest_guard(1.0), widest_guard(3600.0), widest_guard(0.01)
    (0.05, 0.25, 0.002)
    """
    return max(0.002, min(0.05 * period, 0.25))
