"""Syntage: the X-RateLimit fields with an epoch reset."""

from __future__ import annotations

from .._dialect import Dialect

SYNTAGE = Dialect(
    name="syntage",
    title="Syntage",
    docs=("https://docs.syntage.com",),
    hosts=("api.syntage.com",),
)
