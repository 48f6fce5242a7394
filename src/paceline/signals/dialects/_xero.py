"""Xero: what remains of the minute, the day and the app's minute, and the name of the one that refused."""

from __future__ import annotations

from .._dialect import Dialect

XERO = Dialect(
    name="xero",
    title="Xero",
    docs=("https://developer.xero.com/documentation/guides/oauth2/limits/",),
    hosts=("api.xero.com",),
    headers=(
        "x-rate-limit-problem",
        "x-minlimit-remaining",
        "x-daylimit-remaining",
        "x-appminlimit-remaining",
    ),
    bodies=(b"oauth_problem=rate",),
)
