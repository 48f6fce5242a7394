"""Wikimedia and MediaWiki: back-pressure under 200, told by error.code and a header; Retry-After counts then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect, path_of

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if not reading.refused and (reading.header("mediawiki-api-error") or "").strip() in (
        "maxlag",
        "ratelimited",
    ):
        reading.refused = True
        reading.notes.append("MediaWiki-API-Error names a refusal")
    if reading.refused and "maxlag" in reading.facts.codes:
        reading.notes.append(
            "maxlag: the databases lag behind; it is no quota of ours, at least 5 s are asked for"
        )


WIKIMEDIA = Dialect(
    name="wikimedia",
    title="Wikimedia",
    docs=(
        "https://www.mediawiki.org/wiki/Manual:Maxlag_parameter",
        "https://www.mediawiki.org/wiki/API:Etiquette",
    ),
    hosts=("wikipedia.org", "wikidata.org", "wikimedia.org", "mediawiki.org", "wiktionary.org"),
    headers=("mediawiki-api-error", "x-database-lag"),
    bodies=(b'"maxlag"',),
    read=_read,
    served_body=lambda url: url is None or path_of(url).endswith("/api.php"),
    default_wait=5.0,
)
