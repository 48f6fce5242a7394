"""How far a list has come, and the form in which that is written beside a page."""

from __future__ import annotations

import json
from hashlib import blake2s
from typing import Any, Final, NamedTuple

from ._reading import MISSING, whole

__all__ = ["MOST_NAME", "Place", "digest_of", "is_kept"]

MOST_NAME: Final = 8192


class Place(NamedTuple):
    """How far a list has come: all that going on needs.

    page: how many pages there were. next: what names the next one (a URL, a cursor, a number); None: nothing yet, or
    no more. items, total, last: items so far, and the total and the last page's number as told last. digest: of the
    last page's body. anchor: of the name of an earlier page, by which a long loop is found in constant memory (Brent's
    algorithm, https://maths-people.anu.edu.au/~brent/pub/pub051.html).
    """

    page: int = 0
    next: Any = None
    items: int = 0
    total: int | None = None
    last: int | None = None
    digest: str = ""
    anchor: str = ""


def is_kept(page: object, so_far: object) -> bool:
    """Whether these are what `Walk.keep` wrote beside a page: asked of what is read from a file."""
    if isinstance(page, bool) or not isinstance(page, int) or page < 1 or not isinstance(so_far, dict):
        return False
    name = so_far.get("next", MISSING)
    if name is MISSING or name is False or len(str(name)) > 8 * MOST_NAME:
        return False
    counts = (so_far.get(each) for each in ("items", "total", "last"))
    texts = (so_far.get(each, "") for each in ("digest", "anchor"))
    return all(one is None or whole(one) == one for one in counts) and all(
        isinstance(one, str) and len(one) <= 16 for one in texts
    )


def digest_of(name: object) -> str:
    # A number as it was written: as a double, two that differ in their last digits would look the same.
    text = str(name) if isinstance(name, str | float) else json.dumps(name)
    return blake2s(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
