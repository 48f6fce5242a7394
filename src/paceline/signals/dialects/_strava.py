"""Strava: quarter hours and days side by side in each header, as limit and usage; there is no wait, the clock tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading

_QUARTER = 900


def _read(reading: Reading) -> None:
    if reading.refused and reading.clock.now >= 0:
        left = _QUARTER - reading.clock.now % _QUARTER
        reading.notes.append(
            f"the short window ends with the quarter hour, in {left:.0f} s; the long one at midnight UTC"
        )


STRAVA = Dialect(
    name="strava",
    title="Strava",
    docs=("https://developers.strava.com/docs/rate-limits/",),
    hosts=("www.strava.com",),
    headers=("x-ratelimit-usage", "x-readratelimit-*"),
    read=_read,
)
