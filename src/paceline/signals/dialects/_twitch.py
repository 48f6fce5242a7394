"""Twitch: the names of the IETF draft, but the reset is an epoch."""

from __future__ import annotations

from .._dialect import Dialect

TWITCH = Dialect(
    name="twitch",
    title="Twitch",
    docs=("https://dev.twitch.tv/docs/api/guide/#twitch-rate-limits",),
    hosts=("api.twitch.tv",),
)
