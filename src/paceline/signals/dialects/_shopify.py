"""Shopify: a leaky bucket as used/limit (REST), and a budget of points in the body from which the wait is computed (GraphQL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._buckets import Bucket
from .._dialect import Dialect, path_of
from .._times import amount

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    extensions = reading.object.get("extensions")
    cost = extensions.get("cost") if isinstance(extensions, dict) else None
    status = cost.get("throttleStatus") if isinstance(cost, dict) else None
    if not isinstance(cost, dict) or not isinstance(status, dict):
        return
    requested, most = amount(cost.get("requestedQueryCost")), amount(status.get("maximumAvailable"))
    available, rate = amount(status.get("currentlyAvailable")), amount(status.get("restoreRate"))
    budget = Bucket(unit="points", group="shopify")
    budget.limit = None if most is None or most < 0 else most
    budget.remaining = None if available is None else max(available, 0)
    if budget.says_something():
        reading.buckets.append(budget)
    if not reading.refused or requested is None or available is None:
        return
    if most is not None and requested > most:
        reading.terminal = True
        reading.notes.append(
            f"the query costs {requested:g} points, more than the budget ever holds: waiting will not help"
        )
    elif rate is not None and rate > 0:
        reading.offer(
            max(requested - available, 0) / rate,
            "the query's cost, the points available and their restore rate",
        )
    else:
        reading.notes.append("the restore rate is no number above 0: no wait can be computed")


def _graphql(url: str | None) -> bool:
    return url is None or path_of(url).endswith(("/graphql.json", "/graphql"))


SHOPIFY = Dialect(
    name="shopify",
    title="Shopify",
    docs=(
        "https://shopify.dev/docs/api/admin-rest/usage/rate-limits",
        "https://shopify.dev/docs/api/usage/limits",
    ),
    hosts=("myshopify.com", "shopify.com"),
    headers=("x-shopify-shop-api-call-limit", "x-shopify-api-version"),
    bodies=(b'"throttleStatus"', b"MAX_COST_EXCEEDED", b"shopify.dev"),
    read=_read,
    scope=lambda _method, url: "graphql" if _graphql(url) else "rest",
    served_body=_graphql,
)
