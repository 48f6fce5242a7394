"""SEC EDGAR: ten requests a second; who exceeds it is blocked for ten minutes."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["sec"]

sec = Preset(
    name="sec",
    title="SEC EDGAR",
    dialect="sec",
    tiers={
        "default": Tier(["10/s"]),
    },
    sources=(Source("https://www.sec.gov/os/accessing-edgar-data", None),),
    shares="the address",
    refused="the address is blocked for about ten minutes, longer while requests go on",
    credential=None,
    hosts=("sec.gov",),
    contact="{contact}",
    contact_needed=True,
    notes=("Undeclared programs are refused: contact='Example Co admin@example.com'.",),
)
