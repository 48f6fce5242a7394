"""Notion: Retry-After in seconds; the body tells the workspace's limit from the connection's."""

from __future__ import annotations

from .._dialect import Dialect

NOTION = Dialect(
    name="notion",
    title="Notion",
    docs=("https://developers.notion.com/reference/request-limits",),
    hosts=("api.notion.com",),
    bodies=(b'"object": "error", "status"', b'"object":"error","status"'),
)
