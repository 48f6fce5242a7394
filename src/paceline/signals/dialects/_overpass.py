"""OpenStreetMap's Overpass: slots at once rather than a rate; its status page says in prose when the next one is free."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .._buckets import Bucket
from .._dialect import Dialect, path_of

if TYPE_CHECKING:
    from .._reading import Reading

_LIMIT: Final = re.compile(r"^Rate limit: ([0-9]{1,6})$", re.MULTILINE)
_FREE: Final = re.compile(r"^([0-9]{1,6}) slots? available now", re.MULTILINE)
_LATER: Final = re.compile(r"^Slot available after: [^\n]{1,60}, in (-?[0-9]{1,9}) seconds", re.MULTILINE)


def _read(reading: Reading) -> None:
    if not reading.body or b"Rate limit:" not in reading.body[:400]:
        return
    page = reading.body[:4096].decode("utf-8", "replace")
    limit, free, later = _LIMIT.search(page), _FREE.search(page), _LATER.findall(page)
    if limit is not None and int(limit[1]) > 0:  # 0 stands for no limit
        slots = Bucket(group="overpass")
        slots.limit, slots.remaining = int(limit[1]), int(free[1]) if free is not None else None
        reading.buckets.append(slots)
    if later and free is None:
        reading.offer(
            max(min(int(seconds) for seconds in later), 0), "the status page: the first slot to come free"
        )


OVERPASS = Dialect(
    name="overpass",
    title="OpenStreetMap Overpass",
    docs=("https://dev.overpass-api.de/overpass-doc/en/preface/commons.html",),
    hosts=("overpass-api.de", "overpass.kumi.systems"),
    bodies=(b"Slot available after", b"slots available now"),
    read=_read,
    served_body=lambda url: url is None or path_of(url).endswith("/status"),
)
