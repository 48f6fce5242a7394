"""Atlassian: Jira and Confluence Cloud count points (beta fields) and bursts, Data Center tells its bucket's filling rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    for bucket in reading.buckets:
        if bucket.name is not None and bucket.name.endswith("-quota"):
            bucket.unit = "points"
    reason = reading.header("ratelimit-reason") or reading.header("x-beta-ratelimit-reason") or ""
    if reading.refused and "per-issue" in reason:
        reading.notes.append("the limit is that of the one issue that is written to; other issues may go on")


ATLASSIAN = Dialect(
    name="atlassian",
    title="Atlassian",
    docs=(
        "https://developer.atlassian.com/cloud/jira/platform/rate-limiting/",
        "https://confluence.atlassian.com/adminjiraserver/adjusting-your-code-for-rate-limiting-987143384.html",
    ),
    hosts=("atlassian.net", "atlassian.com"),
    headers=(
        "beta-ratelimit-policy",
        "x-beta-ratelimit-*",
        "ratelimit-reason",
        "x-ratelimit-fillrate",
        "x-ratelimit-interval-seconds",
    ),
    read=_read,
)
