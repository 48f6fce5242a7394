"""Amazon's Selling Partner API: the limit is a rate per second, on answers that were served; MWS before it had counted by the hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect, path_of

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    for bucket in reading.buckets:
        if bucket.vendor == "amzn" and bucket.limit is not None and bucket.window is None:
            bucket.window = 1.0


def _scope(method: str, url: str) -> str | None:
    # Usage plans are per operation; an operation is a method and a path up to its first identifier.
    words = []
    for part in path_of(url).split("/")[1:]:
        if (
            any(char.isdigit() for char in part)
            and not (part[0] == "v" and part[1:].isdigit())
            and part[:2] != "20"
        ):
            words.append("*")
        else:
            words.append(part)
    return f"{method} /{'/'.join(words)}"


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
