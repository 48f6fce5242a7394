"""Brevo: the usual three fields under its own prefix, the reset in seconds."""

from __future__ import annotations

from .._dialect import Dialect

BREVO = Dialect(
    name="brevo",
    title="Brevo",
    docs=("https://developers.brevo.com/docs/api-limits",),
    hosts=("api.brevo.com", "api.sendinblue.com"),
    headers=("x-sib-ratelimit-*",),
)
