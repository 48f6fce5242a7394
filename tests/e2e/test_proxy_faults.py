"""Faults that the proxy injects, before or after the upstream acted, counted at both ends; its limits and its record."""

from __future__ import annotations

import http.client
import json
import re
import signal as signals
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.helpers import wait_for
from tests.e2e.upstreams import RawUpstream, head_of, read_until

import paceline
from paceline.errors import InputError
from paceline.testing import Passage, Proxy, Server

if TYPE_CHECKING:
    from collections.abc import Iterator


def send(
    proxy: Proxy | str, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> int | str:
    """The status, or the name of what went wrong."""
    base = proxy if isinstance(proxy, str) else proxy.url
    request = urllib.request.Request(base + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, http.client.HTTPException) as error:
        return type(getattr(error, "reason", error)).__name__


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_the_first_three_are_refused_and_the_upstream_never_hears_of_them(server: Server) -> None:
    """`first:3` refuses three with the wait told, and the fourth is the first that the upstream sees."""
    with Proxy(server.url, refuse="first:3", refuse_wait=2.0) as proxy:
        assert [send(proxy, f"/items/{n}") for n in range(5)] == [429, 429, 429, 200, 200]
        assert server.items() == {"3": 1, "4": 1}
        account = proxy.account()
        assert (account.refused, account.passed, account.client.arrived) == (3, 2, 5)


def test_rules_count_by_target_where_told(server: Server) -> None:
    """With `rule_key="target"`, each URL fails at first and works when asked again."""
    with Proxy(server.url, fail="first:1", rule_key="target") as proxy:
        for number in range(3):
            assert [send(proxy, f"/items/{number}") for _ in range(2)] == [503, 200]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("refuse", 429),
        ("fail", 503),
        ("cut", "RemoteDisconnected"),
        ("reset", "ConnectionResetError"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_fault_strikes_before_or_after_the_upstream_acted(
    server: Server, fault: str, seen: int | str, when: str
) -> None:
    """Every third request meets the fault; before, the upstream sees only the others; after, it sees them all."""
    passed: list[Passage] = []
    with Proxy(server.url, when=when, watch=passed.append, **{fault: "every:3"}) as proxy:  # type: ignore[misc, arg-type]
        outcome = [send(proxy, f"/items/{n}") for n in range(1, 8)]
        assert outcome == [200, 200, seen, 200, 200, seen, 200]
        account = wait_for(lambda: proxy.account() if len(passed) == 7 else None, "the account of seven")
        assert sorted(server.items()) == (["1", "2", "4", "5", "7"] if when == "before" else [*"1234567"])
        assert account.lost_replies == (2 if when == "after" else 0)
        assert account.answered == 5
        assert getattr(account, {"refuse": "refused", "fail": "failed"}.get(fault, fault)) == 2
        struck = [each for each in passed if each.fault]
        assert [(each.fault, each.when, each.upstream_status) for each in struck] == [
            (fault, when, 200 if when == "after" else None)
        ] * 2


def test_a_lost_reply_shows_who_writes_twice(server: Server) -> None:
    """A POST whose answer was lost and that is sent again is counted as done twice; other writes are not."""
    with Proxy(server.url, cut="every:2", when="after") as proxy:
        assert send(proxy, "/items/1", "POST", b"one") == 200
        assert send(proxy, "/items/1", "POST", b"two") == "RemoteDisconnected"
        assert send(proxy, "/items/1", "POST", b"six") == 200
        assert send(proxy, "/items/2", "PUT", b"two") == "RemoteDisconnected"
        assert send(proxy, "/items/2", "PUT", b"two") == 200
        assert send(proxy, "/items/3", "POST", b"k", **{"Idempotency-Key": "1"}) == "RemoteDisconnected"
        assert send(proxy, "/items/3", "POST", b"k", **{"Idempotency-Key": "1"}) == 200
        assert proxy.account().duplicate_writes == 0
        send(proxy, "/free")
        assert send(proxy, "/items/1", "POST", b"two") == 200
        account = proxy.account()
        assert (account.lost_replies, account.duplicate_writes) == (4, 1)
        assert ("writes done twice for it", "1", False) in account.rows()


def test_truncated_answers_end_in_the_middle(server: Server) -> None:
    """Half of a body with a length arrives, and part of a chunked one, and the client can tell; no body, no harm."""
    with Proxy(server.url, truncate="every:1") as proxy:
        with pytest.raises(http.client.IncompleteRead) as caught:
            urllib.request.urlopen(f"{proxy.url}/items/1?bytes=100000", timeout=20).read()
        assert len(caught.value.partial) == 50_000
        assert send(proxy, "/status/204") == 204
        assert proxy.account().truncated == 1
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\n0\r\n\r\n"
    with RawUpstream(chunked) as upstream, Proxy(upstream.url, truncate="every:1") as proxy:
        with pytest.raises(http.client.IncompleteRead) as caught:
            urllib.request.urlopen(proxy.url, timeout=20).read()
        assert caught.value.partial == b"abcd"


def test_slow_answers_come_later(server: Server) -> None:
    """A slowed request takes its seconds longer, before the upstream hears of it or with its answer held back."""
    for when in ("before", "after"):
        times: list[Passage] = []
        with Proxy(server.url, slow="every:2", slow_seconds=0.2, when=when, watch=times.append) as proxy:
            assert [send(proxy, f"/items/1?bytes={n}") for n in (20, 200_000)] == [200, 200]
            wait_for(lambda times=times: len(times) == 2, "both to be over")
            assert times[0].seconds < 0.198 <= times[1].seconds  # uvloop's timers may be a millisecond early
            assert times[1].received_bytes == 200_000
            assert proxy.account().slowed == 1


def test_pipelined_requests_are_slow_side_by_side(server: Server) -> None:
    """Latency runs from each request's arrival: twenty pipelined ones take one latency, not twenty."""
    times: list[Passage] = []
    with Proxy(server.url, latency=0.3, watch=times.append) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
            sock.sendall(b"GET /items/1 HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            answered = b""
            while answered.count(b"HTTP/1.1 200") < 20:
                answered += sock.recv(65536)
        assert all(each.seconds >= 0.298 for each in times)
        assert times[-1].seconds < 3.0


def test_a_seed_decides_whom_chance_befalls(server: Server) -> None:
    """The same seed refuses the same requests, another one others."""
    outcomes = []
    for seed in (1, 1, 2):
        with Proxy(server.url, refuse="share:0.5", seed=seed) as proxy:
            outcomes.append([send(proxy, f"/items/{n}") for n in range(40)])
    assert outcomes[0] == outcomes[1] != outcomes[2]
    assert 8 < outcomes[0].count(429) < 32


def test_an_upload_to_a_refusing_proxy_is_read_over(server: Server) -> None:
    """A refused upload of 5 MB is answered, and the connection serves the next request."""
    with Proxy(server.url, refuse="first:1") as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.request("POST", "/items/1", b"x" * 5_000_000)
        response = connection.getresponse()
        assert (response.status, response.read()[:8]) == (429, b'{"error"')
        connection.request("GET", "/items/2")
        assert connection.getresponse().read() == b'{"id":"2"}'
        connection.close()
        assert proxy.account().client.connections == 1


# -- limits in front


def test_a_limit_in_front_of_an_upstream_that_has_none(server: Server) -> None:
    """`paceline.fetch` at the limit through the proxy is never refused; without it, it is, and the account tells."""
    urls = [f"{server.url}/items/{n}" for n in range(60)]
    with Proxy(server.url, "100/s", enforce="sliding") as proxy:
        behind = [url.replace(server.url, proxy.url) for url in urls]
        assert all(record.ok for record in paceline.fetch(behind, "100/s"))
        account = proxy.account()
        assert (account.client.refused, account.client.accepted, account.answered) == (0, 60, 60)
    with Proxy(server.url, "3/min", headers="ietf") as proxy:
        assert [send(proxy, "/free") for _ in range(5)] == [200, 200, 200, 429, 429]
        with urllib.request.urlopen(f"{proxy.url}/-/account") as response:
            facts = json.load(response)
        assert facts["client"]["refused"] == 2
        assert facts["client"]["early_retries"] == 1
        assert facts["passed"] == 3
        assert send(proxy, "/-/nothing") == 404
        assert send(proxy, "/-/reset") == 200
        assert send(proxy, "/free") == 200
        assert proxy.account().client.arrived == 1


def test_the_limits_own_words_replace_the_upstreams() -> None:
    """Where the proxy tells a limit, the upstream's fields of the same names do not stand beside it."""
    raw = b"HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 5000\r\nX-RateLimit-Used: 1\r\nContent-Length: 0\r\n\r\n"
    with (
        RawUpstream(raw) as upstream,
        Proxy(upstream.url, "7/min") as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answered = read_until(sock, b"\r\n\r\n")
    assert answered.lower().count(b"x-ratelimit-limit") == 1
    assert head_of(answered)[1]["x-ratelimit-limit"] == "7"
    assert head_of(answered)[1]["x-ratelimit-used"] == "1"


def test_refusals_are_worded_as_a_provider_words_them(server: Server) -> None:
    """With a dialect, refusals by rule and by limit come as the provider's own, and are read as such."""
    with Proxy(server.url, "2/min", refuse="first:1", dialect="openai") as proxy:
        refused: list[paceline.Signal] = []
        for number in range(4):
            try:
                urllib.request.urlopen(f"{proxy.url}/items/{number}", timeout=20).close()
            except urllib.error.HTTPError as error:
                with error:
                    refused.append(
                        paceline.read_signal(error.code, error.headers, error.read(), now=0, dialect="openai")
                    )
        assert sorted(server.items()) == ["1", "2"]
        assert [(each.refused, each.retry_after is not None) for each in refused] == [(True, True)] * 2


def test_limits_by_key(server: Server) -> None:
    """With a key, each key has limits of its own."""
    with Proxy(server.url, "1/min", key="header:X-Api-Key") as proxy:
        keys = ["a", "b", "a", "b", "c"]
        assert [send(proxy, "/free", **{"X-Api-Key": key}) for key in keys] == [200, 200, 429, 429, 200]


# -- the record


def test_the_record_holds_what_passed_and_no_secret(server: Server, tmp_path: Path) -> None:
    """Each request is one JSON line with its fate; credentials of URL and headers are masked; bodies are not there."""
    path = tmp_path / "passed.jsonl"
    with Proxy(server.url, refuse="every:2", record=path) as proxy:
        send(proxy, "/items/1?api_key=sesame", Authorization="Bearer sesame", Cookie="id=sesame")
        send(proxy, "/items/1?page=2", "POST", b"sesame", **{"X-Api-Key": "sesame"})
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "sesame" not in text
    first, second = (json.loads(line) for line in text.splitlines())
    assert (first["method"], first["status"], first["upstream_status"], first["fault"]) == ("GET", 200, 200, None)
    assert first["url"] == f"{server.url}/items/1?api_key=***"
    assert ["Authorization", "Bearer ***"] in first["request_headers"]
    assert first["whole"]
    assert (second["method"], second["status"], second["fault"], second["when"]) == ("POST", 429, "refuse", "before")
    assert second["upstream_status"] is None


def test_a_full_or_failing_record_is_counted_and_never_in_the_way(server: Server, tmp_path: Path) -> None:
    """What does not fit in the record, or on its disk, is told in the account; requests go on; no file, no start."""
    if Path("/dev/full").exists():
        with Proxy(server.url, record="/dev/full") as proxy:
            for number in range(200):
                assert send(proxy, f"/items/{number}", **{"X-Long": "x" * 1000}) == 200
            assert proxy.account().record_left_out > 0
    with pytest.raises(InputError, match="cannot write the record"):
        Proxy(server.url, record=tmp_path / "no" / "such" / "folder").start()


# -- the command


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "paceline", "proxy", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = command(*arguments)
    assert process.stdout is not None
    found = re.match(r"listening on (http://127\.0\.0\.1:\d+), passing on to", process.stdout.readline())
    assert found is not None
    return process, found[1]


def test_the_command_says_where_it_listens_and_at_the_end_what_it_saw(server: Server) -> None:
    """`paceline proxy` runs until Ctrl-C, tells of an upstream that fails once, and prints its account; status 0."""
    process, url = begin(server.url, "--refuse", "first:2", "--fail-rate", "0", "--limit", "100/s")
    try:
        assert [send(url, "/items/1") for _ in range(3)] == [429, 429, 200]
        server.stop()
        assert [send(url, "/items/1") for _ in range(3)] == [502, 502, 502]
    finally:
        process.send_signal(signals.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert re.search(r"refused \(injected\)\s+2", out)
    assert re.search(r"retried before the time told\s+2\s+bad", out)
    assert 1 <= err.count("Connection refused") + err.count("closed the connection") <= 2
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ftp://x"], "write a URL like https://api.example.com"),
        (["http://127.0.0.1:1", "--refuse", "sometimes"], "cannot read the rule 'sometimes'"),
        (["http://127.0.0.1:1", "--cut-rate", "2"], "cannot read the rule 'share:2.0'"),
        (["http://127.0.0.1:1", "--limit", "many"], "cannot read the limit"),
    ],
)
def test_wrong_usage_is_told_and_is_2(arguments: list[str], words: str) -> None:
    """A command that cannot begin says which option is wrong and how to write it."""
    process = command(*arguments)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert words in err
    assert "Traceback" not in err


def _swallow(sink: socket.socket) -> None:
    """Takes one upload, keeps none of it, and answers."""
    side, _ = sink.accept()
    with side:
        end = b""
        while not end.endswith(b"\r\n0\r\n\r\n"):
            end = end[-16:] + side.recv(1 << 20)
        side.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_long_bodies_pass_in_constant_memory() -> None:
    """300 MB down and 200 MB up through the proxy add less than 48 MB to its memory's peak."""

    def peak() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    size = 300 << 20
    with socket.create_server(("127.0.0.1", 0)) as sink, Server() as source:
        process, url = begin(source.url)
        try:
            with urllib.request.urlopen(f"{url}/items/1", timeout=60) as response:
                response.read()
            before = peak()
            with urllib.request.urlopen(f"{url}/big?bytes={size}", timeout=60) as response:
                left = size
                while left:
                    left -= len(response.read(1 << 20))
            assert peak() - before < 48 << 20
        finally:
            process.kill()
            process.communicate()
        process, url = begin(f"http://127.0.0.1:{sink.getsockname()[1]}")
        threading.Thread(target=_swallow, args=(sink,), daemon=True).start()
        try:
            before = peak()
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as sock:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                piece = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
                for _ in range(200):
                    sock.sendall(piece)
                sock.sendall(b"0\r\n\r\n")
                assert read_until(sock, b"done").startswith(b"HTTP/1.1 200")
            assert peak() - before < 48 << 20
        finally:
            process.kill()
            process.communicate()
