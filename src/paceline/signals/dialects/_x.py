"""X (Twitter): windows of fifteen minutes per endpoint, and a second bucket of the day that may be the empty one."""

from __future__ import annotations

from .._dialect import Dialect, path_of


def _scope(method: str, url: str) -> str | None:
    parts = path_of(url).split("/")
    for i, part in enumerate(parts):
        if (part.isdigit() and i > 1) or parts[i - 1] == "username":
            parts[i] = "*"
    return f"{method} {'/'.join(parts)}"


X = Dialect(
    name="x",
    title="X (Twitter)",
    docs=("https://docs.x.com/x-api/fundamentals/rate-limits",),
    hosts=("api.x.com", "api.twitter.com"),
    headers=("x-app-limit-24hour-*", "x-user-limit-24hour-*"),
    bodies=(b"Clients may not make more than",),
    scope=_scope,
)
