"""GitLab.com: one limit for the API, by user or address."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["gitlab"]

gitlab = Preset(
    name="gitlab",
    title="GitLab.com",
    dialect="gitlab",
    tiers={
        "authenticated": Tier(["2000/min"]),
        "anonymous": Tier(["500/min"]),
    },
    sources=(Source("https://docs.gitlab.com/user/gitlab_com/rate_limits/", "2026-11-24", figures=False),),
    shares="the user of the token; without a token the address",
    refused="not stated",
    credential="PRIVATE-TOKEN: {token}",
    hosts=("gitlab.com",),
    notes=(
        "The page announces hourly limits by plan that are not in force yet; single endpoints have lower ones.",
        "Self-managed servers have limits of their own: give them, and site.",
    ),
)
