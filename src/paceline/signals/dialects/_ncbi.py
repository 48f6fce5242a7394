"""NCBI E-utilities: a 429 whose body holds counters as text, and no wait."""

from __future__ import annotations

from .._dialect import Dialect

NCBI = Dialect(
    name="ncbi",
    title="NCBI E-utilities",
    docs=("https://www.ncbi.nlm.nih.gov/books/NBK25497/",),
    hosts=("ncbi.nlm.nih.gov",),
    bodies=(b'"api-key"',),
)
