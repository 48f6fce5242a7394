"""Where an answer says something: a path into its JSON, or `header:NAME`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MISSING", "Decimal", "Reading", "find", "header", "is_header", "set_member", "whole"]

_INDEX: Final = re.compile(r"-?[0-9]{1,9}")
_WHOLE: Final = re.compile(r"([0-9]{1,18})(?:\.0+)?")
_HEADER: Final = "header:"


class _Missing:
    """Stands for a member that is not there."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


def is_header(place: str) -> bool:
    """Whether a place is a header, not a path."""
    return place[: len(_HEADER)].lower() == _HEADER


def find(value: Any, path: str) -> Any:
    """What stands at a path in JSON: names and list indices with dots between; MISSING where nothing does.

    A name that has dots in it is found as a whole, before it is read as several.

    >>> find({"meta": {"next": "c2"}}, "meta.next"), find({"@odata.nextLink": "u"}, "@odata.nextLink")
    ('c2', 'u')
    >>> find({"data": [{"id": 1}, {"id": 7}]}, "data.-1.id"), find({}, "a.b")
    (7, MISSING)
    """
    if isinstance(value, dict):
        if path in value:
            return value[path]
        cut = path.rfind(".")
        while cut > 0:
            if path[:cut] in value:
                return find(value[path[:cut]], path[cut + 1 :])
            cut = path.rfind(".", 0, cut)
        return MISSING
    if isinstance(value, list):
        head, dot, rest = path.partition(".")
        if _INDEX.fullmatch(head) is None or not -len(value) <= int(head) < len(value):
            return MISSING
        return find(value[int(head)], rest) if dot else value[int(head)]
    return MISSING


def set_member(value: Any, path: str, content: object) -> None:
    """Puts `content` at a path in an object, making the objects on the way.

    >>> body = {"q": 1}
    >>> set_member(body, "page.after", "c2"); body
    {'q': 1, 'page': {'after': 'c2'}}
    """
    *parents, last = path.split(".")
    for name in parents:
        inner = value.get(name)
        if not isinstance(inner, dict):
            inner = value[name] = {}
        value = inner
    value[last] = content


def header(headers: Mapping[str, str] | Iterable[tuple[str, str]], name: str) -> str | None:
    """The value of a header, in whatever case; several are joined by ", " (RFC 9110, section 5.3)."""
    pairs: Any = headers.items() if hasattr(headers, "items") else headers
    found = [value for each, value in pairs if each.lower() == name]
    return ", ".join(found) if found else None


def whole(value: Any) -> int | None:
    """A count of 0 or more as JSON or a header writes it; None where it is none.

    >>> whole(12), whole("12"), whole("12.0"), whole(True), whole(-1), whole("many")
    (12, 12, 12, None, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value < 10**18 else None
    if isinstance(value, str | float):
        found = _WHOLE.fullmatch(str(value).strip())
        return int(found[1]) if found is not None else None
    return None


class Decimal(float):
    """A number of JSON that is not whole; as text it is what was written, which a double may not give back."""

    written: str

    def __new__(cls, written: str) -> Decimal:
        number = super().__new__(cls, written)
        number.written = written
        return number

    def __str__(self) -> str:
        return self.written


class Reading:
    """One answer, read where it is asked; its body is parsed once, and only then."""

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> None:
        self._headers = headers
        self._body = body
        self._json: Any = None
        self._parsed = False

    @property
    def is_list(self) -> bool:
        """Whether the body looks like a JSON list."""
        return self._body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"["

    def json(self) -> Any:
        """The body as JSON, decimal numbers as Decimal; raises ValueError where it is none."""
        if not self._parsed:
            try:
                self._json = json.loads(self._body, parse_float=Decimal)
            except RecursionError:
                raise ValueError("nested too deeply") from None
            self._parsed = True
        return self._json

    def at(self, place: str) -> Any:
        """What stands at a place; MISSING where nothing does; raises ValueError where JSON is needed and is none."""
        if is_header(place):
            value = header(self._headers, place[len(_HEADER) :].strip().lower())
            return MISSING if value is None else value
        return find(self.json(), place)
