"""SEC EDGAR: a page that speaks of the request rate, under 403 or 429; requests during the block may extend it."""

from __future__ import annotations

from .._dialect import Dialect

SEC = Dialect(
    name="sec",
    title="SEC EDGAR",
    docs=("https://www.sec.gov/os/accessing-edgar-data",),
    hosts=("sec.gov",),
    bodies=(b"Request Rate Threshold Exceeded",),
    default_wait=600.0,
)
