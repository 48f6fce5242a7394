"""requests with a policy: `Session` is a `requests.Session`, `Adapter` is mounted on a session one has."""

from __future__ import annotations

import functools
import threading
import time
import weakref
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
from ._lanes import SERVED, Lane, Lanes
from ._renewal import Renewal
from .drive import serve
from .effects import Answer, Fault
from .errors import MissingExtra
from .nested import attempts_of, warn_below, warn_mounted
from .signals import needs_body

try:
    import requests
    import urllib3
    from requests.adapters import DEFAULT_POOLSIZE, HTTPAdapter
    from requests.utils import rewind_body
    from urllib3 import exceptions as broken
except ImportError:
    raise MissingExtra("requests", "requests") from None

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .effects import Permit, Send
    from .policy import Policy
    from .retry import FaultKind

__all__ = ["Adapter", "Session"]

_wire = threading.local()
_CREDENTIALS: Final = frozenset(CREDENTIAL_HEADERS)
_clock = time.perf_counter


class Adapter(HTTPAdapter):
    """Sends by a policy, for any `requests.Session`: `session.mount("https://api.example.com/", Adapter(policy))`.

    policy: a Policy, or limits as text. concurrency: how many requests may run at once, which is how many connections
    are kept for each host; by default what a limit like `8 concurrent` says, else 64. gave_up: "response" (the last
    response, or the exception of requests itself, as without paceline) or "error" (`GaveUp`, with the last response).
    max_retries and the rest: as of `HTTPAdapter`; what urllib3 sends again by itself takes a permit each time.

    Safe to use from many threads at once. Raises InputError for arguments that cannot be meant.

    >>> import requests
    >>> session = requests.Session()
    >>> session.mount("https://api.example.com/", Adapter("100/2s"))
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "policy", "_raises"]  # noqa: RUF012 - requests' own list of what is pickled

    def __init__(
        self,
        policy: PolicyOrLimits,
        *,
        concurrency: int | None = None,
        gave_up: GaveUpAs = "response",
        pool_connections: int = DEFAULT_POOLSIZE,
        pool_maxsize: int | None = None,
        max_retries: Any = 0,
        pool_block: bool = False,
    ) -> None:
        self.policy: Policy = policy_of(policy)
        self._raises = raises_gave_up(gave_up)
        self._begin()
        size = connections_for(self.policy, concurrency) if pool_maxsize is None else pool_maxsize
        super().__init__(
            pool_connections=pool_connections, pool_maxsize=size, max_retries=max_retries, pool_block=pool_block
        )
        warn_below(self, "a client of paceline", attempts_of(self.policy.retry.stop))

    def _begin(self) -> None:
        self._lanes = Lanes(self.policy, Lane)
        self._renewal = None if self.policy.refresh is None else Renewal(self.policy)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As of HTTPAdapter; the connections tell when a request goes on the wire."""
        super().init_poolmanager(*args, **kwargs)
        _tell_writes(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """As of HTTPAdapter; the connections tell when a request goes on the wire."""
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not known:
            _tell_writes(manager)
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Sends a request until it ends: each attempt with a permit, each answer's signal fed back.

        Returns the last response, with `paceline.history(response)`. Raises what requests raises, with a note on why it
        was not tried again; RetryLater where the server asks for a longer pause than `max_wait`; and CostAboveQuota,
        AcquireTimeout, GaveUp (if so told).
        """
        headers: Any = request.headers
        url, method = str(request.url), str(request.method)
        if self.policy.headers:
            add_headers(headers, self.policy, url)
        # requests keeps its headers by their names in lower case: asked for all at once, without a step for each.
        known = getattr(headers, "_store", None)
        credential = _credential(headers) if known is None or not _CREDENTIALS.isdisjoint(known) else None
        lane = self._lanes.lane(method, url, credential)
        renewal = self._renewal
        if renewal is not None:
            renewal.apply(headers)
        chosen = current.get()
        permit: Any = None
        reply: Answer | Fault | None = None
        sending = (stream, timeout, verify, cert, proxies)
        if lane.plain and chosen is NONE and not events.listeners:
            # Nearly every request is granted at once and served at once, by an answer that says nothing of limits.
            permit = lane.line.try_acquire(1, True)
            if permit is not None:
                try:
                    reply = self._attempt(request, url, lane, permit, sending, None)
                except BaseException:
                    permit.cancel()
                    raise
                if isinstance(reply, Answer) and lane.serves(reply, _names_of(reply.headers)):
                    lane.served(permit, SERVED)
                    response: requests.Response = reply.response
                    response._paceline = (0.0, reply.elapsed, reply.status, reply.now)  # type: ignore[attr-defined]
                    return response
        body: Any = request.body
        replayable = not body or isinstance(body, bytes | str) or _can_rewind(request)
        call, rules = self._lanes.call(
            method, url, headers, replayable, chosen, lane.rules, body if isinstance(body, bytes) else None
        )

        def once(effect: Send) -> Answer | Fault:
            nonlocal reply, permit
            given, reply = reply, None
            if given is not None:
                return given
            permit = effect.permit
            if effect.attempt > 1:
                lane.look_above()
                _rewind(request)
            given = self._attempt(request, url, lane, permit, sending, effect.left)
            if self._lanes.costs and isinstance(given, Answer):
                self._lanes.settle(permit, call.cost, given, None if stream else given.response.content)
            return given

        outcome = serve(
            call,
            rules,
            lane,
            once,
            permit=permit,
            emit=self._lanes.emit,
            refresh=None if renewal is None else lambda _: renewal.renew(headers),
            discard=_discard,
        )
        answer = outcome.answer
        if answer is not None and answer.held and permit is not None:
            _release_at_end(answer.response, permit)
        try:
            return settle(outcome, self._raises)  # type: ignore[no-any-return]
        except BaseException:
            if answer is not None and not self._raises:
                _discard(answer)
            raise

    def _attempt(
        self, request: Any, url: str, lane: Lane, permit: Any, sending: tuple[Any, ...], left: float | None
    ) -> Answer | Fault:
        stream, timeout, verify, cert, proxies = sending
        began = _clock()
        _wire.permit, _wire.lane = permit, lane
        try:
            response = super().send(
                request, stream, timeout if left is None else _within(timeout, left), verify, cert, proxies
            )
            status, answered = response.status_code, response.headers
            wants = lane.may_hide(status, "graphql" in url, _names_of(answered)) and needs_body(status, answered, url=url)
            content: bytes | None = None
            if not stream and not response.is_redirect:
                # Before the session does it, so that a body cut half-way can be asked for again. What is broken about
                # a redirect's body the session forgives.
                content = response.content
                held = False
            elif wants and small_body(answered.get("Content-Length")):
                content = response.content
                held = False
            else:
                held = lane.holds
        except requests.RequestException as error:
            if isinstance(error, ValueError):
                raise  # nothing that could be sent
            kind, sent = _kind_of(error, permit.wrote is not None)
            return Fault(error, kind, _clock() - began, time.time(), sent)
        finally:
            _wire.permit = None
        return Answer(
            status, answered, content if wants else None, response, _clock() - began, time.time(), held
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._begin()


class Session(requests.Session):
    """A `requests.Session` whose requests keep to a policy; all else is as it was.

    policy: a Policy, or limits as text. concurrency, gave_up: see `Adapter`.
    A redirect to another host takes no header along that holds a credential, whatever its name.

    >>> with Session("100/2s") as session:
    ...     session.headers["Accept"]
    '*/*'
    """

    __attrs__ = [*requests.Session.__attrs__, "policy"]  # noqa: RUF012 - see above

    def __init__(
        self, policy: PolicyOrLimits, *, concurrency: int | None = None, gave_up: GaveUpAs = "response"
    ) -> None:
        super().__init__()
        self.policy: Policy = policy_of(policy)
        self.headers.update(secret_headers(self.policy))
        for prefix in ("https://", "http://"):
            self.mount(prefix, Adapter(self.policy, concurrency=concurrency, gave_up=gave_up))

    def mount(self, prefix: str, adapter: Any) -> None:
        """As of requests; warns where retries of urllib3's take the place of the policy's."""
        super().mount(prefix, adapter)
        if not isinstance(adapter, Adapter):
            policy: Policy | None = getattr(self, "policy", None)
            warn_mounted(adapter, None if policy is None else attempts_of(policy.retry.stop))

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """As of requests; other headers that hold a credential stay behind as well."""
        old, new = response.request.url or "", prepared_request.url or ""
        session: Any = super()
        if session.should_strip_auth(old, new):
            for name in [name for name in prepared_request.headers if is_secret(name)]:
                del prepared_request.headers[name]
        session.rebuild_auth(prepared_request, response)


# ---- the moment a request goes on the wire ------------------------------------------------------


def _tell_writes(manager: Any) -> None:
    """Lets the connections of a pool manager, of whatever kind, stamp the permit of what they send."""
    manager.pool_classes_by_scheme = {
        scheme: _telling_pool(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


@functools.cache
def _telling_pool(pool: Any) -> Any:
    return type(pool.__name__, (pool,), {"ConnectionCls": _telling_connection(pool.ConnectionCls)})


@functools.cache
def _telling_connection(connection: Any) -> Any:
    def endheaders(self: Any, *args: Any, **kwargs: Any) -> None:
        permit: Permit | None = getattr(_wire, "permit", None)
        if permit is not None:
            if self.sock is None:
                # First the connection, then the moment: over a cold one the request goes much later.
                self.connect()
            if permit.wrote is None:
                permit.sent()
            else:
                # urllib3 sends again by itself (max_retries): this one takes a permit of its own.
                another = _wire.lane.acquire(1, priority=0, timeout=None)
                another.sent()
                another.release()
        super(telling, self).endheaders(*args, **kwargs)

    telling: Any = type(connection.__name__, (connection,), {"endheaders": endheaders})
    return telling


def _names_of(headers: Any) -> Any:
    """The names of headers; in lower case where requests has them so, without a step for each."""
    return getattr(headers, "_store", headers)


def _credential(headers: Any) -> str | None:
    """The header value that tells one client of an API from another."""
    for name in CREDENTIAL_HEADERS:
        value = headers.get(name)
        if value is not None:
            return value if isinstance(value, str) else str(value, "latin-1")
    return None


# ---- bodies -------------------------------------------------------------------------------------


def _can_rewind(request: Any) -> bool:
    """Whether a body that is a stream can be sent once more."""
    body = request.body
    if hasattr(body, "seek"):
        seekable = getattr(body, "seekable", None)
        return isinstance(request._body_position, int) and (seekable is None or bool(seekable()))
    # An iterator is used up by the first attempt; what makes iterators anew is not.
    return not hasattr(body, "read") and iter(body) is not body


def _rewind(request: Any) -> None:
    if isinstance(request._body_position, int):
        rewind_body(request)


def _discard(answer: Answer) -> None:
    """Reads what is left of an answer, so that its connection goes back; a large one is cut off instead."""
    response: requests.Response = answer.response
    try:
        if small_body(response.headers.get("Content-Length")):
            _ = response.content
        else:
            response.close()
    except (requests.RequestException, RuntimeError):
        response.close()


def _release_at_end(response: Any, permit: Permit) -> None:
    """Gives a place in flight back when the body has been read, or closed, or thrown away."""
    raw = response.raw

    def release_conn() -> None:
        raw.__dict__.pop("release_conn", None)
        permit.release()
        raw.release_conn()

    weakref.finalize(raw, permit.release)
    raw.release_conn = release_conn
    if raw.closed or getattr(raw, "_connection", True) is None:
        release_conn()


def _within(timeout: Any, left: float) -> Any:
    """The timeouts of one attempt, cut to what is left before the deadline."""
    if isinstance(timeout, urllib3.Timeout):
        connect, read = timeout._connect, timeout._read
    elif isinstance(timeout, tuple):
        connect, read = timeout
    else:
        connect = read = timeout
    left = max(0.001, left)
    return urllib3.Timeout(
        connect=min(connect, left) if isinstance(connect, int | float) else left,
        read=min(read, left) if isinstance(read, int | float) else left,
    )


# ---- faults -------------------------------------------------------------------------------------


def _kind_of(error: requests.RequestException, wrote: bool) -> tuple[FaultKind, bool]:
    """What broke, and whether the request may have reached the server."""
    inner: Any = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    if isinstance(error, requests.exceptions.SSLError):
        return "tls", wrote
    if isinstance(reason, broken.NameResolutionError):
        return "resolve", False
    if isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(reason, broken.NewConnectionError):
        return "connect", False
    if isinstance(error, requests.exceptions.ProxyError):
        return "connect", wrote
    if isinstance(error, requests.Timeout) or isinstance(reason, broken.ReadTimeoutError):
        return "timeout", wrote
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "protocol", wrote
    if isinstance(error, requests.ConnectionError):
        return "reset", wrote
    return "other", wrote
