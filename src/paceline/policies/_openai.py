"""OpenAI: requests and tokens a minute, by model and tier; tokens are reserved and settled."""

from __future__ import annotations

from ._costs import openai_cost, openai_settled
from ._preset import Preset, Source, Tier

__all__ = ["openai"]

openai = Preset(
    name="openai",
    title="OpenAI",
    dialect="openai",
    tiers={
        "tier-1": Tier(["500/min", "30000 tokens/min"]),
        "tier-2": Tier(["5000/min", "450000 tokens/min"]),
        "learn": Tier([]),
    },
    sources=(Source("https://platform.openai.com/docs/guides/rate-limits", None),),
    shares="organisation, project and model (or family of models)",
    refused="refused requests count, too",
    hosts=("api.openai.com",),
    cost_of=openai_cost,
    settle_of=openai_settled,
    notes=(
        "Limits stand on each model's page and in the account, not in the guide: the figures here are those commonly known of gpt-4o. Give your own: limits=['500/min', '200000 tokens/min'].",
        "learn: none at first; the headers of each answer tell them.",
        "One policy for each model: the limits of models are apart.",
    ),
)
