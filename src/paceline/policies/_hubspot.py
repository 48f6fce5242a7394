"""HubSpot: bursts of ten seconds and a day, by plan; the search of the CRM counts apart."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["hubspot"]

hubspot = Preset(
    name="hubspot",
    title="HubSpot",
    dialect="hubspot",
    tiers={
        "starter": Tier(["100/10s", "250000/day"], {"search": ["4/s"]}),
        "professional": Tier(["190/10s", "650000/day"], {"search": ["4/s"]}),
        "enterprise": Tier(["190/10s", "1000000/day"], {"search": ["4/s"]}),
        "capacity-pack": Tier(["250/10s", "1000000/day"], {"search": ["4/s"]}),
        "oauth": Tier(["100/10s"], {"search": ["4/s"]}),
    },
    sources=(
        Source(
            "https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines",
            "2026-11-24",
            figures=False,
        ),
        Source("https://developers.hubspot.com/changelog/increasing-our-api-limits", "2026-11-24"),
        Source(
            "https://developers.hubspot.com/changelog/burst-limits-are-increasing-for-api-key-authenticated-calls",
            "2026-11-24",
        ),
    ),
    shares="bursts: app and account; the day: all private apps of the account",
    refused="not stated",
    hosts=("api.hubapi.com", "api.hubspot.com"),
    notes=(
        "The day ends at midnight in the account's time zone, which no answer tells.",
        "Public apps (oauth) and the search were given more by a later changelog entry; the older, lower figures are used here.",
        "The capacity pack adds a million requests to the day of the plan: give limits if the plan is higher.",
    ),
)
