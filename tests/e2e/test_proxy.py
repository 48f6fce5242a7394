"""The reverse proxy over real sockets: what passes, in both directions, and what is told when something breaks."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.e2e.helpers import wait_for
from tests.e2e.upstreams import OK, RawUpstream, head_of, read_until

from paceline.errors import InputError
from paceline.testing import Passage, Proxy, Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def dial(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
        yield sock


def ask(proxy: Proxy, sent: bytes) -> bytes:
    """Sends bytes and reads until the proxy closes."""
    with dial(proxy) as sock:
        sock.sendall(sent)
        return read_until(sock, ())


def get(proxy: Proxy, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(proxy.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def listening() -> socket.socket:
    """A socket that a test accepts connections of, and waits for no longer than a while."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.settimeout(20)
    return sock


CLOSING = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(params=["uvloop", "asyncio"])
def either_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)


# -- what passes


@pytest.mark.usefixtures("either_loop")
def test_a_request_passes_as_it_came_but_for_what_ends_at_this_hop() -> None:
    """Method, target, fields and body reach the upstream; hop-by-hop fields do not; Host is its own; Via is added."""
    with RawUpstream() as upstream, Proxy(upstream.url) as proxy:
        answered = ask(
            proxy,
            b"PUT /a%20b?x=1&y=%2F HTTP/1.1\r\nHost: proxy.example\r\nX-One: 1\r\nX-One: 2\r\nX-Hop: secret\r\n"
            b"Connection: close, X-Hop\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\n"
            b"Content-Length: 5\r\nAuthorization: Bearer t\r\n\r\nhello",
        )
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answered.endswith(b"\r\n\r\nok")
    [request] = upstream.requests
    start, fields = head_of(request)
    assert start == b"PUT /a%20b?x=1&y=%2F HTTP/1.1"
    assert request.endswith(b"\r\n\r\nhello")
    assert re.fullmatch(r"1\.1 paceline-[0-9a-f]{8}", fields.pop("via"))
    assert fields == {
        "host": f"127.0.0.1:{upstream.port}",
        "x-one": "2",
        "content-length": "5",
        "authorization": "Bearer t",
    }
    assert b"X-One: 1\r\nX-One: 2\r\n" in request


def test_an_answer_passes_as_it_came_but_for_what_ends_at_this_hop() -> None:
    """Status, phrase, fields in order and body reach the client, fields of the upstream's connection do not."""
    raw = (
        b"HTTP/1.1 207 Fine So Far\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
        b"Keep-Alive: timeout=5\r\nContent-Length: 3\r\nDate: then\r\n\r\nabc"
    )
    with RawUpstream(raw) as upstream, Proxy(upstream.url) as proxy:
        assert ask(proxy, CLOSING) == (
            b"HTTP/1.1 207 Fine So Far\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\nDate: then\r\n"
            b"Connection: close\r\n\r\nabc"
        )
        assert proxy.account().answered == 1


def test_connections_to_the_upstream_are_kept() -> None:
    """Fifty requests over two clients' connections need no more than two of the upstream's."""
    with Server() as server, Proxy(server.url) as proxy:
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            for number in range(25):
                connection.request("GET", f"/items/{number}")
                assert json.loads(connection.getresponse().read()) == {"id": str(number)}
            connection.close()
        assert server.account().connections <= 2
        assert proxy.account().client.connections == 2


