"""One line of OUT: how an input ended, as a JSON object (fields as the command line's reference lists them)."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Sized
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ..masking import MASK, mask_url
from .fastjson import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["charset_of", "encode"]

_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*["']?([^\s"';]{1,40})""", re.IGNORECASE)
_JSON_TYPE: Final = re.compile(r"\s*application/(?:[a-z0-9!#$&^_.+-]+\+)?json\s*(?:;|\Z)", re.IGNORECASE)
# Codecs of Python that are no charsets, or take quadratic time.
_NO_CHARSETS: Final = frozenset(
    {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
)
_MOST_NAMES: Final = 1024
_dumps: Final = orjson.dumps
_LINE: Final = orjson.OPT_APPEND_NEWLINE


class _Lower(dict[str, str]):
    """Header names in lower case: those of one server are few, and met with each of its answers."""

    def __missing__(self, name: str) -> str:
        if len(self) >= _MOST_NAMES:
            self.clear()  # servers choose names, and may never stop choosing
        lower = self[name] = name.lower()
        return lower


_LOWER: Final = _Lower()


def encode(
    *,
    identity: str | int,
    url: str,
    status: int | None,
    attempts: int,
    waited_s: float,
    elapsed_s: float,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    error: str | None = None,
    page: int | None = None,
    paging: Mapping[str, Any] | None = None,
) -> bytes:
    """Makes a record's line, newline included.

    identity: the record's `id`: the input's own, or its number. url: as the input gave it; userinfo and secret query values are masked.
    status: of the last answer, None where none came. attempts: how many were sent.
    waited_s, elapsed_s: seconds spent waiting for permits and pauses, and from the first send to the end.
    headers: of the response, as pairs; names come out in lower case, values of the same name joined by ", "
    (RFC 9110 section 5.3), the values of Set-Cookie masked.
    body: of the response: under `json`, byte for byte but for newlines between tokens, where the content type
    says JSON (RFC 8259, RFC 6839) and it is; else as `text` where it decodes by its charset (UTF-8 where none is
    named); else as `base64`. None: no body was had, and none of the three fields.
    error: why there is no final answer; the field is there only then.
    page, paging: of a list that comes page by page, the page's number and what going on after it needs (see
    `paceline.paging`); the fields are there only then.

    >>> encode(identity=1, url="https://me:pw@example.com/a", status=200, attempts=1, waited_s=0, elapsed_s=0.25,
    ...        headers=[("Content-Type", "application/json")], body=b'{"n": 1.10}')
    b'{"id":1,"url":"https://***@example.com/a","status":200,"attempts":1,"waited_s":0,"elapsed_s":0.25,\
"headers":{"content-type":"application/json"},"json":{"n": 1.10}}\\n'
    """
    pairs = headers if isinstance(headers, Sized) else list(headers)
    held = {_LOWER[name]: value for name, value in pairs}
    if len(held) != len(pairs):
        held = {}
        for name, value in pairs:
            name = name.lower()
            if name == "set-cookie":
                value = MASK
            held[name] = f"{held[name]}, {value}" if name in held else value
    elif "set-cookie" in held:
        held["set-cookie"] = MASK
    record: dict[str, Any] = {
        "id": identity,
        "url": mask_url(url),
        "status": status,
        "attempts": attempts,
        "waited_s": round(waited_s, 6),
        "elapsed_s": round(elapsed_s, 6),
        "headers": held,
    }
    if page is not None:
        record["page"] = page
        if paging is not None:
            record["paging"] = paging
    if body is not None:
        field, content = _content(body, held.get("content-type", ""))
        record[field] = content
    if error is not None:
        record["error"] = error
    try:
        return _dumps(record, option=_LINE)
    except orjson.JSONEncodeError:
        # Surrogates: bytes beyond UTF-8 in a header, kept by the client as escapes, or a charset that makes them.
        return _dumps(_clean(record), option=_LINE)


def _content(body: bytes, content_type: str) -> tuple[str, Any]:
    kind = charset_of(content_type)
    if kind is None:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            kind = "utf-8"
        else:
            # Inside strings JSON allows no newline, so each one stands between tokens.
            if b"\n" in body or b"\r" in body:
                body = body.replace(b"\n", b" ").replace(b"\r", b" ")
            return "json", orjson.Fragment(body)
    try:
        return "text", body.decode(kind)
    except (UnicodeError, ValueError):
        return "base64", base64.b64encode(body).decode("ascii")


@lru_cache(maxsize=256)
def charset_of(content_type: str) -> str | None:
    """The charset that a body of this content type is to be decoded by; None for JSON, whose bytes are kept.

    >>> charset_of("text/html; charset=latin-1"), charset_of("text/plain"), charset_of("application/json")
    ('iso8859-1', 'utf-8', None)
    """
    if _JSON_TYPE.match(content_type):
        return None
    named = _CHARSET.search(content_type)
    if named is None:
        return "utf-8"
    try:
        charset = codecs.lookup(named[1]).name
        "".encode(charset)  # raises LookupError for codecs that are no charsets (rot13, zip…)
    except (LookupError, UnicodeError, ValueError):
        return "utf-8"
    return "utf-8" if charset.replace("-", "_") in _NO_CHARSETS else charset


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape" if _escaped(value) else "replace").decode(
            "utf-8", "replace"
        )
    if isinstance(value, dict):
        return {_clean(key): _clean(content) for key, content in value.items()}
    return value


def _escaped(text: str) -> bool:
    return all(not "\ud800" <= char <= "\udfff" or "\udc80" <= char <= "\udcff" for char in text)
