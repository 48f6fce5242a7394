"""Wikimedia: no fixed limit for reads; one request after another, with a name to ask."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["wikimedia"]

wikimedia = Preset(
    name="wikimedia",
    title="Wikimedia",
    dialect="wikimedia",
    tiers={
        "default": Tier(["1 concurrent"]),
        "rest": Tier(["200/s"]),
        "sparql": Tier(["5 concurrent"]),
    },
    sources=(
        Source("https://www.mediawiki.org/wiki/API:Etiquette", "2026-11-24"),
        Source("https://www.mediawiki.org/wiki/Wikimedia_APIs/Rate_limits", None),
        Source("https://www.mediawiki.org/wiki/Wikimedia_APIs/Access_policy", "2026-11-24"),
    ),
    shares="the client: its address and User-Agent, or its token",
    refused="not stated",
    hosts=("wikipedia.org", "wikidata.org", "wikimedia.org", "mediawiki.org", "wiktionary.org"),
    contact="paceline-job/1.0 ({contact})",
    contact_needed=True,
    notes=(
        "default: in series, as the etiquette asks; ask for several pages at once (titles=A|B|C) and send maxlag=5.",
        "rest: the cached REST API; sparql: the query service, five at once and 60 s of work a minute. Both figures are commonly known.",
    ),
)
