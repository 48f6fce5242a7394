"""All limits of one key together: charged all or nothing, with charged refusals and lock-outs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .enforcers import Concurrency, Enforcer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Gate"]


class Gate:
    """All limits of one key together: a request is charged to each of them, or to none.

    charge_refused: a refused request uses quota too. lockout: seconds that a refusal closes the gate for;
    a request that comes while it is closed is refused and begins the time anew. A lock-out that has begun lasts,
    also where the setting is changed to 0.
    """

    def __init__(
        self, enforcers: Sequence[Enforcer], *, charge_refused: bool = False, lockout: float = 0.0
    ) -> None:
        self.enforcers = tuple(enforcers)
        self.charge_refused = charge_refused
        self.lockout = lockout
        self._locked_until = -math.inf
        self._concurrent = tuple(each for each in self.enforcers if isinstance(each, Concurrency))
        self._timed = tuple(each for each in self.enforcers if not isinstance(each, Concurrency))

    def admit(self, now: float) -> float | None:
        """None: accepted and charged. Else the seconds after which a request would be accepted.

        >>> from paceline.limits import Limit
        >>> from paceline.testing.enforcers import build
        >>> gate = Gate([build(Limit.parse("1/10s sliding"))])
        >>> gate.admit(0.0), gate.admit(4.0), gate.admit(10.0)
        (None, 6.0, None)
        """
        if now < self._locked_until:
            if not self.lockout:
                return self._locked_until - now
            self._locked_until = now + self.lockout
            return self.lockout
        for enforcer in self.enforcers:
            if not enforcer.allows(now):
                return self._refuse(now)
        for enforcer in self.enforcers:
            enforcer.charge(now)
        return None

    def _refuse(self, now: float) -> float:
        if self.charge_refused:
            for enforcer in self._timed:
                enforcer.charge(now)
        if self.lockout:
            self._locked_until = now + self.lockout
            return self.lockout
        return max([enforcer.wait(now) for enforcer in self.enforcers], default=0.0)

    def release(self) -> None:
        """An accepted request is over: it is no longer in flight."""
        for enforcer in self._concurrent:
            enforcer.release()

    def spend(self, now: float) -> bool:
        """Another consumer's request arrives now; whether it was accepted. It holds nothing in flight."""
        accepted = all(enforcer.allows(now) for enforcer in self._timed)
        if accepted or self.charge_refused:
            for enforcer in self._timed:
                enforcer.charge(now)
        return accepted

    def change(self, other: Gate) -> None:
        """Becomes like a fresh gate, keeping what limits of the same kind have counted; requests in flight stay."""
        left = list(self.enforcers)
        for enforcer in other.enforcers:
            same = next((old for old in left if old.kind == enforcer.kind), None)
            if same is not None:
                left.remove(same)
                enforcer.resume(same)
        self.enforcers, self._concurrent, self._timed = other.enforcers, other._concurrent, other._timed
        self.charge_refused, self.lockout = other.charge_refused, other.lockout
