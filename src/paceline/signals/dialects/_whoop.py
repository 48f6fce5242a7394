"""WHOOP: draft -03's list of windows under X- names, spelt window instead of w."""

from __future__ import annotations

from .._dialect import Dialect

WHOOP = Dialect(
    name="whoop",
    title="WHOOP",
    docs=("https://developer.whoop.com/docs/developing/rate-limiting",),
    hosts=("api.prod.whoop.com",),
)
