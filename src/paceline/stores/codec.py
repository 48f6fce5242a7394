"""A ledger as JSON and back: what processes hand each other through a store, every number exact.

Only the kinds of records named here are written and read, attribute by attribute: nothing that a store holds is
ever run. A limit stands as its text; schedules hold no state and are made anew.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from .._meter import Meter
from .._records import Led, Pause, Ramp, Told
from .._tightening import Tightening
from ..errors import InputError
from ..ledger import Ledger
from ..limits import Limit
from ..schedules.bucket import BucketState
from ..schedules.concurrent import ConcurrentState
from ..schedules.fixed import FixedState
from ..schedules.sliding import SlidingState
from ..schedules.steady import SteadyState

__all__ = ["dump", "load"]

_KINDS: Final = {
    kind.__name__: kind
    for kind in (
        BucketState, ConcurrentState, FixedState, Led, Meter, Pause, Ramp, SlidingState, SteadyState, Tightening, Told,
    )
}  # fmt: skip
_MADE_ANEW: Final = frozenset({"schedule"})
_LEDGER: Final = (
    "offset", "held_by", "in_flight", "_unwritten", "_pause", "_held_until", "_held_for", "_ramp", "_led", "_probing", "_probe_at",
    "_served", "_served_since", "_last_served", "_tight", "_cycle", "_fewer_at", "_wished_at", "_told",
)  # fmt: skip


def dump(ledger: Ledger) -> dict[str, Any]:
    """The ledger as values that JSON can hold (infinity as Python's json module writes it).

    >>> ledger = Ledger([Limit.parse("2/s sliding")], now=0.0, offset=0.0)
    >>> ledger.take(0.0, 1)
    0.0
    >>> copy = load(dump(ledger))
    >>> copy.take(0.0, 1), copy.take(0.0, 1)
    (0.0, 1.02)
    """
    return {name: _dump(getattr(ledger, name)) for name in _LEDGER}


def load(saved: dict[str, Any]) -> Ledger:
    """The ledger that `dump` was given; raises InputError for what is none."""
    try:
        ledger = Ledger((), now=0.0, offset=0.0)
        for name in _LEDGER:
            setattr(ledger, name, _load(saved[name]))
        for told in ledger._told:
            told.schedule = ledger._schedule(told.limit)
        ledger._note_limits()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"what the store holds is not a scope's state: {error!r}"[:200]) from None
    return ledger


def _dump(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Limit):
        return {"~": "Limit", "text": str(value)}
    if isinstance(value, list | deque | tuple):
        return [_dump(each) for each in value]
    if isinstance(value, dict):
        return {"~": "dict", "items": [[key, _dump(each)] for key, each in value.items()]}
    name = type(value).__name__
    if _KINDS.get(name) is not type(value):
        raise TypeError(f"{name} has no form in a store")
    return {"~": name, **{slot: _dump(getattr(value, slot)) for slot in type(value).__slots__ if slot not in _MADE_ANEW}}


def _load(saved: Any) -> Any:
    if isinstance(saved, list):
        return [_load(each) for each in saved]
    if not isinstance(saved, dict):
        return saved
    name = saved["~"]
    if name == "Limit":
        return Limit.parse(saved["text"])
    if name == "dict":
        return {key: _load(each) for key, each in saved["items"]}
    kind = _KINDS[name]
    value: Any = kind.__new__(kind)
    for slot in kind.__slots__:
        if slot not in _MADE_ANEW:
            setattr(value, slot, _load(saved[slot]))
    if isinstance(value, SlidingState):
        value.runs = deque(value.runs)
    return value
