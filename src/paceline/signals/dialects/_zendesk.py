"""Zendesk: X-Rate-Limit is the limit itself; single endpoints have fields of their own (`total=…; remaining=…; resets=…`)."""

from __future__ import annotations

from .._dialect import Dialect, path_of

ZENDESK = Dialect(
    name="zendesk",
    title="Zendesk",
    docs=("https://developer.zendesk.com/api-reference/introduction/rate-limits/",),
    hosts=("zendesk.com",),
    headers=("x-zendesk-*",),
    scope=lambda _method, url: "incremental" if path_of(url).startswith("/api/v2/incremental/") else None,
)
