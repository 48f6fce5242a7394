"""Laws of pagination: whole lists are walked once, page by page, wherever a walk is broken off; broken lists are told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import InputError, PageError
from paceline.paging import Paging, Walk, cursor, is_kept, link, offset, page
from paceline.paging._kept import kept, restored
from paceline.paging._links import links, target_of

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = "https://api.example.com/v1?q=1&api_key=k1"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Book:
    """A server of one list, for every pagination: the sizes of its pages, none of them 0."""

    def __init__(self, sizes: list[int], *, secret: bool = False) -> None:
        self.sizes, self.total, self.secret = sizes, sum(sizes), secret
        self.asked: list[int] = []

    def get(self, url: str, body: bytes | None) -> Reply:
        fields = {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
        assert fields["api_key"] == "k1"
        if "offset" in fields:
            at = next((n for n in range(len(self.sizes) + 1) if sum(self.sizes[:n]) == int(fields["offset"])), -1)
        else:
            at = int(fields.get("cursor", fields.get("page", "1")).removeprefix("c")) - 1
        assert 0 <= at <= len(self.sizes)
        self.asked.append(at + 1)
        begin = sum(self.sizes[:at])
        items = list(range(begin, begin + self.sizes[at])) if at < len(self.sizes) else []
        more = at + 1 < len(self.sizes)
        told: dict[str, Any] = {"data": items, "total": self.total, "pages": len(self.sizes), "more": more, "page": at}
        told["next"] = f"c{at + 2}" if more else None
        following = f"/v1?q=1&api_key=k1&page={at + 2}{'&sig=x' if self.secret else ''}"
        headers = {"Link": f'<{following}>; rel="next"'} if more else {}
        return Reply(200, headers, json.dumps(told).encode())


WAYS: list[Paging] = [
    link(items="data", total="total"),
    cursor(next="next", param="cursor", items="data"),
    cursor(next="next", param="cursor", more="more"),
    page(last="pages"),
    page(more="more", items="data"),
    page(items="data"),
    offset(total="total", items="data"),
    offset(items="data"),
]
sizes = st.lists(st.integers(1, 3), min_size=1, max_size=12)


def turned(walk: Walk, reply: Reply) -> bool | PageError:
    """Whether more follow, or what was wrong with the answer."""
    try:
        return walk.turn(*reply, walk.ask.url)
    except PageError as error:
        return error


def walk_on(walk: Walk, book: Book, most: int) -> tuple[list[tuple[int, list[int], dict[str, Any]]], bool]:
    """Up to `most` fresh pages: number, items and what was kept; and whether more follow."""
    got = []
    more = True
    while more and len(got) < most:
        reply = book.get(walk.ask.url, walk.ask.body)
        more = walk.turn(*reply, walk.ask.url)
        if walk.fresh:
            got.append((walk.place.page, json.loads(reply.body)["data"], walk.keep()))
    return got, more


@given(sizes=sizes, way=st.sampled_from(WAYS), kills=st.lists(st.integers(1, 4), max_size=8), secret=st.booleans())
def test_every_page_once_wherever_a_walk_is_broken_off(sizes: list[int], way: Paging, kills: list[int], secret: bool) -> None:
    """Broken off and taken up from what was kept, through JSON, any number of times: each page once, all items."""
    book = Book(sizes, secret=secret)
    pages: list[tuple[int, list[int], dict[str, Any]]] = []
    more = True
    for most in [*kills, 1000]:
        if not more:
            break
        number, _, told = pages[-1] if pages else (0, [], None)
        written = json.loads(json.dumps(told))
        assert told is None or (is_kept(number, written) and "k1" not in json.dumps(written))
        got, more = walk_on(Walk(way, HOME, None, number, written), book, most)
        pages += got
    assert not more
    assert [number for number, _, _ in pages] == list(range(1, len(pages) + 1))
    assert [item for _, items, _ in pages for item in items] == list(range(sum(sizes)))
    assert [told["next"] is None for _, _, told in pages] == [False] * (len(pages) - 1) + [True]
    if way.style != "link" or not secret:
        # Only what could not be kept is asked for twice.
        assert len(book.asked) == len(set(book.asked))


@given(
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=10),
    way=st.sampled_from([each for each in WAYS if each.style == "link" or each.total or each.last or each.more]),
    data=st.data(),
)
def test_no_cut_is_taken_for_the_end(sizes: list[int], way: Paging, data: st.DataObject) -> None:
    """An answer in the middle replaced by an empty page, by the page before it, or by no page: an error, each time."""
    book = Book(sizes)
    walk = Walk(way, HOME)
    at = data.draw(st.integers(1, len(sizes) - 1))
    got, more = walk_on(walk, book, at)
    assert more
    before = walk.place
    good = book.get(walk.ask.url, None)
    last = at + 1 == len(sizes)
    told = json.loads(good.body)
    for fault in ("empty", "repeated", "not found", "no JSON", "fewer"):
        reply = good
        if fault == "empty":
            # Where only the cursor or a flag tells of the end, an empty last page is one.
            if last and not way.total:
                continue
            if not way.items:
                continue
            reply = good._replace(body=json.dumps({**told, "data": []}).encode())
        elif fault == "repeated":
            reply = good._replace(body=before_body(book, at))
        elif fault == "not found":
            reply = good._replace(status=404)
        elif fault == "no JSON":
            reply = good._replace(body=good.body[:-1])
        elif not way.total and not way.last:
            continue
        else:
            reply = good._replace(body=json.dumps({**told, "total": sum(sizes[:at]) - 1, "pages": at}).encode())
        told_of = turned(walk, reply)
        assert isinstance(told_of, PageError), f"{fault} was taken for a page"
        assert told_of.page == at + 1
        assert walk.place == before
    rest, more = walk_on(walk, book, 1000)
    assert not more
    assert len(got) + len(rest) == len(sizes)


def before_body(book: Book, at: int) -> bytes:
    return book.get(f"{HOME}&page={at}", None).body


@given(names=st.lists(st.integers(0, 6), min_size=1, max_size=40), way=st.sampled_from(["link", "cursor"]))
def test_no_page_is_asked_for_twice(names: list[int], way: str) -> None:
    """Whatever names follow each other, a walk goes on exactly as long as they are new."""
    walk = Walk(link() if way == "link" else cursor(next="next", param="after"), HOME)
    seen = set()
    for number, name in enumerate(names):
        text = f"/v1?page={name}" if way == "link" else f"c{name}"
        headers = {"Link": f"<{text}>; rel=next"}
        body = json.dumps({"next": text, "n": number}).encode()
        came = turned(walk, Reply(200, headers, body))
        if isinstance(came, PageError):
            assert came.reason == "a loop of pages"
            assert name in seen
            return
        assert came
        assert name not in seen
        seen.add(name)


@given(tail=st.integers(0, 20), loop=st.integers(1, 40), broken_off=st.booleans())
def test_a_loop_is_found_in_constant_memory(tail: int, loop: int, broken_off: bool) -> None:
    """Also where each page is a run of its own, which remembers no other name than what was kept."""
    paging = cursor(next="next", param="after")
    walk = Walk(paging, HOME)
    name = 0
    for number in range(4 * (tail + loop) + 8):
        name = name + 1 if name + 1 < tail + loop else tail
        came = turned(walk, Reply(200, {}, json.dumps({"next": f"c{name}", "n": number}).encode()))
        if isinstance(came, PageError):
            assert came.reason == "a loop of pages"
            return
        if broken_off:
            walk = Walk(paging, HOME, None, walk.place.page, walk.keep())
    raise AssertionError("it would go on for ever")


header_text = st.text(st.sampled_from('<>;,="\\ \tabrelnxt/?:&'), max_size=60)


@given(value=header_text)
def test_no_link_header_raises(value: str) -> None:
    """Whatever a header holds, it is read in one pass, and what is found stood there."""
    for one in links(value):
        assert one.target in value


quoted = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    parts=st.lists(
        st.tuples(
            st.text(st.sampled_from("abc/?=&,;"), max_size=10),
            st.lists(st.tuples(st.sampled_from(["title", "type", "media"]), quoted), max_size=2),
            st.sampled_from(["next", "prev", "last next", "NEXT"]),
        ),
        max_size=4,
    )
)
def test_what_is_written_as_rfc_8288_is_read_back(parts: list[tuple[str, list[tuple[str, str]], str]]) -> None:
    """Targets and relations come back whatever stands in quoted parameters beside them."""
    escape: Callable[[str], str] = lambda text: text.replace("\\", "\\\\").replace('"', '\\"')  # noqa: E731
    value = ", ".join(
        f"<{target}>" + "".join(f'; {name}="{escape(content)}"' for name, content in more) + f'; rel="{relation}"'
        for target, more, relation in parts
    )
    assert [(one.target, one.relations) for one in links(value)] == [
        (target, tuple(relation.lower().split())) for target, _, relation in parts
    ]
    wanted = [target for target, _, relation in parts if "next" in relation.lower()]
    assert target_of(value, "next") == list(dict.fromkeys(wanted))


field = st.tuples(st.sampled_from(["page", "api_key", "token", "q", "sig", "cursor"]), st.sampled_from(["a", "b", "***", ""]))
query = st.lists(field, max_size=4).map(lambda pairs: "https://a.example/?" + "&".join(f"{n}={v}" for n, v in pairs))


@given(url=query, home=query)
def test_what_is_kept_of_a_url_is_no_secret_and_enough(url: str, home: str) -> None:
    """What `kept` writes is made whole by `restored`, and shows no value of a secret field."""
    written = kept(url, home)
    if written is not None:
        assert restored(written, home) == url
        for part in written.partition("?")[2].split("&"):
            name, _, value = part.partition("=")
            assert name not in ("api_key", "token", "sig") or value in ("***", "")


@given(text=st.text(max_size=40) | st.lists(st.sampled_from(["link", "page", "next=a", "param=b", "size=3", "x=", "="]), max_size=4).map(" ".join))
def test_no_text_of_a_pagination_raises_anything_else(text: str) -> None:
    """It is a pagination, whose text reads as the same one, or an InputError."""
    try:
        paging = Paging.parse(text)
    except InputError:
        return
    assert Paging.parse(str(paging)) == paging
