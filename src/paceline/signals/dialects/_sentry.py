"""Sentry: one header of waits by category of data, which binds on served answers too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._buckets import Bucket
from .._dialect import Dialect
from .._items import label_of
from .._times import number

if TYPE_CHECKING:
    from .._reading import Reading

_HEADER = "x-sentry-rate-limits"
_MOST = 32


def _read(reading: Reading) -> None:
    """Reads `60:transaction:key, 2700:default;error:organization:reason`; no category means all of them."""
    for piece in (reading.header(_HEADER) or "").split(",")[:_MOST]:
        seconds, _, rest = piece.strip().partition(":")
        wait = number(seconds)
        if wait is None or wait >= 1e9:
            if piece.strip():
                reading.notes.append(f"{_HEADER} holds a limit without a number of seconds: ignored")
            continue
        for category in rest.partition(":")[0].split(";")[:_MOST]:
            bucket = Bucket(label_of(category), unit=None, group=_HEADER)
            bucket.reset = wait
            reading.buckets.append(bucket)
        reading.offer(wait, _HEADER)


SENTRY = Dialect(
    name="sentry",
    title="Sentry",
    docs=(
        "https://develop.sentry.dev/sdk/expected-features/rate-limiting/",
        "https://github.com/getsentry/develop/blob/master/src/docs/sdk/rate-limiting.mdx",
    ),
    hosts=("sentry.io",),
    headers=(_HEADER,),
    read=_read,
    default_wait=60.0,
)
