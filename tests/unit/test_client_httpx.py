"""What is httpx's own: a pool that many share, transports of all kinds, and tasks of trio that wait."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx
import trio

from paceline import Policy, history
from paceline.httpx import AsyncClient, AsyncTransport, Client, Transport
from paceline.limits import Limit
from paceline.stores.line import Line
from paceline.stores.trio_gate import running_trio
from paceline.testing import Server

if TYPE_CHECKING:
    import pytest


async def crowd(client: Any, urls: list[str], at_once: int) -> None:
    todo = iter(urls)

    async def work() -> None:
        for url in todo:
            assert (await client.get(url)).status_code == 200

    await asyncio.gather(*(work() for _ in range(at_once)))


def test_many_at_once_share_as_many_connections() -> None:
    """Beyond the twenty that httpx keeps, connections are used again and not made anew."""

    async def main(url: str) -> None:
        # Without a limit: connections that lie idle while all wait for the pace are rightly closed.
        async with AsyncClient([], trust_env=False) as client:
            await crowd(client, [f"{url}/free"] * 400, 40)

    with Server() as server:
        asyncio.run(main(server.url))
        assert server.account().connections <= 40


def test_a_full_pool_makes_way_for_another_host() -> None:
    """Where no more connections may be open, an idle one of another host is closed; all are served."""

    async def main(first: str, second: str) -> None:
        limits = httpx.Limits(max_connections=2)
        async with AsyncClient("10000/s", trust_env=False, limits=limits) as client:
            await crowd(client, [f"{first}/free", f"{second}/free"] * 30, 6)
            assert len(client._transport._pool.connections) <= 2  # type: ignore[attr-defined]

    with Server() as one, Server() as other:
        asyncio.run(main(one.url, other.url))


def test_the_sync_pool_too() -> None:
    """Threads that share a client share as many connections as there are threads."""
    with Server() as server:
        with Client("10000/s", trust_env=False) as client:

            def work() -> None:
                for _ in range(20):
                    assert client.get(f"{server.url}/free").status_code == 200

            threads = [threading.Thread(target=work) for _ in range(30)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert server.account().connections <= 30


def test_a_client_that_a_transport_was_given_to_leaves_it_as_it_was() -> None:
    """A transport of httpx's own is not changed by being given: it may serve a client without a policy, too."""
    given = httpx.HTTPTransport()
    with Client("1000/s", transport=given) as client:
        assert isinstance(client._transport, httpx.HTTPTransport)
        assert type(given) is httpx.HTTPTransport
        assert client._transport is not given


def test_applications_and_mocks() -> None:
    """WSGI, ASGI and mocks stand behind a policy as they do by themselves."""
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.read())
        return httpx.Response(429, headers={"Retry-After-Ms": "20"}) if len(calls) == 1 else httpx.Response(200)

    with httpx.Client(transport=Transport("1000/s", httpx.MockTransport(answer))) as client:
        response = client.post("https://api.example.com/", content=b"body")
    assert [attempt.status for attempt in history(response)] == [429, 200]
    assert calls == [b"body", b"body"]

    def wsgi(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [b"from WSGI"]

    with Client("1000/s", transport=httpx.WSGITransport(app=wsgi)) as paced:
        assert paced.get("https://api.example.com/").text == "from WSGI"

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"from ASGI"})

    async def main() -> str:
        transport = AsyncTransport("1000/s", httpx.ASGITransport(app=asgi))
        async with httpx.AsyncClient(transport=transport) as client:
            return (await client.get("https://api.example.com/")).text

    assert asyncio.run(main()) == "from ASGI"


def test_options_and_a_trace_of_one_s_own_go_with_the_request() -> None:
    """`extensions` take paceline's options, and httpx's `trace` is told all that it is told by itself."""
    heard: list[str] = []
    policy = Policy(limits="10/min sliding")
    with Server() as server, Client(policy, trust_env=False) as client:
        extensions = {"paceline": {"cost": 10}, "trace": lambda event, _: heard.append(event)}
        assert client.get(f"{server.url}/free", extensions=extensions).status_code == 200
    [line] = policy.lines.values()
    assert line.try_acquire() is None
    assert "http11.send_request_headers.started" in heard
    assert heard[-1] == "http11.response_closed.complete"


def test_tasks_of_trio_and_threads_wait_in_one_line() -> None:
    """Both are granted all they asked for; a cancelled task gives its place back."""
    line = Line("api", [Limit.parse("200/s bucket burst 1")])
    granted: list[str] = []

    def thread() -> None:
        for _ in range(10):
            line.acquire().release()
            granted.append("thread")

    async def task() -> None:
        (await line.acquire_async()).release()
        granted.append("task")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(task)
        line.pause(60)
        with trio.move_on_after(0.01) as scope:
            await line.acquire_async()
        assert scope.cancelled_caught

    other = threading.Thread(target=thread)
    other.start()
    trio.run(main)
    line.resume()
    other.join()
    assert (granted.count("task"), granted.count("thread"), line.waiting) == (10, 10, 0)


def test_trio_that_is_being_imported_by_another_thread_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module trio that is only half there means that nobody is a task of it."""
    monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))
    assert running_trio() is None
