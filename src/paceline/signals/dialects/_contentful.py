"""Contentful: quotas by the second and hour under its own prefix, and one reset for them."""

from __future__ import annotations

from .._dialect import Dialect

CONTENTFUL = Dialect(
    name="contentful",
    title="Contentful",
    docs=(
        "https://www.contentful.com/developers/docs/references/content-management-api/#/introduction/api-rate-limits",
    ),
    hosts=("contentful.com",),
    headers=("x-contentful-ratelimit-*",),
)
