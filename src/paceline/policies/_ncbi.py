"""NCBI E-utilities: three requests a second, ten with a key."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["ncbi"]

ncbi = Preset(
    name="ncbi",
    title="NCBI E-utilities",
    dialect="ncbi",
    tiers={
        "default": Tier(["3/s"]),
        "api-key": Tier(["10/s"]),
    },
    sources=(Source("https://www.ncbi.nlm.nih.gov/books/NBK25497/", None),),
    shares="the address, or the key",
    refused="going on may block the address",
    credential=None,
    hosts=("eutils.ncbi.nlm.nih.gov",),
    notes=(
        "The key goes into each URL, as api_key=…; no header takes it.",
        "Large jobs are asked to run at weekends or between 9 pm and 5 am Eastern time.",
    ),
)
