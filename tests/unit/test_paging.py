"""Pagination as a value, as text, and each rule of a walk: what is the middle, what the end, what an error."""

from __future__ import annotations

import asyncio
import json
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import paceline
from paceline import InputError, PageError, Paging, cursor, link, offset, page
from paceline.paging import Walk, is_kept, read_paging
from paceline.paging._kept import kept, restored
from paceline.paging._links import links, target_of
from paceline.paging._reading import MISSING, find, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOME = "https://api.example.com/v1/items"
CURSOR = cursor(next="next", param="after", items="data")


def turn(walk: Walk, body: Any = None, headers: Mapping[str, str] | None = None, status: int = 200) -> bool:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return walk.turn(status, headers or {}, raw, walk.ask.url)


def broken(walk: Walk, body: Any = None, headers: Mapping[str, str] | None = None, status: int = 200) -> str:
    """The reason for which this answer is an error; the walk stays where it is."""
    before = (walk.place, walk.ask)
    with pytest.raises(PageError) as caught:
        turn(walk, body, headers, status)
    assert (walk.place, walk.ask) == before
    assert caught.value.page == walk.place.page + 1
    assert str(caught.value).startswith(f"page {caught.value.page} of {caught.value.url}: {caught.value.reason}: ")
    return caught.value.reason


def next_link(target: str) -> dict[str, str]:
    return {"Link": f'<{target}>; rel="next"'}


# ---- the value ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("link", link()),
        ("link rel=following max_pages=5", link(rel="following", max_pages=5)),
        ("link next=@odata.nextLink items=value", link(next="@odata.nextLink", items="value")),
        ("cursor next=header:X-Next param=json:page.after", cursor(next="header:X-Next", param="json:page.after")),
        ("cursor next=a param=b more=c allow=empty,missing", cursor(next="a", param="b", more="c", allow=["missing", "empty"])),
        ("page", page(param="page", first=1)),
        ("page param=p first=0 size=50 end=404", page(param="p", first=0, size=50, end=404)),
        ("page last=header:X-Total-Pages", page(last="header:X-Total-Pages")),
        ("offset param=start items=values total=total", offset(param="start", total="total", items="values")),
        ("link next='a key with spaces'", link(next="a key with spaces")),
    ],
)
def test_text_and_value_are_the_same(text: str, value: Paging) -> None:
    """A pagination reads from its text, writes it, evaluates from its repr, pickles and hashes."""
    assert Paging.parse(text) == value
    assert str(value) == text
    assert eval(repr(value), {"paceline": paceline}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(Paging.parse(text)) == hash(value)
    assert read_paging(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the pagination is empty"),
        ("links", "there is no pagination 'links'; there are link, cursor, page, offset"),
        ("cursor", "it needs next"),
        ("cursor next=a", "it needs param"),
        ("cursor nxt=a param=b", "has no 'nxt' (did you mean next=?)"),
        ("cursor next=a param", "cannot read 'param', which has no '='"),
        ("link items=a items=b", "says items twice"),
        ("link last=a", "has no 'last'"),
        ("link next=a rel=b", "give one of them"),
        ("page size=none", "size must be a whole number from 1 to 1,000,000, not 'none'"),
        ("page size=0", "size must be a whole number"),
        ("page end=200", "end must be a whole number from 400 to 499"),
        ("page items=header:X", "items stand in the body"),
        ("link next=header:", "names no header"),
        ("link allow=everything", "allow knows empty, repeated, shrinking, missing, foreign, not 'everything'"),
        ("link next='a", "No closing quotation"),
        ("link next=", "next must be text"),
    ],
)
def test_a_wrong_text_is_told_precisely(text: str, said: str) -> None:
    """The message names what is wrong and shows a right form."""
    with pytest.raises(InputError, match=r"write it like|leave one out") as caught:
        Paging.parse(text)
    assert said in str(caught.value)


def test_what_is_no_pagination_is_told() -> None:
    """A function that was not called, a number, a style that is none: each has its message."""
    with pytest.raises(InputError, match=r"paginate is a function; call it, like paginate=paceline\.cursor"):
        read_paging(paceline.cursor)
    with pytest.raises(InputError, match="of the type int"):
        read_paging(7)
    with pytest.raises(InputError, match=r"it has no next"):
        Paging(style="page", next="x")
    with pytest.raises(InputError, match="there is no pagination"):
        Paging(style="pages")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not names"):
        link(allow=7)  # type: ignore[arg-type]
    assert link(allow="empty,missing") == link(allow={"empty", "missing"})


