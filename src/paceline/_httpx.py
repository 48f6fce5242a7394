"""How a transport of httpx or httpx2 sends by a policy: one logic for both, which share no class."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import time
from contextvars import ContextVar
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from . import events
from ._adapter import CREDENTIAL_HEADERS, add_headers, is_secret, small_body
from ._calls import NONE, Options, current, read_options, settle
from ._lanes import SERVED, AsyncLane, Lane, Lanes
from ._renewal import AsyncRenewal, Renewal
from .drive import aserve, serve
from .effects import Answer, Fault
from .nested import attempts_of, warn_below
from .signals import needs_body, silent
from .stores.trio_gate import running_trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from .effects import Call, Permit, Send
    from .exchange import Rules
    from .policy import Policy
    from .retry import FaultKind

__all__ = ["AsyncCore", "Core", "drop_secrets", "pace", "whole"]

_ON_THE_WIRE: Final = frozenset({"http11.send_request_headers.started", "http2.send_request_headers.started"})
_CREDENTIALS: Final = {name.encode(): order for order, name in enumerate(CREDENTIAL_HEADERS)}
_clock = time.perf_counter
_epoch = time.time
_second = itemgetter(1)
_apart = frozenset(_CREDENTIALS).isdisjoint
_new = object.__new__

whole: ContextVar[bool] = ContextVar("paceline_httpx_whole", default=False)
"""Whether the client reads the body at once: then it is read here, where a cut one can be asked for again."""


class _Core:
    """What both kinds share; library: the module httpx or httpx2; inner: the transport that is wrapped."""

    _is_async = False

    def __init__(self, library: Any, policy: Policy, inner: Any, raises: bool, lanes: Lanes[Any]) -> None:
        self.library = library
        self.policy = policy
        self.inner = inner
        self.raises = raises
        self._lanes = lanes
        self._plain = library.ByteStream
        # These say when a request goes on the wire. Of any other transport the call's beginning has to do.
        self._tells = isinstance(inner, library.HTTPTransport | library.AsyncHTTPTransport)
        # What may break once a connection stands: its request may be on the wire.
        self._late = (
            library.ReadError,
            library.WriteError,
            library.CloseError,
            library.ReadTimeout,
            library.WriteTimeout,
            library.RemoteProtocolError,
        )
        self._stamping = _stamping(library.ByteStream)
        self._streams = self._tells and _iterates_bodies(inner)
        warn_below(inner, "a client of paceline", attempts_of(policy.retry.stop))

    def _lane(self, request: Any) -> Any:
        """The lane of a request, by its host and the credential that it carries."""
        headers, url = request.headers, request.url
        try:
            # What httpx has at hand, without what its properties make of it each time.
            place: tuple[Any, ...] = url._uri_reference[:4]
            bare = _apart(map(_second, headers._list))
        except AttributeError:
            place, bare = (url.scheme, url.userinfo, url.raw_host, url.port), False
        credential = None
        if not bare:
            best = 99
            for name, value in headers.raw:
                order = _CREDENTIALS.get(name.lower(), 99)
                if order < best:
                    best, credential = order, value.decode("latin-1")
            place = (place, credential)
        return self._lanes.quick.get(place) or self._lanes.note(
            place, self._lanes.lane(request.method, _text_of(url), credential)
        )

    def _call(self, request: Any, url: str, rules: Rules, chosen: Options) -> tuple[Call, Rules]:
        stream = request.stream
        replayable = type(stream) is self._plain or _can_replay(stream, self.library)
        names = (name.decode("latin-1") for name, _ in request.headers.raw)
        body = request.content if self._lanes.costs and type(stream) is self._plain else None
        return self._lanes.call(request.method, url, names, replayable, chosen, rules, body)

    def _content(self, reply: Answer | Fault) -> bytes | None:
        """The body of an answer, where it has been read and somebody wants it."""
        if not self._lanes.costs or not isinstance(reply, Answer):
            return None
        try:
            return reply.response.content  # type: ignore[no-any-return]
        except self.library.ResponseNotRead:
            return None

    def _sent(self, request: Any, trace: Any, left: float | None) -> Any:
        """The request as it is sent this time: it tells when it goes on the wire."""
        extensions = request.extensions
        extensions = {**extensions} if left is None else self._bounded(extensions, left)
        trace.theirs = extensions.get("trace")
        trace.extensions = extensions
        extensions["trace"] = trace
        return _with(request, extensions)

    def _stamped(self, request: Any, permit: Permit) -> Any:
        """As `_sent`, for a body of bytes and without other time limits; the cheapest way that there is."""
        if self._streams:
            body = _new(self._stamping)
            body._paceline_permit, body._stream = permit, request.stream._stream
            copy = _new(type(request))
            copy.__dict__ = {**request.__dict__, "stream": body}
            return copy
        if self._tells:
            return self._sent(request, (_AsyncTrace if self._is_async else _Trace)(permit), None)
        permit.sent()
        return request

    def _is_quiet(self, response: Any, request: Any) -> bool:
        """Whether an answer is served, is read at once, and says nothing of limits, as nearly all do."""
        return (
            response.status_code < 400
            and whole.get()
            and silent(_names_of(response.headers))
            and b"graphql" not in request.url.raw_path
        )

    def _fault_of(self, error: Exception, began: float, permit: Permit, answering: bool) -> Fault:
        """As `_fault`, of a request that is stamped only after its first bytes."""
        if self._streams and permit.wrote is None and isinstance(error, self._late):
            permit.sent()
        return self._fault(error, began, permit, answering)

    def _bounded(self, extensions: dict[str, Any], left: float) -> dict[str, Any]:
        """The time limits of one attempt, cut to what is left before the deadline."""
        told: Mapping[str, float | None] = extensions.get("timeout") or {}
        left = max(0.001, left)
        limits = {
            name: left if (seconds := told.get(name)) is None else min(seconds, left)
            for name in ("connect", "read", "write", "pool")
        }
        return {**extensions, "timeout": limits}

    def _keep(self, response: Any, raw: bytes) -> bytes:
        """Gives a streamed response back the body that was read for its signal; the body as text has it."""
        response.is_closed = response.is_stream_consumed = False
        response.stream = self._plain(raw)
        if "content-encoding" not in response.headers:
            return raw
        copy = self.library.Response(response.status_code, headers=response.headers, stream=self._plain(raw))
        try:
            return copy.read()  # type: ignore[no-any-return]
        except self.library.DecodingError:
            return b""  # whoever reads the response is told

    def _fault(self, error: Exception, began: float, permit: Permit, answering: bool) -> Fault:
        library = self.library
        if isinstance(error, library.UnsupportedProtocol | library.LocalProtocolError):
            raise error  # nothing that could be sent
        kind, sent = _kind_of(error, library, permit.wrote is not None, answering, self._tells)
        return Fault(error, kind, _clock() - began, time.time(), sent)


class Core(_Core):
    """Sends for a sync transport."""

    def __init__(self, library: Any, policy: Policy, inner: Any, raises: bool) -> None:
        super().__init__(library, policy, inner, raises, Lanes(policy, Lane))
        self._renewal = None if policy.refresh is None else Renewal(policy)

    def handle(self, request: Any) -> Any:
        """One request until it ends; returns its response, or raises."""
        if self.policy.headers:
            add_headers(request.headers, self.policy, _text_of(request.url))
        lane = self._lane(request)
        renewal = self._renewal
        if renewal is not None:
            renewal.apply(request.headers)
        chosen = current.get()
        if "paceline" in request.extensions and (given := request.extensions["paceline"]):
            chosen = read_options(given, chosen)
        permit: Any = None
        reply: Answer | Fault | None = None
        if lane.plain and chosen is NONE and not events.listeners and type(request.stream) is self._plain:
            # Nearly every request is granted at once and served at once, by an answer that says nothing of limits.
            permit = lane.line.try_acquire(1, True)
            if permit is not None:
                answering = False
                began = _clock()
                try:
                    response = self.inner.handle_request(self._stamped(request, permit))
                    answering = True
                    if self._is_quiet(response, request):
                        try:
                            response.read()
                        except BaseException:
                            response.close()
                            raise
                        return _served(response, lane, permit, began)
                    reply = self._answer(response, request, lane, permit, began)
                except self.library.TransportError as error:
                    reply = self._fault_of(error, began, permit, answering)
                except BaseException:
                    permit.cancel()
                    raise
                if isinstance(reply, Answer) and lane.serves(reply, [name for name, _ in reply.headers]):  # type: ignore[str-unpack]
                    lane.served(permit, SERVED)
                    response = reply.response
                    response._paceline = (0.0, reply.elapsed, reply.status, reply.now)
                    return response
        call, rules = self._call(request, _text_of(request.url), lane.rules, chosen)

        def once(effect: Send) -> Answer | Fault:
            nonlocal reply, permit
            given, reply = reply, None
            if given is not None:
                return given
            permit = effect.permit
            if effect.attempt > 1:
                lane.look_above()
            given = self._attempt(request, lane, permit, effect.attempt, effect.left)
            self._lanes.settle(permit, call.cost, given, self._content(given))
            return given

        outcome = serve(
            call,
            rules,
            lane,
            once,
            permit=permit,
            emit=self._lanes.emit,
            refresh=None if renewal is None else lambda _: renewal.renew(request.headers),
            discard=self._discard,
        )
        answer = outcome.answer
        if answer is not None and answer.held:
            answer.response.stream = _held_stream(self.library, answer.response.stream, permit)
        try:
            return settle(outcome, self.raises)
        except BaseException:
            if answer is not None and not self.raises:
                answer.response.close()
            raise

    def _attempt(
        self, request: Any, lane: Lane, permit: Permit, attempt: int, left: float | None
    ) -> Answer | Fault:
        if attempt > 1:
            _rewind(request.stream)
        sent = request
        if self._tells:
            sent = self._sent(request, _Trace(permit), left)
        else:
            if left is not None:
                sent = _with(request, self._bounded(request.extensions, left))
            permit.sent()
        answering = False
        began = _clock()
        try:
            response = self.inner.handle_request(sent)
            answering = True
            return self._answer(response, request, lane, permit, began)
        except self.library.TransportError as error:
            return self._fault(error, began, permit, answering)

    def _answer(self, response: Any, request: Any, lane: Lane, permit: Permit, began: float) -> Answer:
        headers, body, keeps = self._read(response, request, lane, began)
        if permit.wrote is None:
            permit.sent()
        return Answer(response.status_code, headers, body, response, _clock() - began, time.time(), keeps)

    def _discard(self, answer: Answer) -> None:
        response = answer.response
        if response.is_closed:
            return  # read already: its connection may be another request's by now
        try:
            # One that was read has given its connection back: what is read there now is somebody else's.
            if not response.is_closed and small_body(response.headers.get("content-length")):
                for _ in response.stream:
                    pass
        except (self.library.HTTPError, self.library.StreamError):
            pass  # closed below; another attempt replaces it
        finally:
            response.close()

    def _read(self, response: Any, request: Any, lane: Lane, began: float) -> tuple[Any, bytes | None, bool]:
        """Headers; the body where it is wanted now; and whether it is still to be read under the permit."""
        headers = response.headers.raw
        wants = _wants(response, request, lane)
        if whole.get():
            # Before the client does it, so that a body cut half-way can be asked for again.
            try:
                content = response.read()
            except BaseException:
                response.close()
                raise
            response.elapsed = timedelta(seconds=_clock() - began)
            return headers, (content if wants else None), False
        if type(response.stream) is self._plain:
            return headers, (response.read() if wants else None), False
        if wants and small_body(response.headers.get("content-length")):
            try:
                raw = b"".join(response.stream)
            finally:
                response.close()
            return headers, self._keep(response, raw), False
        return headers, None, lane.holds


class AsyncCore(_Core):
    """Sends for an async transport, under asyncio or trio."""

    _is_async = True

    def __init__(self, library: Any, policy: Policy, inner: Any, raises: bool) -> None:
        super().__init__(library, policy, inner, raises, Lanes(policy, AsyncLane))
        self._renewal = None if policy.refresh is None else AsyncRenewal(policy)

    async def handle(self, request: Any) -> Any:
        """One request until it ends; returns its response, or raises."""
        if self.policy.headers:
            add_headers(request.headers, self.policy, _text_of(request.url))
        lane = self._lane(request)
        renewal = self._renewal
        if renewal is not None:
            renewal.apply(request.headers)
        chosen = current.get()
        if "paceline" in request.extensions and (given := request.extensions["paceline"]):
            chosen = read_options(given, chosen)
        permit: Any = None
        reply: Answer | Fault | None = None
        if lane.plain and chosen is NONE and not events.listeners and type(request.stream) is self._plain:
            # Nearly every request is granted at once and served at once, by an answer that says nothing of limits.
            permit = lane.line.try_acquire(1, True)
            if permit is not None:
                answering = False
                began = _clock()
                try:
                    response = await self.inner.handle_async_request(self._stamped(request, permit))
                    answering = True
                    if self._is_quiet(response, request):
                        try:
                            await response.aread()
                        except BaseException:
                            await response.aclose()
                            raise
                        return _served(response, lane, permit, began)
                    reply = await self._answer(response, request, lane, permit, began)
                except self.library.TransportError as error:
                    reply = self._fault_of(error, began, permit, answering)
                except BaseException:
                    permit.cancel()
                    raise
                if isinstance(reply, Answer) and lane.serves(reply, [name for name, _ in reply.headers]):  # type: ignore[str-unpack]
                    lane.served(permit, SERVED)
                    response = reply.response
                    response._paceline = (0.0, reply.elapsed, reply.status, reply.now)
                    return response
        call, rules = self._call(request, _text_of(request.url), lane.rules, chosen)

        async def once(effect: Send) -> Answer | Fault:
            nonlocal reply, permit
            given, reply = reply, None
            if given is not None:
                return given
            permit = effect.permit
            if effect.attempt > 1:
                lane.look_above()
            given = await self._attempt(request, lane, permit, effect.attempt, effect.left)
            self._lanes.settle(permit, call.cost, given, self._content(given))
            return given

        trio = running_trio()
        sleep = asyncio.sleep if trio is None else trio.sleep
        outcome = await aserve(
            call,
            rules,
            lane,
            once,
            permit=permit,
            emit=self._lanes.emit,
            refresh=None if renewal is None else lambda _: renewal.renew(request.headers),
            discard=self._discard,
            sleep=sleep,
        )
        answer = outcome.answer
        if answer is not None and answer.held:
            answer.response.stream = _held_async_stream(self.library, answer.response.stream, permit)
        try:
            return settle(outcome, self.raises)
        except BaseException:
            if answer is not None and not self.raises:
                await answer.response.aclose()
            raise

    async def _attempt(
        self, request: Any, lane: Lane, permit: Permit, attempt: int, left: float | None
    ) -> Answer | Fault:
        if attempt > 1:
            _rewind(request.stream)
        sent = request
        if self._tells:
            sent = self._sent(request, _AsyncTrace(permit), left)
        else:
            if left is not None:
                sent = _with(request, self._bounded(request.extensions, left))
            permit.sent()
        answering = False
        began = _clock()
        try:
            response = await self.inner.handle_async_request(sent)
            answering = True
            return await self._answer(response, request, lane, permit, began)
        except self.library.TransportError as error:
            return self._fault(error, began, permit, answering)

    async def _answer(self, response: Any, request: Any, lane: Lane, permit: Permit, began: float) -> Answer:
        headers, body, keeps = await self._read(response, request, lane, began)
        if permit.wrote is None:
            permit.sent()
        return Answer(response.status_code, headers, body, response, _clock() - began, time.time(), keeps)

    async def _discard(self, answer: Answer) -> None:
        response = answer.response
        if response.is_closed:
            return  # read already: its connection may be another request's by now
        try:
            # One that was read has given its connection back: what is read there now is somebody else's.
            if not response.is_closed and small_body(response.headers.get("content-length")):
                async for _ in response.stream:
                    pass
        except (self.library.HTTPError, self.library.StreamError):
            pass  # closed below; another attempt replaces it
        finally:
            await response.aclose()

    async def _read(
        self, response: Any, request: Any, lane: Lane, began: float
    ) -> tuple[Any, bytes | None, bool]:
        headers = response.headers.raw
        wants = _wants(response, request, lane)
        if whole.get():
            try:
                content = await response.aread()
            except BaseException:
                await response.aclose()
                raise
            response.elapsed = timedelta(seconds=_clock() - began)
            return headers, (content if wants else None), False
        if type(response.stream) is self._plain:
            return headers, (await response.aread() if wants else None), False
        if wants and small_body(response.headers.get("content-length")):
            try:
                raw = b"".join([part async for part in response.stream])
            finally:
                await response.aclose()
            return headers, self._keep(response, raw), False
        return headers, None, lane.holds


# ---- transports in place ------------------------------------------------------------------------


def pace(transport: Any, core: Callable[[Any], _Core]) -> Any:
    """Makes a transport that httpx has just made for itself send by a policy, and stay all else that it is."""
    kind: Any = type(transport)
    transport.__class__ = paced = _paced(kind, hasattr(transport, "handle_async_request"))
    transport._paceline = made = core(super(paced, transport))
    made._tells = True
    made._streams = _iterates_bodies(transport)
    return transport


@functools.cache
def _paced(kind: Any, is_async: bool) -> Any:
    def handle_request(self: Any, request: Any) -> Any:
        return self._paceline.handle(request)

    return type(kind.__name__, (kind,), {"handle_async_request" if is_async else "handle_request": handle_request})


def _served(response: Any, lane: Any, permit: Permit, began: float) -> Any:
    """Ends an exchange whose first answer was read and says nothing of limits."""
    elapsed = _clock() - began
    if permit.wrote is None:
        permit.sent()
    lane.served(permit, SERVED)
    response.elapsed = timedelta(seconds=elapsed)
    response._paceline = (0.0, elapsed, response.status_code, _epoch())
    return response


# ---- the moment a request goes on the wire ------------------------------------------------------


def _iterates_bodies(transport: Any) -> bool:
    """Whether whatever this transport sends is sent by HTTP/1.1, straight to its server.

    Then httpcore asks for the body right after the headers are written, be it empty (`_send_request_body`). HTTP/2 does
    not where there is none, and through a proxy what breaks may have broken before the request went.
    """
    pool = getattr(transport, "_pool", None)
    kind = type(pool)
    return (
        any(each.__name__ in ("ConnectionPool", "AsyncConnectionPool") for each in kind.__mro__)
        and kind.__mro__[-2].__module__.partition(".")[0] in ("httpcore", "httpcore2")
        and not any("Proxy" in each.__name__ for each in kind.__mro__)
        and getattr(pool, "_proxy", None) is None
        and getattr(pool, "_http2", True) is False
    )


@functools.cache
def _stamping(kind: Any) -> Any:
    """Bodies like `kind`, of bytes, that stamp a permit when they are asked for."""

    class Stamping(kind):  # type: ignore[misc]
        _paceline_permit: Permit
        _stream: bytes

        def __iter__(self) -> Iterator[bytes]:
            self._paceline_permit.sent()
            return iter((self._stream,))

        async def __aiter__(self) -> AsyncIterator[bytes]:
            self._paceline_permit.sent()
            yield self._stream

    return Stamping


class _Trace:
    """Stamps a permit; a `trace` of the user's own is told all that it would be told."""

    __slots__ = ("extensions", "permit", "theirs")

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.theirs: Any = None
        self.extensions: dict[str, Any] = {}

    def stamp(self, event: str, facts: Mapping[str, Any]) -> None:
        # Through a proxy's tunnel a CONNECT goes first, which is not the request.
        if event in _ON_THE_WIRE and facts["request"].method != b"CONNECT":
            self.permit.sent()
            if self.theirs is None:
                # All that was asked for is known: what follows need not be told.
                self.extensions.pop("trace", None)

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        self.stamp(event, facts)
        if self.theirs is not None:
            self.theirs(event, facts)


