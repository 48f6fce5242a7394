"""Reddit: counters as floats, and a reset in seconds where others send an epoch."""

from __future__ import annotations

from .._dialect import Dialect

REDDIT = Dialect(
    name="reddit",
    title="Reddit",
    docs=("https://support.reddithelp.com/hc/en-us/articles/16160319875092-Reddit-Data-API-Wiki",),
    hosts=("reddit.com",),
)