@pytest.mark.usefixtures("either_loop")
def test_chunked_bodies_and_trailers_pass_both_ways() -> None:
    """A chunked body arrives chunked, with its trailer but without what a trailer may not say; so does the answer's."""
    raw = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n"
        b"X-Sum: 5\r\nSet-Cookie: late\r\n\r\n"
    )
    with RawUpstream(raw) as upstream, Proxy(upstream.url) as proxy:
        answered = ask(
            proxy,
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-End: 1\r\nAuthorization: late\r\n\r\n",
        )
    assert answered.endswith(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in answered
    [request] = upstream.requests
    assert request.endswith(b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-End: 1\r\n\r\n")


def test_a_body_that_only_its_end_ends_is_chunked_for_the_client() -> None:
    """An answer without a length is chunked for HTTP/1.1, so that its end is known, and ended by closing for 1.0."""

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.sendall(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nall there is")
        sock.shutdown(socket.SHUT_WR)

    with RawUpstream(answer) as upstream, Proxy(upstream.url) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        for _ in range(2):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.getheader("Transfer-Encoding") == "chunked"
            assert response.read() == b"all there is"
        connection.close()
        old = ask(proxy, b"GET / HTTP/1.0\r\n\r\n")
        assert old.endswith(b"Connection: close\r\n\r\nall there is")
        assert b"chunked" not in old


@pytest.mark.parametrize(
    "head",
    [
        b"HEAD / HTTP/1.1|200 OK|Content-Length: 1000",
        b"HEAD / HTTP/1.1|200 OK|Transfer-Encoding: chunked",
        b"GET / HTTP/1.1|304 Not Modified|Content-Length: 1000",
        b"DELETE / HTTP/1.1|204 No Content|X: y",
        b"GET / HTTP/1.1|200 OK|Content-Length: 0",
    ],
)
def test_answers_without_a_body_end_with_their_head(head: bytes) -> None:
    """HEAD, 204 and 304 have no body whatever their fields say, and both connections go on."""
    request, status, field = head.split(b"|")
    with RawUpstream(b"HTTP/1.1 %b\r\n%b\r\n\r\n" % (status, field)) as upstream, Proxy(upstream.url) as proxy:
        with dial(proxy) as sock:
            for _ in range(3):
                sock.sendall(request + b"\r\nHost: x\r\n\r\n")
                assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 " + status)
        assert upstream.connections == 1
        assert proxy.account().answered == 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_interim_answers_pass(when: str) -> None:
    """100 Continue comes from the upstream before the body is sent, 103 too; HTTP/1.0 sees the final answer alone."""

    def answer(sock: socket.socket, request: bytes) -> None:
        sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)

    upstream = listening()
    port = upstream.getsockname()[1]
    with upstream, Proxy(f"http://127.0.0.1:{port}", when=when) as proxy, dial(proxy) as sock:
        sock.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        side, _ = upstream.accept()
        with side:
            assert b"Expect: 100-continue\r\n" in read_until(side, b"\r\n\r\n")
            side.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"hi")
            assert read_until(side, b"hi") == b"hi"
            side.sendall(OK)
            assert read_until(sock, b"ok").startswith(b"HTTP/1.1 200 OK")
    with RawUpstream(answer) as raw, Proxy(raw.url) as proxy:
        assert ask(proxy, CLOSING).startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert ask(proxy, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_refused_expectation_closes_the_connection() -> None:
    """Whoever waited for 100 Continue and got a refusal has a connection that is closed: its body may come or not."""
    expecting = b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with RawUpstream() as raw, Proxy(raw.url, refuse="every:1") as proxy:
        answered = ask(proxy, expecting)
        assert answered.startswith(b"HTTP/1.1 429 ")
        assert b"Connection: close\r\n" in answered
        assert raw.requests == []
    upstream = listening()
    with upstream, Proxy(f"http://127.0.0.1:{upstream.getsockname()[1]}") as proxy, dial(proxy) as sock:
        sock.sendall(expecting)
        side, _ = upstream.accept()
        with side:
            read_until(side, b"\r\n\r\n")
            side.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            assert b"Connection: close\r\n" in read_until(sock, ())


def test_pipelined_requests_are_answered_in_order() -> None:
    """Two hundred pipelined requests, refused ones and ones with bodies among them, are answered in the order asked."""
    with Server() as server, Proxy(server.url, refuse="every:3", rule_key="all") as proxy, dial(proxy) as sock:
        sock.sendall(
            b"".join(
                b"GET /items/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number
                if number % 2
                else b"POST /items/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" % number + b"x" * 5000
                for number in range(1, 200)
            )
            + b"GET /items/200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answered = read_until(sock, ())
    found = re.findall(rb"HTTP/1.1 (\d+)|\"id\":\"(\d+)\"", answered)
    statuses = [int(status) for status, _ in found if status]
    items = [int(number) for _, number in found if number]
    assert statuses == [429 if number % 3 == 0 else 200 for number in range(1, 201)]
    assert items == [number for number in range(1, 201) if number % 3]


def test_nothing_behind_the_last_request_is_served() -> None:
    """What follows a request that closes the connection, or one that is cut, is neither answered nor passed on."""
    with RawUpstream() as upstream:
        with Proxy(upstream.url) as proxy:
            assert ask(proxy, CLOSING + CLOSING.replace(b"/a", b"/b")).count(b"HTTP/1.1 ") == 1
            assert ask(proxy, b"GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n").count(b"HTTP/1.1 ") == 1
        for when, sent in (("before", 0), ("after", 1)):
            with Proxy(upstream.url, cut="first:1", when=when) as proxy:
                assert ask(proxy, CLOSING.replace(b"Connection: close\r\n", b"") + CLOSING.replace(b"/a", b"/b")) == b""
                assert proxy.account().passed == sent
        assert not any(request.startswith(b"GET /b") for request in upstream.requests)


def test_many_clients_at_once() -> None:
    """Forty clients, a thousand requests, each answered with what it asked for."""
    with Server() as server, Proxy(server.url) as proxy:

        def run(client: int) -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
            for number in range(25):
                name = f"{client}-{number}"
                connection.request("GET", f"/items/{name}?bytes={number * 997}")
                if json.loads(connection.getresponse().read())["id"] != name:
                    return False
            connection.close()
            return True

        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            assert all(pool.map(run, range(40)))
        assert proxy.account().answered == 1000
        assert server.account().duplicates == 0


def test_links_and_redirects_stay_behind_the_proxy() -> None:
    """Location, Content-Location and Link that name the upstream name the proxy instead, under the path it stands for."""

    def answer(sock: socket.socket, request: bytes) -> None:
        own = f"http://127.0.0.1:{upstream.port}/v2"
        sock.sendall(
            f"HTTP/1.1 302 Found\r\nLocation: {own}/next?p=2\r\nContent-Location: /v2/items\r\n"
            f'Link: <{own}/p?3>; rel="next", <https://other.example/>; rel="x"\r\nContent-Length: 0\r\n\r\n'.encode()
        )

    with RawUpstream(answer) as upstream:
        with Proxy(upstream.url + "/v2/") as proxy:
            answered = ask(proxy, b"GET /items HTTP/1.1\r\nHost: my.example:99\r\nConnection: close\r\n\r\n")
            _, fields = head_of(answered)
            assert head_of(upstream.requests[0])[0] == b"GET /v2/items HTTP/1.1"
            assert fields["location"] == "http://my.example:99/next?p=2"
            assert fields["content-location"] == "/items"
            assert fields["link"] == '<http://my.example:99/p?3>; rel="next", <https://other.example/>; rel="x"'
        with Proxy(upstream.url + "/v2", keep_links=True, keep_host=True) as proxy:
            _, fields = head_of(ask(proxy, CLOSING))
            assert fields["location"] == f"{upstream.url}/v2/next?p=2"
            assert head_of(upstream.requests[1])[1]["host"] == "x"


# -- what is not passed on


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", 400),
        (b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", 417),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: %b\r\n" % (b"a" * 1000) * 70 + b"\r\n", 431),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 501),
        (
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n",
            501,
        ),
    ],
)
def test_what_two_servers_could_read_differently_is_not_passed_on(sent: bytes, status: int) -> None:
    """Malformed, ambiguous and unserved requests are answered with a reason, and nothing behind them is looked at."""
    with RawUpstream() as upstream, Proxy(upstream.url) as proxy:
        answered = ask(proxy, sent + CLOSING)
        assert answered.startswith(b"HTTP/1.1 %d " % status)
        assert answered.count(b"HTTP/1.1 ") == 1
        assert json.loads(answered.partition(b"\r\n\r\n")[2])["from"] == "paceline proxy"
        assert all(not request.endswith(b"\r\n\r\n0\r\n\r\n") for request in upstream.requests)
        assert b"GET /a " not in b"".join(upstream.requests)
        assert proxy.account().malformed == 1


