"""Cloudflare's API: the named items of the IETF draft, with Retry-After."""

from __future__ import annotations

from .._dialect import Dialect

CLOUDFLARE = Dialect(
    name="cloudflare",
    title="Cloudflare",
    docs=("https://developers.cloudflare.com/fundamentals/api/reference/limits/",),
    hosts=("api.cloudflare.com",),
)
