"""Lists that come page by page, through the command and through `paceline.fetch`, from a real server."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tenacity import stop_after_attempt
from tests.e2e.helpers import Desk, end_of, wait_for

import paceline
from paceline import PageError, Policy, Retry
from paceline.requests import Session
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

ONCE = Policy(retry=Retry(stop=stop_after_attempt(1)))
WAYS = {
    "link": "link items=data total=meta.total",
    "cursor": "cursor next=meta.next_cursor param=cursor more=has_more items=data total=meta.total",
    "page": "page last=meta.pages items=data total=meta.total",
    "offset": "offset total=meta.total items=data",
}
# What each fault is to each style that can notice it, on page 2 of 4.
REASONS = {
    "empty": "an empty page in the middle",
    "repeated": "a repeated page",
    "shrinking": "a total that shrinks",
    "not-json": "no JSON",
    "404": "status 404 in the middle",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A test server without limits."""
    with Server() as server:
        yield server


def pages_in(desk: Desk) -> Counter[tuple[Any, int]]:
    return Counter((record["id"], record["page"]) for record in desk.records() if "error" not in record)


@pytest.mark.parametrize("style", WAYS)
def test_every_page_is_a_record(desk: Desk, style: str) -> None:
    """In the order of each list, with its number; the account counts inputs and pages; run again, nothing is asked."""
    with Server() as server:
        source = desk.write("lists.txt", [f"{server.url}/pages/{n}?total={n}5&size=10&style={style}" for n in (1, 2, 3, 4)])
        ran = desk.fetch(source, "--paginate", WAYS[style], "--report", "report.json")
        assert ran.status == 0, ran.err
        records = desk.records()
        for n in (1, 2, 3, 4):
            mine = [record for record in records if record["id"] == n]
            assert [record["page"] for record in mine] == list(range(1, n + 2))
            assert [one["id"] for record in mine for one in record["json"]["data"]] == [f"{n}-{i}" for i in range(1, n * 10 + 6)]
            assert [record["paging"]["items"] for record in mine] == [*range(10, n * 10 + 1, 10), n * 10 + 5]
        report = json.loads((desk.folder / "report.json").read_text())
        assert (report["inputs"]["fetched"], report["pages"], report["inputs"]["left"]) == (4, 14, 0)
        again = desk.fetch(source, "--paginate", WAYS[style])
        assert again.status == 0
        assert set(server.items().values()) == {1}
        other = desk.fetch(source, "--paginate", "link next=meta.next")
        assert other.status == 2
        assert "the request changed since" in other.err
        assert "paginate" in other.err
        assert desk.fetch(source, "--paginate", f"{WAYS[style]} max_pages=99 allow=empty").status == 0


@pytest.mark.parametrize("style", WAYS)
@pytest.mark.parametrize("fault", REASONS)
def test_a_broken_page_ends_a_list_as_failed(server: Server, style: str, fault: str) -> None:
    """Whatever the pagination: the pages before it, then a record that names input, page and reason."""
    url = f"{server.url}/pages/a?total=35&size=10&style={style}&fault={fault}&at=3"
    records = list(paceline.fetch([url], ONCE, paginate=WAYS[style]))
    assert [(record.page, record.error is None) for record in records] == [(1, True), (2, True), (3, False)]
    assert str(records[-1].error).startswith(f"page 3 of {url}: {REASONS[fault]}: ")


@pytest.mark.parametrize(("fault", "style"), list(zip(REASONS, [*WAYS, "link"], strict=True)))
def test_a_list_that_breaks_off_goes_on_later(desk: Desk, style: str, fault: str) -> None:
    """The input has failed, with its page and the reason; the pages before stay, and the next run goes on from there."""
    with Server() as server:
        good = f"{server.url}/pages/a?total=35&size=10&style={style}"
        bad = f"{server.url}/pages/b?total=35&size=10&style={style}&fault={fault}&times=1"
        source = desk.write("lists.txt", [good, bad])
        options = ("--paginate", WAYS[style], "--failed", "failed.txt")
        ran = desk.fetch(source, *options)
        assert ran.status == 1, ran.err
        (failed,) = (record for record in desk.records() if "error" in record)
        assert (failed["id"], failed["page"]) == (2, 2)
        assert failed["error"].startswith(f"page 2 of {bad}: {REASONS[fault]}: ")
        assert REASONS[fault] in ran.err
        assert (desk.folder / "failed.txt").read_text() == f"{bad}\n"
        assert pages_in(desk) == Counter([(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)])
        before = server.account().accepted
        ran = desk.fetch(source, *options)
        assert ran.status == 0, ran.err
        assert pages_in(desk) == Counter((n, page) for n in (1, 2) for page in (1, 2, 3, 4))
        assert len(desk.records()) == 8
        assert server.account().accepted - before == 3
        assert (desk.folder / "failed.txt").read_text() == ""