class _AsyncTrace(_Trace):
    __slots__ = ()

    async def __call__(self, event: str, facts: Mapping[str, Any]) -> None:  # type: ignore[override]
        self.stamp(event, facts)
        if self.theirs is not None:
            await self.theirs(event, facts)


# ---- requests -----------------------------------------------------------------------------------


def _wants(response: Any, request: Any, lane: Lane | AsyncLane) -> bool:
    """Whether the body of an answer is to be read for what it may say of limits."""
    headers, status = response.headers, response.status_code
    return lane.may_hide(status, b"graphql" in request.url.raw_path, _names_of(headers)) and needs_body(
        status, headers.raw, url=_text_of(request.url)
    )


def _names_of(headers: Any) -> Iterable[bytes]:
    """The names of headers, in lower case; without what `raw` and `keys` copy and decode."""
    try:
        return map(_second, headers._list)
    except AttributeError:
        return [name.lower() for name, _ in headers.raw]


def _with(request: Any, extensions: dict[str, Any]) -> Any:
    """The same request with other extensions; one that is sent twice at once must not share them."""
    copy = object.__new__(type(request))
    copy.__dict__.update(request.__dict__)
    copy.extensions = extensions
    return copy


def _text_of(url: Any) -> str:
    """A URL as text; without what its own `str` checks anew each time."""
    port = url.port
    host = url.raw_host.decode("ascii")
    if ":" in host:
        host = f"[{host}]"
    return f"{url.scheme}://{host}{'' if port is None else f':{port}'}{url.raw_path.decode('ascii')}"


