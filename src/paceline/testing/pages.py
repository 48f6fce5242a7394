"""`/pages/LIST`: a list of items, given out page by page in four styles, with the faults that real servers have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from .paths import Answer, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FAULTS", "STYLES", "pages"]

STYLES: Final = ("link", "cursor", "page", "offset")
FAULTS: Final = (
    "empty", "repeated", "shrinking", "loop", "missing", "no-cursor", "not-json", "foreign", "404", "500",
)  # fmt: skip
_MOST_ITEMS: Final = 1_000_000
_MOST_ON_A_PAGE: Final = 1000


def pages(name: str, query: Mapping[str, str], times_asked: Callable[[], int]) -> Answer:
    """One page of the list `name`, whose items are `{"id": "NAME-1"}` and so on.

    style: link (the header Link names the next page), cursor (`meta.next_cursor` and `has_more`), page (numbers, with
    `meta.pages`) or offset; every style tells everything, and reads the field of its own: page, cursor, page, offset.
    total: items in all, 95. size: items on a page, 10; `limit` is another name for it. bare=1: the body is the list
    alone.
    fault, at: what goes wrong on page `at` (2): empty (no items), repeated (the page before once more), shrinking
    (a smaller total, from there on), loop (its next page is the first), missing (it says that it is the last),
    no-cursor (more, but no cursor), not-json, foreign (its next page is on another host), 404 or 500.
    times: how many answers of page `at` are faulty before all is well; without it all are.

    >>> import json
    >>> json.loads(pages("a", {"total": "3", "size": "2", "page": "2"}, lambda: 1).body)["data"]
    [{'id': 'a-3'}]
    """
    style, fault = query.get("style", "link"), query.get("fault")
    if style not in STYLES or (fault is not None and fault not in FAULTS):
        return problem(400, f"/pages/LIST?style=&fault= knows the styles {', '.join(STYLES)}; the faults {', '.join(FAULTS)}")
    try:
        total = _whole(query, "total", 95, 0, _MOST_ITEMS)
        size = _whole(query, "limit" if "limit" in query else "size", 10, 1, _MOST_ON_A_PAGE)
        begin = _begin(style, query, size)
        at = _whole(query, "at", 2, 1, _MOST_ITEMS)
        times = _whole(query, "times", _MOST_ITEMS, 0, _MOST_ITEMS)
    except ValueError as error:
        return problem(400, str(error))
    number = begin // size + 1
    onward = fault == "shrinking" and number > at and "times" not in query
    if fault is not None and (times_asked() > times or not (number == at or onward)):
        fault = None
    if fault in ("404", "500"):
        return problem(int(fault), f"page {number} fails, as asked for")
    if fault == "not-json":
        return Answer(200, b"<html>this is not JSON</html>")
    if fault == "repeated":
        begin, number = max(0, begin - size), max(1, number - 1)
    if fault == "shrinking":
        total = max(0, total - size)
    end = min(total, begin + size)
    more = end < total and fault != "missing"
    data = [] if fault == "empty" else [{"id": f"{name}-{n}"} for n in range(begin + 1, end + 1)]
    following = 0 if fault == "loop" else end
    target = f"/pages/{name}?{urlencode({**query, **_field(style, following, size)})}"
    if fault == "foreign":
        target = f"http://elsewhere.example{target}"
    told: dict[str, Any] = {"total": total, "page": number, "pages": -(-total // size)}
    if more:
        told["next"] = target
        if fault != "no-cursor":
            told["next_cursor"] = f"c{following}"
    body = data if query.get("bare") == "1" else {"data": data, "meta": told, "has_more": more}
    headers: tuple[tuple[str, str], ...] = (("X-Total-Count", str(total)),)
    if more and style == "link":
        headers += (("Link", f'<{target}>; rel="next"'),)
    return Answer(200, json.dumps(body).encode(), headers, name=f"{name}/{number}")


def _begin(style: str, query: Mapping[str, str], size: int) -> int:
    """How many items stand before the page that is asked for."""
    if style == "offset":
        return _whole(query, "offset", 0, 0, _MOST_ITEMS)
    if style == "cursor":
        cursor = query.get("cursor", "c0")
        if not (cursor[:1] == "c" and cursor[1:].isdecimal() and len(cursor) < 9):
            raise ValueError("the cursor is none of this list's")
        return int(cursor[1:])
    return (_whole(query, "page", 1, 1, _MOST_ITEMS) - 1) * size


def _field(style: str, begin: int, size: int) -> dict[str, str]:
    """The field of the query that asks for the page that begins after `begin` items."""
    if style == "cursor":
        return {"cursor": f"c{begin}"}
    if style == "offset":
        return {"offset": str(begin)}
    return {"page": str(begin // size + 1)}


def _whole(query: Mapping[str, str], name: str, otherwise: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and least <= int(text) <= most):
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return int(text)
