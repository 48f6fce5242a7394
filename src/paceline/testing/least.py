"""The least time that any client needs under a limit, and its inverse: what utilisation is measured against."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .windows import whole, window_end

if TYPE_CHECKING:
    from ..limits import Limit

__all__ = ["allowed_by", "least_time"]

# Quotients of floats miss the whole number by an ulp.
_CRUMB: Final = 1e-9


def least_time(limit: Limit, kind: str, count: int, first_epoch: float = 0.0, hold: float = 0.0) -> float:
    """The least seconds from the first to the last of `count` accepted requests that the enforcer allows from idle.

    first_epoch: the epoch of the first request (windows follow it); hold: seconds a request stays in flight.

    >>> from paceline.limits import Limit
    >>> least_time(Limit.parse("100/2s"), "sliding", 600), least_time(Limit.parse("100/2s"), "bucket", 600)
    (10.0, 10.0)
    """
    if kind == "none":
        return 0.0
    if kind == "concurrent":
        return max(0.0, (math.ceil(count / int(limit.quota)) - 1) * hold)
    if kind == "bucket":
        return max(0.0, (count - _burst(limit)) / limit.rate)
    quota, period = whole(limit)
    if count <= quota:
        return 0.0
    if kind == "fixed":
        return window_end(limit, first_epoch) - first_epoch + (math.ceil(count / quota) - 2) * period
    if kind in ("counter", "counter-lenient"):
        return max(0.0, count * period / quota - period)
    return (math.ceil(count / quota) - 1) * period


def allowed_by(limit: Limit, kind: str, seconds: float, first_epoch: float = 0.0, hold: float = 0.0) -> float:
    """How many requests, from idle, the enforcer lets in within `seconds` after the first; the inverse of `least_time`.

    >>> from paceline.limits import Limit
    >>> allowed_by(Limit.parse("100/2s"), "sliding", 10.0)
    600
    """
    if kind == "none":
        return math.inf
    if kind == "concurrent":
        return int(limit.quota) * (1 + seconds // hold) if hold else math.inf
    if kind == "bucket":
        return math.floor(_burst(limit) + seconds * limit.rate + _CRUMB)
    quota, period = whole(limit)
    if kind == "fixed":
        left = window_end(limit, first_epoch) - first_epoch
        return quota * (1 if seconds < left else 2 + math.floor((seconds - left) / period + _CRUMB))
    if kind in ("counter", "counter-lenient"):
        return math.floor(quota + seconds * limit.rate + _CRUMB)
    return quota * (1 + math.floor(seconds / period + _CRUMB))


def _burst(limit: Limit) -> float:
    return max(1.0, limit.burst if limit.burst is not None else limit.quota)
