"""Sellercloud: the reset stands in the body, with seven fractional digits."""

from __future__ import annotations

from .._dialect import Dialect

SELLERCLOUD = Dialect(
    name="sellercloud",
    title="Sellercloud",
    docs=("https://developer.sellercloud.com",),
    hosts=("sellercloud.com",),
    bodies=(b'"RateLimitResetTime"',),
)
