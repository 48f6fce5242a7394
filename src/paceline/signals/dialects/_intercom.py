"""Intercom: a quota per minute, handed out in slices of ten seconds, with an epoch reset."""

from __future__ import annotations

from .._dialect import Dialect

INTERCOM = Dialect(
    name="intercom",
    title="Intercom",
    docs=("https://developers.intercom.com/docs/references/rest-api/errors/rate-limiting",),
    hosts=("api.intercom.io",),
)
