"""Twilio: error 20429 is a limit on concurrency; the request was never processed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if reading.refused and 20429 in reading.facts.numbers:
        reading.concurrency = True


TWILIO = Dialect(
    name="twilio",
    title="Twilio",
    docs=("https://www.twilio.com/docs/api/errors/20429",),
    hosts=("twilio.com",),
    bodies=(b"twilio.com/docs/errors",),
    read=_read,
)
