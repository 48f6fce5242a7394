"""Google: refusals told by a reason in the body under 403 or 429, waits as protobuf durations; Maps refuses under 200."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect, path_of

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if reading.refused and reading.body and b"PerDay" in reading.body:
        reading.notes.append("a quota of the day is among those violated; days end at midnight Pacific time")


GOOGLE = Dialect(
    name="google",
    title="Google",
    docs=(
        "https://developers.google.com/workspace/drive/api/guides/handle-errors",
        "https://ai.google.dev/gemini-api/docs/rate-limits",
        "https://cloud.google.com/apis/design/errors",
    ),
    hosts=("googleapis.com",),
    bodies=(b"type.googleapis.com", b"RESOURCE_EXHAUSTED", b'"usageLimits"', b"OVER_QUERY_LIMIT"),
    read=_read,
    served_body=lambda url: path_of(url).startswith("/maps/api/"),
)
