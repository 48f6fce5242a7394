"""Vercel: an epoch reset in the headers and again in the body."""

from __future__ import annotations

from .._dialect import Dialect

VERCEL = Dialect(
    name="vercel",
    title="Vercel",
    docs=("https://vercel.com/docs/rest-api",),
    hosts=("api.vercel.com",),
)
