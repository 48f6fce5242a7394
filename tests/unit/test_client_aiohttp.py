"""What is aiohttp's own: the time of a request, its own second try, and bodies that are used up."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tenacity import stop_after_attempt, wait_fixed, wait_none

from paceline import Policy, Retry, history
from paceline.aiohttp import middleware, session
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def silence(cut: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that never answers (or hangs up at once); gives its URL, and the heads that came."""
    heads: list[bytes] = []
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writers.append(writer)
        if cut:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", heads
    finally:
        server.close()
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("alone", [False, True])
def test_a_wait_for_a_permit_is_not_the_request_s_time(alone: bool) -> None:
    """With a total of a tenth of the wait all requests are served, by the session and by the middleware alone."""

    async def main(url: str) -> None:
        limit, total = "1/400ms bucket burst 1", aiohttp.ClientTimeout(total=0.2)
        made = (
            aiohttp.ClientSession(middlewares=[middleware(limit)], timeout=total)
            if alone
            else session(limit, timeout=total)
        )
        async with made as client:
            waits = []
            for _ in range(3):
                async with client.get(f"{url}/free") as response:
                    assert await response.read() == b'{"free":true}'
                    waits.append(history(response)[0].waited)
            assert min(waits[1:]) > 0.25

    with Server() as server:
        asyncio.run(main(server.url))


def test_each_attempt_has_the_whole_time() -> None:
    """A time-out is a failed attempt; what comes after it, and after a wait between, has its full time again."""

    async def main() -> None:
        policy = Policy(retry=Retry(stop=stop_after_attempt(3), wait=wait_fixed(0.15)))
        async with silence() as (url, heads), session(policy) as client:
            with pytest.raises(asyncio.TimeoutError) as caught:
                await client.get(url, timeout=aiohttp.ClientTimeout(total=0.1))
            attempts = history(caught.value)
            assert [attempt.kind for attempt in attempts] == ["timeout"] * 3
            assert all(attempt.elapsed >= 0.09 for attempt in attempts)
            assert len(heads) == 3
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    asyncio.run(main())


def test_a_cancellation_is_no_time_out() -> None:
    """A task that is cancelled while its request is under way, its time limit near, ends as cancelled."""

    async def main() -> None:
        async with silence() as (url, heads), session("1000/s") as client:
            task = asyncio.create_task(client.get(url, timeout=aiohttp.ClientTimeout(total=30))._coro)  # type: ignore[arg-type]
            while not heads:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(heads) == 1

    asyncio.run(main())


def test_aiohttp_does_not_try_once_more_what_was_given_up() -> None:
    """aiohttp repeats a GET whose connection broke; what the policy has given up stays given up."""

    async def main() -> None:
        policy = Policy(retry=Retry(stop=stop_after_attempt(2), wait=wait_none()))
        async with silence(cut=True) as (url, heads), session(policy) as client:
            with pytest.raises(aiohttp.ClientError):
                await client.get(url)
            assert len(heads) == 2

    asyncio.run(main())


def test_an_outer_middleware_s_second_request_takes_a_permit_of_its_own() -> None:
    """A middleware given to the session stands outside of paceline's."""

    async def twice(request: Any, handler: Any) -> Any:
        (await handler(request)).close()
        return await handler(request)

    async def main(url: str) -> None:
        policy = Policy(limits="2/min sliding")
        async with session(policy, middlewares=[twice]) as client, client.get(f"{url}/items/1") as response:
            assert response.status == 200
        [line] = policy.lines.values()
        assert line.try_acquire() is None

    with Server("1000/s") as server:
        asyncio.run(main(server.url))
        assert server.account().accepted == 2


def test_forms_with_files_are_sent_again_whole() -> None:
    """A multipart form of bytes is replayed; one with an async generator in it is not."""

    async def main() -> None:
        heads: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                    heads.append(await reader.readexactly(length))
                    status = b"429 Too Many Requests\r\nRetry-After-Ms: 20" if len(heads) == 1 else b"200 OK"
                    writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with session(Policy(retry=Retry(zero_wait_floor=0.01))) as client:
            form = aiohttp.FormData()
            form.add_field("file", b"content", filename="a.txt")
            async with client.post(url, data=form) as response:
                assert response.status == 200
        assert len(heads) == 2
        assert heads[0] == heads[1]
        assert b"content" in heads[0]
        server.close()

    asyncio.run(main())
