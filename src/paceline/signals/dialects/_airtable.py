"""Airtable: five requests a second and base; whoever is refused is locked out for thirty seconds, which no header says."""

from __future__ import annotations

from .._dialect import Dialect, path_of


def _scope(_method: str, url: str) -> str | None:
    parts = path_of(url).split("/")
    return parts[2] if len(parts) > 2 and parts[1] == "v0" and parts[2].startswith("app") else None


AIRTABLE = Dialect(
    name="airtable",
    title="Airtable",
    docs=(
        "https://airtable.com/developers/web/api/rate-limits",
        "https://support.airtable.com/docs/managing-api-call-limits-in-airtable",
    ),
    hosts=("api.airtable.com",),
    bodies=(
        b'"error":"RATE_LIMIT_REACHED"',
        b'"error": "RATE_LIMIT_REACHED"',
    ),
    scope=_scope,
    default_wait=30.0,
)
