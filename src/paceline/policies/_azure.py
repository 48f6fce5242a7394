"""Azure Resource Manager: token buckets for reads, writes and deletes, for each subscription."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["azure"]

azure = Preset(
    name="azure",
    title="Azure Resource Manager",
    dialect="azure",
    tiers={
        "default": Tier(
            ["250/10s bucket"],
            {"* reads": ["250/10s bucket"], "* writes": ["200/20s bucket"], "* deletes": ["200/20s bucket"]},
        ),
    },
    sources=(
        Source(
            "https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling",
            "2026-11-24",
        ),
    ),
    shares="subscription, service principal, kind of operation and region",
    refused="not stated; a retry before the time named is not processed",
    hosts=("management.azure.com",),
    notes=(
        "Buckets of 250 (reads, 25 a second), 200 (writes and deletes, 10 a second each).",
        "Resource providers (Compute, Storage, Network) have limits of their own, which their answers name.",
    ),
)
