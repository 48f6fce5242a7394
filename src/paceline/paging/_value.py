"""How an API hands out a list page by page, as one value with a text form."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

from ..errors import InputError
from ._reading import is_header

__all__ = ["Allowed", "Paging", "Style", "cursor", "link", "offset", "page", "read_paging"]

Style = Literal["link", "cursor", "page", "offset"]
Allowed = Literal["empty", "repeated", "shrinking", "missing", "foreign"]

MAX_PAGES: Final = 10_000
_RIGHT: Final = {
    "link": "link",
    "cursor": "cursor next=meta.next_cursor param=cursor",
    "page": "page last=meta.total_pages items=data",
    "offset": "offset total=meta.total items=data",
}
_OF_STYLE: Final[dict[str, tuple[str, ...]]] = {
    "link": ("rel", "next"),
    "cursor": ("next", "param", "more"),
    "page": ("param", "first", "size", "last", "more", "end"),
    "offset": ("param", "first", "size", "more", "end"),
}
_OF_ALL: Final = ("items", "total", "max_pages", "allow")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_WHOLES: Final = {"first": (0, 10**9), "size": (1, 10**6), "max_pages": (1, 10**9), "end": (400, 499)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """How a list comes page by page; made by `link`, `cursor`, `page` and `offset`, or from text by `Paging.parse`.

    The arguments are explained there. `str` gives the text that `parse` reads, and that `paceline fetch --paginate`
    takes. Equal values are equal paginations; it pickles.

    >>> paging = Paging.parse("cursor next=meta.next_cursor param=cursor items=data")
    >>> paging == cursor(next="meta.next_cursor", param="cursor", items="data")
    True
    >>> paging
    paceline.cursor(next='meta.next_cursor', param='cursor', items='data')
    >>> str(paging)
    'cursor next=meta.next_cursor param=cursor items=data'

    Raises InputError, which names the part at fault and shows a right form.
    """

    style: Style
    next: str | None = None
    rel: str = "next"
    param: str | None = None
    first: int | None = None
    size: int | None = None
    last: str | None = None
    more: str | None = None
    end: int | None = None
    items: str | None = None
    total: str | None = None
    max_pages: int = MAX_PAGES
    allow: frozenset[Allowed] = frozenset()

    def __post_init__(self) -> None:
        if self.style not in _OF_STYLE:
            raise InputError(_no_style(str(self.style)))
        # What is the style's own anyway is not kept: equal paginations are equal values.
        if self.style != "cursor" and self.param == self.style:
            object.__setattr__(self, "param", None)
        if self.first == {"page": 1, "offset": 0}.get(self.style):
            object.__setattr__(self, "first", None)
        for name in _DEFAULTS:
            value = getattr(self, name)
            if value == _DEFAULTS[name]:
                continue
            if name not in _OF_STYLE[self.style] and name not in _OF_ALL:
                raise self._wrong(f"it has no {name}: it knows {', '.join((*_OF_STYLE[self.style], *_OF_ALL))}")
            self._check(name, value)
        if self.style == "cursor" and self.next is None:
            raise self._wrong("it needs next, where the answer names the cursor of the page after it")
        if self.style == "cursor" and self.param is None:
            raise self._wrong("it needs param, the field of the query that carries the cursor")
        if self.style == "link" and self.next is not None and self.rel != "next":
            raise self._wrong("rel is about the header Link, next about another place: give one of them")

    def _check(self, name: str, value: Any) -> None:
        if name == "allow":
            for one in sorted(map(str, value)):
                if one not in get_args(Allowed):
                    raise self._wrong(f"allow knows {', '.join(get_args(Allowed))}, not {one!r}")
        elif name in _WHOLES:
            least, most = _WHOLES[name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise self._wrong(f"{name} must be a whole number from {least:,} to {most:,}, not {value!r}")
        elif not isinstance(value, str) or not value.strip() or _CONTROL.search(value) or len(value) > 1000:
            raise self._wrong(f"{name} must be text, not {str(value)[:80]!r}")
        elif name in ("next", "last", "more", "total") and is_header(value):
            if _HEADER_NAME.fullmatch(value.partition(":")[2].strip()) is None:
                raise self._wrong(f"{name}={value[:80]!r} names no header; write it like {name}=header:X-Next")
        elif name == "items" and is_header(value):
            raise self._wrong("items stand in the body: name a path, like items=data")

    def _wrong(self, why: str) -> InputError:
        return InputError(f"cannot paginate by {self.style}: {why}; write it like: {_RIGHT[self.style]}")

    @classmethod
    def parse(cls, text: str) -> Paging:
        """Reads the text form: a style, then `name=value` pairs with spaces between, quoted as in a shell."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise InputError(f"cannot read the pagination {text[:200]!r}: {error}; write it like: link") from None
        if not words:
            raise InputError(f"the pagination is empty; write it like: link, or: {_RIGHT['cursor']}")
        style, *pairs = words
        if style not in _OF_STYLE:
            raise InputError(_no_style(style))
        known = (*_OF_STYLE[style], *_OF_ALL)
        values: dict[str, Any] = {}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f" (did you mean {near[0]}=?)" if near else ""
                what = f"has no {name[:40]!r}" if equals else f"cannot read {pair[:40]!r}, which has no '='"
                raise InputError(
                    f"the pagination {style!r} {what}{hint}; it knows {', '.join(known)}; write it like: {_RIGHT[style]}"
                )
            if name in values:
                raise InputError(f"the pagination {text[:200]!r} says {name} twice: leave one out")
            if name in _WHOLES and value.isascii() and value.isdecimal() and len(value) < 12:
                values[name] = int(value)
            else:
                values[name] = _names(value) if name == "allow" else value
        return cls(style=style, **values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        words: list[str] = [self.style]
        for name, value in self._given().items():
            words.append(f"{name}={shlex.quote(','.join(value) if name == 'allow' else str(value))}")
        return " ".join(words)

    def __repr__(self) -> str:
        return f"paceline.{self.style}({', '.join(f'{name}={value!r}' for name, value in self._given().items())})"

    def _given(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in _DEFAULTS if getattr(self, name) != _DEFAULTS[name]}
        if "allow" in given:
            given["allow"] = tuple(sorted(given["allow"]))
        return given

    @property
    def address(self) -> str:
        """The text form without what only says what is tolerated: two with the same address walk the same pages."""
        return str(Paging(**{each.name: getattr(self, each.name) for each in fields(self) if each.name not in _TOLERANCE}))

    @property
    def field(self) -> str:
        """What carries the next page's name in a request: a field of the query, or `json:PATH` in the body."""
        return self.param or self.style


_TOLERANCE: Final = ("max_pages", "allow", "end")
_DEFAULTS: Final[dict[str, Any]] = {each.name: each.default for each in fields(Paging) if each.name != "style"}


def _no_style(style: str) -> str:
    return f"there is no pagination {style[:40]!r}; there are {', '.join(_OF_STYLE)}; write it like: {_RIGHT['cursor']}"


def _names(allow: object) -> Any:
    if isinstance(allow, str):
        return frozenset(one.strip() for one in allow.split(","))
    if not isinstance(allow, Iterable):
        raise InputError(f"allow is {allow!r}, not names; write it like allow=['empty']")
    return frozenset(allow)


def read_paging(paginate: object) -> Paging | None:
    """A pagination from its text, or as it is; None where there is none. Raises InputError.

    >>> read_paging("link")
    paceline.link()
    """
    if paginate is None or isinstance(paginate, Paging):
        return paginate
    if isinstance(paginate, str):
        return Paging.parse(paginate)
    if callable(paginate):
        name = getattr(paginate, "__name__", "link")
        raise InputError(f"paginate is a function; call it, like paginate=paceline.{name}(…)")
    raise InputError(f"paginate is of the type {type(paginate).__name__}; write it like paginate='link'")


def link(
    *,
    rel: str = "next",
    next: str | None = None,  # noqa: A002
    items: str | None = None,
    total: str | None = None,
    max_pages: int = MAX_PAGES,
    allow: Iterable[Allowed] = (),
) -> Paging:
    """The answer names the URL of the next page: in the header Link (RFC 8288), or in `next`; none is the end.

    rel: the relation in the header Link. next: instead of it, the place of the URL: a path into the JSON body
    (`links.next`, `@odata.nextLink`), or `header:NAME`.
    items: the path of the list in the body, to notice an empty page; without it, the body where that is a list.
    total: the place of the number of all items, to notice that some are missing. max_pages: more are an error.
    allow: what else is an error and is to be taken as it comes: `empty` pages in the middle, a page `repeated`,
    a `shrinking` total, items `missing` at the end, a next page on a `foreign` host.

    Raises InputError. See RFC 8288; https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api

    >>> str(link(next="@odata.nextLink", items="value"))
    'link next=@odata.nextLink items=value'
    """
    return Paging(style="link", rel=rel, next=next, items=items, total=total, max_pages=max_pages, allow=_names(allow))


def cursor(
    *,
    next: str,  # noqa: A002
    param: str,
    more: str | None = None,
    items: str | None = None,
    total: str | None = None,
    max_pages: int = MAX_PAGES,
    allow: Iterable[Allowed] = (),
) -> Paging:
    """The answer names a cursor, which the next request carries; no cursor, null or empty text is the end.

    next: the place of the cursor: a path into the JSON body (`meta.next_cursor`, `data.-1.id`), or `header:NAME`.
    param: the field of the query that carries it; `json:PATH` for a member of a JSON body.
    more: the place of true or false, which then decides: true without a cursor is an error.
    items, total, max_pages, allow: as for `link`. Raises InputError.

    >>> str(cursor(next="data.-1.id", param="starting_after", more="has_more", items="data"))
    'cursor next=data.-1.id param=starting_after more=has_more items=data'
    """
    return Paging(
        style="cursor", next=next, param=param, more=more, items=items, total=total, max_pages=max_pages,
        allow=_names(allow),
    )  # fmt: skip


def page(
    *,
    param: str = "page",
    first: int = 1,
    size: int | None = None,
    last: str | None = None,
    more: str | None = None,
    end: int | None = None,
    items: str | None = None,
    total: str | None = None,
    max_pages: int = MAX_PAGES,
    allow: Iterable[Allowed] = (),
) -> Paging:
    """Pages have numbers, which the request carries.

    param: the field of the query that carries the number (`json:PATH`: a member of a JSON body). The input itself is
    the first page; first: its number, where it names none.
    What ends it, the first of these that is given: last, the place of the last page's number (`meta.total_pages`,
    `header:X-Total-Pages`); more, the place of true or false; total, the place of the number of all items; size, how
    many items a page has: a page with fewer is the last. Without any, the first empty page is.
    end: a status that says that there is no such page, such as 404.
    items, max_pages, allow: as for `link`. Raises InputError.

    >>> str(page(last="header:X-Total-Pages", items="data"))
    'page last=header:X-Total-Pages items=data'
    """
    return Paging(
        style="page", param=param, first=first, size=size,
        last=last, more=more, end=end, items=items, total=total, max_pages=max_pages, allow=_names(allow),
    )  # fmt: skip


def offset(
    *,
    param: str = "offset",
    first: int = 0,
    size: int | None = None,
    more: str | None = None,
    end: int | None = None,
    items: str | None = None,
    total: str | None = None,
    max_pages: int = MAX_PAGES,
    allow: Iterable[Allowed] = (),
) -> Paging:
    """The request carries how many items come before the page; each page moves it on by the items it had.

    param: the field of the query that carries the offset (`json:PATH`: a member of a JSON body). The input itself is
    the first page; first: its offset, where it names none.
    What ends it, the first of these that is given: more, the place of true or false; total, the place of the number of
    all items; size, how many items a page has: a page with fewer is the last. Without any, the first empty page is.
    end, items, max_pages, allow: as for `page`. Raises InputError.

    >>> str(offset(param="start", total="total", items="values"))
    'offset param=start items=values total=total'
    """
    return Paging(
        style="offset", param=param, first=first, size=size,
        more=more, end=end, items=items, total=total, max_pages=max_pages, allow=_names(allow),
    )  # fmt: skip
