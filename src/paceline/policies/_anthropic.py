"""Anthropic: requests, tokens in and tokens out a minute, by model; tokens are reserved and settled."""

from __future__ import annotations

from ._costs import anthropic_cost, anthropic_settled
from ._preset import Preset, Source, Tier

__all__ = ["anthropic"]

anthropic = Preset(
    name="anthropic",
    title="Anthropic",
    dialect="anthropic",
    tiers={
        "evaluation": Tier(["50/min", "30000 input-tokens/min", "8000 output-tokens/min"]),
        "start": Tier(["1000/min", "500000 input-tokens/min", "100000 output-tokens/min"]),
        "scale": Tier(["4000/min", "4000000 input-tokens/min", "800000 output-tokens/min"]),
        "learn": Tier([]),
    },
    sources=(Source("https://platform.claude.com/docs/en/api/rate-limits", "2026-11-24", figures=False),),
    shares="organisation and family of models",
    refused="not stated",
    credential="x-api-key: {token}",
    hosts=("api.anthropic.com",),
    cost_of=anthropic_cost,
    settle_of=anthropic_settled,
    statuses=frozenset({408, 425, 500, 502, 503, 504}),
    notes=(
        "The kinds of limits and the names of the tiers (Evaluation, Start, Build, Scale) were read; the figures of start and scale are those that another site read of one model in October 2026, those of evaluation are of the former first tier. The console shows yours: give limits.",
        "Tokens that are read from the cache do not count for most models.",
        "learn: none at first; the headers of each answer tell them.",
    ),
)
