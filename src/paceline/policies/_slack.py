"""Slack: every method has its own limit, by tier, for each workspace and app."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["slack"]

slack = Preset(
    name="slack",
    title="Slack",
    dialect="slack",
    tiers={
        "internal": Tier(
            ["20/min"],
            {
                "conversations.history": ["50/min"],
                "conversations.info": ["50/min"],
                "conversations.replies": ["50/min"],
                "files.list": ["50/min"],
                "reactions.get": ["50/min"],
                "users.conversations": ["50/min"],
                "conversations.members": ["100/min"],
                "files.info": ["100/min"],
                "users.info": ["100/min"],
                "chat.postMessage": ["1/s"],
            },
        ),
        "commercial": Tier(
            ["20/min"],
            {
                "conversations.history": ["1/min"],
                "conversations.info": ["50/min"],
                "conversations.replies": ["1/min"],
                "files.list": ["50/min"],
                "reactions.get": ["50/min"],
                "users.conversations": ["50/min"],
                "conversations.members": ["100/min"],
                "files.info": ["100/min"],
                "users.info": ["100/min"],
                "chat.postMessage": ["1/s"],
            },
        ),
    },
    sources=(
        Source("https://docs.slack.dev/apis/web-api/rate-limits", "2026-11-24"),
        Source("https://api.slack.com/changelog/2018-03-great-rate-limits", "2026-11-24"),
    ),
    shares="method, workspace and app",
    refused="not stated",
    hosts=("slack.com",),
    notes=(
        "Tiers allow 1, 20, 50 or 100 requests a minute and short bursts; methods that are not named here are kept to 20.",
        "Which tier a method has stands on the method's page; the few listed are commonly known, not all were read.",
        "commercial: apps outside the Marketplace, installed since 29 May 2025.",
    ),
)