def test_what_is_tolerated_does_not_change_the_address() -> None:
    """A job may go on with more pages or other things allowed, but not with another way to the next page."""
    assert link(max_pages=5, allow=["empty"]).address == link().address
    assert link(next="next").address != link().address


# ---- the parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "targets"),
    [
        ('<https://a.example/?page=2>; rel="next", <https://a.example/?page=9>; rel="last"', ["https://a.example/?page=2"]),
        ("<?page=2>;rel=next", ["?page=2"]),
        ('</b,c;d>; title="a, <no>; rel=\\"next\\""; rel="prev"', []),
        ('</a>; REL="Prev NEXT"', ["/a"]),
        ('</a>; rel="prev"; rel="next"', []),
        ('</a>; rel="next"; anchor="/other"', []),
        (" , ,</a> ; rel = next ,, </a>;rel=next", ["/a"]),
        ('</a>; rel="next", </b>; rel="next"', ["/a", "/b"]),
        ("</a>; rel", []),
        ("</a; rel=next", []),
        ("nonsense; rel=next", []),
        ('</a>; title="open; rel=next', []),
        ("</a>;;; ;rel=next", ["/a"]),
        ("</a>; rel=next trailing </b>; rel=prev", ["/a"]),
        ('</a>; rel="next" trailing, </b>; rel="next"', ["/a"]),
        ("", []),
    ],
)
def test_link_headers_are_read_as_rfc_8288_says(value: str, targets: list[str]) -> None:
    """Quoted parameters, several links, other resources and broken ones."""
    assert target_of(value, "next") == targets
    assert all(one.target == one.target.strip() for one in links(value))


def test_a_path_finds_what_it_names() -> None:
    """Names with dots, indices from either end, and nothing where nothing is."""
    body = {"@odata.nextLink": "u", "meta": {"next": {"cursor": 0}}, "data": [{"id": 1}, {"id": 2}], "a.b": {"c.d": 5}}
    assert find(body, "@odata.nextLink") == "u"
    assert find(body, "meta.next.cursor") == 0
    assert find(body, "data.-1.id") == 2
    assert find(body, "data.0") == {"id": 1}
    assert find(body, "a.b.c.d") == 5
    for path in ("meta.none", "data.2", "data.x", "meta.next.cursor.more", "data.-3.id"):
        assert find(body, path) is MISSING
    assert [whole(value) for value in (0, "7", "7.0", 7.0, None, [], "1e3", 10**18)] == [0, 7, 7, 7, None, None, None, None]


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://a.example/?page=2", "https://a.example/?page=2"),
        ("https://a.example/?api_key=k1&page=2", "https://a.example/?api_key=***&page=2"),
        ("https://a.example/?api_key=other&page=2", None),
        ("https://a.example/?signature=abc&page=2", None),
        ("https://a.example/?$skiptoken=abc", "https://a.example/?$skiptoken=abc"),
        ("https://a.example/?page=***", "https://a.example/?page=***"),
    ],
)
def test_only_the_inputs_own_secrets_are_left_out_of_a_url(url: str, written: str | None) -> None:
    """What is written holds no secret, and with the input it is whole again; else it is not written at all."""
    home = "https://a.example/?api_key=k1"
    assert kept(url, home) == written
    if written is not None:
        assert restored(written, home) == url
    assert kept("https://a.example/?token=a", "https://a.example/?token=a&token=b") is None


# ---- link ---------------------------------------------------------------------------------------------


def test_a_link_is_followed_as_it_is_written() -> None:
    """Relative to the answer's own URL, without its fragment; characters beyond ASCII are encoded."""
    walk = Walk(link(), HOME)
    assert turn(walk, [1], next_link("?q=ä&page=2#top"))
    assert walk.ask.url == f"{HOME}?q=%C3%A4&page=2"
    assert walk.turn(200, next_link("more?page=3"), b"[2]", "https://api.example.com/v2/items?page=2")
    assert walk.ask.url == "https://api.example.com/v2/more?page=3"
    assert not turn(walk, [3])
    assert (walk.place.page, walk.place.items) == (3, 3)


