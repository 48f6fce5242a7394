"""What the engine expects of a sender, asked of each one: answers, faults, and when its permit is stamped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from paceline.effects import Answer, Fault
from paceline.errors import InputError
from paceline.jobs.httpx_sender import HttpxSender
from paceline.jobs.sender import AiohttpSender, SenderOptions
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

COMMON = {"User-Agent": "test", "Accept": "*/*"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Stamp:
    """A permit that counts how often it was stamped, and tells who asks when."""

    def __init__(self, events: list[str] | None = None) -> None:
        self.at = 0.0
        self.waited = 0.0
        self.reason = ""
        self.wrote: float | None = None
        self.times = 0
        self.events = [] if events is None else events

    def sent(self) -> None:
        self.times += 1
        self.wrote = 1.0
        self.events.append("stamped")

    def release(self) -> None: ...

    def cancel(self) -> None: ...


@pytest.fixture(params=["aiohttp", "httpx"])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a sender of each kind."""
    return {"aiohttp": AiohttpSender, "httpx": HttpxSender}[request.param]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server of raw bytes on loopback, one connection after another, until the test ends; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def run() -> None:
            while True:
                try:
                    connection, _ = door.accept()
                except OSError:
                    return  # the test has ended
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(10)
                    if tls is None:
                        serve(connection)
                    else:
                        with tls.wrap_socket(connection, server_side=True) as wrapped:
                            serve(wrapped)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def read_head(connection: socket.socket) -> bytes:
    """One request's head; empty where the client has closed."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(65536)
        if not part:
            return b""
        head += part
    return head


def answering(*answers: bytes, seen: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    """Serves each connection these answers, in order, then closes it."""

    def serve(connection: socket.socket) -> None:
        for answer in answers:
            head = read_head(connection)
            if not head:
                return
            if seen is not None:
                seen.append(head)
            connection.sendall(answer)

    return serve


def using(
    make: Callable[..., Any],
    act: Callable[[Any], Awaitable[Any]],
    common: Mapping[str, str] = COMMON,
    **options: Any,
) -> Any:
    """Runs `act` with a fresh sender, and closes it."""

    async def main() -> Any:
        sender = make(SenderOptions(**options), common)
        try:
            return await act(sender)
        finally:
            await sender.close()

    return asyncio.run(main())


def attempt(
    make: Callable[..., Any],
    url: str,
    permit: Stamp | None = None,
    *,
    method: str = "GET",
    headers: Mapping[str, str] = COMMON,
    body: bytes | None = None,
    left: float | None = None,
    **options: Any,
) -> Any:
    """One attempt by a fresh sender."""
    held = Stamp() if permit is None else permit
    return using(make, lambda sender: sender.send(method, url, headers, body, held, left), **options)


# ---- answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204, 304, 404, 429, 500, 503])
def test_any_status_is_an_answer(make: Any, server: Server, status: int) -> None:
    """Whatever its status, an answer that came whole is an Answer."""
    reply = attempt(make, f"{server.url}/status/{status}")
    assert isinstance(reply, Answer)
    assert reply.status == status


def test_body_and_where_the_signal_is_read_from(make: Any, server: Server) -> None:
    """The whole body is the response; it is told as body only where a signal may stand in it."""
    served = attempt(make, f"{server.url}/items/7")
    refused = attempt(make, f"{server.url}/status/429")
    assert (served.response, served.body) == (b'{"id":"7"}', None)
    assert refused.response == refused.body == b'{"status": 429}'


def test_headers_are_pairs(make: Any) -> None:
    """Headers of the same name stay apart, in order, and can be looked up in any case."""
    answer = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nSet-Cookie: a=1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"
    with listening(answering(answer)) as port:
        reply = attempt(make, f"http://127.0.0.1:{port}/")
    pairs = [(name.lower(), value) for name, value in reply.headers.items()]
    assert [value for name, value in pairs if name == "x-a"] == ["1", "2"]
    assert reply.headers.get("SET-COOKIE") == "a=1"


def test_gzip_is_undone(make: Any, server: Server) -> None:
    """A compressed body comes out as it was."""
    reply = attempt(make, f"{server.url}/gzip?bytes=5000")
    assert reply.response == b'{"gzipped":true,"pad":"%s"}' % (b"x" * 5000)


def test_head_has_no_body(make: Any, server: Server) -> None:
    """The answer to HEAD has a length and no body."""
    reply = attempt(make, f"{server.url}/items/7", method="HEAD")
    assert (reply.status, reply.response, reply.headers.get("content-length")) == (200, b"", "10")


@pytest.mark.parametrize("location", ["/elsewhere", "http://[bad", "ftp://example.com/", "\x01"])
def test_redirects_are_answers(make: Any, location: str) -> None:
    """A redirect is an answer, wherever it leads."""
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    with listening(answering(head)) as port:
        reply = attempt(make, f"http://127.0.0.1:{port}/")
    if location == "\x01":
        # A control character makes a broken answer, for parsers that look.
        assert isinstance(reply, Fault) or reply.status == 302
    else:
        assert (reply.status, reply.headers.get("location")) == (302, location)


def test_no_cookies(make: Any) -> None:
    """A cookie that was set is not sent back."""
    seen: list[bytes] = []
    first = b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=1; Path=/\r\nContent-Length: 0\r\n\r\n"

    with listening(answering(first, OK, seen=seen)) as port:

        async def act(sender: Any) -> None:
            for _ in range(2):
                await sender.send("GET", f"http://127.0.0.1:{port}/", COMMON, None, Stamp(), None)

        using(make, act)
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


@pytest.mark.parametrize("target", ["/a%2Fb/%7e?q=a|b&s=x+y&t={1}", "/?", "?q=1", "/a//b/../c"])
def test_the_url_is_sent_as_it_stands(make: Any, target: str) -> None:
    """The request target is the URL's own, character by character: a signature may cover it."""
    seen: list[bytes] = []
    with listening(answering(OK, seen=seen)) as port:
        reply = attempt(make, f"http://127.0.0.1:{port}{target}")
    assert reply.status == 200
    sent = seen[0].split(b" ")[1].decode()
    # An empty path or query may be written either way (RFC 3986, section 6.2.3).
    assert sent.rstrip("?") == (target if target.startswith("/") else f"/{target}").rstrip("?")


