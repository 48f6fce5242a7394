"""The test server over real sockets: HTTP as clients truly speak it, faults, threads and the command."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from paceline.errors import InputError
from paceline.testing import Account, Core, Server, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def dial(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        yield sock


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def exchange(server: Server, sent: bytes) -> bytes:
    """Sends bytes, says that this was all, and reads until the server closes."""
    with dial(server) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def get(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def settled(server: Server, **expected: int) -> Account:
    """The account, once it has come to what is expected: a lost connection is noticed a moment later."""
    until = time.monotonic() + 5
    while True:
        account = server.account()
        if (
            all(getattr(account, name) == value for name, value in expected.items())
            or time.monotonic() > until
        ):
            assert {name: getattr(account, name) for name in expected} == expected
            return account
        time.sleep(0.005)


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def shared(request: pytest.FixtureRequest) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "asyncio":
            patch.setitem(sys.modules, "uvloop", None)
        server = Server().start()
    yield server
    server.stop()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.change(limit=None, enforce=None, latency=0.0, jitter=0.0, cut_rate=0.0, fail_rate=0.0, token=None)
    shared.reset()
    return shared


def test_keep_alive_serves_many_requests_on_one_connection(server: Server) -> None:
    """Three requests by http.client take one connection."""
    before = server.account().connections
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for number in range(3):
        connection.request("GET", f"/items/{number}")
        assert json.loads(connection.getresponse().read()) == {"id": str(number)}
    connection.close()
    assert server.items() == {"0": 1, "1": 1, "2": 1}
    assert server.account().connections == before + 1


def test_pipelined_answers_come_in_order_however_long_each_takes(server: Server) -> None:
    """Three hundred pipelined requests with jitter are answered in the order asked, all delayed side by side."""
    server.change(latency=0.05, jitter=0.05)
    sent = b"".join(b"GET /items/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(300))
    begun = time.monotonic()
    answered = b""
    with dial(server) as sock:
        sock.sendall(sent)
        while answered.count(b"}") < 300:
            answered += sock.recv(65536)
    assert [int(each) for each in re.findall(rb'\{"id":"(\d+)"\}', answered)] == list(range(300))
    assert time.monotonic() - begun < 5
    assert server.account().served == 300


def test_pipelined_long_bodies_are_whole(server: Server) -> None:
    """Fifty pipelined bodies of 200 kB arrive whole, and more than the bound of them are not held at once."""
    sent = b"".join(
        b"GET /items/%d?bytes=200000 HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(50)
    )
    answered = exchange(server, sent)
    assert [int(each) for each in re.findall(rb'\{"id":"(\d+)","pad":"x{199900,}"\}', answered)] == list(
        range(50)
    )


def test_requests_in_pieces_are_one_request(server: Server) -> None:
    """A request sent byte by byte is understood as one sent whole."""
    with dial(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /items/31 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            sock.send(bytes([byte]))
        assert read_to_end(sock).endswith(b'{"id":"31"}')


def test_chunked_and_sized_bodies_are_read_over(server: Server) -> None:
    """What follows a request's body, chunked with a trailer or with a length, is the next request."""
    answered = exchange(
        server,
        b"POST /items/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nAuthorization: late\r\n\r\n"
        b"PUT /items/2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        b"GET /items/3 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    assert re.findall(rb'"id":"(\d)"', answered) == [b"1", b"2", b"3"]


def test_head_has_the_length_but_not_the_body(server: Server) -> None:
    """HEAD tells the length of the body that it leaves out, short or long, and the connection goes on."""
    answered = exchange(
        server,
        b"HEAD /items/1 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /big?bytes=70000 HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /items/2 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    assert re.findall(rb"Content-Length: (\d+)", answered) == [b"10", b"70000", b"10"]
    assert answered.count(b'{"id"') == 1


def test_expect_is_answered_before_the_body_is_sent(server: Server) -> None:
    """A client that waits for 100 Continue gets it; one that expects something else gets a 417."""
    with dial(server) as sock:
        sock.sendall(b"PUT /items/1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert b'{"id":"1"}' in sock.recv(65536)
    answered = exchange(
        server, b"PUT /items/1 HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nContent-Length: 2\r\n\r\nok"
    )
    assert answered.startswith(b"HTTP/1.1 417 ")


def test_connections_close_as_their_version_says(server: Server) -> None:
    """HTTP/1.0 closes unless it asks not to, HTTP/1.1 when it asks to, and nothing behind that is answered."""
    old = exchange(server, b"GET /items/1 HTTP/1.0\r\n\r\nGET /items/2 HTTP/1.0\r\n\r\n")
    assert old.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in old
    kept = exchange(server, b"GET /items/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
    assert kept.count(b"Connection: keep-alive") == 2
    asked = b"GET /items/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /items/2 HTTP/1.1\r\nHost: x\r\n\r\n"
    assert exchange(server, asked).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /items/1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /items/1 HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"GET /items/1 HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
        (
            b"GET /items/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST /items/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /items/1 HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000, 431),
    ],
)
def test_what_is_not_http_gets_an_error_and_harms_nothing(server: Server, sent: bytes, status: int) -> None:
    """Every malformed request is answered by its error, behind the answers owed, and the next client is served."""
    good = b"GET /items/9 HTTP/1.1\r\nHost: x\r\n\r\n"
    with dial(server) as sock:
        sock.sendall(good + sent)
        answered = read_to_end(sock)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answered) == [b"200", str(status).encode()]
    assert b"Connection: close" in answered
    assert get(server, "/items/1")[0] == 200
    assert server.account().malformed == 1


def test_a_truncated_request_is_no_request(server: Server) -> None:
    """A client that vanishes inside a head or a body is not charged."""
    assert exchange(server, b"GET /items/1 HTT") == b""
    assert exchange(server, b"POST /items/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf") == b""
    assert server.account().arrived == 0


def test_what_is_due_is_written_to_a_half_closed_connection(server: Server) -> None:
    """A client that has said all it wanted still gets what was answered at once, to the last byte."""
    asked = b"GET /items/1?bytes=3000000 HTTP/1.1\r\nHost: x\r\n\r\nGET /items/2 HTTP/1.1\r\nHost: x\r\n\r\n"
    answered = exchange(server, asked)
    assert len(answered) > 3_000_000
    assert answered.endswith(b'{"id":"2"}')


def test_an_upgrade_is_declined_by_answering_the_request(server: Server) -> None:
    """A request to upgrade is answered as a plain one, and the connection ends there."""
    asked = (
        b"GET /items/1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"
    )
    answered = exchange(server, asked)
    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.endswith(b'{"id":"1"}')


def test_a_cut_comes_after_charging_and_before_any_answer(server: Server) -> None:
    """The client sees the connection end without a byte; the request is accepted, cut and not served."""
    server.change(limit="5/10s", cut_rate=1.0)
    assert exchange(server, b"GET /items/1 HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    server.change(cut_rate=0.0)
    assert get(server, "/items/2")[1]["X-RateLimit-Remaining"] == "3"
    account = server.account()
    assert (account.accepted, account.cut, account.served) == (2, 1, 1)
    assert server.items() == {"2": 1}


def test_a_client_that_leaves_is_not_served_and_frees_its_place(server: Server) -> None:
    """Gone before the delayed answer: accepted, not served, no longer in flight."""
    server.change(limit="1 concurrent", latency=30.0)
    with dial(server) as sock:
        sock.sendall(b"GET /items/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        settled(server, accepted=1)
    server.change(latency=0.0)
    until = time.monotonic() + 5
    while get(server, "/items/2")[0] == 429 and time.monotonic() < until:
        time.sleep(0.005)
    assert server.items() == {"2": 1}


def test_a_client_that_leaves_inside_a_long_body_is_not_served(server: Server) -> None:
    """An item counts as served only when its whole body was taken."""
    with dial(server) as sock:
        sock.sendall(b"GET /items/1?bytes=50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert get(server, "/items/2?bytes=3000000")[2].startswith(b'{"id":"2"')
    assert server.times_served("1") == 0
    assert server.times_served("2") == 1


def test_a_slow_body_is_slow(server: Server) -> None:
    """`/drip` sends its bytes over the time asked for, in pieces, and then the next answer."""
    begun = time.monotonic()
    answered = exchange(
        server,
        b"GET /drip?duration=0.3&bytes=10 HTTP/1.1\r\nHost: x\r\n\r\nGET /items/5 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    assert 0.28 < time.monotonic() - begun < 3
    assert b"\r\n\r\nxxxxxxxxxxHTTP/1.1 200" in answered
    assert answered.endswith(b'{"id":"5"}')


@pytest.mark.parametrize(("declared", "sent"), [(100, 50), (50, 100), (10, 0)])
def test_a_lie_about_the_length(server: Server, declared: int, sent: int) -> None:
    """The declared length is not the sent one, and the connection ends behind it."""
    head, _, body = exchange(
        server, b"GET /lie?declared=%d&sent=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (declared, sent)
    ).partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % declared in head
    assert len(body) == sent
    assert server.account().served == 0


def test_gzip_is_gzip(server: Server) -> None:
    """The body unpacks to JSON and says so in its headers."""
    _, headers, body = get(server, "/gzip?bytes=1000")
    assert headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(body))["pad"]) == 1000


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_have_no_length(server: Server, status: int) -> None:
    """204 and 304 end with their head."""
    answered = exchange(server, b"GET /status/%d HTTP/1.1\r\nHost: x\r\n\r\n" % status)
    assert b"Content-Length" not in answered
    assert answered.endswith(b"\r\n\r\n")


def test_many_clients_get_exactly_the_quota() -> None:
    """Eight threads ask 400 times as fast as they can: a hundred are let in, the rest refused, none twice."""
    with Server("100/60s", "sliding") as server:

        def hammer(worker: int) -> list[int]:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            statuses = []
            for number in range(50):
                connection.request("GET", f"/items/{worker * 50 + number}")
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()
            return statuses

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = [status for part in pool.map(hammer, range(8)) for status in part]
        account = server.account()
    assert (statuses.count(200), statuses.count(429)) == (100, 300)
    assert (account.accepted, account.refused, account.served, account.duplicates) == (100, 300, 100, 0)
    assert (account.most_in_window, account.most_sent_in_window) == ((100,), (400,))
    assert account.connections == 8


def test_the_account_outlives_the_server() -> None:
    """After `stop` the account is still read, the port is free, and stopping twice is no harm."""
    server = Server("1/s").start()
    assert get(server, "/items/1")[0] == 200
    port = server.port
    server.stop()
    server.stop()
    assert server.account().accepted == 1
    with Server(port=port) as again:
        assert again.port == port


def test_a_taken_port_and_a_forgotten_start_are_said_plainly(shared: Server) -> None:
    """Both are InputErrors that say what to do."""
    with pytest.raises(
        InputError, match=rf"cannot listen on 127.0.0.1:{shared.port} .*in use.*choose another port"
    ):
        Server(port=shared.port).start()
    with pytest.raises(InputError, match="use it in a with statement"):
        _ = Server().url
    with pytest.raises(InputError, match="runs already"):
        shared.start()
    with pytest.raises(InputError, match="cannot read the limit"):
        Server("fast")


def test_a_host_that_is_not_ours_is_said_plainly() -> None:
    """An address of another machine is an InputError with the system's reason."""
    with pytest.raises(
        InputError, match=r"cannot listen on 192\.0\.2\.1:0 \(.+\); choose another port or host"
    ):
        Server(host="192.0.2.1").start()


def test_a_stop_cuts_what_is_open() -> None:
    """A waiting request and an idle connection both end when the server stops, neither served."""
    server = Server(latency=60.0).start()
    with dial(server) as idle, dial(server) as waiting:
        waiting.sendall(b"GET /items/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        settled(server, accepted=1, connections=2)
        server.stop()
        for sock in (idle, waiting):
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""
    assert server.account().served == 0


def test_a_slow_reader_slows_only_itself(server: Server) -> None:
    """A client that asks for a gigabyte and reads nothing neither fills the memory nor holds up another."""
    with dial(server) as slow:
        slow.sendall(b"GET /items/1?bytes=1000000000 HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        assert slow.recv(10) == b"HTTP/1.1 2"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert get(server, "/items/2")[0] == 200
        slow.sendall(b"GET /items/3 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert get(server, "/items/4")[0] == 200
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert server.items() == {"2": 1, "4": 1}


def test_a_mistake_of_ours_cuts_one_connection_and_is_reported(
    shared: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure inside the core is logged, not told to the client as its own fault, and others are served."""

    def fail(*_: object) -> Verdict:
        raise RuntimeError("broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(Core, "decide", fail)
        with contextlib.suppress(ConnectionResetError):
            assert exchange(shared, b"GET /items/1 HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert "the test server failed" in caplog.text
    assert get(shared, "/free")[0] == 200


def test_a_missing_parser_says_which_extra_to_install() -> None:
    """Without httptools the import fails with the command that helps."""
    code = "import sys; sys.modules['httptools'] = None; import paceline.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "pip install 'paceline[testing]'" in done.stderr.splitlines()[-1]


def serve_command(*options: str) -> subprocess.Popen[str]:
    code = "from paceline.cli.serve import command; command(prog_name='paceline serve')"
    return subprocess.Popen(
        [sys.executable, "-c", code, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100", "SERVE_TOKEN": "s3cret"},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_listens_and_at_the_end_what_it_saw(number: signal.Signals) -> None:
    """The ready line comes first; a signal, even with a client connected, ends it with the account and status 0."""
    process = serve_command("--limit", "2/60s", "--enforce", "fixed", "--token-env", "SERVE_TOKEN")
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
    assert found is not None, line
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
    statuses = []
    for item in range(4):
        connection.request(
            "GET", f"/items/{item}", headers={"Authorization": "Bearer s3cret"} if item else {}
        )
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    connection.close()
    assert (process.returncode, err) == (0, "")
    assert statuses == [401, 200, 200, 429]
    assert "s3cret" not in out
    facts = {match[1]: match[2] for match in re.finditer(r"^ +(\S.*?) {2,}(\S.*?) *$", out, re.MULTILINE)}
    assert facts["accepted"] == "2"
    assert facts["refused for going over the limit"] == "1"
    verdict = out[out.index("Verdict on the client: bad\n") :]
    assert "bad   kept the limit        1 of 4 refused; at most 4 sent against 2/min, as fixed (wanted: at most 0 refused)" in verdict
    assert "good  nothing served twice  0 items served again" in verdict


def test_the_help_of_the_command_names_every_way() -> None:
    """Each enforcement and each style of wording stands in the help, with examples."""
    from click.testing import CliRunner

    from paceline.cli.serve import command
    from paceline.testing.enforcers import ENFORCEMENTS
    from paceline.testing.settings import HEADER_STYLES, RETRY_AFTER_STYLES

    text = CliRunner().invoke(command, ["--help"]).output
    words = set(re.findall(r"[\w-]+", text))
    assert words >= {*ENFORCEMENTS, *HEADER_STYLES, *RETRY_AFTER_STYLES}
    assert "paceline serve --limit 100/2s" in text
