"""HubSpot: limits by the day and by the second or ten seconds; a body names the policy that refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if reading.refused and reading.object.get("policyName") == "DAILY":
        reading.notes.append(
            "the daily limit: it ends at midnight in the account's own time zone, which no response tells"
        )


HUBSPOT = Dialect(
    name="hubspot",
    title="HubSpot",
    docs=("https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines",),
    hosts=("api.hubapi.com", "api.hubspot.com"),
    headers=("x-hubspot-*",),
    bodies=(b'"policyName"',),
    read=_read,
    scope=lambda _method, url: "search" if "/search" in url.partition("?")[0] else None,
    default_wait=10.0,
)
