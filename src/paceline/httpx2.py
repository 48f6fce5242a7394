"""httpx2 with a policy: `Client` and `AsyncClient` are httpx2's, `Transport` and `AsyncTransport` wrap any transport."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from ._adapter import GaveUpAs, PolicyOrLimits, connections_for, policy_of, raises_gave_up, secret_headers
from ._httpx import AsyncCore, Core, drop_secrets, pace, whole
from ._httpx_pool import share_out
from .errors import MissingExtra

try:
    import httpx2
except ImportError:
    raise MissingExtra("httpx2", "httpx2") from None

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .policy import Policy

__all__ = ["AsyncClient", "AsyncTransport", "Client", "Transport"]


class Transport(httpx2.BaseTransport):
    """Sends by a policy through any transport: `httpx2.Client(transport=Transport(policy))`.

    policy: a Policy, or limits as text. transport: the one that sends (WSGI, a mock, …); None: httpx2's own, made with
    `options`. gave_up: "response" (the last response, or httpx2's own exception) or "error" (`GaveUp`).

    A request asks for more by `extensions={"paceline": {"cost": 3}}`; see `paceline.options`.
    Raises RetryLater, CostAboveQuota and AcquireTimeout beside what httpx2 raises.

    >>> client = httpx2.Client(transport=Transport("100/2s", httpx2.MockTransport(lambda request: httpx2.Response(200))))
    >>> client.get("https://api.example.com/items/1")
    <Response [200 OK]>
    """

    def __init__(
        self,
        policy: PolicyOrLimits,
        transport: httpx2.BaseTransport | None = None,
        *,
        gave_up: GaveUpAs = "response",
        **options: Any,
    ) -> None:
        inner = httpx2.HTTPTransport(**options) if transport is None else transport
        self._core = Core(httpx2, policy_of(policy), inner, raises_gave_up(gave_up))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request until it ends: each attempt with a permit, each answer's signal fed back."""
        return self._core.handle(request)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Closes the transport that is wrapped."""
        self._core.inner.close()

    def __enter__(self) -> Self:
        self._core.inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._core.inner.__exit__(exc_type, exc_value, traceback)


class AsyncTransport(httpx2.AsyncBaseTransport):
    """As `Transport`, for `httpx2.AsyncClient`, under asyncio or trio: ASGI, httpx-aiohttp, mocks, or httpx2's own.

    >>> transport = AsyncTransport("100/2s", httpx2.MockTransport(lambda request: httpx2.Response(200)))
    >>> client = httpx2.AsyncClient(transport=transport)
    """

    def __init__(
        self,
        policy: PolicyOrLimits,
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        gave_up: GaveUpAs = "response",
        **options: Any,
    ) -> None:
        inner = httpx2.AsyncHTTPTransport(**options) if transport is None else transport
        self._core = AsyncCore(httpx2, policy_of(policy), inner, raises_gave_up(gave_up))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request until it ends: each attempt with a permit, each answer's signal fed back."""
        return await self._core.handle(request)  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Closes the transport that is wrapped."""
        await self._core.inner.aclose()

    async def __aenter__(self) -> Self:
        await self._core.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._core.inner.__aexit__(exc_type, exc_value, traceback)


class Client(httpx2.Client):
    """An `httpx2.Client` whose requests keep to a policy; all else is as it was.

    policy: a Policy, or limits as text. concurrency: how many requests may run at once, which is how many connections
    are kept; by default what a limit like `8 concurrent` says, else as many as are open. gave_up: see `Transport`.
    options: as of `httpx2.Client`; a `transport` and `mounts` given are wrapped. Unlike httpx2 by itself, all open
    connections are kept for reuse, unless `limits` say otherwise.

    >>> with Client("100/2s", base_url="https://api.example.com") as client:
    ...     client.base_url
    URL('https://api.example.com')
    """

    def __init__(
        self,
        policy: PolicyOrLimits,
        *,
        concurrency: int | None = None,
        gave_up: GaveUpAs = "response",
        **options: Any,
    ) -> None:
        self.policy: Policy = policy_of(policy)
        _keep_connections(options, self.policy, concurrency)
        super().__init__(**options)
        if "transport" not in options:
            share_out(self._transport)
        for name, value in secret_headers(self.policy).items():
            self.headers.setdefault(name, value)
        raises = raises_gave_up(gave_up)

        def paced(transport: Any) -> Any:
            if type(transport) is not httpx2.HTTPTransport:
                return _wrapped(transport, self.policy, gave_up)
            # A copy that shares its connections: one that was given may serve another client, too.
            return pace(copy(transport), lambda inner: Core(httpx2, self.policy, inner, raises))

        self._transport = paced(self._transport)
        self._mounts = {
            pattern: None if each is None else paced(each) for pattern, each in self._mounts.items()
        }

    def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """As of httpx2."""
        token = whole.set(not stream)
        try:
            return super().send(request, stream=stream, **options)
        finally:
            whole.reset(token)

    def _redirect_headers(self, request: httpx2.Request, url: httpx2.URL, method: str) -> httpx2.Headers:
        headers = super()._redirect_headers(request, url, method)
        drop_secrets(headers, request.url, url)
        return headers


class AsyncClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` whose requests keep to a policy, under asyncio or trio; arguments as of `Client`.

    >>> client = AsyncClient(["100/2s", "8 concurrent"], timeout=30)
    """

    def __init__(
        self,
        policy: PolicyOrLimits,
        *,
        concurrency: int | None = None,
        gave_up: GaveUpAs = "response",
        **options: Any,
    ) -> None:
        self.policy: Policy = policy_of(policy)
        _keep_connections(options, self.policy, concurrency)
        super().__init__(**options)
        if "transport" not in options:
            share_out(self._transport)
        for name, value in secret_headers(self.policy).items():
            self.headers.setdefault(name, value)
        raises = raises_gave_up(gave_up)

        def paced(transport: Any) -> Any:
            if type(transport) is not httpx2.AsyncHTTPTransport:
                return _awrapped(transport, self.policy, gave_up)
            # A copy that shares its connections: one that was given may serve another client, too.
            return pace(copy(transport), lambda inner: AsyncCore(httpx2, self.policy, inner, raises))

        self._transport = paced(self._transport)
        self._mounts = {
            pattern: None if each is None else paced(each) for pattern, each in self._mounts.items()
        }

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """As of httpx2."""
        token = whole.set(not stream)
        try:
            return await super().send(request, stream=stream, **options)
        finally:
            whole.reset(token)

    def _redirect_headers(self, request: httpx2.Request, url: httpx2.URL, method: str) -> httpx2.Headers:
        headers = super()._redirect_headers(request, url, method)
        drop_secrets(headers, request.url, url)
        return headers


def _wrapped(transport: httpx2.BaseTransport, policy: Policy, gave_up: GaveUpAs) -> httpx2.BaseTransport:
    return transport if isinstance(transport, Transport) else Transport(policy, transport, gave_up=gave_up)


def _awrapped(transport: httpx2.AsyncBaseTransport, policy: Policy, gave_up: GaveUpAs) -> httpx2.AsyncBaseTransport:
    return transport if isinstance(transport, AsyncTransport) else AsyncTransport(policy, transport, gave_up=gave_up)


def _keep_connections(options: dict[str, Any], policy: Policy, concurrency: int | None) -> None:
    """Keeps as many connections as may be open.

    httpx2 keeps 20 by default, and closes idle ones as soon as more than that are *open*: beyond 20 at once nearly
    every request makes a connection of its own (`_assign_requests_to_connections` in httpcore).
    """
    size = connections_for(policy, concurrency)
    if "limits" not in options:
        options["limits"] = httpx2.Limits(max_connections=max(size, 100), max_keepalive_connections=None)
