"""Salesforce: used/limit of rolling days in one header; one error code for a spent quota and for too much at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if reading.refused and not reading.concurrency and "requestlimitexceeded" in reading.facts.codes:
        reading.notes.append("the limit of a rolling 24 hours: it frees itself as calls grow a day old")


SALESFORCE = Dialect(
    name="salesforce",
    title="Salesforce",
    docs=(
        "https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm",
        "https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm",
    ),
    hosts=("salesforce.com", "force.com"),
    headers=("sforce-limit-info",),
    bodies=(
        b'"errorCode": "REQUEST_LIMIT_EXCEEDED"',
        b'"errorCode":"REQUEST_LIMIT_EXCEEDED"',
        b"sforce.com",
    ),
    read=_read,
)
