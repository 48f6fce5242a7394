"""Pipedrive: bursts and a budget of tokens; persistent offenders meet a page of the edge under 403."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    if reading.status == 403 and reading.body and b"Cloudflare to restrict access" in reading.body:
        reading.refused = True
        reading.notes.append("the edge has shut this client out for its rate: refused")


PIPEDRIVE = Dialect(
    name="pipedrive",
    title="Pipedrive",
    docs=("https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting",),
    hosts=("pipedrive.com",),
    bodies=(b"api.pipedrive.com",),
    read=_read,
)
