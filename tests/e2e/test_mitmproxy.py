"""The addon inside mitmproxy itself, for a client of HTTPS that knows of it as its proxy, and trusts its certificate.

mitmproxy lives in a virtual environment of its own, since what it pins does not go with httpx. `make test` sets it up;
so does this, where it is not there yet.
"""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv" / "mitmproxy" / "bin"


@pytest.fixture(scope="module")
def addon() -> str:
    """The addon's path, as its own environment tells it; with nothing but `paceline[mitmproxy]` in that."""
    subprocess.run(["make", "--silent", ".venv/.mitmproxy"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=300)
    told = subprocess.run(
        [HOME / "python", "-m", "paceline.testing.mitmproxy_addon"], capture_output=True, text=True, check=True, timeout=60
    )
    return told.stdout.strip()


@contextmanager
def https(authority: trustme.CA) -> Iterator[tuple[str, Counter[str]]]:
    """A service that speaks HTTPS alone: its address, and how often each request arrived there."""
    arrived: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            arrived[f"{self.command} {self.path}"] += 1
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}", arrived
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def mitmdump(addon: str, *words: str) -> subprocess.Popen[str]:
    options = [part for word in words for part in ("--set", word)]
    return subprocess.Popen(
        [HOME / "mitmdump", "-s", addon, "--listen-host", "127.0.0.1", "-p", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"PYTHONUNBUFFERED": "1", "HOME": "/nonexistent"},
    )  # fmt: skip


def test_https_through_mitmproxy(addon: str, tmp_path: Path) -> None:
    """A refusal and a lost answer come through TLS after the service has acted; the account tells what was written twice."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "upstream.pem"))
    with https(authority) as (url, arrived):
        process = mitmdump(
            addon, f"confdir={tmp_path}", f"ssl_verify_upstream_trusted_ca={tmp_path / 'upstream.pem'}",
            "paceline_refuse=first:1", "paceline_refuse_wait=7", "paceline_cut=every:2", "paceline_when=after",
        )  # fmt: skip
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while "listening at " not in "".join(lines[-1:]):
                line = process.stdout.readline()
                assert line, "".join(lines)
                lines.append(line)
            proxy = f"http://{lines[-1].split('listening at ')[1].strip().rstrip('.')}"
            trust = ssl.create_default_context(cafile=str(tmp_path / "mitmproxy-ca-cert.pem"))
            with httpx.Client(proxy=proxy, verify=trust, timeout=30) as client:
                refused = client.get(f"{url}/items/1")
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
                with pytest.raises(httpx.RemoteProtocolError):
                    client.post(f"{url}/orders", content=b"pay")
                assert client.post(f"{url}/orders", content=b"pay").text == "ok"
            assert arrived == {"GET /items/1": 1, "POST /orders": 2}
        finally:
            process.terminate()
            rest = process.communicate(timeout=60)[0]
    assert "paceline: refused (injected): 1" in rest
    assert "paceline: writes done twice for it: 1 (bad)" in rest


def test_options_that_make_no_sense_are_mitmproxys_errors(addon: str, tmp_path: Path) -> None:
    """mitmdump says which rule it cannot read, and ends."""
    process = mitmdump(addon, f"confdir={tmp_path}", "paceline_refuse=x")
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "cannot read the rule 'x'" in out
