"""Bybit: what is left stands under the name of a status, and a refusal is code 10006 under 200."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._buckets import Bucket
from .._dialect import Dialect
from .._times import number

if TYPE_CHECKING:
    from .._reading import Reading

# "Too many visits", and the same for an address: docs/v5/error.
_CODES = (10006, 10018)


def _read(reading: Reading) -> None:
    if reading.object.get("retCode") in _CODES and not reading.refused:
        reading.refused = True
        reading.notes.append(f"retCode {reading.object['retCode']} is a limit's: refused")
    told = next((b for b in reading.buckets if b.name == "bapi"), None)
    if told is None:
        told = Bucket(group="bybit")
        reading.buckets.append(told)
    told.name = None
    told.limit = number(reading.header("x-bapi-limit") or "")
    told.remaining = number(reading.header("x-bapi-limit-status") or "")
    if not told.says_something():
        reading.buckets.remove(told)


BYBIT = Dialect(
    name="bybit",
    title="Bybit",
    docs=("https://bybit-exchange.github.io/docs/v5/rate-limit",),
    hosts=("api.bybit.com", "api.bytick.com"),
    headers=("x-bapi-*",),
    bodies=(b'"retCode":10006', b'"retCode": 10006'),
    read=_read,
    served_body=lambda _url: True,
)
