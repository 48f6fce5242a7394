"""What the drop-in replacements do better, counted by a server: how much arrives within one period."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiolimiter
import httpx
import pytest
import ratelimit
import requests

import paceline.compat.aiolimiter
import paceline.compat.ratelimit
from paceline.testing import Server

# All clients are told CALLS a second. The server counts over a shorter stretch, so that a busy machine, which moves
# arrivals together, makes nobody guilty.
CALLS = 8


@pytest.fixture
def server() -> Any:
    with Server(f"{CALLS}/600ms", enforce="none") as running:
        yield running


def most_of_ratelimit(library: Any, server: Server) -> int:
    """Twice the limit's calls, begun 0.8 s after the decorator was made: the window of ratelimit begins with that."""
    with requests.Session() as session:
        get = library.sleep_and_retry(library.limits(calls=CALLS, period=1)(session.get))
        session.get(f"{server.url}/free")
        time.sleep(0.8)
        for number in range(2 * CALLS):
            get(f"{server.url}/items/{number}")
    account = server.account()
    assert account.distinct_items == 2 * CALLS
    return account.most_sent_in_window[0]


def most_of_aiolimiter(library: Any, server: Server) -> int:
    """Three times the limit's calls, as many tasks at once."""

    async def main() -> None:
        limiter = library.AsyncLimiter(CALLS, 1)
        async with httpx.AsyncClient() as client:

            async def get(number: int) -> None:
                async with limiter:
                    await client.get(f"{server.url}/items/{number}")

            await asyncio.gather(*(get(number) for number in range(2 * CALLS)))

    asyncio.run(main())
    account = server.account()
    assert account.distinct_items == 2 * CALLS
    return account.most_sent_in_window[0]


def test_ratelimit_sends_more_than_its_limit(server: Server) -> None:
    """At the edge of its window, twice as much as it was told."""
    assert most_of_ratelimit(ratelimit, server) > CALLS


def test_its_replacement_does_not(server: Server) -> None:
    """The same program, another import."""
    assert most_of_ratelimit(paceline.compat.ratelimit, server) <= CALLS


def test_aiolimiter_sends_more_than_its_limit(server: Server) -> None:
    """After the burst, the bucket leaks on."""
    assert most_of_aiolimiter(aiolimiter, server) > CALLS


def test_the_other_replacement_does_not(server: Server) -> None:
    """The same program, another import."""
    assert most_of_aiolimiter(paceline.compat.aiolimiter, server) <= CALLS
