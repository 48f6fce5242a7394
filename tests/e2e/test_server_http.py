"""The test server speaks HTTP/1.1 right: framing, pipelines, upgrades, smuggling, slow and broken clients, any bytes."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import resource
import socket
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.testing import Server, door, wire
from paceline.testing.door import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = b"GET /items/9 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def exchange(server: Server, sent: bytes) -> bytes:
    """Sends bytes, says that this was all, and reads until the server closes."""
    with dial(server) as sock:
        # A server that has answered and closed may not take the rest.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


def statuses(answered: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", answered)]


def serves(server: Server) -> bool:
    return statuses(exchange(server, GOOD)) == [200]


def post(head: bytes, body: bytes = b"") -> bytes:
    return b"POST /items/1 HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + body


# ---- framing: two readings of one message are how requests are smuggled (RFC 9112 section 11.2) -------------------


@pytest.mark.parametrize(
    "sent",
    [
        post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
        post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
        post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
        post(b"Content-Length: 5, 5\r\n", b"hello"),
        post(b"Content-Length: +5\r\n", b"hello"),
        post(b"Content-Length: 0x5\r\n", b"hello"),
        post(b"Content-Length: 5 5\r\n", b"hello"),
        post(b"Content-Length: 99999999999999999999999\r\n", b"hello"),
        post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
        post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        post(b"Transfer-Encoding: gzip\r\n", b"0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked\r\n", b"5\r\nhelloX\r\n0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked\r\n", b"-5\r\nhello\r\n0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\nhello\r\n"),
        post(b"Transfer-Encoding: chunked\r\n", b"5 \r\nhello\r\n0\r\n\r\n"),
        post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
        post(b"X: a\r\n Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        post(b"X: a\x00b\r\n"),
        post(b"X: a\rContent-Length: 9\r\n"),
        post(b"X Y: 1\r\n"),
        post(b": 1\r\n"),
        post(b"Host: y\r\n"),
        b"GET /items/1 HTTP/1.1\nHost: x\n\n",
        b"GET /items/ 1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GE(T /items/1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_doubtful_framing_gets_a_400_and_the_end(server: Server, sent: bytes) -> None:
    """What could be read in two ways is refused and nothing behind it is answered; the request before it is."""
    server.reset()
    answered = exchange(server, GOOD + sent + GOOD)
    assert statuses(answered) == [200, 400]
    assert b"Connection: close" in answered
    assert server.account().arrived == 1
    assert serves(server)


@pytest.mark.parametrize(
    "sent",
    [
        post(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked\r\n", b'5;name=value;q="a b"\r\nhello\r\n0;last\r\n\r\n'),
        post(b"Transfer-Encoding: chunked\r\nTrailer: X\r\n", b"0\r\nX: 1\r\nAuthorization: z\r\nHost: z\r\n\r\n"),
        post(b"Transfer-Encoding: Chunked\r\n", b"00005\r\nhello\r\n000\r\n\r\n"),
        post(b"Transfer-Encoding: chunked\r\n", b"".join(b"1\r\nx\r\n" for _ in range(3000)) + b"0\r\n\r\n"),
        post(b"Content-Length: 0\r\n"),
        post(b"content-LENGTH:  5  \r\n", b"hello"),
        post(b""),
        b"\r\n\r\n" + post(b"Content-Length: 5\r\n", b"hello"),
        b"DELETE http://other.example/items/1?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_right_framing_is_read_to_its_end(server: Server, sent: bytes) -> None:
    """Chunks with extensions and trailers, lengths, empty bodies, absolute targets: the next request is the next."""
    assert statuses(exchange(server, sent + GOOD)) == [200, 200]


def test_a_target_in_absolute_form_is_the_same_item(server: Server) -> None:
    """As clients of proxies send it."""
    answered = exchange(server, b"GET http://api.example/items/77?bytes=40 HTTP/1.1\r\nHost: api.example\r\n\r\n")
    assert b'{"id":"77","pad":"' in answered


def test_connect_is_no_tunnel(server: Server) -> None:
    """A CONNECT gets 501 and the end, whatever comes behind it."""
    answered = exchange(server, b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n\x16\x03\x01")
    assert statuses(answered) == [501]


@pytest.mark.parametrize("line", [b"GET /items/1", b"GET /items/1 HTTP/0.9", b"GET /items/1 HTTP/2.0"])
def test_other_versions_are_not_spoken(server: Server, line: bytes) -> None:
    """What is neither HTTP/1.0 nor 1.1 gets a 505, and the end."""
    server.reset()
    assert statuses(exchange(server, line + b"\r\nHost: x\r\n\r\n" + GOOD)) == [505]
    assert server.account().arrived == 0


def test_a_head_without_end_is_cut_off_with_431(server: Server) -> None:
    """Many small fields are as bounded as one large one."""
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 100) for number in range(10_000))
    assert statuses(exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n" + fields)) == [431]


# ---- bodies ------------------------------------------------------------------------------------------------------


def test_a_stream_comes_in_chunks_and_its_end_is_told(server: Server) -> None:
    """`/stream/N` is chunked for HTTP/1.1, ends with the connection for HTTP/1.0, and HEAD has no body of it."""
    answered = exchange(server, b"GET /stream/3000 HTTP/1.1\r\nHost: x\r\n\r\n" + GOOD)
    head, _, rest = answered.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    body, rest = unchunk(rest)
    assert body == b"".join(b'{"line":%d}\n' % number for number in range(1, 3001))
    assert statuses(rest) == [200]
    old = exchange(server, b"GET /stream/3 HTTP/1.0\r\n\r\n")
    assert b"Transfer-Encoding" not in old
    assert b"Connection: close" in old
    assert old.endswith(b'\r\n\r\n{"line":1}\n{"line":2}\n{"line":3}\n')
    assert exchange(server, b"HEAD /stream/3 HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"chunked\r\n\r\n")


def unchunk(text: bytes) -> tuple[bytes, bytes]:
    """The body in chunks at the beginning of a text, and the text behind it."""
    body = b""
    while True:
        size, _, text = text.partition(b"\r\n")
        length = int(size, 16)
        body, text = body + text[:length], text[length + 2 :]
        if not length:
            return body, text


def test_a_slow_stream_takes_its_time(server: Server) -> None:
    """Lines come over the seconds asked for, in several pieces."""
    begun = time.monotonic()
    with dial(server) as sock:
        sock.sendall(b"GET /stream/4?seconds=0.2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answered = read_to_end(sock)
    assert time.monotonic() - begun >= 0.19
    assert answered.endswith(b"0\r\n\r\n")
    assert answered.count(b'{"line"') == 4


def test_ten_megabytes_up_take_no_memory(server: Server) -> None:
    """An upload with a length and one in chunks are read over; the same memory does for both."""
    piece = b"x" * 65_536
    chunk = b"10000\r\n" + piece + b"\r\n"
    for head, parts, end in (
        (b"Content-Length: 10485760\r\n", itertools.repeat(piece, 160), b""),
        (b"Transfer-Encoding: chunked\r\n", itertools.repeat(chunk, 160), b"0\r\n\r\n"),
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with dial(server) as sock:
            sock.sendall(b"PUT /items/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head + b"\r\n")
            for part in parts:
                sock.sendall(part)
            sock.sendall(end)
            assert statuses(read_to_end(sock)) == [200]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5_000


def test_a_body_beyond_the_bound_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the bound gets a 413, and the connection ends."""
    monkeypatch.setattr(wire, "_MOST_BODY", 100_000)
    sent = post(b"Content-Length: 10000000\r\n", b"x" * 1_000_000)
    assert statuses(exchange(server, sent)) == [413]


