"""`paceline fetch` with bad lines, bad servers and a bad disk: a record with `error` or a clear end, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import trustme
from tests.e2e.helpers import Desk, end_of, once_each, urls, wait_for

from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A test server without limits."""
    with Server() as server:
        yield server


def test_bad_lines_are_records_and_nothing_else_is_lost(desk: Desk, server: Server) -> None:
    """Lines that are no requests end as records that say why, in OUT and in the file of --failed; the rest is fetched."""
    good = f"{server.url}/items/1".encode()
    long = good + b"?" + b"x" * 10_000_000
    lines = {
        1: (good, None),
        2: (b"ftp://127.0.0.1/file", "ftp"),
        3: (b"not a url", "there is a space"),
        4: (b"http://", "host"),
        5: (b"http://127.0.0.1:99999/", "port"),
        6: (b'{"url": 5}', "url"),
        7: (b'{"url": "http://127.0.0.1/", ', "JSON"),
        8: (b'{"method": "GET"}', "url"),
        9: (b"http://127.0.0.1/\xff\xfe", "UTF-8"),
        10: (long, "10,000,031 characters long, more than"),
        11: (b'{"url": "%s", "json": {}, "data": "x"}' % good, "both json and data"),
        12: (b'{"url": "%s", "cost": -1}' % good, "cost"),
        13: (b'{"url": "%s", "headers": {"X-A": "a\\nb"}}' % good, "X-A"),
        14: (b"http://[::1/", "IPv6"),
        15: (good + b"?last", None),
    }
    source = desk.write("in", b"# the lines\n" + b"\n".join(line for line, _ in lines.values()) + b"\n")
    ran = desk.fetch(source, "--failed", "failed")
    assert ran.status == 1, ran.err
    found = desk.by_id(len(lines))
    for number, (_, why) in lines.items():
        record = found[number]
        if why is None:
            assert (record["status"], "error" in record) == (200, False)
            continue
        assert (record["status"], record["attempts"]) == (None, 0)
        assert why.lower() in record["error"].lower(), record["error"]
        assert f"line {number + 1}:" in record["error"]
        assert len(record["error"]) < 500
    assert desk.out.stat().st_size < 100_000
    assert (desk.folder / "failed").read_bytes().splitlines() == [
        line.strip() for line, why in lines.values() if why is not None
    ]  # fmt: skip
    assert "13" in ran.err
    assert "could not be used" in ran.err


def test_bad_answers_are_records(desk: Desk, server: Server) -> None:
    """Endless redirects, bodies over the limit, lies about length: `error`; JSON that is none: its text."""
    base = server.url
    lines = [
        f"{base}/redirect/loop", f"{base}/redirect/11", f"{base}/redirect/10", f"{base}/big?bytes=20001",
        f"{base}/big?bytes=20000", f"{base}/lie?declared=100&sent=50", f"{base}/json-lie", f"{base}/status/204",
        f"{base}/status/500", f"{base}/redirect/1?to=gopher://x/", f"{base}/gzip?bytes=100000", "http://nowhere.invalid/",
    ]  # fmt: skip
    ran = desk.fetch(desk.write("urls.txt", lines), "--attempts", "1", "--max-body", "20000")
    assert ran.status == 1
    found = desk.by_id(len(lines))
    errors = {number: record["error"] for number, record in found.items() if "error" in record}
    assert set(errors) == {1, 2, 4, 6, 9, 11, 12}
    assert "redirects: more than 10 in a row" in errors[1]
    assert "redirects: more than 10 in a row" in errors[2]
    for number in (4, 11):
        assert "over the limit of 20000 bytes (--max-body)" in errors[number]
    assert "payload" in errors[6].lower()
    assert (found[9]["status"], "gave up after 1 attempt" in errors[9]) == (500, True)
    assert errors[12].partition("; last: ")[2].startswith("resolve: ")
    assert (found[3]["status"], found[3]["json"]) == (200, {"redirected": True})
    assert (found[5]["status"], len(found[5]["text"])) == (200, 20_000)
    assert (found[7]["status"], found[7]["text"]) == (200, "<html>this is not JSON</html>")
    assert (found[8]["status"], found[8]["text"]) == (204, "")
    assert found[10]["status"] == 302


