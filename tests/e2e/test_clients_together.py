"""Six clients, sync and async, share one policy against a server with a real limit: within it, and nothing lost."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import paceline.aiohttp
import paceline.httpx
import paceline.httpx2
import paceline.requests
from paceline import Policy
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EACH = 2


class Todo:
    """Numbers that many threads and tasks share out among themselves."""

    def __init__(self, count: int) -> None:
        self._numbers = iter(range(count))
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            yield number


def by_threads(make: Callable[[], Any]) -> Callable[[Callable[[int], str], Todo], None]:
    def run(url: Callable[[int], str], todo: Todo) -> None:
        with make() as client:

            def work() -> None:
                for number in todo:
                    assert client.get(url(number)).status_code == 200

            threads = [threading.Thread(target=work) for _ in range(EACH)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    return run


def by_tasks(make: Callable[[], Any]) -> Callable[[Callable[[int], str], Todo], None]:
    def run(url: Callable[[int], str], todo: Todo) -> None:
        async def main() -> None:
            async with make() as client:
                aiohttp = not hasattr(client, "build_request")

                async def work() -> None:
                    for number in todo:
                        response = await client.get(url(number))
                        assert (response.status if aiohttp else response.status_code) == 200
                        if aiohttp:
                            await response.read()

                await asyncio.gather(*(work() for _ in range(EACH)))

        asyncio.run(main())

    return run


@pytest.mark.parametrize("enforce", ["sliding", "counter"])
def test_all_clients_together_keep_one_limit(enforce: str) -> None:
    """Through one policy nothing is refused, and each item is served once."""
    calls = 300
    policy = Policy(limits="100/s")
    runs = [
        by_threads(lambda: paceline.requests.Session(policy)),
        by_threads(lambda: paceline.httpx.Client(policy, trust_env=False)),
        by_threads(lambda: paceline.httpx2.Client(policy, trust_env=False)),
        by_tasks(lambda: paceline.httpx.AsyncClient(policy, trust_env=False)),
        by_tasks(lambda: paceline.httpx2.AsyncClient(policy, trust_env=False)),
        by_tasks(lambda: paceline.aiohttp.session(policy)),
    ]
    with Server("100/s", enforce=enforce) as server:
        todo = Todo(calls)
        threads = [
            threading.Thread(target=run, args=(lambda number: f"{server.url}/items/{number}", todo)) for run in runs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        account = server.account()
    assert (account.accepted, account.distinct_items, account.duplicates) == (calls, calls, 0)
    # On an idle machine none; where this process is kept from running for longer than the guard, one or two.
    assert account.refused <= 3
    assert len(policy.lines) == 1
