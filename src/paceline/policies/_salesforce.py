"""Salesforce: requests of the last 24 hours by edition and licences, long calls at once."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["salesforce"]

salesforce = Preset(
    name="salesforce",
    title="Salesforce",
    dialect="salesforce",
    tiers={
        "enterprise": Tier(["100000/day", "25 concurrent"]),
        "developer": Tier(["15000/day", "5 concurrent"]),
    },
    sources=(
        Source(
            "https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet/guide/salesforce-app-limits-platform-api.html",
            "2026-11-24",
        ),
    ),
    shares="the organisation, over all its users",
    refused="not stated",
    site="your-domain.my.salesforce.com",
    notes=(
        "Enterprise and professional have 1,000 requests more for each licence, unlimited and performance 5,000: give limits, like 150000/day.",
        "The limit on what is in flight (25, in developer and trial organisations 5) is that of calls of 20 s and longer; it is kept for all.",
        "The figure for developer editions was not seen in the copy read.",
    ),
)
