"""Akamai: X-RateLimit-Next is the moment of the next single request."""

from __future__ import annotations

from .._dialect import Dialect

AKAMAI = Dialect(
    name="akamai",
    title="Akamai",
    docs=("https://techdocs.akamai.com/adaptive-media-delivery/reference/rate-limiting",),
    hosts=("akamaiapis.net",),
    headers=("x-ratelimit-next",),
)
