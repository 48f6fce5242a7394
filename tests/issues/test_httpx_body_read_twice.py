"""An answer that another attempt replaces was read to its end, gave its connection back, and was read once more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
from tenacity import stop_after_attempt, wait_none

import paceline
import paceline.httpx
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

QUICK = paceline.Retry(stop=stop_after_attempt(50), wait=wait_none(), budget_floor=1000)


class Once(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def __iter__(self) -> Iterator[bytes]:
        self.reads += 1
        yield b"{}"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.reads += 1
        yield b"{}"


def test_a_body_is_read_once() -> None:
    """By the sync and by the async client, where the first answer is tried again."""
    bodies: list[Once] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(Once())
        return httpx.Response(200 if len(bodies) % 2 == 0 else 503, headers={"content-length": "2"}, stream=bodies[-1])

    async def main() -> None:
        async with paceline.httpx.AsyncClient(paceline.Policy(retry=QUICK), transport=httpx.MockTransport(answer)) as client:
            assert (await client.get("https://api.example.com/")).json() == {}

    with paceline.httpx.Client(paceline.Policy(retry=QUICK), transport=httpx.MockTransport(answer)) as client:
        assert client.get("https://api.example.com/").json() == {}
    asyncio.run(main())
    assert [body.reads for body in bodies] == [1, 1, 1, 1]


def test_tasks_that_try_again_do_not_read_each_others_answers() -> None:
    """Many failures on few connections: each task gets its own item."""

    async def main(url: str) -> list[str]:
        async with paceline.httpx.AsyncClient(paceline.Policy(limits="4 concurrent", retry=QUICK)) as client:

            async def fetch(number: int) -> str:
                return str((await client.get(f"{url}/items/{number}")).json()["id"])

            return await asyncio.gather(*(fetch(number) for number in range(100)))

    with Server(fail_rate=0.3, seed=7) as server:
        assert asyncio.run(main(server.url)) == [str(number) for number in range(100)]
