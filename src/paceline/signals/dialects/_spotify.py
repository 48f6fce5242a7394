"""Spotify: Retry-After in seconds, sometimes 0, sometimes none."""

from __future__ import annotations

from .._dialect import Dialect

SPOTIFY = Dialect(
    name="spotify",
    title="Spotify",
    docs=("https://developer.spotify.com/documentation/web-api/concepts/rate-limits",),
    hosts=("api.spotify.com",),
)
