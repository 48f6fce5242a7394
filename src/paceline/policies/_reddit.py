"""Reddit: a hundred requests a minute for each OAuth client."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["reddit"]

reddit = Preset(
    name="reddit",
    title="Reddit",
    dialect="reddit",
    tiers={
        "oauth": Tier(["1000/10min"]),
        "anonymous": Tier(["100/10min"]),
    },
    sources=(
        Source("https://support.reddithelp.com/hc/en-us/articles/16160319875092-Reddit-Data-API-Wiki", None),
    ),
    shares="the OAuth client",
    refused="not stated",
    hosts=("oauth.reddit.com", "www.reddit.com"),
    contact="{contact}",
    contact_needed=True,
    notes=(
        "100 a minute with OAuth, 10 without, as the mean of ten minutes.",
        "A User-Agent of its own is asked for: contact='platform:app:1.0 (by /u/you)'.",
    ),
)
