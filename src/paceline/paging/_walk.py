"""A list's pages, one after another, sans I/O: what to ask for next, and whether an answer is the middle or the end.

The rule: a list ends only where its own words say so. Whatever else comes in the middle (an empty page, the same page
once more, fewer items than were promised) is an error, so that no list is ever cut short in silence.
"""

from __future__ import annotations

import json
from hashlib import blake2s
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote_plus, urlsplit

from ..errors import PageError
from ..masking import mask_url
from ._kept import kept, restored
from ._links import target_of
from ._place import MOST_NAME, Place, digest_of
from ._reading import MISSING, Reading, header, set_member, whole
from ._urls import joined, origin, with_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._value import Allowed, Paging

__all__ = ["Ask", "Walk"]

_REMEMBERED: Final = 1024
_SHOWN: Final = 200
_BODY_FIELD: Final = "json:"
_URL_SAFE: Final = "".join(map(chr, range(0x21, 0x7F)))
_FLAGS: Final[dict[Any, bool]] = {"true": True, "false": False, "1": True, "0": False}


class Ask(NamedTuple):
    """What to ask for: where, and with which body."""

    url: str
    body: bytes | None
    foreign: bool


class Walk:
    """One list, page by page; it is told of each answer and tells what to ask next.

    paging: how the list comes. url: the input's, which is its first page. body: the input's.
    so_far: what `keep` said after page number `page` in an earlier run.

    place: how far it has come. behind: pages up to this one were had before; they are walked again where what named
    the page after them was not kept, and are not to be given out.

    >>> from paceline.paging import link
    >>> walk = Walk(link(), "https://api.example.com/items")
    >>> walk.turn(200, {"Link": '</items?page=2>; rel="next"'}, b"[1]", walk.ask.url), walk.ask.url
    (True, 'https://api.example.com/items?page=2')
    >>> walk.turn(200, {}, b"[2]", walk.ask.url), walk.place.items
    (False, 2)
    """

    __slots__ = ("_origin", "_seen", "ask", "behind", "body", "home", "paging", "place", "start")

    def __init__(
        self, paging: Paging, url: str, body: bytes | None = None, page: int = 0, so_far: Mapping[str, Any] | None = None
    ) -> None:
        self.paging = paging
        self.home = url.partition("#")[0]
        self.body = body
        self.behind = 0
        self.place = Place()
        self._origin = origin(self.home)
        self._seen: dict[str, None] = {digest_of(self.home): None} if paging.style == "link" else {}
        self.start = self._number_of_the_first()
        self.ask = Ask(self.home, body, False)
        if so_far is not None:
            self._go_on(page, so_far)

    def _go_on(self, page: int, so_far: Mapping[str, Any]) -> None:
        name = so_far["next"]
        if self.paging.style == "link" and isinstance(name, str):
            name = restored(name, self.home)
        elif isinstance(name, dict):
            name = _parsed(name.get("json"))
        try:
            if not self._fits(name):
                raise ValueError(f"{name!r} names no page of this list")
            self.ask = self._ask(name)
        except (ValueError, PageError):
            # Not written down, or not by us: the way there is walked again.
            self.behind = page
            return
        self.place = Place(
            page, name, so_far.get("items", 0), so_far.get("total"), so_far.get("last"),
            so_far.get("digest", ""), so_far.get("anchor", ""),
        )  # fmt: skip
        self._seen[digest_of(name)] = None

    def _fits(self, name: object) -> bool:
        """Whether what was kept can name a page of this list."""
        if self.paging.style == "link":
            return isinstance(name, str) and (origin(name) == self._origin or "foreign" in self.paging.allow)
        if name is None or isinstance(name, bool):
            return False
        return self.paging.style == "cursor" or isinstance(name, int)

    @property
    def fresh(self) -> bool:
        """Whether the page just turned was not given out by an earlier run."""
        return self.place.page > self.behind

    def keep(self) -> dict[str, Any]:
        """What is to be written beside the page just turned, so that a later run can go on: small JSON, no secrets.

        `next` is null after the last page; true where the next page's URL holds a secret that is not the input's own:
        it is not written down, and going on walks there again.
        """
        place = self.place
        name = place.next
        if self.paging.style == "link" and name is not None:
            name = kept(name, self.home) or True
        elif isinstance(name, float):
            name = str(name)
        elif isinstance(name, dict | list) or (isinstance(name, int) and abs(name) >= 1 << 63):
            name = {"json": json.dumps(name, ensure_ascii=False)}
        told = {"items": place.items, "total": place.total, "last": place.last}
        found = {"next": name, **{each: value for each, value in told.items() if value is not None}}
        if place.next is not None:
            found |= {each: value for each, value in (("digest", place.digest), ("anchor", place.anchor)) if value}
        return found

    def turn(
        self, status: int, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes, url: str
    ) -> bool:
        """Takes in the answer to `ask`: True where another page follows, which `ask` then names; False at the end.

        url: the answer's own, after redirects. Raises PageError for what is neither; nothing is taken in then.
        """
        before = self.place
        number = before.page + 1
        if 200 <= status < 300:
            after = self._read(Reading(headers, body), headers, body, url, status)
        elif (number == 1 and not self.behind) or status == self.paging.end:
            after = before._replace(page=number, next=None)
            if number > 1:
                self._check_end(after)
        else:
            raise self.wrong(f"status {status} in the middle", f"page {before.page:,} was served")
        if after.next is None and 0 < number <= self.behind:
            raise self.wrong("missing items at the end", f"it is the last, and in an earlier run more than {self.behind:,} pages were promised")
        if after.next is not None:
            self.ask = self._ask(after.next)
            if self.paging.style in ("link", "cursor"):
                name = digest_of(after.next)
                self._seen[name] = None
                if len(self._seen) > _REMEMBERED:
                    del self._seen[next(iter(self._seen))]
                if number & (number - 1) == 0:
                    after = after._replace(anchor=name)
        self.place = after
        return after.next is not None

    def wrong(self, reason: str, detail: str) -> PageError:
        """The error for the page that was asked for."""
        url = mask_url(self.home)
        return PageError(
            url if len(url) <= _SHOWN else f"{url[: _SHOWN - 1]}…", max(self.place.page, self.behind) + 1, reason, detail
        )

    # ---- one answer -------------------------------------------------------------------------------

    def _read(self, reading: Reading, headers: Any, body: bytes, url: str, status: int) -> Place:
        paging, before = self.paging, self.place
        digest = blake2s(body, digest_size=8).hexdigest() if body else ""
        if digest and digest == before.digest:
            self._forbid("repeated", "a repeated page", f"its body is that of page {before.page:,}")
        try:
            count = 0 if status == 204 or not body else self._count(reading)
            total = self._told(reading, "total", before.total) if body or status != 204 else before.total
            items = before.items + (count or 0)
            if total is not None and count is not None and self._skipped + items > total:
                came = self._skipped + items
                self._forbid("shrinking", "a total that shrinks", f"{came:,} items have come, and the total is {total:,}")
            last = before.last
            if paging.last is not None and (body or status != 204):
                last = self._told(reading, "last", before.last)
            so_far = before._replace(page=before.page + 1, next=None, items=items, total=total, last=last, digest=digest)
            name = self._next(reading, headers, url, so_far, count, empty=status == 204 and not body)
        except ValueError as error:
            raise self.wrong("no JSON", f"its body is not the JSON that is needed to find the next page ({str(error)[:100]})") from None
        if name is None:
            self._check_end(so_far)
            return so_far
        if count == 0:
            self._forbid("empty", "an empty page in the middle", f"it has no items, and yet {self._promise(so_far)}")
        if so_far.page >= paging.max_pages:
            raise self.wrong(
                "too many pages", f"it is not the last, and max_pages is {paging.max_pages:,}: say max_pages={paging.max_pages * 10}"
            )
        self._check_loop(name)
        return so_far._replace(next=name)

    def _count(self, reading: Reading) -> int | None:
        """How many items the page has; None where that cannot be known."""
        paging = self.paging
        if paging.items is None:
            try:
                found = reading.json() if reading.is_list else None
            except ValueError:
                found = None  # what is no JSON cannot be counted, and need not be where other words tell of the end
            return len(found) if isinstance(found, list) else None
        found = reading.at(paging.items)
        if isinstance(found, list | dict):
            return len(found)
        if found is None or (found is MISSING and ("empty" in paging.allow or self.place.items)):
            return 0
        raise self.wrong("no list of items", f"there is no list at items={paging.items}")

    def _told(self, reading: Reading, what: str, before: int | None) -> int | None:
        """The total, or the last page's number, where the answer tells it."""
        place = getattr(self.paging, what)
        if place is None:
            return before
        value = reading.at(place)
        if value is MISSING or value is None or value == "":
            return before
        told = whole(value)
        if told is None:
            raise self.wrong("no number", f"what stands at {what}={place} is no whole number")
        if before is not None and told < before:
            self._forbid("shrinking", "a total that shrinks", f"what stands at {what}={place} fell from {before:,} to {told:,}")
        return told

    def _next(
        self, reading: Reading, headers: Any, url: str, so_far: Place, count: int | None, *, empty: bool
    ) -> Any:
        """What names the next page; None at the end."""
        paging = self.paging
        if paging.style == "link":
            target = self._link(reading, headers, empty=empty)
            return None if target is None else self._checked(joined(url, target), target)
        if paging.style == "cursor":
            return None if empty else self._cursor(reading)
        current = self.start if not self.place.page else self.place.next
        if not self._more(reading, so_far, current, count, empty=empty):
            return None
        if paging.style == "page":
            return current + 1
        if count is None:
            raise self._no_count()
        return current + count

    def _link(self, reading: Reading, headers: Any, *, empty: bool) -> str | None:
        paging = self.paging
        if paging.next is None:
            found = target_of(header(headers, "link") or "", paging.rel)
            if len(found) > 1:
                raise self.wrong("a next page that cannot be asked", f"its header Link names {len(found)} different ones")
            return found[0] if found else None
        target = MISSING if empty else reading.at(paging.next)
        if target is MISSING or target is None or target == "" or target is False:
            return None
        if not isinstance(target, str):
            raise self.wrong("a next page that cannot be asked", f"what stands at next={paging.next} is no URL")
        return target

    def _checked(self, url: str | None, target: str) -> str:
        """The next page's URL, whole and fit to be asked for."""
        what = "a next page that cannot be asked"
        if url is None or len(url) > MOST_NAME:
            raise self.wrong(what, f"it is named {mask_url(target)[:80]!r}, which is no URL that can be asked")
        if not url.isascii():
            url = quote(url, safe=_URL_SAFE)
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
            place = origin(url)
        except ValueError:
            usable = None
        if not usable or any(char <= " " or char == "\x7f" for char in url):
            raise self.wrong(what, f"it is named {mask_url(target)[:80]!r}, which is no URL that can be asked")
        if place != self._origin:
            named = f"{parts.scheme}://{parts.netloc}"
            self._forbid(
                "foreign", "a next page on another host", f"it is at {named[:100]}, which must not see what is meant for this one"
            )
        return url

    def _cursor(self, reading: Reading) -> Any:
        paging = self.paging
        assert paging.next is not None
        name = reading.at(paging.next)
        none = name is MISSING or name is None or name == "" or name is False
        if paging.more is not None:
            if not self._flag(reading):
                return None
            if none:
                raise self.wrong("no cursor", f"{paging.more} says that there is more, and there is none at {paging.next}")
        if none:
            return None
        into_body = paging.field.startswith(_BODY_FIELD)
        if name is True or (not into_body and not isinstance(name, str | int | float)) or len(str(name)) > MOST_NAME:
            raise self.wrong("no cursor", f"what stands at {paging.next} is neither text nor a number")
        return name

    def _flag(self, reading: Reading) -> bool:
        place = self.paging.more
        assert place is not None
        value = reading.at(place)
        flag = value if isinstance(value, bool) else _FLAGS.get(str(value).lower())
        if flag is None:
            raise self.wrong("no sign of the end", f"there is neither true nor false at more={place}")
        return flag

    def _more(self, reading: Reading, so_far: Place, current: int, count: int | None, *, empty: bool) -> bool:
        """Whether numbers go on: by the best word there is."""
        paging = self.paging
        if paging.last is not None:
            if so_far.last is None:
                raise self.wrong("no sign of the end", f"there is no number at last={paging.last}")
            return current < so_far.last
        if paging.more is not None:
            return not empty and self._flag(reading)
        if count is None:
            raise self._no_count()
        if so_far.total is not None:
            return self._skipped + so_far.items < so_far.total
        return count >= paging.size if paging.size is not None else count > 0

    def _no_count(self) -> PageError:
        return self.wrong("no list of items", "its body is no list: say where the items are, like items=data")

    # ---- what is an error --------------------------------------------------------------------------

    def _forbid(self, what: Allowed, reason: str, detail: str) -> None:
        if what not in self.paging.allow:
            raise self.wrong(reason, f"{detail} (allow={what} takes it as it comes)")

    def _check_end(self, after: Place) -> None:
        came = self._skipped + after.items
        if after.total is not None and came < after.total:
            self._forbid("missing", "missing items at the end", f"{came:,} items have come, and the total is {after.total:,}")

    def _check_loop(self, name: Any) -> None:
        if self.paging.style in ("link", "cursor"):
            digest = digest_of(name)
            if digest not in self._seen and digest != self.place.anchor:
                return
        elif name != (self.place.next if self.place.page else self.start):
            return
        raise self.wrong("a loop of pages", "the page after it was asked for before")

    def _promise(self, so_far: Place) -> str:
        if so_far.total is not None:
            return f"{self._skipped + so_far.items:,} of {so_far.total:,} have come"
        return "another page follows"

    # ---- what is asked for -------------------------------------------------------------------------

    @property
    def _skipped(self) -> int:
        """Items before the first page, where the input begins in the middle."""
        if self.paging.style == "offset":
            return self.start
        if self.paging.style == "page" and self.paging.size is not None:
            first = 1 if self.paging.first is None else self.paging.first
            return max(0, self.start - first) * self.paging.size
        return 0

    def _number_of_the_first(self) -> int:
        """The number, or the offset, that the input itself asks for."""
        paging = self.paging
        first = paging.first if paging.first is not None else int(paging.style == "page")
        name = paging.field
        if name.startswith(_BODY_FIELD):
            try:
                found = whole(Reading((), self.body or b"").at(name[len(_BODY_FIELD) :]))
            except ValueError:
                found = None
            return first if found is None else found
        for part in self.home.partition("?")[2].split("&"):
            each, _, value = part.partition("=")
            if unquote_plus(each) == name:
                found = whole(unquote_plus(value))
                return first if found is None else found
        return first

    def _ask(self, name: Any) -> Ask:
        """How to ask for the page of this name."""
        paging = self.paging
        if paging.style == "link":
            return Ask(name, self.body, origin(name) != self._origin)
        field = paging.field
        if not field.startswith(_BODY_FIELD):
            return Ask(with_field(self.home, field, str(name)), self.body, False)
        try:
            content = json.loads(self.body or b"")
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise self.wrong("a next page that cannot be asked", f"{field} needs an input whose body is a JSON object")
        set_member(content, field[len(_BODY_FIELD) :], name)
        return Ask(self.home, json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"), False)


def _parsed(text: object) -> Any:
    """What JSON text says; None where it is none."""
    try:
        return Reading((), text.encode()).json() if isinstance(text, str) else None
    except ValueError:
        return None
