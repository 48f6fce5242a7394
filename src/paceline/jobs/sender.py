"""Sends one attempt of the batch job with aiohttp, stamps its permit when it goes on the wire, and reads the answer."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..effects import Answer, Fault
from ..errors import InputError, MissingExtra
from ..signals import find_dialect, needs_body, silent
from .deadlines import Deadlines

try:
    import aiohttp
    from yarl import URL
except ImportError:
    raise MissingExtra("aiohttp", "cli") from None

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..effects import Permit
    from ..retry import FaultKind

__all__ = ["AiohttpSender", "Sender", "SenderOptions", "TooLarge"]

_CHUNK: Final = 1 << 16
_ORIGINS: Final = 1024


class TooLarge(Exception):
    """An answer's body is over the size limit."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the body is over the limit of {most} bytes (--max-body)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """How attempts are sent.

    timeout: seconds for one attempt, from connecting to the last byte. max_body: most bytes of one body.
    proxy: URL of an HTTP proxy. ca_file: certificates to trust instead of the system's. connections: most at once.
    """

    timeout: float = 30.0
    max_body: int = 32 * 1024 * 1024
    proxy: str | None = None
    ca_file: str | None = None
    connections: int = 32


class Sender(Protocol):
    """What the engine sends with."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, permit: Permit, left: float | None
    ) -> Answer | Fault:
        """One attempt; `left`: seconds to a deadline, None without one. Follows no redirect.

        The answer's `response` is the whole body; its `body` only where its signal is read from it.
        """
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...


# The permit of the request that this task is sending: the connector has no other way to know it.
_permit: ContextVar[Permit | None] = ContextVar("paceline_permit", default=None)


class _StampingConnector(aiohttp.TCPConnector):
    """Stamps a request's permit the moment its connection stands, which is when its bytes are written."""

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        connection = await super().connect(req, traces, timeout)
        permit = _permit.get()
        if permit is not None:
            if permit.wrote is not None:
                # aiohttp would send once more by itself after a kept connection broke; a second send needs a permit.
                connection.close()
                raise aiohttp.ServerDisconnectedError("the server closed a kept connection")
            permit.sent()
        return connection


class AiohttpSender:
    """A sender on one aiohttp session: kept connections, no cookies, no redirects of its own.

    common: the headers that most requests carry, made ready once; a request whose mapping is this very object
    adds none of its own.
    """

    def __init__(self, options: SenderOptions, common: Mapping[str, str]) -> None:
        self._options = options
        self._common = common
        self._extra: dict[str, Any] = {"allow_redirects": False}
        if options.proxy is not None:
            self._extra["proxy"] = options.proxy
        tls: ssl.SSLContext | bool = True
        if options.ca_file is not None:
            try:
                tls = ssl.create_default_context(cafile=options.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise InputError(f"cannot read certificates from --ca-file {options.ca_file}: {error}") from None
        connector = _StampingConnector(limit=0, ssl=tls, ttl_dns_cache=300, keepalive_timeout=30.0)
        from urllib.request import getproxies

        self._deadlines = Deadlines()
        self._origins: dict[str, tuple[str, str, bool]] = {}
        settings: dict[str, Any] = {
            "connector": connector,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=None),
            # Without proxies in the environment there is nothing to look up for each request.
            "trust_env": bool(getproxies()) and options.proxy is None,
        }
        self._session = aiohttp.ClientSession(headers=common, **settings)
        # A session adds its headers to every request. One that carries its own must get nothing else: a redirect to
        # another host has dropped the credential that stands among the common ones.
        self._bare = aiohttp.ClientSession(connector_owner=False, **settings)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, permit: Permit, left: float | None
    ) -> Answer | Fault:
        """One attempt; see Sender."""
        began = time.perf_counter()
        token = _permit.set(permit)
        extra = self._extra
        session = self._session
        if headers is not self._common:
            extra = {**extra, "headers": headers}
            session = self._bare
        if body is not None:
            extra = {**extra, "data": body}
        task: Any = asyncio.current_task()
        timeout = self._options.timeout
        self._deadlines.begin(task, timeout if left is None or left > timeout else max(0.001, left))
        try:
            place, speaks = self._place(url)
            response = await session.request(method, place, **extra)
            try:
                content = await self._read(response)
            except BaseException:
                response.close()
                raise
            status, answered = response.status, response.headers
            if status < 400 and silent(answered) and not speaks:
                return Answer(status, answered, None, content, time.perf_counter() - began, time.time(), False, True)
            told = content if needs_body(status, answered, url=url) else None
            return Answer(status, answered, told, content, time.perf_counter() - began, time.time())
        except asyncio.CancelledError:
            if not self._deadlines.expired(task):
                raise
            late = TimeoutError(f"no whole answer within {timeout:g} s")
            return Fault(late, "timeout", time.perf_counter() - began, time.time(), permit.wrote is not None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, TooLarge) as error:
            kind, sent = _kind_of(error, permit.wrote is not None)
            return Fault(error, kind, time.perf_counter() - began, time.time(), sent)
        finally:
            self._deadlines.end(task)
            _permit.reset(token)

    def _place(self, text: str) -> tuple[URL, bool]:
        """The URL as it was given, not encoded anew, and whether a served body from there may speak of limits.

        What stands before the path is taken apart once an origin.
        """
        cut = text.find("/", 8)
        origin = self._origins.get(text[:cut]) if cut > 0 else None
        if origin is not None and "#" not in text:
            scheme, authority, speaks = origin
            path, _, query = text[cut:].partition("?")
            url = URL.build(scheme=scheme, authority=authority, path=path, query_string=query, encoded=True)
            return url, speaks or "graphql" in text
        url = URL(text, encoded=True)
        spoken = find_dialect(text)
        speaks = spoken is not None and spoken.served_body is not None
        if cut > 0 and "?" not in text[:cut] and len(self._origins) < _ORIGINS:
            self._origins[text[:cut]] = url.scheme, url.raw_authority, speaks
        return url, speaks or "graphql" in text

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        most = self._options.max_body
        headers = response.headers
        length = headers.get("Content-Length")
        if length is not None and "Content-Encoding" not in headers and length.isdecimal():
            if (len(length) > 18 or int(length) > most) and response.method != "HEAD" and response.status != 304:
                raise TooLarge(most)
            return await response.read()
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > most:
                raise TooLarge(most)
            chunks.append(chunk)
        return b"".join(chunks)

    async def close(self) -> None:
        self._deadlines.close()
        await self._bare.close()
        await self._session.close()


def _kind_of(error: Exception, sent: bool) -> tuple[FaultKind, bool]:
    """What broke, and whether the request may have reached the server."""
    if isinstance(error, TooLarge):
        return "too_large", True
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "resolve", False
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls", sent
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        return "connect", False
    if isinstance(error, TimeoutError):
        return "timeout", sent
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError | aiohttp.ClientOSError):
        return "reset", sent
    if isinstance(error, aiohttp.InvalidURL):
        return "invalid", False
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return "protocol", sent
    if isinstance(error, ValueError):
        return "invalid", sent
    return "other", sent
