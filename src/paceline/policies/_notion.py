"""Notion: about three requests a second for each connection."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["notion"]

notion = Preset(
    name="notion",
    title="Notion",
    dialect="notion",
    tiers={
        "default": Tier(["3/s"]),
    },
    sources=(Source("https://developers.notion.com/reference/request-limits", None),),
    shares="the connection; a workspace has a limit of its own above it",
    refused="not stated",
    hosts=("api.notion.com",),
    notes=(
        "Three a second are an average; some bursts are let through.",
        "Every request must name a Notion-Version in its headers.",
    ),
)
