"""Okta: limits by endpoint and organisation, told by every answer."""

from __future__ import annotations

from ._preset import Preset, Source, Tier

__all__ = ["okta"]

okta = Preset(
    name="okta",
    title="Okta",
    dialect="okta",
    tiers={
        "default": Tier(["600/min"]),
        "learn": Tier([]),
    },
    sources=(Source("https://developer.okta.com/docs/reference/rl-global-mgmt/", None),),
    shares="organisation and group of endpoints",
    refused="not stated",
    credential="Authorization: SSWS {token}",
    site="your-org.okta.com",
    notes=(
        "Endpoints have different limits, and organisations may buy more: 600 a minute are a common one; learn takes what the headers say.",
        "A limit of 0 in an answer means too many at once.",
    ),
)