def test_websocket_is_refused_in_words() -> None:
    """The answer to a WebSocket handshake says that it is not passed on, and what to do."""
    with RawUpstream() as upstream, Proxy(upstream.url) as proxy:
        status, _, body = get(proxy, "/ws", Upgrade="websocket", Connection="Upgrade")
        assert status == 501
        assert "WebSocket" in json.loads(body)["error"]


def test_other_upgrades_are_answered_in_http_1() -> None:
    """A client that offers h2c is served as any other, and so is what it asks next (RFC 9110 section 7.8)."""
    upgrade = b"GET /items/%d HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"
    with Server() as server, Proxy(server.url) as proxy, dial(proxy) as sock:
        sock.sendall(upgrade % 1 + upgrade % 2)
        assert read_until(sock, b'{"id":"2"}').count(b"HTTP/1.1 200") == 2


def test_a_broken_upload_never_looks_whole() -> None:
    """An upload broken off, by its client or by bytes that are no chunk, closes the upstream's connection."""
    begun = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with RawUpstream() as upstream, Proxy(upstream.url) as proxy:
        with dial(proxy) as sock:
            sock.sendall(begun)
            wait_for(lambda: proxy.account().passed == 1, "the upstream to be asked")
        assert upstream.closed.acquire(timeout=20)
        with dial(proxy) as sock:
            sock.sendall(begun)
            wait_for(lambda: proxy.account().passed == 2, "the upstream to be asked")
            sock.sendall(b"zz\r\n")
            assert read_until(sock, ()).startswith(b"HTTP/1.1 400 ")
        assert upstream.closed.acquire(timeout=20)
        assert not any(request.endswith(b"0\r\n\r\n") for request in upstream.requests)
        assert proxy.account().abandoned == 1


