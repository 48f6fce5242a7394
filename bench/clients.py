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


def makers() -> dict[str, tuple[Callable[[], Any], float]]:
    """Who takes part at many at once: how it is made, and which share of the calls it gets (some are slow)."""
    import aiohttp
    import httpx
    import httpx2
    import httpx_aiohttp

    from paceline import aiohttp as paced_aiohttp
    from paceline import httpx as paced_httpx
    from paceline import httpx2 as paced_httpx2

    kept = httpx.Limits(max_connections=100, max_keepalive_connections=None)
    return {
        "httpx": (httpx.AsyncClient, 0.25),
        "httpx, all connections kept": (lambda: httpx.AsyncClient(limits=kept), 1),
        "paceline.httpx": (lambda: paced_httpx.AsyncClient(LIMIT), 1),
        "httpx over aiohttp": (lambda: httpx.AsyncClient(transport=httpx_aiohttp.AiohttpTransport()), 1),
        "paceline.httpx over aiohttp": (
            lambda: paced_httpx.AsyncClient(LIMIT, transport=httpx_aiohttp.AiohttpTransport()),
            1,
        ),
        "httpx2": (httpx2.AsyncClient, 0.25),
        "paceline.httpx2": (lambda: paced_httpx2.AsyncClient(LIMIT), 1),
        "aiohttp": (aiohttp.ClientSession, 2),
        "paceline.aiohttp": (lambda: paced_aiohttp.session(LIMIT), 2),
    }


async def crowd(make: Callable[[], Any], url: str, calls: int, at_once: int) -> tuple[float, float]:
    """Calls a second, and CPU µs a call, of so many tasks that share one client."""
    async with make() as client:
        reads = not hasattr(client, "build_request")

        async def work() -> None:
            for _ in todo:
                answer = await client.get(url)
                if reads:
                    await answer.read()

        todo = iter(range(2 * at_once))
        await asyncio.gather(*(work() for _ in range(at_once)))
        todo = iter(range(calls))
        began, spent = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return calls / (time.perf_counter() - began), (time.process_time() - spent) / calls * 1e6


def throughput(options: argparse.Namespace) -> None:
    with serving() as base:
        print(f"{options.at_once} at once, the median of {options.turns} turns: calls a second, CPU µs a call")
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.turns):
            for name, (make, share) in makers().items():
                if options.only and name not in options.only:
                    continue
                result = asyncio.run(crowd(make, f"{base}/free", int(options.total * share), options.at_once))
                found.setdefault(name, []).append(result)
        for name, results in found.items():
            rate, cost = (statistics.median(side) for side in zip(*results, strict=True))
            print(f"{name:30s} {rate:8,.0f}/s  {cost:8.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--at-once", type=int, default=0, help="measure the rate of so many tasks on one client instead")
    parser.add_argument("--total", type=int, default=2000, help="calls of one turn, with --at-once")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    if options.at_once:
        throughput(options)
    else:
        overhead(options)


if __name__ == "__main__":
    main()
