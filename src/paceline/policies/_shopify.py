"""Shopify: points of calculated query cost (GraphQL), requests in a leaky bucket (REST)."""

from __future__ import annotations

from ._costs import shopify_cost, shopify_settled
from ._preset import Preset, Source, Tier

__all__ = ["shopify"]

shopify = Preset(
    name="shopify",
    title="Shopify",
    dialect="shopify",
    tiers={
        "standard": Tier(["40/20s bucket"], {"graphql": ["1000 points/10s bucket"]}),
        "advanced": Tier(["80/20s bucket"], {"graphql": ["2000 points/10s bucket"]}),
        "plus": Tier(["400/20s bucket"], {"graphql": ["10000 points/10s bucket"]}),
        "enterprise": Tier(["400/20s bucket"], {"graphql": ["20000 points/10s bucket"]}),
    },
    sources=(
        Source("https://shopify.dev/docs/api/usage/limits", "2026-11-24"),
        Source("https://shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits", "2026-11-24"),
        Source("https://shopify.dev/docs/api/admin-rest/usage/rate-limits", "2026-11-24"),
    ),
    shares="app and shop",
    refused="nothing: the points of a throttled query are not taken",
    credential="X-Shopify-Access-Token: {token}",
    site="your-shop.myshopify.com",
    cost_of=shopify_cost,
    settle_of=shopify_settled,
    notes=(
        "GraphQL: 100, 200, 1,000 or 2,000 points a second by plan; the size of the bucket stands in each answer, here it is ten seconds of the rate.",
        "REST: 2, 4 or 20 requests a second; enterprise shops have more than the figure used here.",
        "A single query may cost at most 1,000 points.",
    ),
)
