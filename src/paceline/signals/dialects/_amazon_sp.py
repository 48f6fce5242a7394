"""Amazon's Selling Partner API: the limit is a rate per second, on answers that were served; MWS before it had counted by the hour."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .._dialect import Dialect, path_of

if TYPE_CHECKING:
    from .._reading import Reading


# The parts of a path that are the same in all calls of an operation: words and versions.
_FIXED: Final = re.compile(r"v[0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}|[a-z][a-zA-Z]*")


def _read(reading: Reading) -> None:
    for bucket in reading.buckets:
        if bucket.vendor == "amzn" and bucket.limit is not None and bucket.window is None:
            bucket.window = 1.0


def _scope(method: str, url: str) -> str | None:
    # Usage plans are per operation: a method and a path, whose identifiers do not count.
    parts = (part if _FIXED.fullmatch(part) else "*" for part in path_of(url).split("/")[1:])
    return f"{method} /{'/'.join(parts)}"


AMAZON_SP = Dialect(
    name="amazon_sp",
    title="Amazon Selling Partner API",
    docs=("https://developer-docs.amazon.com/sp-api/docs/usage-plans-and-rate-limits",),
    hosts=(
        "sellingpartnerapi-na.amazon.com",
        "sellingpartnerapi-eu.amazon.com",
        "sellingpartnerapi-fe.amazon.com",
        "mws.amazonservices.com",
    ),
    headers=("x-amzn-ratelimit-limit", "x-mws-quota-*"),
    read=_read,
    scope=_scope,
)