def test_the_link_may_stand_elsewhere() -> None:
    """In the body, at a path, or in a header of its own; null, false, empty and missing are the end."""
    walk = Walk(link(next="links.next"), HOME)
    assert turn(walk, {"links": {"next": "/v1/items?c=2"}})
    assert walk.ask.url == f"{HOME}?c=2"
    for end in ({"links": {"next": None}}, {"links": {"next": ""}}, {"links": {"next": False}}, {"links": {}}, {}):
        again = Walk(link(next="links.next"), HOME)
        assert not turn(again, end)
    walk = Walk(link(next="header:X-Next"), HOME)
    assert turn(walk, b"<xml/>", {"x-next": "/v1/items?c=2"})
    assert not turn(walk, b"<xml>2</xml>")


@pytest.mark.parametrize(
    "target", ["https://other.example/v1", "http://api.example.com/v1/items?page=2", "https://api.example.com:8443/", "//other.example/a"]
)
def test_another_host_must_be_allowed(target: str) -> None:
    """Another host, scheme or port is an error; allowed, it is asked as a stranger."""
    assert broken(Walk(link(), HOME), [1], next_link(target)) == "a next page on another host"
    walk = Walk(link(allow=["foreign"]), HOME)
    assert turn(walk, [1], next_link(target))
    assert walk.ask.foreign


@pytest.mark.parametrize("target", ["ftp://api.example.com/", "https://me:pw@api.example.com/", "https://[/", "javascript:alert(1)", "a\x01b", "x" * 9000])
def test_what_cannot_be_asked_is_an_error(target: str) -> None:
    """A next page that is no http URL, or carries a user, or is endless; and one of two."""
    assert broken(Walk(link(next="next"), HOME), {"next": target}) == "a next page that cannot be asked"
    assert broken(Walk(link(next="next"), HOME), {"next": 7}) == "a next page that cannot be asked"
    assert broken(Walk(link(), HOME), [1], {"Link": "</a>;rel=next,</b>;rel=next"}) == "a next page that cannot be asked"


# ---- cursor -------------------------------------------------------------------------------------------


def test_a_cursor_goes_where_it_belongs() -> None:
    """Into the query, in the place of the old one, encoded; numbers as they were written."""
    walk = Walk(CURSOR, f"{HOME}?q=1&after=start&z=#x")
    assert turn(walk, {"data": [1], "next": "a+/=&ü"})
    assert walk.ask.url == f"{HOME}?q=1&after=a%2B%2F%3D%26%C3%BC&z="
    assert turn(walk, b'{"data": [2], "next": 1700000000.1234567890123}')
    assert walk.ask.url.endswith("after=1700000000.1234567890123&z=")
    assert turn(walk, {"data": [3], "next": 2**70})
    assert walk.ask.url.endswith(f"after={2**70}&z=")
    assert not turn(walk, {"data": [4], "next": None})


def test_a_cursor_may_go_into_the_body() -> None:
    """A member of the JSON body carries it, whatever JSON it is; an input without such a body cannot."""
    paging = cursor(next="data.-1.sort", param="json:search_after", more="more", items="data")
    walk = Walk(paging, HOME, b'{"query": {"id": 12345678901234567890}}')
    assert turn(walk, {"data": [{"sort": [1.5, "x"]}], "more": True})
    assert walk.ask.body is not None
    assert json.loads(walk.ask.body) == {"query": {"id": 12345678901234567890}, "search_after": [1.5, "x"]}
    again = Walk(paging, HOME, walk.body, walk.place.page, json.loads(json.dumps(walk.keep())))
    assert again.ask == walk.ask
    assert broken(Walk(paging, HOME), {"data": [{"sort": [1]}], "more": True}) == "a next page that cannot be asked"


def test_more_decides_where_it_is_given() -> None:
    """More without a cursor, and no word at all, are errors; no more is the end, whatever the cursor."""
    paging = cursor(next="next", param="after", more="has_more", items="data")
    assert not turn(Walk(paging, HOME), {"data": [1], "next": "x", "has_more": False})
    assert turn(Walk(paging, HOME), {"data": [1], "next": "x", "has_more": "true"})
    for none in (None, "", False):
        assert broken(Walk(paging, HOME), {"data": [1], "next": none, "has_more": True}) == "no cursor"
    assert broken(Walk(paging, HOME), {"data": [1], "next": "x"}) == "no sign of the end"
    for odd in (True, {}, ["x"], "x" * 9000):
        assert broken(Walk(CURSOR, HOME), {"data": [1], "next": odd}) == "no cursor"


# ---- numbers ------------------------------------------------------------------------------------------


