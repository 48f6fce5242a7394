"""Asaas: the classic RateLimit fields; its limits on concurrency and half days are not in them."""

from __future__ import annotations

from .._dialect import Dialect

ASAAS = Dialect(
    name="asaas",
    title="Asaas",
    docs=("https://docs.asaas.com/reference/limites-da-api",),
    hosts=("api.asaas.com",),
)
