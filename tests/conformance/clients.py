"""Each client behind one small face, and a server that plays a script and writes down what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import httpx
import httpx2
import requests
import trio

import paceline.aiohttp
import paceline.httpx
import paceline.httpx2
import paceline.requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

__all__ = ["KINDS", "Arrival", "Kind", "Reply", "Script", "scripted"]


class Arrival(NamedTuple):
    """One request as the server saw it; `peer`: the port that it came from, so which connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: int


class Answer(NamedTuple):
    """One step of a script. cut: hang up instead. promise: a Content-Length that is not kept. gate: waits for it."""

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b"ok"
    cut: bool = False
    promise: int | None = None
    gate: threading.Event | None = None


@dataclass
class Script:
    """Answers in order, the last one again and again; what arrived is in `seen`."""

    answers: list[Answer]
    seen: list[Arrival] = field(default_factory=list)
    url: str = ""
    gates: list[threading.Event] = field(default_factory=list)

    def next(self) -> Answer:
        return self.answers[min(len(self.seen), len(self.answers)) - 1]


@contextlib.contextmanager
def scripted(*answers: dict[str, Any]) -> Iterator[Script]:
    """A server on loopback that answers by the script until the block ends."""
    script = Script([Answer(**each) for each in answers or ({},)])
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None: ...

        def answer(self) -> None:
            length = self.headers.get("Content-Length")
            body = b""
            if length is not None:
                body = self.rfile.read(int(length))
            elif "chunked" in self.headers.get("Transfer-Encoding", ""):
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                script.seen.append(Arrival(self.command, self.path, headers, body, self.client_address[1]))
                told = script.next()
            if told.gate is not None:
                told.gate.wait(10)
            if told.cut:
                self.close_connection = True
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value.replace("{url}", script.url))
            self.send_header("Content-Length", str(len(told.body) if told.promise is None else told.promise))
            self.end_headers()
            self.wfile.write(told.body)
            if told.promise is not None:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_HEAD = answer

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None: ...  # a client that hung up

    with Quiet(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            for each in script.answers:
                if each.gate is not None:
                    each.gate.set()
            server.shutdown()
            thread.join(10)


class Reply(NamedTuple):
    """A response, read."""

    status: int
    body: bytes
    response: Any


@dataclass(frozen=True)
class Kind:
    """One client. errors: its own exceptions; timeouts: those of time limits."""

    name: str
    errors: tuple[type[Exception], ...]
    timeouts: tuple[type[Exception], ...]
    library: Any
    is_async: bool = False
    on_trio: bool = False

    def open(self, policy: Any, **options: Any) -> Any:
        paced = {
            "requests": paceline.requests, "httpx": paceline.httpx, "httpx2": paceline.httpx2, "aiohttp": paceline.aiohttp,
        }[self.library.__name__]  # fmt: skip
        timeout = options.pop("timeout", None)
        if self.library is requests:
            return paced.Session(policy, **options)
        if self.library is aiohttp:
            if timeout is not None:
                options["timeout"] = aiohttp.ClientTimeout(total=timeout)
            return paced.session(policy, **options)
        options.setdefault("follow_redirects", True)
        kind = paced.AsyncClient if self.is_async else paced.Client
        return kind(policy, trust_env=False, timeout=timeout if timeout is not None else 5, **options)

    def run(self, policy: Any, act: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
        """Runs `act` with a client of this kind: what it is given sends one request and reads the answer."""
        limit = options.get("timeout")

        async def main() -> Any:
            client = self.open(policy, **options)

            async def send(method: str, url: str, **more: Any) -> Reply:
                return await self.send(client, method, url, limit, **more)

            send.client = client  # type: ignore[attr-defined]
            if self.is_async:
                async with client:
                    return await act(send)
            with client:
                return await act(send)

        return trio.run(main) if self.on_trio else asyncio.run(main())

    async def send(
        self,
        client: Any,
        method: str,
        url: str,
        limit: float | None = None,
        *,
        headers: dict[str, str] | None = None,
        body: Any = None,
        follow: bool = True,
    ) -> Reply:
        if self.library is requests:
            answer = client.request(
                method, url, headers=headers, data=body, allow_redirects=follow, timeout=5 if limit is None else limit
            )
            return Reply(answer.status_code, answer.content, answer)
        if self.library is aiohttp:
            async with client.request(method, url, headers=headers, data=body, allow_redirects=follow) as answer:
                return Reply(answer.status, await answer.read(), answer)
        answer = client.request(method, url, headers=headers, content=body, follow_redirects=follow)
        if self.is_async:
            answer = await answer
        return Reply(answer.status_code, answer.content, answer)

    @contextlib.asynccontextmanager
    async def stream(self, client: Any, url: str) -> AsyncIterator[Any]:
        """A response whose body has not been read."""
        if self.library is requests:
            with client.get(url, stream=True) as answer:
                yield answer
        elif self.library is aiohttp:
            async with client.get(url) as answer:
                yield answer
        elif self.is_async:
            async with client.stream("GET", url) as answer:
                yield answer
        else:
            with client.stream("GET", url) as answer:
                yield answer

    def once_only(self, *parts: bytes) -> Any:
        """A body that can be read only once."""
        if not self.is_async:
            return (part for part in parts)

        async def generate() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        return generate()

    def file(self, content: bytes, start: int) -> Any:
        """A file that stands somewhere."""
        file = io.BytesIO(content)
        file.seek(start)
        return file


KINDS = [
    Kind("requests", (requests.RequestException,), (requests.Timeout,), requests),
    Kind("httpx", (httpx.HTTPError,), (httpx.TimeoutException,), httpx),
    Kind("httpx-async", (httpx.HTTPError,), (httpx.TimeoutException,), httpx, is_async=True),
    Kind("httpx-trio", (httpx.HTTPError,), (httpx.TimeoutException,), httpx, is_async=True, on_trio=True),
    Kind("httpx2", (httpx2.HTTPError,), (httpx2.TimeoutException,), httpx2),
    Kind("httpx2-async", (httpx2.HTTPError,), (httpx2.TimeoutException,), httpx2, is_async=True),
    Kind("aiohttp", (aiohttp.ClientError,), (asyncio.TimeoutError,), aiohttp, is_async=True),
]
