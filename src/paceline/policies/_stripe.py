"""Stripe: requests a second over the account, fewer on each endpoint."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["stripe"]

stripe = Preset(
    name="stripe",
    title="Stripe",
    dialect="stripe",
    tiers={
        "live": Tier(["25/s"]),
        "sandbox": Tier(["25/s"]),
        "live-many-endpoints": Tier(["100/s"]),
    },
    sources=(
        Source("https://docs.stripe.com/rate-limits", "2026-11-24"),
        Source("https://docs.stripe.com/api/idempotent_requests", None),
    ),
    shares="the account, over all its keys",
    refused="not stated; limiters also count requests in flight (Stripe-Rate-Limited-Reason)",
    hosts=("api.stripe.com", "files.stripe.com"),
    idempotency="Idempotency-Key",
    notes=(
        "100 requests a second in live mode over the whole account, 25 on any one endpoint: live keeps the lower one, since most jobs ask one endpoint.",
        "Search: 20 a second; files: 20 reads and 20 writes a second.",
    ),
)
