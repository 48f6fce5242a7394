"""What the test server's paths answer, once a request is let in; each a function of the path and its query."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlencode

from .bodies import Filler, Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .bodies import Body
    from .wording import Headers

__all__ = ["Answer", "Filler", "answer", "item", "problem"]

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
_MOST_BYTES: Final = 1 << 30
_MOST_SECONDS: Final = 3600.0
_MOST_HOPS: Final = 1000
_MOST_LINES: Final = 1_000_000
_INLINE: Final = 16_384


@dataclass(slots=True)
class Answer:
    """Status, headers besides the framing, body; `declared`: a Content-Length that is a lie; `name`: what was served."""

    status: int
    body: bytes | Body
    headers: Headers = ()
    content_type: str = JSON
    declared: int | None = None
    name: str | None = None


def item(name: str, query: str) -> Answer:
    """`/items/ID?bytes=N`: a JSON object with the id, padded to N bytes where asked.

    >>> item("17", "").body
    b'{"id":"17"}'
    """
    text = f'"{name}"' if name.isalnum() and name.isascii() else json.dumps(unquote(name))
    if not query:
        return Answer(200, f'{{"id":{text}}}'.encode())
    before, after = f'{{"id":{text},"pad":"'.encode(), b'"}'
    asked = _query(query).get("bytes")
    if asked is None:
        return Answer(200, f'{{"id":{text}}}'.encode())
    size = max(0, _whole(asked, _MOST_BYTES, 0) - len(before) - len(after))
    if size <= _INLINE:
        return Answer(200, before + b"x" * size + after)
    return Answer(200, Filler(before, size, after))


def problem(status: int, message: str, headers: Headers = ()) -> Answer:
    """An error in JSON."""
    return Answer(status, json.dumps({"error": message}).encode(), headers)


def answer(path: str, query: str, times_asked: Callable[[], int]) -> Answer:
    """What a path besides `/items/` answers; `times_asked` counts this request and tells how many came like it.

    >>> answer("/status/404", "", lambda: 1).status, answer("/nowhere", "", lambda: 1).status
    (404, 404)
    """
    name, _, rest = path[1:].partition("/")
    make = _PATHS.get(name)
    if make is None:
        return problem(
            404,
            f"there is no path {path[:80]}; there are /items/ID, {', '.join('/' + each for each in _PATHS)}, /free",
        )
    return make(rest, _query(query), times_asked)


def _status(rest: str, query: Mapping[str, str], times_asked: Callable[[], int]) -> Answer:
    status = _whole(rest, 599, 0)
    if not 200 <= status <= 599:
        return problem(400, "/status/N wants a status from 200 to 599")
    limit = _whole(query.get("n", ""), 10**9, 0) if "n" in query else None
    if limit is not None and times_asked() > limit:
        return Answer(200, b'{"status":200}')
    headers = tuple(
        (name, _plain(query[key]))
        for key, name in (("retry_after", "Retry-After"), ("location", "Location"))
        if key in query
    )
    body = b"" if status in (204, 304) else json.dumps({"status": status}).encode()
    return Answer(status, body, headers)


def _redirect(rest: str, query: Mapping[str, str], _: Callable[[], int]) -> Answer:
    status = _whole(query.get("status", "302"), 399, 302)
    tail = f"?{urlencode(query)}" if query else ""
    if rest == "loop":
        return Answer(status, b"{}", (("Location", f"/redirect/loop{tail}"),))
    hops = _whole(rest, _MOST_HOPS, -1)
    if hops < 0:
        return problem(400, f"/redirect/N wants a number up to {_MOST_HOPS}, or loop")
    if hops == 0:
        return Answer(200, b'{"redirected":true}')
    if hops == 1 and "to" in query:
        return Answer(status, b"{}", (("Location", _plain(query["to"])),))
    return Answer(status, b"{}", (("Location", f"/redirect/{hops - 1}{tail}"),))


def _drip(_: str, query: Mapping[str, str], __: Callable[[], int]) -> Answer:
    seconds = _number(query.get("duration", "2"), _MOST_SECONDS, 2.0)
    return Answer(200, Filler(b"", _whole(query.get("bytes", "10"), _MOST_BYTES, 10), b"", seconds), (), TEXT)


def _stream(rest: str, query: Mapping[str, str], _: Callable[[], int]) -> Answer:
    count = _whole(rest, _MOST_LINES, -1)
    if count < 0:
        return problem(400, f"/stream/N wants a number of lines up to {_MOST_LINES}")
    seconds = _number(query.get("seconds", "0"), _MOST_SECONDS, 0.0)
    return Answer(200, Lines(count, seconds), (), "application/jsonl")


def _lie(_: str, query: Mapping[str, str], __: Callable[[], int]) -> Answer:
    sent = _whole(query.get("sent", "50"), 1 << 20, 50)
    return Answer(200, b"x" * sent, (), TEXT, declared=_whole(query.get("declared", "100"), _MOST_BYTES, 100))


def _gzip(_: str, query: Mapping[str, str], __: Callable[[], int]) -> Answer:
    # mtime fixed: the same request has the same answer.
    body = gzip.compress(
        b'{"gzipped":true,"pad":"%s"}' % (b"x" * _whole(query.get("bytes", "100"), 1 << 24, 100)), mtime=0
    )
    return Answer(200, body, (("Content-Encoding", "gzip"),))


def _unauthorized(_: str, __: Mapping[str, str], ___: Callable[[], int]) -> Answer:
    return problem(401, "no, whatever the token", (("WWW-Authenticate", "Bearer"),))


def _json_lie(_: str, __: Mapping[str, str], ___: Callable[[], int]) -> Answer:
    return Answer(200, b"<html>this is not JSON</html>")


def _big(_: str, query: Mapping[str, str], __: Callable[[], int]) -> Answer:
    return Answer(200, Filler(b"", _whole(query.get("bytes", "1048576"), _MOST_BYTES, 1 << 20)), (), TEXT)


def _pages(rest: str, query: Mapping[str, str], times_asked: Callable[[], int]) -> Answer:
    from .pages import pages  # it builds on this module

    return pages(rest, query, times_asked)


_PATHS: Final[dict[str, Callable[[str, Mapping[str, str], Callable[[], int]], Answer]]] = {
    "status": _status,
    "redirect": _redirect,
    "drip": _drip,
    "stream": _stream,
    "lie": _lie,
    "gzip": _gzip,
    "unauthorized": _unauthorized,
    "json-lie": _json_lie,
    "big": _big,
    "pages": _pages,
}


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        return {}


def _whole(text: str, most: int, otherwise: int) -> int:
    return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) <= 12 else otherwise


def _number(text: str, most: float, otherwise: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return min(value, most) if math.isfinite(value) and value >= 0 else otherwise


def _plain(text: str) -> str:
    """Text fit for a header: no line ends, nothing beyond printable ASCII."""
    return "".join(character for character in text[:2000] if " " <= character <= "~")
