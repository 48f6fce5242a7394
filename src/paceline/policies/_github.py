"""GitHub: core, search, code search and GraphQL count apart; points of the secondary limits beside them."""

from __future__ import annotations

from ._costs import github_cost, github_settled
from ._preset import Preset, Source, Tier

__all__ = ["github"]

github = Preset(
    name="github",
    title="GitHub",
    dialect="github",
    tiers={
        "authenticated": Tier(
            ["5000/hour", "900 secondary-points/min", "90 concurrent"],
            {
                "search": ["30/min", "900 secondary-points/min"],
                "code_search": ["10/min", "900 secondary-points/min"],
                "graphql": ["5000 points/hour", "2000 secondary-points/min", "90 concurrent"],
            },
        ),
        "anonymous": Tier(["60/hour"], {"search": ["10/min"], "code_search": ["10/min"]}),
        "enterprise": Tier(
            ["15000/hour", "900 secondary-points/min", "90 concurrent"],
            {
                "search": ["30/min", "900 secondary-points/min"],
                "code_search": ["10/min", "900 secondary-points/min"],
                "graphql": ["10000 points/hour", "2000 secondary-points/min", "90 concurrent"],
            },
        ),
    },
    sources=(
        Source(
            "https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api", "2026-11-24"
        ),
        Source(
            "https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api",
            None,
        ),
        Source("https://docs.github.com/en/rest/search/search", None),
    ),
    shares="the user of the token (one for all its tokens); without a token the address",
    refused="not stated; going on while refused may get an integration banned",
    hosts=("api.github.com",),
    cost_of=github_cost,
    settle_of=github_settled,
    notes=(
        "Secondary limits: at most 100 requests at once over REST and GraphQL, 900 points a minute for REST (reading 1, writing 5), 2,000 for GraphQL.",
        "Of the 100 at once 90 are used in each bucket: several buckets at full width would exceed them together.",
        "Also at most 80 requests a minute and 500 an hour that create content, which is not kept here.",
        "To settle a GraphQL query by its true cost, let it ask for rateLimit { cost }.",
    ),
)
