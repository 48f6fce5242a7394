"""Rocketlane: X-Retry-After is a moment, in epoch milliseconds."""

from __future__ import annotations

from .._dialect import Dialect

ROCKETLANE = Dialect(
    name="rocketlane",
    title="Rocketlane",
    docs=("https://developer.rocketlane.com",),
    hosts=("api.rocketlane.com",),
)