@pytest.mark.parametrize(
    ("style", "fault", "reason"),
    [
        ("link", "loop", "a loop of pages"),
        ("link", "missing", "missing items at the end"),
        ("link", "foreign", "a next page on another host"),
        ("cursor", "no-cursor", "no cursor"),
        ("cursor", "missing", "missing items at the end"),
    ],
)
def test_what_a_server_says_of_the_next_page_is_not_trusted(server: Server, style: str, fault: str, reason: str) -> None:
    """Loops, early ends, other hosts and missing cursors end a list as failed."""
    url = f"{server.url}/pages/a?total=35&size=10&style={style}&fault={fault}"
    *good, last = paceline.fetch([url], ONCE, paginate=WAYS[style])
    assert [record.error for record in good] == [None] * len(good)
    assert last.error is not None
    assert reason in last.error
    assert last.page == len(good) + 1


def test_a_next_page_elsewhere_sees_no_credential(server: Server) -> None:
    """Allowed to leave the host, the next request carries neither the token nor a header that looks secret."""
    heads: list[httpx.Headers] = []

    async def main() -> list[Any]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            heads.append(httpx.Headers([tuple(line.split(": ", 1)) for line in head.split("\r\n")[1:-2]]))  # type: ignore[misc]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[7]")
            await writer.drain()
            writer.close()

        other = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = other.sockets[0].getsockname()[1]
        async with other:
            # A page whose body names a URL of another port, which is another origin.
            first = f"{server.url}/items/x"
            paging = paceline.link(next="next", allow=["foreign"])

            async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                body = json.dumps({"next": f"http://127.0.0.1:{port}/p2"}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
                await writer.drain()
                writer.close()

            leading = await asyncio.start_server(lead, "127.0.0.1", 0)
            first = f"http://127.0.0.1:{leading.sockets[0].getsockname()[1]}/p1"
            async with leading:
                fetched = paceline.afetch([first], ONCE, paginate=paging, bearer="t0ken", headers={"X-Api-Key": "k", "X-Plain": "1"})
                return [record async for record in fetched]

    records = asyncio.run(main())
    assert [(record.page, record.error) for record in records] == [(1, None), (2, None)]
    (head,) = heads
    assert "authorization" not in head
    assert "x-api-key" not in head
    assert head["x-plain"] == "1"


def test_a_spec_has_its_own_pagination(desk: Desk, server: Server) -> None:
    """It takes the place of the job's, or switches it off; a wrong one is an unusable input."""
    specs = [
        {"id": "cursor", "url": f"{server.url}/pages/a?total=15&style=cursor", "paginate": WAYS["cursor"]},
        {"id": "none", "url": f"{server.url}/items/1", "paginate": False},
        {"id": "job", "url": f"{server.url}/pages/b?total=15"},
        {"id": "wrong", "url": f"{server.url}/pages/b", "paginate": "cursr"},
    ]
    ran = desk.fetch(desk.write("specs.jsonl", map(json.dumps, specs)), "--paginate", "link")
    assert ran.status == 1
    records = {(record["id"], record.get("page")): record for record in desk.records()}
    assert records.keys() == {("cursor", 1), ("cursor", 2), ("none", None), ("job", 1), ("job", 2), ("wrong", None)}
    assert "line 4: there is no pagination 'cursr'" in records["wrong", None]["error"]


def test_lists_of_one_page_each_are_remarked_on(desk: Desk, server: Server) -> None:
    """A next page that is looked for in the wrong place looks like the end: the account says what to look at."""
    source = desk.write("lists.txt", [f"{server.url}/pages/{n}?total=25&style=cursor" for n in (1, 2)])
    ran = desk.fetch(source, "--paginate", "cursor next=meta.nxt_cursor param=cursor", "--progress", "log")
    assert ran.status == 0
    assert "each list had one page only" in ran.err


@pytest.mark.parametrize("how", ["cursor next=a", "links", "page last="])
def test_a_wrong_pagination_is_wrong_usage(desk: Desk, how: str) -> None:
    """One message that shows a right form, status 2, and nothing begun."""
    ran = desk.fetch(desk.write("lists.txt", ["http://127.0.0.1:9/"]), "--paginate", how)
    assert ran.status == 2
    assert "write it like" in ran.err
    assert desk.files() == {"lists.txt"}


def test_an_interrupted_list_goes_on(desk: Desk) -> None:
    """Ctrl-C lets the page in flight end; the next run asks for the one after it."""
    with Server(latency=0.05) as server:
        source = desk.write("lists.txt", [f"{server.url}/pages/{n}?total=200&size=10" for n in (1, 2)])
        process = desk.begin(source, "--paginate", "link")
        wait_for(lambda: desk.out.exists() and desk.out.read_bytes().count(b"\n") >= 4, "the first pages")
        process.send_signal(signal.SIGINT)
        ran = end_of(process)
        assert ran.status == 130, ran.err
        assert "with 2 inputs to go" in ran.err
        server.change(latency=0.0)
        ran = desk.fetch(source, "--paginate", "link")
        assert ran.status == 0, ran.err
        assert pages_in(desk) == Counter((n, page) for n in (1, 2) for page in range(1, 21))
        assert set(server.items().values()) == {1}


def test_records_that_stand_twice_are_taken_out(desk: Desk, server: Server) -> None:
    """Lines of a whole list written once more, by whatever hand, leave each page once."""
    source = desk.write("lists.txt", [f"{server.url}/pages/{n}?total=25" for n in (1, 2)])
    assert desk.fetch(source, "--paginate", "link").status == 0
    desk.out.write_bytes(desk.out.read_bytes() * 2)
    before = server.account().accepted
    ran = desk.fetch(source, "--paginate", "link")
    assert ran.status == 0, ran.err
    assert pages_in(desk) == Counter((n, page) for n in (1, 2) for page in (1, 2, 3))
    assert server.account().accepted == before


def test_lists_take_turns(desk: Desk) -> None:
    """Under a limit no list waits until another is through, and few are under way at a time."""
    with Server("200/s") as server:
        source = desk.write("lists.txt", [f"{server.url}/pages/{n}?total=100&size=10" for n in range(1, 21)])
        ran = desk.fetch(source, "--paginate", "link", "--limit", "200/s", "--concurrency", "4")
        assert ran.status == 0, ran.err
        assert server.account().refused == 0
        under_way: set[int] = set()
        most = 0
        for record in desk.records():
            under_way.add(record["id"])
            most = max(most, len(under_way))
            if record["page"] == 10:
                under_way.discard(record["id"])
        assert most <= 6


def test_the_iterator_bounds_what_waits(server: Server) -> None:
    """Pages that nobody takes are not fetched without end: some megabytes' worth, and then the job waits."""
    records = paceline.fetch([f"{server.url}/pages/{n}?total=100000&size=10&name={n}" for n in range(4)], paginate="link")
    before = server.account().accepted
    assert next(records).page == 1
    wait_for(lambda: server.account().accepted - before > 500, "pages ahead")

    def stands() -> bool:
        seen = server.account().accepted
        time.sleep(0.1)
        return server.account().accepted == seen

    wait_for(stands, "the job to wait")
    assert server.account().accepted - before < 2000
    records.close()


@pytest.mark.parametrize("style", WAYS)
def test_pages_through_httpx(server: Server, style: str) -> None:
    """`pages` and `apages` walk the same lists with any client, by the same rules."""
    url = f"{server.url}/pages/c?total=35&size=10&style={style}"
    with httpx.Client() as client:
        got = [response.json()["data"] for response in paceline.pages(client.get, url, WAYS[style])]
        assert [len(data) for data in got] == [10, 10, 10, 5]
        with pytest.raises(PageError, match=r"page 3 of .*: an empty page in the middle"):
            list(paceline.pages(client.get, f"{url}&fault=empty&at=3", WAYS[style]))

    async def main() -> list[int]:
        async with httpx.AsyncClient() as client:
            return [len(response.json()["data"]) async for response in paceline.apages(client.get, url, WAYS[style])]

    assert asyncio.run(main()) == [10, 10, 10, 5]


def test_pages_through_a_session_that_keeps_limits(server: Server) -> None:
    """A session of `paceline.requests` is a client like any: its pages come under its policy."""
    with Session(Policy(limits="500/s")) as session:
        got = paceline.pages(session.get, f"{server.url}/pages/e?total=35", "link items=data total=header:X-Total-Count")
        assert [len(response.json()["data"]) for response in got] == [10, 10, 10, 5]


def test_pages_through_aiohttp(server: Server) -> None:
    """aiohttp's body is read before the next page is asked for."""
    import aiohttp

    async def main() -> list[int]:
        async with aiohttp.ClientSession() as session:
            url = f"{server.url}/pages/d?total=35"
            return [len((await response.json())["data"]) async for response in paceline.apages(session.get, url, "link")]

    assert asyncio.run(main()) == [10, 10, 10, 5]
