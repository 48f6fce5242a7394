"""Crossref: a limit and its interval, no remaining: made for pacing ahead."""

from __future__ import annotations

from .._dialect import Dialect

CROSSREF = Dialect(
    name="crossref",
    title="Crossref",
    docs=("https://www.crossref.org/documentation/retrieve-metadata/rest-api/access-and-authentication/",),
    hosts=("api.crossref.org",),
)
