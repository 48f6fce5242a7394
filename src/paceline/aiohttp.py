"""aiohttp with a policy: `session` makes an `aiohttp.ClientSession`, `middleware` is for one that one has."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
import weakref
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from . import events
from ._adapter import (
    CREDENTIAL_HEADERS,
    GaveUpAs,
    PolicyOrLimits,
    add_headers,
    connections_for,
    is_secret,
    policy_of,
    raises_gave_up,
    secret_headers,
    small_body,
)
from ._calls import NONE, current, settle
from ._lanes import SERVED, AsyncLane, Lanes
from ._renewal import AsyncRenewal
from .drive import aserve
from .effects import Answer, Fault
from .errors import MissingExtra
from .signals import needs_body, silent

try:
    import aiohttp
    from aiohttp import payload
    from multidict import istr

    from ._aiohttp_time import PutOff, begin, end, put_off, timed_out
except ImportError:
    raise MissingExtra("aiohttp", "aiohttp") from None

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

    from .effects import Send
    from .ledger import Cost
    from .policy import Policy
    from .retry import FaultKind

__all__ = ["middleware", "session"]

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS: Final = tuple(map(istr, CREDENTIAL_HEADERS))  # found without being made lower case each time
_clock = time.perf_counter
_first = itemgetter(0)


def session(
    policy: PolicyOrLimits,
    *,
    concurrency: int | None = None,
    gave_up: GaveUpAs = "response",
    **options: Any,
) -> aiohttp.ClientSession:
    """An `aiohttp.ClientSession` whose requests keep to a policy; call it where a loop runs.

    policy: a Policy, or limits as text. concurrency: how many requests may run at once, which is how many connections
    there may be; by default 100, or what a limit like `128 concurrent` says, if that is more. gave_up: "response"
    (the last response, or aiohttp's own exception) or "error" (`GaveUp`). options: as of `aiohttp.ClientSession`; your
    own middlewares go outside of paceline's, so that what they send again takes a permit too.

    >>> async def main():
    ...     async with session("100/2s", timeout=aiohttp.ClientTimeout(total=30)) as client:
    ...         return client.closed
    >>> asyncio.run(main())
    False
    """
    chosen = policy_of(policy)
    paced = middleware(chosen, gave_up=gave_up)
    if "connector" not in options:
        size = connections_for(chosen, concurrency)
        options["connector"] = aiohttp.TCPConnector(limit=size if concurrency is not None else max(size, 100))
    if secrets := secret_headers(chosen):
        options["headers"] = {**secrets, **dict(options.get("headers") or {})}
    options["middlewares"] = (*options.get("middlewares", ()), paced)
    return aiohttp.ClientSession(**options)


def middleware(policy: PolicyOrLimits, *, gave_up: GaveUpAs = "response") -> ClientMiddlewareType:
    """A client middleware that sends by a policy: `aiohttp.ClientSession(middlewares=[middleware(policy)])`.

    It must be the last of several, next to the wire. policy, gave_up: see `session`.
    What waits for a permit, or between attempts, is not counted as the request's time (`ClientTimeout.total`); each
    attempt has the whole of it.

    Raises RetryLater, CostAboveQuota and AcquireTimeout beside what aiohttp raises.

    >>> async def main():
    ...     async with aiohttp.ClientSession(middlewares=[middleware("100/2s")]) as client:
    ...         return client.closed
    >>> asyncio.run(main())
    False
    """
    return _Middleware(policy_of(policy), raises_gave_up(gave_up))


class _Hop:
    """A redirect that aiohttp is about to follow: where it came from."""

    __slots__ = ("foreign", "origin", "timer")

    def __init__(self, timer: Any, origin: Any, foreign: bool) -> None:
        self.timer, self.origin, self.foreign = timer, origin, foreign


class _Lane:
    """The scope of one request: what it waits for is kept out of its time."""

    __slots__ = ("first", "lane", "learn", "may_retry", "served", "timer")

    def __init__(self, lane: AsyncLane, timer: Any, first: float) -> None:
        self.lane, self.timer, self.first = lane, timer, first
        self.learn, self.may_retry, self.served = lane.learn, lane.may_retry, lane.served

    async def acquire(self, cost: Cost, *, priority: int, timeout: float | None) -> Any:
        line = self.lane.line
        permit = line.try_acquire(cost, True)
        if permit is None:
            put_off(self.timer, self.first)
            permit = await line.acquire_async(cost, priority, timeout, True)
        return permit

    async def sleep(self, seconds: float) -> None:
        put_off(self.timer, self.first)
        await asyncio.sleep(seconds)


class _Middleware:
    """See `middleware`."""

    def __init__(self, policy: Policy, raises: bool) -> None:
        self.policy = policy
        self._raises = raises
        self._lanes = Lanes(policy, AsyncLane)
        self._renewal = None if policy.refresh is None else AsyncRenewal(policy)
        self._hops: weakref.WeakKeyDictionary[Any, _Hop] = weakref.WeakKeyDictionary()
        self._kind: Any = None
        self._stamping: Any = None
        self._noted = False  # whether either of the two below was ever used: most programs never need them
        self._given_up: weakref.WeakKeyDictionary[Any, tuple[Any, BaseException]] = weakref.WeakKeyDictionary()

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        timer = request._timer
        foreign = False
        if self._noted:
            given_up = self._given_up.pop(asyncio.current_task(), None) if self._given_up else None
            if given_up is not None and given_up[0] is timer:
                raise given_up[1]  # aiohttp tries once more by itself what has been tried enough
            if self._hops:
                foreign = self._followed(request)
        headers, place, method = request.headers, request.url, request.method
        if self.policy.headers and not foreign:
            add_headers(headers, self.policy, str(place))
        credential = None
        for name in _CREDENTIALS:
            if name in headers:
                credential = headers[name]
                break
        key = (place.raw_authority, place.scheme, credential)
        lane = self._lanes.quick.get(key)
        if lane is None:
            lane = self._lanes.note(key, self._lanes.lane(method, str(place), credential))
        renewal = self._renewal
        if renewal is not None:
            renewal.apply(headers)
        kind: Any = type(request)
        request.__class__ = self._stamping if kind is self._kind else self._stamping_for(kind)
        first = request.loop.time()
        chosen = current.get()
        permit: Any = None
        reply: Answer | Fault | None = None
        body = request._body
        replayable = not body or _can_replay(body)
        if lane.plain and chosen is NONE and not events.listeners:
            # Nearly every request is granted at once and served at once, by an answer that says nothing of limits.
            permit = lane.line.try_acquire(1, True)
            if permit is not None:
                began = _clock()
                request._paceline_permit = permit  # type: ignore[attr-defined]
                if type(timer) is PutOff:
                    begin(timer)  # an earlier hop of the same call has waited
                try:
                    response = await handler(request)
                    if (
                        response.status < 400
                        and silent(map(_first, response.raw_headers))
                        and not (response.connection is not None and lane.holds)
                        and "graphql" not in place.raw_path
                    ):
                        if permit.wrote is None:
                            permit.sent()  # another middleware answered, or a handler of a test
                        lane.served(permit, SERVED)
                        status = response.status
                        response._paceline = (0.0, _clock() - began, status, time.time())  # type: ignore[attr-defined]
                        if status in _REDIRECTS:
                            self._note_hop(request, foreign)
                        return response
                    reply = await self._answer(request, response, lane, permit, began)
                except (asyncio.CancelledError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    try:
                        reply = self._fault(error, timer, permit, began, first)
                    except BaseException:
                        permit.cancel()
                        raise
                except BaseException:
                    permit.cancel()
                    raise
        known = body._value if isinstance(body, payload.BytesPayload) else None
        call, rules = self._lanes.call(method, str(place), headers, replayable, chosen, lane.rules, known)
        scope = _Lane(lane, timer, first)

        async def once(effect: Send) -> Answer | Fault:
            nonlocal reply, permit
            given, reply = reply, None
            if given is not None:
                return given
            permit = effect.permit
            if effect.attempt > 1:
                lane.look_above()
                if body:
                    # What still writes the last attempt's body must have stopped before the body is rewound.
                    await request.close()
            given = await self._attempt(request, handler, lane, permit, first, effect.left)
            if self._lanes.costs and isinstance(given, Answer):
                self._lanes.settle(permit, call.cost, given, await _content(given))
            return given

        outcome = await aserve(
            call,
            rules,
            scope,
            once,
            permit=permit,
            emit=self._lanes.emit,
            refresh=None if renewal is None else lambda _: renewal.renew(headers),
            discard=_discard,
            sleep=scope.sleep,
        )
        answer = outcome.answer
        if answer is not None:
            if answer.held:
                connection = answer.response.connection
                if connection is None:
                    permit.release()
                else:
                    connection.add_callback(permit.release)
            if answer.status in _REDIRECTS:
                self._note_hop(request, foreign)
        try:
            return settle(outcome, self._raises)  # type: ignore[no-any-return]
        except BaseException as error:
            if answer is not None:
                answer.response.release()
            if isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError):
                self._given_up[asyncio.current_task()] = (timer, error)
                self._noted = True
            raise

    async def _attempt(
        self,
        request: Any,
        handler: ClientHandlerType,
        lane: AsyncLane,
        permit: Any,
        first: float,
        left: float | None,
    ) -> Answer | Fault:
        timer = request._timer
        request._paceline_permit = permit
        began = _clock()
        if type(timer) is PutOff:
            begin(timer)
        try:
            if left is None:
                response = await handler(request)
            else:
                async with asyncio.timeout(max(0.001, left)):
                    response = await handler(request)
            return await self._answer(request, response, lane, permit, began)
        except (asyncio.CancelledError, aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._fault(error, timer, permit, began, first)

    async def _answer(self, request: Any, response: Any, lane: AsyncLane, permit: Any, began: float) -> Answer:
        """What came, with its body where a signal may stand in it."""
        status, answered = response.status, response.headers
        wants = lane.may_hide(
            status, "graphql" in request.url.raw_path, map(_first, response.raw_headers)
        ) and needs_body(status, answered, url=str(request.url))
        body, held = None, False
        if wants and small_body(answered.get("Content-Length")):
            try:
                body = await response.read()
            except BaseException:
                response.close()
                raise
        elif response.connection is not None:
            held = lane.holds
        if permit.wrote is None:
            permit.sent()  # another middleware answered, or a handler of a test
        return Answer(status, answered, body, response, _clock() - began, time.time(), held)

    def _fault(self, error: BaseException, timer: Any, permit: Any, began: float, first: float) -> Fault:
        """What broke, if it is something that another attempt may mend; else raises it."""
        if isinstance(error, asyncio.CancelledError):
            if not timed_out(timer):
                raise error
            end(timer, first)
            return Fault(TimeoutError(), "timeout", _clock() - began, time.time(), permit.wrote is not None)
        assert isinstance(error, Exception)
        end(timer, first)
        if isinstance(error, ValueError):
            raise error  # nothing that could be sent
        kind, sent = _kind_of(error, permit.wrote is not None)
        return Fault(error, kind, _clock() - began, time.time(), sent)

    def _stamping_for(self, kind: Any) -> Any:
        self._kind, self._stamping = kind, _stamping(kind)
        return self._stamping

    def _note_hop(self, request: ClientRequest, foreign: bool) -> None:
        self._hops[asyncio.current_task()] = _Hop(request._timer, request.url.origin(), foreign)
        self._noted = True

    def _followed(self, request: ClientRequest) -> bool:
        """Whether this request follows a redirect to another origin: then it takes no credential along."""
        hop = self._hops.pop(asyncio.current_task(), None)
        if hop is None or hop.timer is not request._timer:
            return False
        if not hop.foreign and hop.origin == request.url.origin():
            return False
        for name in {name for name in request.headers if is_secret(name)}:
            request.headers.popall(name, None)
        return True


# ---- requests -----------------------------------------------------------------------------------


@functools.cache
def _stamping(kind: Any) -> Any:
    """A class of requests like `kind` whose permit is stamped once the connection stands and the request is written."""
    if getattr(kind, "_paceline_stamps", False):
        return kind

    async def send(self: Any, conn: Any) -> Any:
        self._paceline_permit.sent()
        return await super(stamping, self).send(conn)

    stamping: Any = type(kind.__name__, (kind,), {"send": send, "_paceline_stamps": True})
    return stamping


def _can_replay(body: Any) -> bool:
    """Whether a body can be sent once more: an async generator is sent *empty* the second time."""
    if isinstance(body, payload.BytesPayload | bytes | bytearray):
        return True
    if isinstance(body, payload.IOBasePayload):
        file = body._value
        seekable = getattr(file, "seekable", None)
        return hasattr(file, "seek") and (seekable is None or bool(seekable()))
    if isinstance(body, aiohttp.MultipartWriter):
        return all(_can_replay(part) for part, _, _ in body._parts)
    return False


async def _content(answer: Answer) -> bytes | None:
    """The body of an answer whose cost is told in it; none of a stream of events, which may go on for long."""
    response: ClientResponse = answer.response
    if response.content_type == "text/event-stream" or not small_body(answer.response.headers.get("Content-Length")):
        return None
    try:
        return await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None  # whoever reads the response is told


async def _discard(answer: Answer) -> None:
    """Reads what is left of an answer, so that its connection goes back; a large one is cut off instead."""
    response: ClientResponse = answer.response
    if small_body(response.headers.get("Content-Length")):
        try:
            await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass  # closed below; another attempt replaces it
    response.close()


# ---- faults -------------------------------------------------------------------------------------


def _kind_of(error: Exception, wrote: bool) -> tuple[FaultKind, bool]:
    """What broke, and whether the request may have reached the server."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "resolve", False
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls", wrote
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        return "connect", False
    if isinstance(error, TimeoutError):
        return "timeout", wrote
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError | aiohttp.ClientOSError):
        return "reset", wrote
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return "protocol", wrote
    return "other", wrote