def test_a_client_that_leaves_lets_the_upstream_know() -> None:
    """When a client goes before its answer came, the upstream's connection is closed too."""
    with RawUpstream(lambda *_: None) as upstream, Proxy(upstream.url) as proxy:
        with dial(proxy) as sock:
            sock.sendall(CLOSING)
            wait_for(lambda: upstream.requests, "the upstream to be asked")
        assert upstream.closed.acquire(timeout=20)
        wait_for(lambda: proxy.account().abandoned == 1, "the account to know")


# -- upstreams that fail


def test_an_upstream_that_is_down_is_a_502() -> None:
    """A refused connection gives 502 with the reason in words, is counted, and is told of."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    seen: list[Passage] = []
    with Proxy(f"http://127.0.0.1:{port}", watch=seen.append) as proxy:
        status, _, body = get(proxy, "/")
        assert status == 502
        assert json.loads(body)["error"] == f"no connection to http://127.0.0.1:{port} (Connection refused)"
        assert proxy.account().upstream_failures == 1
    [passed] = seen
    assert passed.error == f"no connection to http://127.0.0.1:{port} (Connection refused)"
    assert (passed.status, passed.upstream_status) == (502, None)


def test_a_kept_connection_that_breaks_is_not_tried_again() -> None:
    """A request on a kept connection that dies unanswered is a 502: only the client knows whether to send it twice."""

    def answer(sock: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /first"):
            sock.sendall(OK)
        else:
            sock.close()

    with RawUpstream(answer) as upstream, Proxy(upstream.url) as proxy:
        assert get(proxy, "/first")[0] == 200
        status, _, body = get(proxy, "/second")
        assert status == 502
        assert "before it answered, one kept from an earlier request" in json.loads(body)["error"]
        assert [head_of(request)[0] for request in upstream.requests] == [b"GET /first HTTP/1.1", b"GET /second HTTP/1.1"]
        assert get(proxy, "/first")[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"a" * 1000) * 300,
        b"HTTP/1.1 200 O",
        b"",
    ],
)
def test_an_answer_that_is_none_is_a_502(raw: bytes) -> None:
    """What cannot be read as one HTTP/1.1 answer is never passed on in part."""

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)

    with RawUpstream(answer) as upstream, Proxy(upstream.url) as proxy:
        status, _, body = get(proxy, "/")
        assert status == 502
        assert json.loads(body)["from"] == "paceline proxy"
        assert proxy.account().upstream_failures == 1


@pytest.mark.parametrize("more", [OK.replace(b"ok", b"no"), b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 2", b"x"])
def test_what_follows_an_answer_unasked_is_nobodys(more: bytes) -> None:
    """A second answer behind the first is not given to the next client: the connection is dropped."""
    with RawUpstream(OK + more) as upstream, Proxy(upstream.url) as proxy:
        for _ in range(5):
            assert get(proxy, "/")[2] == b"ok"
        assert upstream.connections == 5


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_an_answer_that_breaks_off_looks_broken(raw: bytes) -> None:
    """An answer cut in its body reaches the client cut, never as a whole one."""

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)

    with RawUpstream(answer) as upstream, Proxy(upstream.url) as proxy:
        with pytest.raises(http.client.IncompleteRead):
            get(proxy, "/")
        account = proxy.account()
        assert (account.upstream_failures, account.answered) == (1, 0)


def test_an_answer_that_breaks_off_is_reset_where_its_end_would_look_right() -> None:
    """An HTTP/1.0 client, for whom closing ends a body, sees a reset when the upstream broke off."""

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        sock.shutdown(socket.SHUT_WR)

    with RawUpstream(answer) as upstream, Proxy(upstream.url) as proxy, pytest.raises(ConnectionResetError):
        ask(proxy, b"GET / HTTP/1.0\r\n\r\n")


def test_an_idle_connection_is_closed_before_it_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody used for a while is closed by the proxy, and the next request takes a new one."""
    monkeypatch.setattr("paceline.testing.proxy_pool._KEEP", 0.05)
    with RawUpstream() as upstream, Proxy(upstream.url, timeout=0.4) as proxy:
        assert get(proxy, "/")[2] == b"ok"
        assert upstream.closed.acquire(timeout=20)
        assert get(proxy, "/")[2] == b"ok"
        assert upstream.connections == 2


