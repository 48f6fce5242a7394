"""The test server as an ASGI app: for `httpx.ASGITransport`, and for any ASGI server."""

from __future__ import annotations

import asyncio
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .bodies import Half
from .core import Core
from .server import behaviour
from .verdict import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from ..limits import Limit
    from .account import Account
    from .bodies import Body
    from .judging import ReportCard
    from .scenario import Scenario
    from .settings import Options, Settings
    from .verdict import Verdict
    from .wording import Headers

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["App"]

_NOBODY = (204, 304)


class App:
    """A rate-limited API as an ASGI app; the arguments are those of `Server`, besides `clock`: a reading in seconds.

    An injected cut, reset or cut-off body is a ConnectionResetError raised out of the app: ASGI has no other way to
    break a connection. `httpx.ASGITransport` hands it to the caller; a server closes the connection.

    >>> import asyncio, httpx
    >>> app = App("1/2s", headers="ietf")
    >>> async def twice():
    ...     async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
    ...         return [(await client.get("/items/7")).status_code for _ in range(2)]
    >>> asyncio.run(twice()), app.account().refused
    ([200, 429], 1)
    """

    def __init__(
        self,
        limit: str | Limit | Sequence[str | Limit] | None = None,
        enforce: str | Sequence[str] | None = None,
        *,
        scenario: str | Path | Scenario | None = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Unpack[Options],
    ) -> None:
        begun = clock()
        self._clock: Callable[[], float] = lambda: clock() - begun
        self.core = Core(behaviour(limit, enforce, scenario, options), origin=time.time())

    @property
    def settings(self) -> Settings:
        """How it behaves now."""
        return self.core.settings

    def account(self) -> Account:
        """What it saw until now."""
        return self.core.account(self._clock())

    def report(self, calls: int | None = None) -> ReportCard:
        """The verdict on the client until now; `calls`: how many different items it was to fetch, where that is known."""
        return self.core.report(self._clock(), calls)

    def reset(self) -> None:
        """Forgets all it saw and all that was used up."""
        self.core.reset()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serves one ASGI scope."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        digest = await _read_over(receive)
        if digest is None:
            return  # the client left before it had asked
        path: str = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
        query: str = scope.get("query_string", b"").decode("latin-1")
        headers = dict(scope["headers"])
        address = (scope.get("client") or ("",))[0]
        request = Request(
            scope["method"], f"{path.partition('?')[0]}?{query}" if query else path, headers, address, digest
        )
        verdict = self.core.decide(request, self._clock())
        whole = False
        try:
            if verdict.delay > 0:
                await asyncio.sleep(verdict.delay)
            await self._answer(verdict, scope["method"] == "HEAD", send)
            whole = verdict.fault is None
        finally:
            self.core.settle(verdict, self._clock(), whole)

    async def _answer(self, verdict: Verdict, head_only: bool, send: Send) -> None:
        body: bytes | Body = verdict.body
        if verdict.fault in ("cut", "reset"):
            raise ConnectionResetError("the test server cut the connection, as it was told to")
        if verdict.fault == "truncate":
            body = Half(body)
        bare = verdict.status in _NOBODY
        length = verdict.declared if verdict.declared is not None else len(body)
        framing: Headers = () if bare else (("Content-Type", verdict.content_type),)
        if not bare and (isinstance(body, bytes) or not body.chunked):
            framing += (("Content-Length", str(length)),)
        encoded = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (*framing, *verdict.headers)
        ]
        await send({"type": "http.response.start", "status": verdict.status, "headers": encoded})
        if isinstance(body, bytes) or head_only or bare:
            content = b"" if head_only or bare or not isinstance(body, bytes) else body
            await send({"type": "http.response.body", "body": content})
            return
        pause = body.pause
        for piece in body.pieces():
            if pause:
                await asyncio.sleep(pause)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if verdict.fault is not None:
            raise ConnectionResetError("the test server cut the body short, as it was told to")
        await send({"type": "http.response.body", "body": b""})


async def _live(receive: Receive, send: Send) -> None:
    """The protocol of start and end: there is nothing to prepare."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read_over(receive: Receive) -> bytes | None:
    """Reads a request's body without keeping it: its digest (b"" for none), or None where the client left."""
    digest = None
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if part := message.get("body", b""):
            digest = digest or blake2b(digest_size=8)
            digest.update(part)
        if not message.get("more_body", False):
            return digest.digest() if digest is not None else b""
