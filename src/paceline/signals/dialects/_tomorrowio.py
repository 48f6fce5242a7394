"""tomorrow.io: the window is the last word of each header's name, as Kong writes it."""

from __future__ import annotations

from .._dialect import Dialect

TOMORROWIO = Dialect(
    name="tomorrowio",
    title="tomorrow.io",
    docs=("https://docs.tomorrow.io/reference/rate-limiting",),
    hosts=("api.tomorrow.io",),
)
