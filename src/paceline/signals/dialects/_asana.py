"""Asana: Retry-After in seconds; refused requests count against the quota too."""

from __future__ import annotations

from .._dialect import Dialect

ASANA = Dialect(
    name="asana",
    title="Asana",
    docs=("https://developers.asana.com/docs/rate-limits",),
    hosts=("app.asana.com",),
)