def test_pages_are_counted_up_to_the_last() -> None:
    """The last page's number ends it; an input that names a page begins there."""
    walk = Walk(page(last="header:X-Total-Pages"), f"{HOME}?page=2&per_page=5")
    assert turn(walk, [1], {"x-total-pages": "3"})
    assert walk.ask.url == f"{HOME}?page=3&per_page=5"
    assert not turn(walk, [2], {"x-total-pages": "3"})
    assert broken(Walk(page(last="last", items="data"), HOME), {"data": [1]}) == "no sign of the end"


@pytest.mark.parametrize("make", [page, offset])
def test_numbers_go_on_to_the_first_empty_page(make: Callable[..., Paging]) -> None:
    """Without a better word; with a size, a short page is the last, and without, a short page says nothing."""
    walk = Walk(make(), HOME)
    assert turn(walk, [1, 2])
    assert walk.ask.url == f"{HOME}?{'page=2' if make is page else 'offset=2'}"
    assert turn(walk, [3])
    assert walk.ask.url == f"{HOME}?{'page=3' if make is page else 'offset=3'}"
    assert not turn(walk, [])
    walk = Walk(make(size=2), HOME)
    assert turn(walk, [1, 2])
    assert not turn(walk, [3])
    assert broken(Walk(make(), HOME), {"data": [1]}) == "no list of items"
    assert broken(Walk(make(items="data"), HOME), {"items": [1]}) == "no list of items"
    assert broken(Walk(make(items="data"), HOME), {"data": 7}) == "no list of items"


def test_numbers_may_be_told_beside_any_body() -> None:
    """Where headers tell of the end, the body need not be JSON; a body that numbers begin in may say 0."""
    walk = Walk(page(last="header:X-Total-Pages"), HOME)
    assert turn(walk, b"<page>1</page>", {"X-Total-Pages": "2"})
    assert not turn(walk, b"<page>2</page>", {"X-Total-Pages": "2"})
    assert broken(Walk(page(), HOME), b"<page>1</page>") == "no list of items"
    walk = Walk(page(param="json:page", last="last"), HOME, b'{"page": 0}')
    assert turn(walk, {"last": 1})
    assert walk.ask.body == b'{"page": 1}'
    assert not turn(walk, {"last": 1, "n": 2})
    assert turn(Walk(page(param="json:page"), HOME, b"{}"), b"\xef\xbb\xbf [1]")


def test_long_numbers_are_different_cursors() -> None:
    """Two that are the same as doubles are no loop."""
    walk = Walk(CURSOR, HOME)
    assert turn(walk, b'{"data": [1], "next": 1700000000.1234567890123}')
    assert turn(walk, b'{"data": [2], "next": 1700000000.1234567890124}')
    again = Walk(CURSOR, HOME, None, walk.place.page, json.loads(json.dumps(walk.keep())))
    assert again.ask == walk.ask
    assert broken(again, b'{"data": [3], "next": 1700000000.1234567890124}') == "a loop of pages"


def test_a_total_ends_numbers() -> None:
    """All items are the end; an offset in the input counts as had, and the server's own size is followed."""
    walk = Walk(offset(total="total", items="data"), f"{HOME}?limit=1000&offset=5")
    assert turn(walk, {"data": [1] * 3, "total": 9})
    assert walk.ask.url == f"{HOME}?limit=1000&offset=8"
    assert not turn(walk, {"data": [1], "total": 9})
    walk = Walk(page(total="total", items="data", size=2), f"{HOME}?page=2")
    assert not turn(walk, {"data": [1, 2], "total": 4})


def test_a_status_may_be_the_end() -> None:
    """Only the one that was named; any other in the middle is an error, on the first page an answer like any."""
    walk = Walk(page(end=404), HOME)
    assert turn(walk, [1])
    assert broken(walk, [], status=410) == "status 410 in the middle"
    assert not turn(walk, {"error": "no such page"}, status=404)
    assert not turn(Walk(page(), HOME), [], status=404)
    walk = Walk(link(), HOME)
    assert turn(walk, [1], next_link("?page=2"))
    assert broken(walk, [], status=404) == "status 404 in the middle"
    assert broken(walk, [], status=304) == "status 304 in the middle"
    walk = Walk(page(end=404, total="t", items="d"), HOME)
    assert turn(walk, {"d": [1], "t": 3})
    assert broken(walk, {}, status=404) == "missing items at the end"


# ---- the guard ----------------------------------------------------------------------------------------


