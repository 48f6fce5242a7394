"""Bluesky: the names of the IETF draft, but the reset is an epoch."""

from __future__ import annotations

from .._dialect import Dialect

BLUESKY = Dialect(
    name="bluesky",
    title="Bluesky (ATProto)",
    docs=("https://docs.bsky.app/docs/advanced-guides/rate-limits",),
    hosts=("bsky.social", "bsky.network", "bsky.app"),
)