def test_urls_of_an_origin_met_before_are_sent_as_they_stand(make: Any) -> None:
    """What is remembered of an origin changes nothing: not its other URLs, nor one that only begins like it."""
    targets = ["", "/a%2Fb/%7e?q=a|b", "/?", "/a//b/../c?x=1?y=2"]
    seen: list[bytes] = []
    with listening(answering(*[OK] * len(targets), seen=seen)) as port:

        async def act(sender: Any) -> list[int]:
            # Another port of one digit less, met before: all but the last character of the first URL below.
            await sender.send("GET", f"http://127.0.0.1:{port // 10}/", COMMON, None, Stamp(), None)
            base = f"http://127.0.0.1:{port}"
            got = [await sender.send("GET", base + target, COMMON, None, Stamp(), None) for target in targets]
            return [reply.status for reply in got]

        assert using(make, act) == [200] * len(targets)
    sent = [head.split(b" ")[1].decode() for head in seen]
    assert [target.rstrip("?") for target in sent] == ["/", *(target.rstrip("?") for target in targets[1:])]


@pytest.mark.parametrize(
    ("path", "header", "read"),
    [
        ("/items/1", b"X-Served-By: a", None),
        ("/items/1", b"X-RateLimit-Remaining: 7", None),
        ("/items/1", b"X-RateLimit-Remaining: 0", b"ok"),
        ("/items/1", b"Retry-After: 1", b"ok"),
        ("/graphql", b"X-Served-By: a", b"ok"),
    ],
)
def test_an_answer_is_silent_only_where_nothing_can_speak(make: Any, path: str, header: bytes, read: bytes | None) -> None:
    """Silent is an answer that is served, whose headers do not concern limits and whose body may not."""
    answer = b"HTTP/1.1 200 OK\r\n%s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\nok" % header
    with listening(answering(answer, answer)) as port:

        async def act(sender: Any) -> list[Answer]:
            url = f"http://127.0.0.1:{port}{path}"
            return [await sender.send("GET", url, COMMON, None, Stamp(), None) for _ in range(2)]

        first, second = using(make, act)
    assert (first.body, first.silent) == (second.body, second.silent)
    assert first.body == read
    if first.silent:
        assert read is None
        assert b"RateLimit" not in header


