"""Binance: the weight used so far, by window; whoever goes on after a 429 is banned with 418, for up to three days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._dialect import Dialect, find_host

if TYPE_CHECKING:
    from .._reading import Reading

_HOSTS = ("binance.com", "binance.us", "binance.vision")


def _read(reading: Reading) -> None:
    if reading.status == 418:
        reading.refused = True
        reading.notes.append(
            "418: this address is banned for going on after refusals; requests now lengthen the ban"
        )
    elif reading.status == 403 and find_host(reading.url).endswith(_HOSTS):
        reading.refused = True
        reading.notes.append("403: the limit of the web application firewall was violated")


BINANCE = Dialect(
    name="binance",
    title="Binance",
    docs=("https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits",),
    hosts=_HOSTS,
    headers=("x-mbx-*", "x-sapi-*"),
    bodies=(b'"code": -1003', b'"code":-1003'),
    read=_read,
)
