"""Xero: sixty requests a minute, five thousand a day and five at once, for each organisation."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["xero"]

xero = Preset(
    name="xero",
    title="Xero",
    dialect="xero",
    tiers={
        "default": Tier(["60/min", "5000/day", "5 concurrent"]),
    },
    sources=(
        Source("https://developer.xero.com/faq/limits", "2026-11-24"),
        Source("https://developer.xero.com/documentation/guides/oauth2/limits/", None),
    ),
    shares="app and organisation (tenant)",
    refused="not stated",
    hosts=("api.xero.com",),
    idempotency="Idempotency-Key",
    notes=(
        "Above all organisations an app has 10,000 requests a minute, which is not kept here.",
        "Name the organisation in headers={'Xero-Tenant-Id': …}; one policy for each.",
    ),
)