@pytest.fixture
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server that speaks TLS with a certificate of its own making: its address, and the authority's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed: the test is over
            try:
                with context.wrap_socket(connection, server_side=True) as stream:
                    stream.recv(65536)
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            except OSError:
                connection.close()  # this client did not want our certificate

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/", str(file)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def test_tls_errors_are_records(desk: Desk, secure: tuple[str, str], server: Server) -> None:
    """A certificate nobody vouches for, and TLS asked of a server without, are errors at once; --ca-file trusts."""
    url, authority = secure
    plain = server.url.replace("http:", "https:") + "/items/1"
    ran = desk.fetch(desk.write("urls.txt", [url, plain]))
    assert ran.status == 1
    found = desk.by_id(2)
    assert "tls: " in found[1]["error"]
    assert "certificate verify failed" in found[1]["error"]
    assert "tls: " in found[2]["error"]
    assert found[1]["attempts"] == found[2]["attempts"] == 1
    ran = desk.fetch(desk.write("one.txt", [url]), "--ca-file", authority, out="trusted.jsonl")
    assert (ran.status, ran.err) == (0, "")
    assert desk.records("trusted.jsonl")[0]["text"] == "ok"


def test_a_full_disk_ends_the_run_and_the_next_goes_on(desk: Desk, server: Server) -> None:
    """OUT cannot grow any more: exit 74 with the reason, whole lines kept; with room again everything is there once."""
    count = 400
    source = desk.write("urls.txt", urls(server.url, count))

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    ran = desk.fetch(source, preexec_fn=small_files)
    assert ran.status == 74, ran.err
    assert "File too large" in ran.err
    assert "run the same command again to go on" in ran.err
    before = desk.records()
    assert 0 < len(before) < count
    ran = desk.fetch(source)
    assert ran.status == 0, ran.err
    once_each(desk.records(), range(1, count + 1))
    assert desk.records()[: len(before)] == before


def test_a_source_that_shrinks_or_vanishes(desk: Desk, server: Server) -> None:
    """Removed while it is read, SOURCE is read on; changed while it is read: exit 74, and put back the run goes on."""
    with Server("40/s") as slow:
        lines = urls(slow.url, 60) + [f"{slow.url}/items/{number}?pad={'x' * 1000}" for number in range(61, 3000)]
        source = desk.write("urls.txt", lines)
        process = desk.begin(source, "--limit", "40/s")
        wait_for(lambda: desk.out.exists() and desk.out.stat().st_size, "records")
        os.truncate(source, 1_000_000)
        ran = end_of(process)
        assert ran.status == 74, ran.err
        assert "changed while it was read" in ran.err or "cannot read" in ran.err
        assert "put it back as it was" in ran.err
    assert len(desk.by_id()) < 2999


def test_out_removed_while_it_runs(desk: Desk) -> None:
    """OUT removed under the run is written anew and the run stops; the next one goes on from there."""
    with Server("100/s") as server:
        source = desk.write("urls.txt", urls(server.url, 260))
        process = desk.begin(source, "--limit", "100/s")
        wait_for(lambda: desk.out.exists() and desk.out.read_bytes().count(b"\n") > 20, "records")
        desk.out.unlink()
        ran = end_of(process)
        assert ran.status == 74, ran.err
        assert "was removed, and has been written anew" in ran.err
        ran = desk.fetch(source, "--limit", "100/s")
        assert ran.status == 0, ran.err
        once_each(desk.records(), range(1, 261))
        assert json.loads(desk.out.read_bytes().splitlines()[0])["id"] == 1
