"""Laws of the proxy's wire: however bytes are cut and mixed, the same messages pass, as h11 reads them at both ends."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11
from hypothesis import given
from hypothesis import strategies as st

from paceline.testing.proxy_core import ProxyCore
from paceline.testing.proxy_pool import Pool
from paceline.testing.proxy_settings import ProxySettings
from paceline.testing.proxy_upstream import UpstreamConnection
from paceline.testing.proxy_wire import ClientConnection, ProxyDoor

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wire:
    """A transport that keeps what is written, and whether reading is paused."""

    def __init__(self) -> None:
        self.out = b""
        self.paused = self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 50_000) if name == "peername" else None

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    abort = close


@dataclass(frozen=True)
class Passed:
    """One request and the upstream's answer to it."""

    method: str
    body: bytes
    sizes: tuple[int, ...] | None  # of the request's chunks; None: it has a length
    status: int
    answer: bytes
    answer_sizes: tuple[int, ...] | None
    interim: bool

    def request(self, number: int) -> bytes:
        head = f"{self.method} /{number} HTTP/1.1\r\nHost: x\r\n".encode()
        if self.method in ("GET", "HEAD"):
            return head + b"\r\n"
        return head + framed(self.body, self.sizes, bodiless=False)

    def reply(self) -> bytes:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" if self.interim else b""
        head = b"HTTP/1.1 %d Phrase\r\n" % self.status
        if self.status in (204, 304):
            return early + head + b"\r\n"
        return early + head + framed(self.answer, self.answer_sizes, bodiless=self.method == "HEAD")

    @property
    def seen(self) -> tuple[int, bytes]:
        return self.status, b"" if self.method == "HEAD" or self.status in (204, 304) else self.answer


def framed(body: bytes, sizes: tuple[int, ...] | None, *, bodiless: bool) -> bytes:
    if sizes is None:
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), b"" if bodiless else body)
    text = b"Transfer-Encoding: chunked\r\n\r\n"
    if bodiless:
        return text
    place = 0
    for size in (*sizes, len(body)):
        piece = body[place : place + size]
        place += size
        if piece:
            text += b"%x\r\n%b\r\n" % (len(piece), piece)
    return text + b"0\r\nX-Trailer: 1\r\n\r\n"


bodies = st.binary(max_size=300)
chunks = st.none() | st.lists(st.integers(1, 100), max_size=4).map(tuple)
passings = st.builds(
    Passed,
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    bodies,
    chunks,
    st.sampled_from([200, 201, 204, 304, 404, 500]),
    bodies,
    chunks,
    st.booleans(),
)


def cut(text: bytes, chance: random.Random) -> list[bytes]:
    """The bytes in pieces, few or one by one."""
    places = sorted(chance.sample(range(1, len(text)), min(len(text) - 1, chance.choice([0, 1, 3, 20])))) if text else []
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def messages(text: bytes, role: type[h11.CLIENT] | type[h11.SERVER], methods: list[str]) -> Iterator[tuple[Any, bytes]]:
    """Head and body of each message in the bytes, as h11 reads them in a role; each is whole."""
    while text:
        reader = h11.Connection(role)
        if role is h11.CLIENT:
            reader.send(h11.Request(method=methods.pop(0), target="/", headers=[("Host", "x")]))
            reader.send(h11.EndOfMessage())
        reader.receive_data(text)
        head, body = None, b""
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.Request | h11.Response):
                head = event
        yield head, body
        text = reader.trailing_data[0]


async def play(passed: list[Passed], chance: random.Random, refuse: int) -> tuple[bytes, bytes, ProxyCore]:
    """What the client and the upstream receive when all is sent in pieces, mixed by chance."""
    options = {"refuse": f"every:{refuse}"} if refuse else {}
    settings = ProxySettings.of("http://127.0.0.1:1", options=options)
    now = 0.0
    core = ProxyCore(settings)
    pool = Pool(settings, lambda: now)
    door = ProxyDoor(core, pool, lambda: now, "law")
    client, near = ClientConnection(door), Wire()
    client.connection_made(near)  # type: ignore[arg-type]
    upstream, far = UpstreamConnection(pool), Wire()
    upstream.connection_made(far)  # type: ignore[arg-type]
    pool.give_back(upstream)
    asking = cut(b"".join(each.request(number) for number, each in enumerate(passed)), chance)
    asked = [each for number, each in enumerate(passed) if not refuse or (number + 1) % refuse]
    answering: list[bytes] = []
    answered = 0
    while asking or answering or answered < len(asked):
        if not answering and answered < len(asked):
            whole = len(list(complete(far.out)))
            if whole > answered:
                answering = cut(asked[answered].reply(), chance)
                answered += 1
        can_ask, can_answer = bool(asking) and not near.paused, bool(answering) and not far.paused
        assert can_ask or can_answer, "both sides wait"
        if can_ask and (not can_answer or chance.random() < 0.5):
            client.data_received(asking.pop(0))
        else:
            upstream.data_received(answering.pop(0))
    return near.out, far.out, core


def complete(text: bytes) -> Iterator[int]:
    """One for each whole request at the beginning of the bytes."""
    while text:
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(text)
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return
        yield 1
        text = reader.trailing_data[0]


@given(st.lists(passings, min_size=1, max_size=6), st.integers(0, 2**32), st.sampled_from([0, 0, 1, 2, 3]))
def test_what_passes_does_not_depend_on_how_bytes_are_cut(passed: list[Passed], seed: int, refuse: int) -> None:
    """Every request reaches the upstream, every answer its client: whole, in order, once, with the body that was sent."""
    near, far, core = asyncio.run(play(passed, random.Random(seed), refuse))
    refused = [bool(refuse) and not (number + 1) % refuse for number in range(len(passed))]
    sent = [
        (head.method.decode(), head.target.decode(), body) for head, body in messages(far, h11.SERVER, [])
    ]
    assert sent == [
        (each.method, f"/{number}", each.body if each.method in ("POST", "PUT") else b"")
        for number, each in enumerate(passed)
        if not refused[number]
    ]
    got = [(head.status_code, body) for head, body in messages(near, h11.CLIENT, [each.method for each in passed])]
    assert [
        status if gone else (status, body) for gone, (status, body) in zip(refused, got, strict=True)
    ] == [429 if gone else each.seen for gone, each in zip(refused, passed, strict=True)]
    account = core.account(0.0)
    assert account.answered == refused.count(False)
    assert account.received_bytes == sum(
        len(each.seen[1]) for gone, each in zip(refused, passed, strict=True) if not gone
    )


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_no_bytes_break_the_proxy(pieces: list[bytes]) -> None:
    """Whatever a client sends is answered or waited for; nothing is raised, and nothing after a 400 is looked at."""

    async def run() -> bytes:
        settings = ProxySettings.of("http://127.0.0.1:1", options={"refuse": "every:1"})
        core = ProxyCore(settings)
        client, near = ClientConnection(ProxyDoor(core, Pool(settings, lambda: 0.0), lambda: 0.0, "law")), Wire()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        client.connection_made(near)  # type: ignore[arg-type]
        for piece in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", *pieces]:
            client.data_received(piece)
        return near.out

    problems: list[Any] = []
    out = asyncio.run(run())
    assert problems == []
    statuses = [int(each[:3]) for each in out.split(b"HTTP/1.1 ")[1:]]
    assert statuses[0] == 429
    assert all(status in (400, 408, 414, 417, 429, 431, 501) for status in statuses)
    assert all(status == 429 for status in statuses[:-1])
