"""Jira Cloud: bursts by endpoint, points by the hour, writes by issue; the server names what refused."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["jira"]

jira = Preset(
    name="jira",
    title="Jira Cloud",
    dialect="atlassian",
    tiers={
        "api-token": Tier(["50/s"]),
        "app": Tier(["50/s", "65000/hour"]),
    },
    sources=(
        Source("https://developer.atlassian.com/cloud/jira/platform/rate-limiting/", "2026-11-24"),
        Source(
            "https://developer.atlassian.com/cloud/jira/platform/build-an-app-that-respects-rate-limits/",
            "2026-11-24",
        ),
    ),
    shares="bursts: site, endpoint and method; points: the app, over all sites or for each",
    refused="not stated; a request before the time that Retry-After names may be told a longer one",
    site="your-site.atlassian.net",
    notes=(
        "The kinds of limits and their scopes were read; the figures (100 a second to read, 50 to change, 65,000 points an hour) were not: 50 a second keeps below them.",
        "A call costs one point or more by what it returns; here each counts one.",
        "An API token goes with its user: token='you@example.com:TOKEN'.",
    ),
)
