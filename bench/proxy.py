"""Measures the proxy: requests a second by wrk with mitmproxy beside it, and one long body's memory.

python bench/proxy.py [--seconds S] [--mitmdump PATH] [--stream GB]     needs wrk (Debian's package of that name)

The proxy has a core of its own, where there are two; its upstream, the test server, and wrk share the other.
mitmproxy, where a mitmdump is named, runs in its reverse mode, with nothing loaded and with the proxy's faults as its
addon; paceline has to be installed beside it. For the long body, upstream and client are this script's own.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TENTH = ["--refuse", "share:0.1"]
CASES = [
    ("passes all", []),
    ("10 % refused", TENTH),
    ("10 % refused, after", [*TENTH, "--when", "after"]),
    ("10 % refused, a limit", [*TENTH, "--limit", "1000000/s", "--enforce", "sliding"]),
    ("10 % refused, a record", [*TENTH, "--record", os.devnull]),
]
PIECE = b"x" * (1 << 20)

# The floor: bytes carried to and fro between two sockets, unread.
FLOOR = """
import asyncio, sys
from paceline.testing.loop_thread import new_event_loop
class Side(asyncio.Protocol):
    other = None
    def connection_made(self, transport):
        self.transport, self.early = transport, []
    def data_received(self, data):
        (self.other.transport.write if self.other else self.early.append)(data)
    def connection_lost(self, exc):
        if self.other: self.other.transport.close()
class Client(Side):
    def connection_made(self, transport):
        super().connection_made(transport)
        asyncio.ensure_future(self.dial())
    async def dial(self):
        _, other = await asyncio.get_running_loop().create_connection(Side, "127.0.0.1", int(sys.argv[1]))
        self.other, other.other = other, self
        other.transport.writelines(self.early)
async def main():
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", 0)
    print("listening on http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(main())
"""


def pin(core: int) -> None:
    """Keeps this process on one core, where there are two."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


@contextmanager
def running(arguments: list[str], core: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that prints where it listens, on a core."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=lambda: pin(core)
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://[0-9.]+:\d+", line)
        if found is None:
            raise SystemExit(f"{arguments[0]} did not begin: {line}")
        yield process, found[0]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used; on a busy machine a truer measure than the clock."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(url: str, seconds: int, pid: int) -> str:
    """Requests a second as wrk counts them over 32 connections from one thread, the CPU time that each of them took
    the process measured, and the share that was no 2xx."""
    before = cpu(pid)
    done = subprocess.run(
        ["wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", url],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: pin(1),
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    total = re.search(r"(\d+) requests in", done.stdout)
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    tail = re.search(r"99%\s+(\S+)", done.stdout)
    if rate is None or total is None or tail is None:
        return done.stdout
    each = (cpu(pid) - before) / int(total[1])
    share = int(other[1]) / int(total[1]) if other is not None else 0.0
    return (
        f"{float(rate[1]):>10,.0f} req/s   {each * 1e6:>6.1f} µs of CPU each   99 % within {tail[1]:>8s}   "
        f"{share:.1%} refused"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mitmproxy(mitmdump: str, upstream: str, options: list[str]) -> Iterator[tuple[int, str]]:
    """mitmproxy in its reverse mode: its process, and where it listens."""
    port = free_port()
    process = subprocess.Popen(
        [mitmdump, "-q", "--mode", f"reverse:{upstream}", "-p", str(port), "--set", "connection_strategy=lazy", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: pin(0),
    )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise SystemExit("mitmdump did not begin") from None
                time.sleep(0.1)
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def rates(seconds: int, mitmdump: str | None) -> None:
    paceline = [sys.executable, "-m", "paceline"]
    with running([*paceline, "serve", "--port", "0"], 1) as (server, upstream):
        print(f"{'the upstream itself':36s} {measure(f'{upstream}/items/1', seconds, server.pid)}", flush=True)
        with running([sys.executable, "-c", FLOOR, upstream.rpartition(":")[2]], 0) as (floor, url):
            print(f"{'floor: bytes carried, unread':36s} {measure(f'{url}/items/1', seconds, floor.pid)}", flush=True)
        for what, options in CASES:
            with running([*paceline, "proxy", upstream, "--port", "0", *options], 0) as (proxy, url):
                print(f"{f'paceline proxy, {what}':36s} {measure(f'{url}/items/1', seconds, proxy.pid)}", flush=True)
        if mitmdump is None:
            return
        python = Path(mitmdump).with_name("python")
        addon = subprocess.run(
            [str(python), "-m", "paceline.testing.mitmproxy_addon"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for what, options in [
            ("passes all", []),
            ("10 % refused", ["-s", addon, "--set", "paceline_refuse=share:0.1"]),
        ]:
            with mitmproxy(mitmdump, upstream, options) as (pid, url):
                print(f"{f'mitmproxy, {what}':36s} {measure(f'{url}/items/1', seconds, pid)}", flush=True)


def stream(gigabytes: float) -> None:
    """One body through the proxy, made by one thread and dropped by another, and the memory that it took."""
    size = int(gigabytes * 1e9)
    listening = socket.create_server(("127.0.0.1", 0))

    def pour() -> None:
        side, _ = listening.accept()
        with side:
            side.recv(65536)
            side.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            left = size
            while left > 0:
                side.sendall(PIECE[:left] if left < len(PIECE) else PIECE)
                left -= len(PIECE)

    threading.Thread(target=pour, daemon=True).start()
    upstream = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with running([sys.executable, "-m", "paceline", "proxy", upstream, "--port", "0"], 0) as (process, url):
        before = memory(process.pid)
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            buffer = bytearray(1 << 20)
            got = sock.recv_into(buffer)
            left = size - (got - bytes(buffer).index(b"\r\n\r\n") - 4)
            while left and (got := sock.recv_into(buffer)):
                left -= got
        took = time.monotonic() - begun
        after = memory(process.pid)
    print(
        f"{gigabytes:g} GB through the proxy: {'whole' if not left else f'{left} bytes short'}, {took:.1f} s, "
        f"{size / took / 1e6:,.0f} MB/s; its memory's peak: {before:.1f} MB before, {after:.1f} MB after"
    )


def memory(pid: int) -> float:
    """A process's peak of resident memory until now, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--mitmdump")
    parser.add_argument("--stream", type=float, metavar="GB")
    options = parser.parse_args()
    if options.stream is not None:
        stream(options.stream)
        return
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    rates(options.seconds, options.mitmdump)


if __name__ == "__main__":
    main()