# ---- faults ------------------------------------------------------------------------------------------------------


def test_a_reset_is_a_rst() -> None:
    """The client sees the connection reset, not closed; the request was charged."""
    with Server("10/s", reset_rate=1.0) as server, dial(server) as sock:
        sock.sendall(GOOD)
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
        account = server.account()
    assert (account.accepted, account.cut, account.served) == (1, 1, 0)


@pytest.mark.parametrize("path", [b"/items/7?bytes=1000", b"/items/7?bytes=300000", b"/stream/500"])
def test_a_truncated_body_is_half_of_what_was_promised(path: bytes) -> None:
    """The head is that of the whole; half of the bytes come, no end of chunks, and then the end of the connection."""
    with Server("10/s") as server:
        asked = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path
        whole = exchange(server, asked).partition(b"\r\n\r\n")[2]
        server.change(truncate_rate=1.0)
        head, _, body = exchange(server, asked + GOOD).partition(b"\r\n\r\n")
        assert 0.3 * len(whole) < len(body) < 0.7 * len(whole)
        assert body.count(b'"line"') < 400
        assert path.startswith(b"/stream") or whole.startswith(body)
        assert b"Connection: close" in head
        assert not body.endswith(b"0\r\n\r\n")
        account = server.account()
    assert (account.accepted, account.truncated) == (2, 1)


