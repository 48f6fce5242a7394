"""Measures the test server: requests a second by wrk, with httpbin beside it where that is installed.

python bench/server.py [SECONDS]        needs wrk (Debian's package of that name)
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

CASES = [
    ("/free", "no limit", []),
    ("/items/1", "no limit", []),
    ("/items/1", "sliding, X headers", ["--limit", "1000000/s", "--enforce", "sliding"]),
    ("/items/1", "fixed, IETF headers", ["--limit", "1000000/s", "--enforce", "fixed", "--headers", "ietf"]),
    ("/items/1", "counter", ["--limit", "1000000/s", "--enforce", "counter"]),
    ("/items/1", "bucket", ["--limit", "1000000/s", "--enforce", "bucket"]),
    (
        "/items/1",
        "three limits",
        ["--limit", "1000000/s", "--limit", "10000000/min bucket", "--limit", "64 concurrent"],
    ),
    ("/items/1", "all refused", ["--limit", "1/hour"]),
]


# The floor: httptools and an event loop, one fixed answer, no thought. Compare within one run.
FLOOR = """
import asyncio, httptools
from paceline.testing.server import new_event_loop
class Bare(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_message_complete(self):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 13\\r\\n\\r\\n" + b'{"free":true}')
async def main():
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0)
    print("listening on http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(main())
"""


def measure(url: str, seconds: int) -> str:
    """Requests a second as wrk counts them, over 32 connections from one thread."""
    done = subprocess.run(
        ["wrk", "-t1", "-c32", f"-d{seconds}s", url], capture_output=True, text=True, check=True
    )
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    return f"{float(found[1]):>10,.0f} req/s" if found else done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing answers at {url}")


def run_one(who: str, path: str, what: str, arguments: list[str], seconds: int) -> None:
    server = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1]
        print(f"{who:8s} {path:10s} {what:22s} {measure(url + path, seconds)}", flush=True)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)


def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    run_one("floor", "/free", "a bare protocol", ["-c", FLOOR], seconds)
    for path, what, options in CASES:
        run_one("paceline", path, what, ["-m", "paceline", "serve", "--port", "0", *options], seconds)
    if importlib.util.find_spec("httpbin") is None:
        return
    port = free_port()
    peer = subprocess.Popen(
        [sys.executable, "-c", f"from httpbin import app; app.run('127.0.0.1', {port}, threaded=True)"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "FLASK_ENV": "production"},
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/get")
        print(
            f"httpbin  {'/get':10s} {'no limit':22s} {measure(f'http://127.0.0.1:{port}/get', seconds)}",
            flush=True,
        )
    finally:
        peer.terminate()
        peer.wait(timeout=30)


if __name__ == "__main__":
    main()
