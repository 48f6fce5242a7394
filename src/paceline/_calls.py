"""What clients know of a single call: what it asks for, and what they note on what comes of it."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from .errors import GaveUp, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .ledger import Cost
    from .outcome import Outcome

__all__ = ["MARK", "NONE", "Options", "current", "mark", "read_options", "settle"]

MARK: Final = "_paceline"
"""The attribute of a response or an exception that holds what it went through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one call asks for beside its policy; see `options`."""

    cost: Cost = 1
    priority: int = 0
    deadline: float | None = None
    idempotent: bool | None = None

    def __post_init__(self) -> None:
        cost, deadline = self.cost, self.deadline
        if isinstance(cost, int | float) and not 0 <= cost < math.inf:
            raise InputError(f"cost must be a number of at least 0, like 3, not {cost!r}")
        if not isinstance(self.priority, int):
            raise InputError(f"priority must be a whole number, like 1, not {self.priority!r}")
        if deadline is not None and not (isinstance(deadline, int | float) and 0 < deadline < math.inf):
            raise InputError(f"deadline must be a number of seconds above 0, like 30, not {deadline!r}")


NONE: Final = Options()
"""What a call asks for that says nothing."""

current: ContextVar[Options] = ContextVar("paceline_options", default=NONE)
_NAMES: Final = tuple(each.name for each in fields(Options))


def read_options(given: Mapping[str, Any], base: Options = NONE) -> Options:
    """Options from a mapping, as httpx's `extensions={"paceline": {...}}` has them; raises InputError.

    >>> read_options({"cost": 3}).cost
    3
    >>> read_options({"price": 3})
    Traceback (most recent call last):
    ...
    paceline.errors.InputError: there is no option 'price'; there are cost, priority, deadline, idempotent
    """
    wrong = next((name for name in given if name not in _NAMES), None)
    if wrong is not None:
        raise InputError(f"there is no option {wrong!r}; there are {', '.join(_NAMES)}")
    return replace(base, **given)


def mark(target: Any, outcome: Outcome) -> None:
    """Notes on a response or an exception what it went through, small and without a cycle."""
    answer = outcome.answer
    noted: Any = outcome.trail
    if noted is None and answer is not None:
        # Most calls are served at once, and hardly anyone asks: kept as plain numbers.
        noted = (outcome.waited, answer.elapsed, answer.status, answer.now)
    if noted:
        try:
            setattr(target, MARK, noted)
        except AttributeError:
            pass  # an object of somebody else's that takes no attributes has no history


def settle(outcome: Outcome, raises: bool) -> Any:
    """What a client hands out for an outcome: its response, or an exception; either has its history.

    raises: where there is no final answer, GaveUp is raised with the last response in it; else that response is
    given out as the bare client would, and an exception of the client's own is raised as it was.
    """
    error = outcome.error
    answer = outcome.answer
    if error is None and answer is not None:
        mark(answer.response, outcome)
        return answer.response
    if error is not None:
        mark(error, outcome)
    if outcome.fault is not None:
        mark(outcome.fault.error, outcome)
    if answer is not None:
        mark(answer.response, outcome)
    if raises and isinstance(error, GaveUp):
        if outcome.fault is not None:
            error.__cause__ = outcome.fault.error
        return outcome.unwrap()
    return outcome.response()