def test_a_slowed_body_is_whole(server: Server) -> None:
    """A plain answer dripped over its time arrives to the last byte, and counts as served."""
    with Server(slow_rate=1.0, slow_seconds=0.15) as slow:
        begun = time.monotonic()
        answered = exchange(slow, GOOD)
        assert time.monotonic() - begun >= 0.14
        assert answered.endswith(b'{"id":"9"}')
        assert (slow.account().slowed, slow.account().served) == (1, 1)


# ---- patience ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", []),
        (b"GET /items/1 HTT", [408]),
        (b"GET /items/1 HTTP/1.1\r\nHost: x\r\nX: ", [408]),
        (b"POST /items/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", [408]),
        (GOOD, [200]),
    ],
)
def test_whoever_dawdles_is_let_go(sent: bytes, answer: list[int]) -> None:
    """A client that stops in a head or in a body gets a 408, an idle one just the end; so a slow loris is bounded."""
    patience = Patience(head=0.2, body=0.2, idle=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "PATIENCE", patience)
        with Server() as server, dial(server) as sock:
            sock.sendall(sent)
            assert statuses(read_to_end(sock)) == answer


def test_a_drop_at_a_time_does_not_buy_time() -> None:
    """A head that grows by a byte now and then is still to be whole in time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "PATIENCE", Patience(head=0.3, body=30, idle=30))
        with Server() as server, dial(server) as sock:
            sock.settimeout(0.02)
            sock.sendall(b"GET /items/1 HTTP/1.1\r\nX: ")
            until = time.monotonic() + 8
            while time.monotonic() < until:
                try:
                    sock.send(b"a")
                    if answered := sock.recv(100):
                        assert statuses(answered) == [408]
                        return
                except TimeoutError:
                    continue
    pytest.fail("the server waited for ever")


# ---- anything ----------------------------------------------------------------------------------------------------

pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            GOOD,
            b"GET /items/1 HTTP/1.1\r\n",
            b"POST /items/1?bytes=5000 HTTP/1.1\r\n",
            b"HEAD /stream/5 HTTP/1.0\r\n",
            b"Host: x\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
            b"Connection: upgrade\r\nUpgrade: h2c\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"GET /-/set?limit=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /status/abc?n=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET //[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        ]
    ),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(pieces, max_size=12), cuts=st.integers(0, 2**32))
def test_no_bytes_harm_the_server(server: Server, caplog: pytest.LogCaptureFixture, parts: list[bytes], cuts: int) -> None:
    """Whatever comes, in whatever pieces: answers are well formed, nothing is logged as our fault, the next is served."""
    sent, chance = b"".join(parts), random.Random(cuts)
    with dial(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent:
                size = chance.choice([1, 7, 40, len(sent)])
                sock.send(sent[:size])
                sent = sent[size:]
            sock.shutdown(socket.SHUT_WR)
        answered = read_to_end(sock)
    assert not answered or answered.startswith(b"HTTP/1.1 ")
    assert serves(server)
    assert not caplog.records
