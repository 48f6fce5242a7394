"""Linear: budgets of requests and of complexity with resets in epoch milliseconds; GraphQL refuses in the body."""

from __future__ import annotations

from .._dialect import Dialect

LINEAR = Dialect(
    name="linear",
    title="Linear",
    docs=("https://linear.app/developers/rate-limiting",),
    hosts=("api.linear.app",),
    headers=("x-complexity", "x-ratelimit-complexity-*", "x-ratelimit-endpoint-*"),
    served_body=lambda _url: True,
)