def test_an_empty_page_in_the_middle() -> None:
    """It has no items and yet there is more; allowed, it is passed over. At the end it is nothing special."""
    assert broken(Walk(CURSOR, HOME), {"data": [], "next": "b"}) == "an empty page in the middle"
    assert broken(Walk(CURSOR, HOME), {"data": None, "next": "b"}) == "an empty page in the middle"
    assert broken(Walk(link(), HOME), [], next_link("?page=2")) == "an empty page in the middle"
    assert broken(Walk(link(), HOME), b"", next_link("?page=2")) == "an empty page in the middle"
    assert turn(Walk(cursor(next="next", param="after", items="data", allow=["empty"]), HOME), {"next": "b"})
    assert not turn(Walk(CURSOR, HOME), {"data": [], "next": None})
    walk = Walk(page(last="last", items="data"), HOME)
    assert turn(walk, {"data": [1], "last": 3})
    assert broken(walk, {"data": [], "last": 3}) == "an empty page in the middle"
    walk = Walk(offset(total="total", items="data", allow=["empty"]), HOME)
    assert broken(walk, {"data": [], "total": 3}) == "a loop of pages"


def test_a_204_is_an_empty_page() -> None:
    """No content: the end, except where items are still to come."""
    for paging in (link(), link(next="next"), CURSOR, page(), offset(), page(more="more")):
        assert not turn(Walk(paging, HOME), b"", status=204)
    walk = Walk(cursor(next="next", param="after", items="data", total="total"), HOME)
    assert turn(walk, {"data": [1], "next": "b", "total": 2})
    assert broken(walk, b"", status=204) == "missing items at the end"


def test_a_page_that_comes_again() -> None:
    """The same body, or a name that was asked for before: at once, and in a longer loop."""
    walk = Walk(link(), HOME)
    assert turn(walk, [1], next_link("?page=2"))
    assert broken(walk, [1], next_link("?page=3")) == "a repeated page"
    for back in ("?page=2", ""):
        assert broken(walk, [2], next_link(back or HOME)) == "a loop of pages"
    walk = Walk(link(allow=["repeated"]), HOME)
    assert turn(walk, [1], next_link("?page=2"))
    assert turn(walk, [1], next_link("?page=3"))
    walk = Walk(page(), HOME)
    assert turn(walk, [1])
    assert broken(walk, [1]) == "a repeated page"


