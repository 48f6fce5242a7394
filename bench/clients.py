"""CPU time a call: each client with a policy beside the bare one, one call after another, on one server in one run.

    python bench/clients.py [--calls 200] [--rounds 41] [--only requests httpx …]
    python bench/clients.py --at-once 50            how many calls a second, that many at once, and the CPU time of each

The server runs in a process of its own (the project's test server, /free: no limit). Bare and paced calls take turns in
blocks inside one process, so that a drifting machine hits both alike; what counts is the median of the blocks' ratios.
The policy's limit is far above what is reached: nobody waits, and what is left is what the policy costs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

LIMIT = "1000000/s"
BARS = {"requests": 5, "httpx": 5, "httpx async": 5, "httpx2": 5, "httpx2 async": 5, "aiohttp": 20}


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The test server, in a process of its own; gives its address."""
    server = subprocess.Popen(
        [sys.executable, "-c", "from paceline.cli.serve import command; command(['--port', '0'])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
    finally:
        server.terminate()
        server.wait()


def block(call: Callable[[], object], calls: int) -> float:
    """CPU µs a call, of so many calls one after another."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls * 1e6


async def ablock(call: Callable[[], Awaitable[object]], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - began) / calls * 1e6


def sync_pair(name: str, url: str, calls: int, rounds: int) -> list[tuple[float, float]]:
    module, paced = importlib.import_module(name), importlib.import_module(f"paceline.{name}")
    kind = "Session" if name == "requests" else "Client"
    with getattr(module, kind)() as bare, getattr(paced, kind)(LIMIT) as ours:
        pair: list[tuple[float, float]] = []
        for each in (bare, ours):
            block(lambda each=each: each.get(url), calls)
        for turn in range(rounds):
            gc.collect()
            if turn % 2:
                first = block(lambda: bare.get(url), calls)
                pair.append((first, block(lambda: ours.get(url), calls)))
            else:
                second = block(lambda: ours.get(url), calls)
                pair.append((block(lambda: bare.get(url), calls), second))
        return pair


async def async_pair(name: str, url: str, calls: int, rounds: int) -> list[tuple[float, float]]:
    module, paced = importlib.import_module(name), importlib.import_module(f"paceline.{name}")
    if name == "aiohttp":
        makers = module.ClientSession, lambda: paced.session(LIMIT)
    else:
        makers = module.AsyncClient, lambda: paced.AsyncClient(LIMIT)

    def caller(client: Any) -> Callable[[], Awaitable[object]]:
        if name != "aiohttp":
            return lambda: client.get(url)

        async def call() -> None:
            async with client.get(url) as response:
                await response.read()

        return call

    async with makers[0]() as bare, makers[1]() as ours:
        first, second = caller(bare), caller(ours)
        await ablock(first, calls)
        await ablock(second, calls)
        pair = []
        for turn in range(rounds):
            gc.collect()
            if turn % 2:
                cost = await ablock(first, calls)
                pair.append((cost, await ablock(second, calls)))
            else:
                ours_cost = await ablock(second, calls)
                pair.append((await ablock(first, calls), ours_cost))
        return pair


def overhead(options: argparse.Namespace) -> None:
    with serving() as base:
        url = f"{base}/free"
        print(f"{options.calls} calls a block, {options.rounds} blocks each in turns: CPU µs a call (medians)")
        for name, bar in BARS.items():
            if options.only and name not in options.only:
                continue
            library, _, kind = name.partition(" ")
            if kind or library == "aiohttp":
                pairs = asyncio.run(async_pair(library, url, options.calls, options.rounds))
            else:
                pairs = sync_pair(library, url, options.calls, options.rounds)
            more = statistics.median(ours / bare for bare, ours in pairs) - 1
            bare, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
            print(f"{name:14s} bare {bare:7.1f}   with a policy {ours:7.1f}   {more:+6.1%}   (bar {bar} %)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    overhead(options)


if __name__ == "__main__":
    main()
