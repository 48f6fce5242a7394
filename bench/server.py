"""Measures the test server: requests a second by wrk, beside a bare protocol, uvicorn + Starlette, and httpbin.

python bench/server.py [SECONDS] [--core N]     needs wrk (Debian's package of that name)

Each server runs alone, on one core (1 by default); wrk (one thread, 32 connections) runs on the others. Figures of one
run only compare with each other: so there are ratios to the bare protocol, an event loop and httptools that answer always
the same. "a CPU second" counts the server's own time alone, so that other work on the machine does not show in it; it is
what the server reaches on a core of its own. Rounds alternate, and each line is the best of two.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SERVE = ["-m", "paceline", "serve", "--port", "0"]
BARE = """
import asyncio, httptools
from paceline.testing.loop_thread import new_event_loop
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
STARLETTE = """
import asyncio, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def free(request):
    return JSONResponse({"free": True})
async def item(request):
    return JSONResponse({"id": request.path_params["name"]})
app = Starlette(routes=[Route("/free", free), Route("/items/{name}", item)])
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False))
async def main():
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print("listening on http://127.0.0.1:%d" % server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task
asyncio.run(main())
"""
HTTPBIN = """
from httpbin import app
from werkzeug.serving import make_server, WSGIRequestHandler
WSGIRequestHandler.log = lambda *_: None
server = make_server("127.0.0.1", 0, app, threaded=True)
print("listening on http://127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Contender:
    """A server to start, the path to ask it for, and the packages it needs."""

    name: str
    path: str
    arguments: list[str]
    needs: tuple[str, ...] = ()


def limited(*options: str) -> list[str]:
    return [*SERVE, *options]


CONTENDERS = [
    Contender("bare protocol", "/free", ["-c", BARE]),
    Contender("paceline, no limit", "/free", limited()),
    Contender("paceline, an item", "/items/1", limited()),
    Contender("paceline, sliding, X", "/items/1", limited("--limit", "1000000/s", "--enforce", "sliding")),
    Contender("paceline, fixed, IETF", "/items/1", limited("--limit", "1000000/s fixed", "--headers", "ietf")),
    Contender("paceline, counter", "/items/1", limited("--limit", "1000000/s", "--enforce", "counter")),
    Contender("paceline, bucket", "/items/1", limited("--limit", "1000000/s bucket")),
    Contender(
        "paceline, three limits",
        "/items/1",
        limited("--limit", "1000000/s", "--limit", "10000000/min bucket", "--limit", "64 concurrent"),
    ),
    Contender("paceline, as GitHub", "/items/1", limited("--limit", "1000000/s", "--dialect", "github")),
    Contender("paceline, all refused", "/items/1", limited("--limit", "1/hour")),
    Contender("uvicorn + Starlette", "/free", ["-c", STARLETTE], ("uvicorn", "starlette")),
    Contender("uvicorn + Starlette", "/items/1", ["-c", STARLETTE], ("uvicorn", "starlette")),
    Contender("httpbin (werkzeug)", "/get", ["-c", HTTPBIN], ("httpbin",)),
]


def pinned(command: list[str], cores: set[int]) -> list[str]:
    """The command on some cores alone, where the system can do that."""
    if shutil.which("taskset") is None or not cores:
        return command
    return ["taskset", "-c", ",".join(map(str, sorted(cores))), *command]


def cpu_seconds(process: int) -> float:
    """User and system time of a process until now; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(one: Contender, seconds: int, core: int, others: set[int]) -> tuple[float, float]:
    """Requests a second as wrk counts them, over 32 connections from one thread; and a second of the server's CPU."""
    server = subprocess.Popen(
        pinned([sys.executable, *one.arguments], {core}), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1] + one.path
        used = 0.0
        for duration in (1, seconds):  # the first second warms up
            used = cpu_seconds(server.pid)
            done = subprocess.run(
                pinned(["wrk", "-t1", "-c32", f"-d{duration}s", url], others), capture_output=True, text=True, check=True
            )
        used = cpu_seconds(server.pid) - used
        found = re.search(r"(\d+) requests in .*Requests/sec:\s+([\d.]+)", done.stdout, re.DOTALL)
        if found is None:
            raise SystemExit(done.stdout)
        return float(found[2]), int(found[1]) / used if used else 0.0
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=int, default=3)
    parser.add_argument("--core", type=int, default=1, help="the servers' core")
    parser.add_argument("--only", default="", help="contenders whose name holds this text, beside the bare protocol")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    core = arguments.core if arguments.core in cores or not cores else min(cores)
    there = [
        each
        for each in CONTENDERS
        if all(importlib.util.find_spec(package) for package in each.needs)
        and (arguments.only in each.name or each is CONTENDERS[0])
    ]
    missing = sorted({package for each in CONTENDERS for package in each.needs if not importlib.util.find_spec(package)})
    if missing:
        print(f"not measured, for it is not installed: {', '.join(missing)}", file=sys.stderr)
    best = [(0.0, 0.0)] * len(there)
    for _ in range(2):
        for number, each in enumerate(there):
            rate, per_cpu = measure(each, arguments.seconds, core, cores - {core})
            best[number] = max(best[number][0], rate), max(best[number][1], per_cpu)
    print(f"{'server':24s} {'path':10s} {'req/s':>9s} {'ratio':>6s} {'a CPU second':>13s} {'ratio':>6s}")
    bare, bare_cpu = best[0]
    for each, (rate, per_cpu) in zip(there, best, strict=True):
        ratio = per_cpu / bare_cpu if bare_cpu else 0.0
        print(f"{each.name:24s} {each.path:10s} {rate:>9,.0f} {rate / bare:>6.2f} {per_cpu:>13,.0f} {ratio:>6.2f}")


if __name__ == "__main__":
    main()
