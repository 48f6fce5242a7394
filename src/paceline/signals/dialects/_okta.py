"""Okta: an epoch reset, to be read against Date; a limit of 0 marks the limit on concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if reading.refused and any(bucket.limit == 0 and bucket.remaining == 0 for bucket in reading.buckets):
        reading.concurrency = True
        reading.notes.append(
            "a limit of 0 is Okta's mark of the limit on concurrency; its reset is an estimate"
        )


OKTA = Dialect(
    name="okta",
    title="Okta",
    docs=(
        "https://developer.okta.com/docs/reference/rate-limits/",
        "https://github.com/okta/okta-developer-docs",
    ),
    hosts=("okta.com", "oktapreview.com", "okta-emea.com"),
    headers=("x-okta-*",),
    bodies=(b"E0000047",),
    read=_read,
)
