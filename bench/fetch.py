"""CPU time a request: `paceline fetch` beside a raw aiohttp loop, httpx and requests, on one server in one run.

    python bench/fetch.py [--n 20000] [--rounds 5] [--concurrency 32]

The server runs in a process of its own (the project's test server, /free: no limit). Every contender is a whole
process, its CPU time (user + system, start-up included) read from the operating system when it has ended; the rounds
take turns, so that a drifting machine hits all alike. The median of the rounds is what counts.
The floor is "aiohttp": one session, one worker a connection, each response read whole and thrown away.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RAW = {
    "aiohttp": """
import asyncio, sys, aiohttp, uvloop
base, n, c = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def main():
    todo = iter(range(n))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=c)) as session:
        async def work():
            for i in todo:
                async with session.get(f"{base}/free?i={i}") as response:
                    await response.read()
        await asyncio.gather(*(work() for _ in range(c)))
uvloop.run(main())
""",
    "httpx": """
import asyncio, sys, httpx
base, n, c = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def main():
    todo = iter(range(n))
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=c)) as client:
        async def work():
            for i in todo:
                await client.get(f"{base}/free?i={i}")
        await asyncio.gather(*(work() for _ in range(c)))
asyncio.run(main())
""",
    "requests": """
import sys, requests
base, n, c = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with requests.Session() as session:
    for i in range(n):
        session.get(f"{base}/free?i={i}").content
""",
}


def cpu_of(command: list[str]) -> float:
    """CPU seconds of a whole process, children included; raises where it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:3]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--only", nargs="*", help="contenders, e.g. aiohttp paceline")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-c", "from paceline.cli.serve import command; command(['--port', '0'])"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            base = server.stdout.readline().split()[-1]
            source, out = Path(folder, "urls.txt"), Path(folder, "out.jsonl")
            with source.open("w") as file:
                file.writelines(f"{base}/free?i={i}\n" for i in range(options.n))
            size = [str(options.n), str(options.concurrency)]
            contenders = {name: [sys.executable, "-c", code, base, *size] for name, code in RAW.items()}
            contenders["paceline"] = [
                sys.executable, "-m", "paceline", "fetch", str(source), "-o", str(out), "--fresh",
                "--concurrency", str(options.concurrency), "--progress", "none",
            ]  # fmt: skip
            chosen = {name: command for name, command in contenders.items() if not options.only or name in options.only}
            # httpx and requests are far from the contest: a tenth of the requests tells as much.
            divisor = {"httpx": 10, "requests": 10}
            times: dict[str, list[float]] = {name: [] for name in chosen}
            for _ in range(options.rounds):
                for name, command in chosen.items():
                    count = options.n // divisor.get(name, 1)
                    if name in divisor:
                        command = [*command[:-2], str(count), command[-1]]
                    times[name].append(cpu_of(command) / count * 1e6)
            lines = out.read_bytes().count(b"\n")
            if "paceline" in chosen and lines != options.n:
                raise SystemExit(f"paceline wrote {lines} records, not {options.n}")
        finally:
            server.terminate()
            server.wait()
    floor = statistics.median(times["aiohttp"])
    print(f"{options.n} requests, {options.concurrency} at once, {options.rounds} rounds: CPU µs a request (median, min, max)")
    for name, values in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        middle = statistics.median(values)
        print(f"{name:10s} {middle:8.1f}  {min(values):8.1f}  {max(values):8.1f}   {middle / floor:5.2f} x aiohttp")


if __name__ == "__main__":
    main()
