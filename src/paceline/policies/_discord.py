"""Discord: fifty requests a second in all; each route has a bucket that the headers tell."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["discord"]

discord = Preset(
    name="discord",
    title="Discord",
    dialect="discord",
    tiers={
        "bot": Tier(["50/s"]),
    },
    sources=(Source("https://discord.com/developers/docs/topics/rate-limits", None),),
    shares="the bot; below it, the route with its channel, guild or webhook",
    refused="10,000 invalid answers (401, 403, 429) in ten minutes close Cloudflare to the address",
    credential="Authorization: Bot {token}",
    hosts=("discord.com", "discordapp.com"),
    notes=(
        "Each route is a scope of its own here, so 50 a second hold for each, not for all: fewer where many routes are used.",
    ),
)
