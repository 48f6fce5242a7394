"""The RateLimit header fields of the IETF drafts -03 to -10, where nothing tells a provider."""

from __future__ import annotations

from .._dialect import Dialect

IETF = Dialect(
    name="ietf",
    title="IETF RateLimit header fields",
    docs=(
        "https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/",
        "https://github.com/ietf-wg-httpapi/ratelimit-headers",
    ),
)
