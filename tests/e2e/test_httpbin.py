"""`paceline fetch` from httpbin, which nobody here wrote: each of its answers ends as the record it should be."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.e2e.helpers import Desk, once_each

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = """
import logging
from httpbin import app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def httpbin() -> Iterator[str]:
    """The address of an httpbin on loopback, in a process of its own."""
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", SERVER], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port.isdigit(), "httpbin did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_answers_of_every_kind_are_records(desk: Desk, httpbin: str) -> None:
    """JSON, a 404, a followed redirect, binary bytes and gzip are each fetched whole at the first attempt."""
    paths = ["/get", "/status/404", "/redirect/3", "/stream-bytes/100000?seed=7", "/gzip", "/encoding/utf8", "/deflate"]
    source = desk.write("urls.txt", [httpbin + path for path in paths])
    ran = desk.fetch(source)
    assert (ran.status, ran.err) == (0, "")
    got, missing, redirected, streamed, packed, text, deflated = (desk.by_id(7)[number] for number in range(1, 8))
    assert (got["status"], got["json"]["url"]) == (200, f"{httpbin}/get")
    assert got["json"]["headers"]["User-Agent"].startswith("paceline/")
    assert (missing["status"], missing["text"], "error" in missing) == (404, "", False)
    assert (redirected["status"], redirected["attempts"]) == (200, 4)
    assert (redirected["json"]["url"], redirected["url"]) == (f"{httpbin}/get", f"{httpbin}/redirect/3")
    assert len(base64.b64decode(streamed["base64"], validate=True)) == 100_000
    assert packed["json"]["gzipped"] is True
    assert deflated["json"]["deflated"] is True
    assert "STARGΛ̊TE" in text["text"]


def test_a_lone_refusal_without_end_is_put_off(desk: Desk, httpbin: str) -> None:
    """Refused for longer than --max-wait, the run ends with 75, says so, and leaves the input for the next run."""
    source = desk.write("urls.txt", [f"{httpbin}/status/429"])
    ran = desk.fetch(source, "--max-wait", "1")
    assert ran.status == 75
    assert "paused by the server" in ran.err
    assert "run the same command again" in ran.err
    assert desk.records() == []


def test_a_refusal_among_answers_is_a_failure(desk: Desk, httpbin: str) -> None:
    """A URL that is refused while all others are served ends as a record with an error; nothing else is lost."""
    lines = [*(f"{httpbin}/get?n={number}" for number in range(1, 8)), f"{httpbin}/status/429"]
    lines += [f"{httpbin}/get?n={number}" for number in range(9, 41)]
    source = desk.write("urls.txt", lines)
    ran = desk.fetch(source, "--concurrency", "2", "--limit", "100/s", "--max-wait", "60", "--failed", "failed.txt")
    assert ran.status == 1, ran.err
    once_each(desk.records(), range(1, 41))
    bad = {number: record for number, record in desk.by_id().items() if "error" in record}
    assert list(bad) == [8]
    assert bad[8]["status"] == 429
    assert "refused" in bad[8]["error"]
    assert (desk.folder / "failed.txt").read_text() == f"{httpbin}/status/429\n"


def test_a_slow_answer_is_given_up(desk: Desk, httpbin: str) -> None:
    """Slower than --timeout at each of --attempts: a record with an error, exit 1."""
    ran = desk.fetch(desk.write("urls.txt", [f"{httpbin}/delay/2", f"{httpbin}/get"]), "--timeout", "1", "--attempts", "2")
    assert ran.status == 1
    slow, quick = (desk.by_id(2)[number] for number in (1, 2))
    assert (slow["status"], slow["attempts"]) == (None, 2)
    assert "timeout" in slow["error"]
    assert "within 1 s" in slow["error"]
    assert quick["status"] == 200
