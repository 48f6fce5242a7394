"""Zendesk: requests a minute by plan; incremental exports count apart."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["zendesk"]

zendesk = Preset(
    name="zendesk",
    title="Zendesk",
    dialect="zendesk",
    tiers={
        "team": Tier(["200/min"], {"incremental": ["10/min"]}),
        "professional": Tier(["400/min"], {"incremental": ["10/min"]}),
        "enterprise": Tier(["700/min"], {"incremental": ["10/min"]}),
        "high-volume": Tier(["2500/min"], {"incremental": ["30/min"]}),
    },
    sources=(
        Source(
            "https://developer.zendesk.com/api-reference/introduction/rate-limits/",
            "2026-11-24",
            figures=False,
        ),
    ),
    shares="the account, over all its users",
    refused="not stated",
    site="your-company.zendesk.com",
    idempotency="Idempotency-Key",
    notes=(
        "2,500 a minute with the High Volume add-on were read; the figures of plans and exports are commonly known.",
        "Single endpoints have lower limits, which the server names itself in zendesk-ratelimit-…",
        "An API token goes with its user: token='agent@example.com/token:TOKEN'.",
    ),
)
