"""Gorgias: one header holds used and limit, as Shopify's does under another name."""

from __future__ import annotations

from .._dialect import Dialect

GORGIAS = Dialect(
    name="gorgias",
    title="Gorgias",
    docs=("https://developers.gorgias.com/reference/limitations",),
    hosts=("gorgias.com",),
    headers=("x-gorgias-account-api-call-limit",),
)
