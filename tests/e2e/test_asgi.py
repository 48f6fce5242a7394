"""The test server as an ASGI app: behind httpx without a socket, and behind uvicorn with one."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from paceline.testing import App

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def run(app: App, use: Callable[[httpx.AsyncClient], Awaitable[Any]], **options: Any) -> Any:
    """What a client of the app comes to."""

    async def inside() -> Any:
        transport = httpx.ASGITransport(app, **options)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
            return await use(client)

    return asyncio.run(inside())


def test_limits_hold_and_are_told() -> None:
    """The third of two a minute is refused, in the words chosen, and the account knows."""
    app = App("2/min", "fixed", headers="ietf")

    async def use(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.get(f"/items/{number}") for number in range(3)]

    answers = run(app, use)
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].json() == {"id": "0"}
    assert "r=0" in answers[2].headers["RateLimit"]
    assert int(answers[2].headers["Retry-After"]) <= 60
    account = app.account()
    assert (account.accepted, account.refused, account.served) == (2, 1, 2)
    assert app.report()["limit"].grade == "bad"
    app.reset()
    assert app.account().arrived == 0


def test_paths_with_queries_and_odd_names_come_through() -> None:
    """The raw path is the target: escapes stay, queries too."""

    async def use(client: httpx.AsyncClient) -> list[Any]:
        return [
            (await client.get("/items/a%2Fb?bytes=40")).json()["id"],
            (await client.get("/status/418")).status_code,
            (await client.head("/items/7")).headers["content-length"],
            (await client.get("/status/204")).content,
            (await client.get("/-/account")).json()["arrived"],
        ]

    assert run(App(), use) == ["a/b", 418, "10", b"", 4]


def test_streams_long_and_slow_bodies_come_whole() -> None:
    """Lines in chunks, a megabyte, and a slowed answer, to the last byte."""

    async def use(client: httpx.AsyncClient) -> list[Any]:
        stream = await client.get("/stream/2000")
        big = await client.get("/big?bytes=1000000")
        slow = await client.get("/drip?duration=0.05&bytes=5")
        return [len(stream.text.splitlines()), "content-length" in stream.headers, len(big.content), slow.content]

    assert run(App(slow_rate=1.0, slow_seconds=0.01), use) == [2000, False, 1_000_000, b"xxxxx"]


def test_uploads_are_read_over_and_writes_are_known_again() -> None:
    """A streamed body does no harm; the same POST twice counts as done twice."""
    app = App()

    async def use(client: httpx.AsyncClient) -> list[int]:
        async def parts() -> Any:
            for _ in range(50):
                yield b"x" * 10_000

        return [(await client.post("/items/1", content=parts())).status_code for _ in range(2)]

    assert run(app, use) == [200, 200]
    assert (app.account().unsafe, app.account().unsafe_duplicates) == (2, 1)


@pytest.mark.parametrize("fault", ["cut_rate", "reset_rate", "truncate_rate"])
def test_a_broken_connection_is_an_error_of_the_connection(fault: str) -> None:
    """Charged, not served, and raised as ConnectionResetError."""
    app = App("10/s", **{fault: 1.0})  # type: ignore[arg-type]

    async def use(client: httpx.AsyncClient) -> None:
        with pytest.raises(ConnectionResetError):
            await client.get("/items/1")

    run(app, use)
    assert (app.account().accepted, app.account().served) == (1, 0)


def test_a_cancelled_request_frees_its_place() -> None:
    """A client that gives up inside the latency is not in flight any more."""
    app = App("1 concurrent", latency=30.0)

    async def use(client: httpx.AsyncClient) -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("/items/1"), 0.05)
        app.core.change(app.settings.changed([("latency", "0")]))
        return (await client.get("/items/2")).status_code

    assert run(app, use) == 200
    assert app.account().served == 1


def test_latency_follows_the_clock_that_is_given() -> None:
    """Limits are counted on the clock given, so that a test may move it."""
    moment = [50.0]
    app = App("1/h", clock=lambda: moment[0])

    async def use(client: httpx.AsyncClient) -> list[int]:
        first = [(await client.get("/items/1")).status_code for _ in range(2)]
        moment[0] += 3600
        return [*first, (await client.get("/items/2")).status_code]

    assert run(app, use) == [200, 429, 200]


def test_a_scenario_plays_here_too() -> None:
    """By name, with other settings beside."""
    app = App(scenario="halved", latency=0.0)
    assert app.account().scenario == "halved"


def test_websockets_are_declined_and_lifespans_acknowledged() -> None:
    """What an ASGI server asks besides requests is answered as the protocol wants."""
    app, sent = App(), []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def inside() -> None:
        await app({"type": "websocket"}, lambda: asyncio.sleep(0, {"type": "websocket.connect"}), send)
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
        await app({"type": "lifespan"}, lambda: asyncio.sleep(0, next(messages)), send)

    asyncio.run(inside())
    assert sent == ["websocket.close", "lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_uvicorn_serves_it() -> None:
    """Behind a real ASGI server: limits, chunks, and a cut that closes the connection."""
    app = App("3/min", "fixed")

    async def inside() -> list[Any]:
        config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            assert not task.done()
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            found: list[Any] = [(await client.get("/items/1")).json(), len((await client.get("/stream/50")).text.splitlines())]
            app.core.change(app.settings.changed([("cut_rate", "1")]))
            with pytest.raises(httpx.HTTPError):
                (await client.get("/items/2")).raise_for_status()
            found.append((await client.get("/items/3")).status_code)
        server.should_exit = True
        await task
        return found

    assert asyncio.run(inside()) == [{"id": "1"}, 50, 429]
    assert json.dumps(app.account().as_dict())