def test_a_silent_upstream_is_a_504_and_a_silent_client_a_408() -> None:
    """Whoever keeps the other waiting longer than the timeout is given up, and the reason told."""
    with RawUpstream(lambda *_: None) as upstream, Proxy(upstream.url, timeout=0.5) as proxy:
        status, _, body = get(proxy, "/")
        assert status == 504
        assert json.loads(body)["error"] == "nothing came from the upstream for 0.5 s"
        assert ask(proxy, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf").startswith(b"HTTP/1.1 408 ")
        assert ask(proxy, b"GET / HTT").startswith(b"HTTP/1.1 408 ")
        assert proxy.account().upstream_timeouts == 1


def test_a_proxy_that_is_its_own_upstream_says_so() -> None:
    """A loop ends at its second turn, with 508 and a question."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Proxy(f"http://127.0.0.1:{port}", port=port) as proxy:
        status, _, body = get(proxy, "/")
        assert status == 508
        assert "its own address" in json.loads(body)["error"]


@pytest.mark.parametrize("last", [b"Connection: close\r\n", b""])
def test_an_early_answer_ends_the_upload_not_the_client(last: bytes) -> None:
    """An upstream that answers before the body is there is passed on; the rest of the body is read over.

    Its connection is not used again, though it offers to keep it: it would take the next request for the body's rest.
    """
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n" + last + b"\r\n"
    upstream = listening()
    with upstream, Proxy(f"http://127.0.0.1:{upstream.getsockname()[1]}") as proxy, dial(proxy) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
        side, _ = upstream.accept()
        with side:
            read_until(side, b"x" * 1000)
            side.sendall(early)
            assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 413 ")
            sock.sendall(b"x" * 99_000 + CLOSING)
            second, _ = upstream.accept()
            with second:
                assert read_until(second, b"\r\n\r\n").startswith(b"GET /a ")
                second.sendall(OK)
                assert read_until(sock, ()).endswith(b"ok")
        assert proxy.account().answered == 2


# -- TLS


@pytest.mark.usefixtures("either_loop")
def test_an_https_upstream_is_verified(tmp_path: Any) -> None:
    """An https upstream is trusted by the certificates given; one that nobody vouches for is a 502."""
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with RawUpstream(tls=context) as upstream:
        with Proxy(upstream.url, ca_file=str(ca_file)) as proxy:
            assert get(proxy, "/")[2] == b"ok"
        with Proxy(upstream.url) as proxy:
            status, _, body = get(proxy, "/")
            assert status == 502
            assert "its certificate does not verify" in json.loads(body)["error"]
    with pytest.raises(InputError, match="cannot read the certificates in"):
        Proxy(upstream.url, ca_file=str(tmp_path / "none.pem")).start()


# -- flow


@pytest.mark.usefixtures("either_loop")
def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    """Of an endless body, no more is taken from the upstream than buffers hold; when the client reads on, it goes on."""
    sent = 0
    stop = threading.Event()

    def answer(sock: socket.socket, _: bytes) -> None:
        nonlocal sent
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not stop.is_set():
            sock.sendall(b"x" * 65536)
            sent += 65536

    def still() -> bool:
        before = sent
        time.sleep(0.2)
        return before == sent > 0

    with RawUpstream(answer) as upstream, Proxy(upstream.url) as proxy, dial(proxy) as sock:
        sock.sendall(CLOSING)
        wait_for(still, "the upstream to be stopped")
        held = sent
        assert held < 64 << 20
        taken = 0
        while taken < held + (8 << 20):
            taken += len(sock.recv(1 << 20))
        assert sent > held
        stop.set()


@pytest.mark.usefixtures("either_loop")
def test_an_upstream_that_does_not_read_stops_the_client() -> None:
    """Of an endless upload, no more is taken from the client than buffers hold, before a connection stands and after."""
    upstream = listening()
    with upstream, Proxy(f"http://127.0.0.1:{upstream.getsockname()[1]}") as proxy, dial(proxy) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        sock.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200 << 20:
                sent += sock.send(b"x" * 65536)
        assert sent < 64 << 20
        side, _ = upstream.accept()
        with side:
            taken = 0
            while taken < sent // 2:
                taken += len(side.recv(1 << 20))
            sock.settimeout(20)
            assert sock.send(b"x")




def test_options_that_make_no_sense_are_told() -> None:
    """Each wrong option gets a message that names it and shows a right one."""
    for options, words in [
        ({"refuse": "often"}, "cannot read the rule 'often'; write first:3"),
        ({"when": "later"}, "when is before or after"),
        ({"fail_status": 200}, "fail_status is a status from 500 to 599"),
        ({"slow_seconds": -1.0}, "slow_seconds is a number of seconds"),
        ({"timeout": 0.0}, "timeout is a number of seconds above 0"),
        ({"control": "account"}, "begins and ends with a slash"),
        ({"rule_key": "header:"}, "rule_key is all, target"),
        ({"surprise": 1}, "the proxy has no option 'surprise'"),
    ]:
        with pytest.raises(InputError, match=re.escape(words)):
            Proxy("http://127.0.0.1:1", **options)  # type: ignore[typeddict-item]
    for url in ("ftp://x", "example.com", "http://", "http://u:pw@x", "http://x/?q=1", "http://x:99999", "http://exämple.com"):
        with pytest.raises(InputError) as caught:
            Proxy(url)
        assert "pw" not in str(caught.value)
    with pytest.raises(InputError, match="was not started"):
        _ = Proxy("http://127.0.0.1:1").url
