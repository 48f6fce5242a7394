"""Google APIs: each has quotas of its own, by project and by user."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["google"]

google = Preset(
    name="google",
    title="Google APIs",
    dialect="google",
    tiers={
        "sheets": Tier(["60/min"]),
        "drive": Tier(["12000/min"]),
        "youtube": Tier(["10000 units/day fixed@America/Los_Angeles"]),
        "gemini-free": Tier(["10/min"]),
        "learn": Tier([]),
    },
    sources=(
        Source("https://developers.google.com/workspace/sheets/api/limits", None),
        Source("https://developers.google.com/workspace/drive/api/guides/limits", None),
        Source("https://developers.google.com/youtube/v3/determine_quota_cost", None),
        Source("https://ai.google.dev/gemini-api/docs/rate-limits", None),
    ),
    shares="the project, and each user of it",
    refused="counted, so wait before going on",
    hosts=("googleapis.com",),
    notes=(
        "Quotas differ by API and project: the console shows them, the tiers here are commonly known defaults.",
        "youtube: units; a read costs 1, a search 100: write cost into the request specs.",
        "Days end at midnight Pacific time.",
    ),
)
