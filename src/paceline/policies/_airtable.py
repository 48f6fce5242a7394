"""Airtable: five requests a second for each base; who is refused is locked out for thirty seconds."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["airtable"]

airtable = Preset(
    name="airtable",
    title="Airtable",
    dialect="airtable",
    tiers={
        "default": Tier(["5/s"]),
    },
    sources=(Source("https://airtable.com/developers/web/api/rate-limits", None),),
    shares="the base; above it 50 requests a second for all that a token does, which is not kept here",
    refused="the base is closed for 30 s",
    hosts=("api.airtable.com",),
)
