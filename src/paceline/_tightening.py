"""How far below its limits a scope keeps since it was refused, and how clean periods bring it back.

The first refusal inside a limit takes the bursts and one permit a period, later ones the rate: times 0.7, one decrease
a period. The level that was refused is remembered: clean periods lead back to just below it, and there the rate
stays for a while before it feels its way above, faster and faster. Refused there again, it stays longer, so that
a limit that is simply lower than told costs a refusal in fifty periods, while one that was lowered for a moment
is soon taken up again.
"""

from __future__ import annotations

from math import inf
from typing import Final

__all__ = ["Tightening"]

_DECREASE: Final = 0.7
_INCREASE: Final = 0.05  # of the limit, a clean period, up to the plateau
_FEELER: Final = 0.01  # above it, the n-th clean period adds n times as much
_PLATEAU: Final = 0.95  # of the level last refused
_NEAR: Final = 0.85  # refused at this share of the level known or more: it was the same limit
_STEP_BACK: Final = 0.93
_QUICK: Final = 5.0  # periods: refused again sooner, it is not just above what is allowed
_HALF: Final = 0.5
_LEAST: Final = 0.02
_MOST: Final = 1e6
_STAY: Final = 20  # clean periods on the plateau; doubles when refused there again
_LONGEST_STAY: Final = 50
_MEMORY: Final = 100  # clean periods after which a refusal is forgotten
_LONGEST: Final = 10.0  # seconds between two decreases, at most
_WIDEST: Final = 16.0


class Tightening:
    """See the module. Moments are seconds on the scope's clock.

    scale: the share of the limits' rate to use; credit: whether bursts are used; guard: what guards are multiplied by.
    ceiling: the highest scale: 1 where the limits were told, infinite where their rate is our own guess.

    >>> tight = Tightening()
    >>> tight.refused(0.0, period=1.0), tight.refused(0.5, period=1.0), tight.refused(1.0, period=1.0)
    ('one permit less a period, no bursts', None, 'rate lowered to 70%')
    >>> tight.clean(1.9, period=1.0), tight.clean(2.0, period=1.0), round(tight.scale, 3)
    (False, True, 0.75)
    """

    __slots__ = ("_clean", "_decreased_at", "_level", "_stay", "_turned_at", "ceiling", "credit", "guard", "scale")

    def __init__(self, ceiling: float = 1.0, now: float = -inf) -> None:
        self.scale = 1.0
        self.credit = ceiling == 1.0
        self.guard = 1.0
        self.ceiling = ceiling
        self._level = inf
        self._stay = _STAY
        self._clean = 0  # clean periods since the plateau was reached
        self._decreased_at = -inf
        self._turned_at = now

    @property
    def at_rest(self) -> bool:
        """Whether nothing is taken away, so that clean periods have nothing to give back."""
        return self.credit and self.scale >= self.ceiling

    def refused(self, now: float, period: float, reached: float | None = None) -> str | None:
        """Takes away after a refusal inside the limits; what was done in words, None within a period of the last.

        reached: the scale that was served lately, pauses included, where the limit itself is a guess.
        """
        since = now - self._decreased_at
        if since < min(period, _LONGEST):
            return None
        self._decreased_at = self._turned_at = now
        self._clean = 0
        self.guard = min(self.guard * 2, _WIDEST)
        if self.credit:
            self.credit = False
            return "one permit less a period, no bursts"
        tested = self.scale
        if tested >= _NEAR * self._level and since > _QUICK * period:
            self._stay = min(2 * self._stay, _LONGEST_STAY)
            self.scale = _STEP_BACK * min(tested, self._level)
        else:
            self._stay = _STAY
            self.scale = _DECREASE * tested
        self._level = tested
        if reached is not None:
            # One cycle may have been a short one, or a lucky one: it is believed within bounds.
            self.scale = min(max(reached, _HALF * tested), _PLATEAU * tested)
        self.scale = max(_LEAST, self.scale)
        return f"rate lowered to {self.scale:.0%}"

    def clean(self, now: float, period: float) -> bool:
        """An answer was served at `now`: whether a clean period is full and gave something back."""
        if now - self._turned_at < period or self.at_rest:
            return False
        self._turned_at = now
        if self.scale < self.ceiling:
            return self._rise()
        if now - self._decreased_at <= _MEMORY * period:
            return False
        self.credit, self.guard, self._level, self._stay = True, 1.0, inf, _STAY
        return True

    def _rise(self) -> bool:
        plateau = _PLATEAU * self._level
        if self._level == inf and self.ceiling == inf:
            # A guess that nobody has refused yet.
            self._clean += 1
            step = _INCREASE * self._clean * max(1.0, self.scale)
        elif self.scale < plateau:
            step = min(_INCREASE * max(1.0, self.scale), plateau - self.scale)
        else:
            self._clean += 1
            step = _FEELER * max(0, self._clean - self._stay) * max(1.0, self.scale)
            if self._clean > _MEMORY:
                self._level, self._stay = inf, _STAY
        if step <= 0:
            return False
        self.scale = min(self.scale + step, self.ceiling, _MOST)
        return True
