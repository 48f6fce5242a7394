"""GitHub: named resources in the headers, secondary limits that show nothing, GraphQL refusals under 200."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect, path_of

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    for bucket in reading.buckets:
        if bucket.name == "graphql":
            bucket.unit = "points"
    if reading.refused and any(
        "secondary rate limit" in message.lower() for message in reading.facts.messages
    ):
        reading.notes.append("a secondary limit: where no wait is named, GitHub asks for at least 60 s")


def _scope(_method: str, url: str) -> str | None:
    path = path_of(url).removeprefix("/api/v3")
    if path.endswith("/graphql"):
        return "graphql"
    if path.startswith("/search/code"):
        return "code_search"
    return "search" if path.startswith("/search/") else "core"


def _served_body(url: str | None) -> bool:
    return url is None or path_of(url).endswith("/graphql")


GITHUB = Dialect(
    name="github",
    title="GitHub",
    docs=(
        "https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api",
        "https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api",
    ),
    hosts=("api.github.com",),
    headers=("x-github-request-id", "x-github-media-type"),
    bodies=(b"docs.github.com/", b"secondary rate limit"),
    read=_read,
    scope=_scope,
    served_body=_served_body,
    default_wait=60.0,
)
