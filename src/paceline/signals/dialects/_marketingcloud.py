"""Salesforce Marketing Cloud: a 429 with an error code and no wait."""

from __future__ import annotations

from .._dialect import Dialect

MARKETINGCLOUD = Dialect(
    name="marketingcloud",
    title="Salesforce Marketing Cloud",
    docs=("https://developer.salesforce.com/docs/marketing/marketing-cloud/guide/rate-limiting-errors.html",),
    hosts=("marketingcloudapis.com", "exacttargetapis.com"),
    bodies=(b'"errorcode": 50200', b'"errorcode":50200'),
)