def test_headers_and_body_are_sent(make: Any) -> None:
    """A request's own headers and its body arrive as given, whatever characters they hold."""
    seen: list[bytes] = []
    with listening(answering(OK, seen=seen)) as port:
        headers = {**COMMON, "X-Own": "grün", "Content-Type": "text/plain"}
        attempt(make, f"http://127.0.0.1:{port}/", method="POST", headers=headers, body=b"12345")
    head = seen[0].lower()
    assert "x-own: grün\r\n".encode() in head
    assert b"content-length: 5\r\n" in head
    assert head.count(b"user-agent: test\r\n") == head.count(b"user-agent") == 1
    assert head.count(b"accept: */*\r\n") == 1


# ---- the size limit --------------------------------------------------------------------------------------


def test_a_body_of_the_most_bytes(make: Any, server: Server) -> None:
    """A body of exactly the most bytes is taken."""
    assert len(attempt(make, f"{server.url}/big?bytes=1000", max_body=1000).response) == 1000


@pytest.mark.parametrize(
    "path", ["/big?bytes=1001", "/big?bytes=100000000", "/gzip?bytes=1000000", "/drip?duration=0&bytes=1001"]
)
def test_a_body_over_the_limit(make: Any, server: Server, path: str) -> None:
    """A body over the limit, declared or decompressed, is given up."""
    reply = attempt(make, f"{server.url}{path}", max_body=1000)
    assert isinstance(reply, Fault)
    assert (reply.kind, reply.sent) == ("too_large", True)


def test_a_chunked_body_over_the_limit(make: Any) -> None:
    """A body that never told its length is given up as soon as it is over the limit."""

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")

    with listening(serve) as port:
        reply = attempt(make, f"http://127.0.0.1:{port}/", max_body=100_000)
    assert reply.kind == "too_large"


# ---- faults ----------------------------------------------------------------------------------------------


def test_time_limit(make: Any, server: Server) -> None:
    """An answer that is not whole in time is a fault; the request may have reached the server."""
    reply = attempt(make, f"{server.url}/drip?duration=60", timeout=0.2)
    assert (reply.kind, reply.sent) == ("timeout", True)
    assert "within 0.2 s" in str(reply.error)


def test_time_left(make: Any, server: Server) -> None:
    """The time left to a deadline bounds an attempt below its own time limit."""
    reply = attempt(make, f"{server.url}/drip?duration=60", left=0.1)
    assert reply.kind == "timeout"
    assert reply.elapsed < 5


def test_cancelled(make: Any, server: Server) -> None:
    """A cancelled attempt is cancelled, not a fault."""

    async def act(sender: Any) -> None:
        task = asyncio.create_task(
            sender.send("GET", f"{server.url}/drip?duration=60", COMMON, None, permit, None)
        )
        while permit.wrote is None:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    permit = Stamp()
    using(make, act)


def test_cut_before_an_answer(make: Any) -> None:
    """A connection cut before any answer is a reset; the request may have reached the server."""
    with Server(cut_rate=1.0) as cutting:
        reply = attempt(make, f"{cutting.url}/items/1")
    assert (reply.kind, reply.sent) == ("reset", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"this is no HTTP\r\n\r\n",
    ],
    ids=["length", "chunk", "cut-chunk", "gzip", "garbage"],
)
def test_broken_answers(make: Any, answer: bytes) -> None:
    """An answer that breaks its own promises is a fault that may be tried again."""
    with listening(answering(answer)) as port:
        reply = attempt(make, f"http://127.0.0.1:{port}/")
    assert isinstance(reply, Fault)
    assert (reply.kind, reply.sent) == ("protocol", True)


def test_refused_connection(make: Any) -> None:
    """Where nobody listens nothing was sent, and no permit is stamped."""
    permit = Stamp()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        reply = attempt(make, f"http://127.0.0.1:{bound.getsockname()[1]}/", permit)
    assert (reply.kind, reply.sent, permit.times) == ("connect", False, 0)


