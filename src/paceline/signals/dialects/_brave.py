"""Brave Search: two windows side by side in every header, parted by commas."""

from __future__ import annotations

from .._dialect import Dialect

BRAVE = Dialect(
    name="brave",
    title="Brave Search",
    docs=("https://api-dashboard.search.brave.com/app/documentation/web-search/response-headers",),
    hosts=("api.search.brave.com",),
)
