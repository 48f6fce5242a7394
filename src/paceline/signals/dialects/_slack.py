"""Slack: Retry-After in seconds, or retry_after in a webhook's body; limits are per method and workspace, not per host."""

from __future__ import annotations

from .._dialect import Dialect, path_of


def _scope(_method: str, url: str) -> str | None:
    path = path_of(url)
    return path.removeprefix("/api/").strip("/") or None if path.startswith("/api/") else None


SLACK = Dialect(
    name="slack",
    title="Slack",
    docs=("https://api.slack.com/apis/rate-limits",),
    hosts=("slack.com",),
    headers=("x-slack-*",),
    bodies=(
        b'"ok":false,"error":"ratelimited"',
        b'"ok": false, "error": "ratelimited"',
        b'"ok":false,"error":"rate_limited"',
        b'"ok": false, "error": "rate_limited"',
    ),
    scope=_scope,
    served_body=lambda url: path_of(url).startswith("/api/"),
)