def _file_of(stream: Any) -> Any:
    """The file behind a streamed body, None where it is no file."""
    inner = getattr(stream, "_stream", None)
    return inner if hasattr(inner, "read") or hasattr(inner, "aread") else None


def _can_replay(stream: Any, library: Any) -> bool:
    """Whether a body can be sent once more: bytes, files that seek, and what makes iterators anew."""
    if isinstance(stream, library.ByteStream):
        return True
    parts = getattr(stream, "fields", None)
    if parts is not None:  # a form with files: it rewinds those that seek by itself
        files = (getattr(part, "file", b"") for part in parts)
        return all(isinstance(file, str | bytes) or _seeks(file) for file in files)
    if not hasattr(stream, "_is_stream_consumed"):
        return False  # a stream of somebody else's: nobody knows
    file = _file_of(stream)
    if file is not None:
        if not hasattr(file, "read") or not _seeks(file):
            return False
        stream._paceline_start = file.tell()
        return True
    inner = stream._stream
    return inner is not None and not hasattr(inner, "__next__") and not hasattr(inner, "__anext__")


def _seeks(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return hasattr(file, "seek") and (seekable is None or bool(seekable()))


def _rewind(stream: Any) -> None:
    start = getattr(stream, "_paceline_start", None)
    if start is not None:
        stream._stream.seek(start)


def drop_secrets(headers: Any, old: Any, new: Any) -> None:
    """Leaves headers that hold a credential behind where a redirect leads to another origin.

    A step from http to https on the same host is none (as httpx itself has it).
    """
    if (old.scheme, old.host, _port(old)) == (new.scheme, new.host, _port(new)):
        return
    if old.host == new.host and (old.scheme, _port(old), new.scheme, _port(new)) == ("http", 80, "https", 443):
        return
    for name in {name for name in headers if is_secret(name)}:
        del headers[name]


def _port(url: Any) -> int | None:
    port: int | None = url.port
    return {"http": 80, "https": 443}.get(url.scheme) if port is None else port


# ---- responses ----------------------------------------------------------------------------------


def _held_stream(library: Any, stream: Any, permit: Permit) -> Any:
    """A body that gives its place in flight back when it is closed."""

    class Held(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            yield from stream

        def close(self) -> None:
            try:
                stream.close()
            finally:
                permit.release()

        def __del__(self) -> None:
            permit.release()

    return Held()


def _held_async_stream(library: Any, stream: Any, permit: Permit) -> Any:
    class Held(library.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in stream:
                yield part

        async def aclose(self) -> None:
            try:
                await stream.aclose()
            finally:
                permit.release()

        def __del__(self) -> None:
            permit.release()

    return Held()


# ---- faults -------------------------------------------------------------------------------------


def _causes(error: BaseException) -> list[BaseException]:
    # httpcore raises its errors "from None": what was under them stands in the context only.
    seen: BaseException | None = error
    found: list[BaseException] = []
    while seen is not None and len(found) < 10:
        found.append(seen)
        seen = seen.__cause__ or seen.__context__
    return found


def _kind_of(error: Exception, library: Any, wrote: bool, answering: bool, tells: bool) -> tuple[FaultKind, bool]:
    """What broke, and whether the request may have reached the server; answering: its answer had begun."""
    causes = _causes(error)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "resolve", False
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "tls", wrote and tells
    if isinstance(error, library.ConnectError | library.ConnectTimeout | library.ProxyError):
        # Other transports use these words freely (httpx-aiohttp: for a server that hung up): believed where an
        # error of connecting is under them.
        connecting = tells or any(type(cause).__name__.startswith("ClientConnector") for cause in causes)
        return ("connect", False) if connecting else ("reset", wrote)
    if isinstance(error, library.PoolTimeout):
        return "timeout", False
    if isinstance(error, library.TimeoutException):
        return "timeout", wrote
    if isinstance(error, library.NetworkError):
        return "protocol" if answering else "reset", wrote
    if isinstance(error, library.RemoteProtocolError):
        # Where h11 is not among the causes, httpcore itself saw the connection end before any answer.
        torn = answering or any(type(cause).__module__.startswith("h11") for cause in causes)
        return "protocol" if torn else "reset", wrote
    return "other", wrote
