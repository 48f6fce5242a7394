"""Stripe: the reason of a 429 stands in a header, a wait does not; a lock on one object is a 429 as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if reading.refused and "locktimeout" in reading.facts.codes:
        reading.notes.append(
            "lock_timeout: another request holds this one object; it is no quota, so the rate need not fall"
        )


STRIPE = Dialect(
    name="stripe",
    title="Stripe",
    docs=("https://docs.stripe.com/rate-limits",),
    hosts=("api.stripe.com", "files.stripe.com"),
    headers=("stripe-rate-limited-reason",),
    bodies=(b"stripe.com/docs", b'"lock_timeout"'),
    read=_read,
)