def test_totals_that_do_not_hold() -> None:
    """A total that falls, one below what has come, and one that is not reached."""
    paging = cursor(next="next", param="after", items="data", total="total")
    walk = Walk(paging, HOME)
    assert turn(walk, {"data": [1, 2], "next": "b", "total": 5})
    assert broken(walk, {"data": [3], "next": "c", "total": 4}) == "a total that shrinks"
    assert turn(walk, {"data": [3], "next": "c", "total": 6})
    assert broken(walk, {"data": [4], "next": None, "total": 6}) == "missing items at the end"
    assert broken(walk, {"data": [4, 5, 6, 7], "next": None, "total": 6}) == "a total that shrinks"
    assert broken(walk, {"data": [4], "next": None, "total": "many"}) == "no number"
    assert not turn(walk, {"data": [4, 5, 6], "next": None})
    walk = Walk(page(last="last", items="data"), HOME)
    assert turn(walk, {"data": [1], "last": 3})
    assert broken(walk, {"data": [2], "last": 2}) == "a total that shrinks"
    walk = Walk(cursor(next="next", param="after", items="data", total="total", allow=["shrinking", "missing"]), HOME)
    assert turn(walk, {"data": [1, 2], "next": "b", "total": 5})
    assert turn(walk, {"data": [3], "next": "c", "total": 1})
    assert not turn(walk, {"data": [], "next": None, "total": 9})


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff\xfe", b"[" * 100_000, b'{"next": "b"'])
def test_no_json_where_json_is_needed(body: bytes) -> None:
    """What cannot be read is an error, never the end."""
    assert broken(Walk(CURSOR, HOME), body) == "no JSON"


def test_pages_are_bounded() -> None:
    """The page that would lead beyond max_pages is an error."""
    walk = Walk(link(max_pages=2), HOME)
    assert turn(walk, [1], next_link("?page=2"))
    assert broken(walk, [2], next_link("?page=3")) == "too many pages"
    assert not turn(walk, [2])


def test_an_error_shows_no_secret() -> None:
    """Keys in the input's URL, and in the next one, are masked."""
    walk = Walk(link(), f"{HOME}?api_key=s3cret")
    for target in ("https://other.example/?api_key=s3cret", "ftp://x/?api_key=s3cret", "https://u:s3cret@api.example.com/"):
        with pytest.raises(PageError) as caught:
            turn(walk, [1], next_link(target))
        assert "s3cret" not in str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


# ---- going on -----------------------------------------------------------------------------------------


def test_a_walk_goes_on_where_it_was() -> None:
    """From what was kept alone; a URL with a secret of its own is not kept, and the way there is walked again."""
    walk = Walk(link(), f"{HOME}?api_key=s3cret")
    assert turn(walk, [1], next_link("?page=2&api_key=s3cret"))
    told = json.loads(json.dumps(walk.keep()))
    assert "s3cret" not in json.dumps(told)
    assert is_kept(1, told)
    again = Walk(link(), f"{HOME}?api_key=s3cret", None, 1, told)
    assert (again.ask, again.place) == (walk.ask, walk.place)
    assert turn(again, [2], next_link("?page=3&sig=fresh"))
    told = again.keep()
    assert told["next"] is True
    last = Walk(link(), f"{HOME}?api_key=s3cret", None, 2, told)
    assert last.ask.url == f"{HOME}?api_key=s3cret"
    assert turn(last, [1], next_link("?page=2&api_key=s3cret"))
    assert not last.fresh
    with pytest.raises(PageError, match=r"page 3 of .*: missing items at the end"):
        turn(last, [2])
    assert turn(last, [2], next_link("?page=3&sig=fresher"))
    assert not last.fresh
    assert not turn(last, [3])
    assert last.fresh
    assert last.place.page == 3


@pytest.mark.parametrize("name", ["https://evil.example/", 7, None, {"json": "["}, {"x": 1}, "https://[/"])
def test_what_was_kept_by_another_is_not_followed(name: Any) -> None:
    """A name that is none of this list's leads to walking again, not to another host."""
    assert Walk(link(), HOME, None, 3, {"next": name}).ask.url == HOME
    assert Walk(link(), HOME, None, 3, {"next": name}).behind == 3


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, {"next": "a"}), (True, {"next": "a"}), ("1", {"next": "a"}), (1, []), (1, {}), (1, {"next": False}), (1, {"next": "a", "items": -1}), (1, {"next": "a", "digest": 7}), (1, {"next": "x" * 100_000})],
)
def test_what_is_read_from_a_file_is_looked_at(number: Any, told: Any) -> None:
    """Only what a walk may have written is taken for it."""
    assert not is_kept(number, told)


# ---- through a client ---------------------------------------------------------------------------------


def served(url: str) -> SimpleNamespace:
    number = int(url.partition("page=")[2] or 1)
    headers = next_link(f"?page={number + 1}") if number < 3 else {}
    return SimpleNamespace(url=url, status_code=200, status=200, headers=headers, content=b"[%d]" % number)


def test_pages_of_a_function_and_of_a_coroutine() -> None:
    """The same pages, whether `get` is called or awaited, and whether the body is there or still to be read."""

    async def get(url: str) -> SimpleNamespace:
        return served(url)

    async def stream(url: str) -> Any:
        facts = served(url)

        async def read() -> bytes:
            return bytes(facts.content)

        return SimpleNamespace(url=url, status=200, headers=facts.headers, content=object(), read=read)

    async def count(fetch: Any) -> int:
        return len([one async for one in paceline.apages(fetch, HOME)])

    assert [one.content for one in paceline.pages(served, HOME, paginate="link")] == [b"[1]", b"[2]", b"[3]"]
    assert asyncio.run(count(get)) == 3
    assert asyncio.run(count(stream)) == 3


def test_pages_raise_for_what_breaks_off() -> None:
    """The pages before it have been given out; a wrong pagination is told before anything is asked."""
    given = []
    with pytest.raises(PageError, match="too many pages"):
        given.extend(one.content for one in paceline.pages(served, HOME, link(max_pages=2)))
    got = paceline.pages(served, HOME, link(max_pages=2))
    assert next(got).content == b"[1]"
    with pytest.raises(PageError, match="too many pages"):
        next(got)
    with pytest.raises(InputError, match="goes into a request's body"):
        paceline.pages(served, HOME, cursor(next="a", param="json:b"))
    with pytest.raises(InputError, match="paginate is None"):
        paceline.apages(served, HOME, None)  # type: ignore[arg-type]
