"""The policy that `paceline fetch --policy` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..policies import find_preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..limits import Limit
    from ..policy import Policy

__all__ = ["preset_of"]


def preset_of(
    options: dict[str, Any],
    token: str | None,
    headers: Mapping[str, str],
    everywhere: list[Limit],
    hosts: dict[str, list[Limit]],
    patience: dict[str, Any],
    sharing: dict[str, Any],
) -> Policy:
    """The policy of --policy NAME[:TIER][@SITE]; limits that are given replace those of the preset."""
    text, at, site = options["preset"].partition("@")
    name, colon, tier = text.partition(":")
    preset = find_preset(name)
    if (at and not site.strip()) or (colon and not tier.strip()):
        raise InputError(f"--policy {options['preset']!r} breaks off; write it like hubspot:professional or shopify@your-shop.myshopify.com")
    agent = next((value for known, value in headers.items() if known.lower() == "user-agent"), "")
    if preset.contact_needed and agent.startswith("paceline/"):
        raise InputError(f"{preset.title} refuses programs that name nobody to ask: add --user-agent 'Example Co admin@example.com'")
    return preset(
        token,
        tier=tier.strip() or None,
        site=site.strip() or None,
        limits=everywhere or None,
        hosts=hosts,
        retry=preset.retry(**patience),
        scope=options["scope"],
        **sharing,
    )
