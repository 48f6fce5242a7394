"""Sends one attempt of the batch job with httpx, stamps its permit when it goes on the wire, and reads the answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from multidict import CIMultiDict

from ..effects import Answer, Fault
from ..errors import InputError, MissingExtra
from ..signals import needs_body
from .deadlines import Deadlines
from .sender import SenderOptions, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..effects import Permit
    from ..retry import FaultKind

try:
    # Not by `import`, so that types are checked alike whether this extra is installed or not.
    httpx: Any = import_module("httpx")
except ImportError:
    raise MissingExtra("httpx", "httpx") from None

__all__ = ["HttpxSender"]

_ON_THE_WIRE: Final = frozenset({"http11.send_request_headers.started", "http2.send_request_headers.started"})


class HttpxSender:
    """A sender on httpx's own transport: kept connections, and nothing between it and the wire.

    Not on its client, which logs whole URLs at the level INFO, credentials in them too, keeps cookies, and fails on
    an answer whose Location it cannot read. common: see AiohttpSender.
    """

    def __init__(self, options: SenderOptions, common: Mapping[str, str]) -> None:
        self._options = options
        self._common = common
        self._common_pairs = _pairs(common)
        try:
            self._tls = ssl.create_default_context(cafile=options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"cannot read certificates from --ca-file {options.ca_file}: {error}") from None
        # Looked up once: without proxies in the environment there is nothing to look up for each request.
        self._proxies = {} if options.proxy is not None else getproxies()
        self._transports: dict[str | None, Any] = {}
        self._deadlines = Deadlines()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, permit: Permit, left: float | None
    ) -> Answer | Fault:
        """One attempt; see Sender."""
        began = time.perf_counter()
        task: Any = asyncio.current_task()
        timeout = self._options.timeout
        answering = False
        self._deadlines.begin(task, timeout if left is None or left > timeout else max(0.001, left))
        try:
            response = await self._request(method, url, headers, body, permit)
            answering = True
            try:
                content = await self._read(response)
            finally:
                await response.aclose()
            answered = CIMultiDict(response.headers.multi_items())
            told = content if needs_body(response.status_code, answered, url=url) else None
            return Answer(response.status_code, answered, told, content, time.perf_counter() - began, time.time())
        except asyncio.CancelledError:
            if not self._deadlines.expired(task):
                raise
            late = TimeoutError(f"no whole answer within {timeout:g} s")
            return Fault(late, "timeout", time.perf_counter() - began, time.time(), permit.wrote is not None)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, TooLarge) as error:
            kind, sent = _kind_of(error, permit.wrote is not None, answering)
            return Fault(error, kind, time.perf_counter() - began, time.time(), sent)
        finally:
            self._deadlines.end(task)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, permit: Permit
    ) -> Any:
        async def trace(event: str, facts: Mapping[str, Any]) -> None:
            # Through a proxy's tunnel a CONNECT goes first, which is not the request.
            if event not in _ON_THE_WIRE or facts["request"].method == b"CONNECT":
                return
            if permit.wrote is not None:
                raise ConnectionError("a second send needs a permit of its own")
            permit.sent()

        proxy = self._proxy_for(url)
        extensions: dict[str, Any] = {"trace": trace}
        if proxy is None:
            # As it was given: httpx would encode some characters anew, and a signature may cover them.
            extensions["target"] = _target(url)
        pairs = self._common_pairs if headers is self._common else _pairs(headers)
        request = httpx.Request(method, url, headers=pairs, content=body, extensions=extensions)
        return await self._transport(proxy).handle_async_request(request)

    def _transport(self, proxy: str | None) -> Any:
        transport = self._transports.get(proxy)
        if transport is None:
            limits = httpx.Limits(
                max_connections=None, max_keepalive_connections=self._options.connections, keepalive_expiry=30.0
            )
            transport = httpx.AsyncHTTPTransport(verify=self._tls, limits=limits, proxy=proxy, trust_env=False)
            self._transports[proxy] = transport
        return transport

    def _proxy_for(self, url: str) -> str | None:
        if not self._proxies:
            return self._options.proxy
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not proxy or not proxy.startswith(("http://", "https://")) or proxy_bypass(parts.hostname or ""):
            return None
        return proxy

    async def _read(self, response: Any) -> bytes:
        most = self._options.max_body
        length = response.headers.get("Content-Length")
        plain = length is not None and "Content-Encoding" not in response.headers
        if plain and length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
            raise TooLarge(most)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > most:
                raise TooLarge(most)
            chunks.append(chunk)
        return b"".join(chunks)

    async def close(self) -> None:
        """Closes all connections."""
        self._deadlines.close()
        for transport in self._transports.values():
            await transport.aclose()


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    pairs = [(name.encode("ascii"), value.encode()) for name, value in headers.items()]
    if not any(name.lower() == b"accept-encoding" for name, _ in pairs):
        pairs.append((b"Accept-Encoding", b"gzip, deflate"))
    return pairs


def _target(url: str) -> bytes:
    """The request target of a URL (RFC 9112, section 3.2.1), as it stands there.

    >>> _target("https://example.com?q=a|b#part"), _target("https://example.com")
    (b'/?q=a|b', b'/')
    """
    rest = url.partition("#")[0].partition("://")[2]
    start = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    path = rest[start:]
    return (path if path.startswith("/") else f"/{path}").encode("ascii")


def _causes(error: BaseException) -> Iterator[BaseException]:
    # httpcore raises its errors "from None": what was under them stands in the context only.
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _kind_of(error: Exception, sent: bool, answering: bool) -> tuple[FaultKind, bool]:
    """What broke, and whether the request may have reached the server; answering: its answer had begun."""
    if isinstance(error, TooLarge):
        return "too_large", True
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "resolve", False
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "tls", sent
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return "connect", False
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "timeout", sent
    if isinstance(error, httpx.NetworkError | ConnectionError):
        return "protocol" if answering else "reset", sent
    if isinstance(error, httpx.RemoteProtocolError):
        # Where h11 is not among the causes, httpcore itself saw the connection end before any answer.
        broken = answering or any(type(cause).__module__.startswith("h11") for cause in causes)
        return "protocol" if broken else "reset", sent
    if isinstance(error, httpx.DecodingError):
        return "protocol", sent
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError | ValueError):
        return "invalid", sent
    return "other", sent
