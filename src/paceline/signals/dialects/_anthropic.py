"""Anthropic: a bucket each for requests and kinds of tokens with RFC 3339 resets; subscriptions tell a status instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading

_STATUS = "-status"


def _read(reading: Reading) -> None:
    if reading.status == 529:
        reading.notes.append("529: the service as a whole is overloaded, it is no quota of ours")
    if not reading.refused:
        return
    rejected = {
        field.bucket
        for field, value in reading.fields
        if field.name.endswith(_STATUS) and value.strip().lower() == "rejected"
    }
    for bucket in reading.buckets:
        if bucket.name in rejected and bucket.reset is not None:
            bucket.remaining = 0
            reading.offer(bucket.reset, f"the reset of {bucket.name}, whose status is rejected")


ANTHROPIC = Dialect(
    name="anthropic",
    title="Anthropic",
    docs=("https://docs.anthropic.com/en/api/rate-limits", "https://docs.anthropic.com/en/api/errors"),
    hosts=("api.anthropic.com",),
    headers=("anthropic-*",),
    bodies=(b'"rate_limit_error"', b'"overloaded_error"'),
    read=_read,
)
