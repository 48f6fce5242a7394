"""Crossref: by pool; each answer tells its limit."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["crossref"]

crossref = Preset(
    name="crossref",
    title="Crossref",
    dialect="crossref",
    tiers={
        "public": Tier(["5/s", "1 concurrent"]),
        "polite": Tier(["10/s", "3 concurrent"]),
        "plus": Tier(["150/s"]),
    },
    sources=(
        Source(
            "https://www.crossref.org/documentation/retrieve-metadata/rest-api/access-and-authentication/",
            "2026-11-24",
            figures=False,
        ),
    ),
    shares="the address, or the contact, or the Plus token",
    refused="not stated",
    credential="Crossref-Plus-API-Token: Bearer {token}",
    hosts=("api.crossref.org",),
    contact="paceline-job/1.0 (mailto:{contact})",
    notes=(
        "The pools and the headers that tell their limits were read; the figures are commonly known, and the headers correct them.",
        "polite: contact='you@example.com'; plus: a token.",
    ),
)