def test_unresolvable_host(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not resolve is told apart; nothing was sent."""

    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    permit = Stamp()
    reply = attempt(make, "http://nowhere.invalid/", permit)
    assert (reply.kind, reply.sent, permit.times) == ("resolve", False, 0)


def test_tls_trusted_and_not(make: Any, tmp_path: Path) -> None:
    """A certificate that is not trusted is a fault and nothing was sent; with its authority it is trusted."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    permit = Stamp()
    with listening(answering(OK), context) as port:
        distrusted = attempt(make, f"https://localhost:{port}/", permit)
        trusted = attempt(make, f"https://localhost:{port}/", ca_file=str(path))
        misnamed = attempt(make, f"https://127.0.0.1:{port}/", ca_file=str(path))
    assert (distrusted.kind, distrusted.sent, permit.times) == ("tls", False, 0)
    assert trusted.response == b"ok"
    assert (misnamed.kind, misnamed.sent) == ("tls", False)


def test_certificates_that_cannot_be_read(make: Any, tmp_path: Path) -> None:
    """A file that holds no certificates is told at once."""
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(InputError, match="cannot read certificates"):
        attempt(make, "https://localhost/", ca_file=str(path))


# ---- the stamp -------------------------------------------------------------------------------------------


def test_stamped_once_before_the_server_sees_it(make: Any) -> None:
    """Each attempt stamps its permit once, before its first byte arrives, on a new connection and a kept one."""
    events: list[str] = []

    def serve(connection: socket.socket) -> None:
        while read_head(connection):
            events.append("arrived")
            connection.sendall(OK)

    with listening(serve) as port:

        async def act(sender: Any) -> None:
            for _ in range(3):
                permit = Stamp(events)
                await sender.send("GET", f"http://127.0.0.1:{port}/", COMMON, None, permit, None)
                assert permit.times == 1

        using(make, act)
    assert events == ["stamped", "arrived"] * 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_kept_connection_that_closes_is_not_tried_again(make: Any, method: str) -> None:
    """Where the server closes a kept connection instead of answering, nothing is sent again by the sender itself."""
    arrived: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for answer in (OK, b""):
            head = read_head(connection)
            if head:
                arrived.append(head)
            connection.sendall(answer)

    with listening(serve) as port:
        permit = Stamp()

        async def act(sender: Any) -> Any:
            url = f"http://127.0.0.1:{port}/"
            await sender.send(method, url, COMMON, None, Stamp(), None)
            return await sender.send(method, url, COMMON, None, permit, None)

        reply = using(make, act)
    assert isinstance(reply, Fault)
    assert (reply.kind, reply.sent, permit.times, len(arrived)) == ("reset", True, 1, 2)


def test_through_a_proxy(make: Any) -> None:
    """Through a proxy the whole URL is asked of it, and the permit is stamped once."""
    seen: list[bytes] = []
    permit = Stamp()
    with listening(answering(OK, seen=seen)) as port:
        reply = attempt(make, "http://example.test/a?b=c", permit, proxy=f"http://127.0.0.1:{port}")
    assert (reply.response, permit.times) == (b"ok", 1)
    assert seen[0].startswith(b"GET http://example.test/a?b=c HTTP/1.1\r\n")


def test_through_a_tunnel(make: Any, tmp_path: Path) -> None:
    """Through a proxy's tunnel the permit is stamped by the request, not by the CONNECT that goes before it."""
    events: list[str] = []
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.test").configure_cert(context)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))

    def serve(connection: socket.socket) -> None:
        events.append(read_head(connection).split(b" ")[0].decode())
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as wrapped:
            events.append(read_head(wrapped).split(b" ")[0].decode())
            wrapped.sendall(OK)

    with listening(serve) as port:
        reply = attempt(
            make, "https://example.test/", Stamp(events), proxy=f"http://127.0.0.1:{port}", ca_file=str(path)
        )
    assert reply.response == b"ok"
    assert events == ["CONNECT", "stamped", "GET"]


# ---- secrets, and what is missing ------------------------------------------------------------------------


def test_nothing_secret_is_logged(make: Any, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a URL's query nor a credential is logged by the client underneath, down to the level INFO."""
    with caplog.at_level(logging.INFO):
        attempt(make, f"{server.url}/items/1?api_key=s3cret", headers={**COMMON, "Authorization": "Bearer s3cret"})
    assert "s3cret" not in caplog.text


def test_without_httpx_its_extra_is_named() -> None:
    """Without httpx its sender says what to install."""
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "try: import paceline.jobs.httpx_sender\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "MissingExtra httpx is not installed; install it with: pip install 'paceline[httpx]'\n"


def test_own_headers_only(make: Any) -> None:
    """A request whose mapping is its own carries nothing of the common one."""
    seen: list[bytes] = []
    with listening(answering(OK, seen=seen)) as port:

        async def act(sender: Any) -> None:
            await sender.send("GET", f"http://127.0.0.1:{port}/", {"Accept": "*/*"}, None, Stamp(), None)

        using(make, act, {**COMMON, "Authorization": "Bearer s3cret"})
    assert b"s3cret" not in seen[0]
