"""What came back from a call, read off any HTTP client's responses and exceptions without importing the client."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .signals import needs_body, read_signal

if TYPE_CHECKING:
    from .retry import FaultKind
    from .signals import Signal

__all__ = ["Broken", "Reply", "broken_by", "chain_of", "reply_of", "request_of"]

_DEEPEST: Final = 8
_MOST_BODY: Final = 65_536

# What broke, by package and class, the nearest class first; False: the request certainly never left. Names instead
# of classes, so that a client is never imported only to be asked about.
_CONNECT: Final[tuple[FaultKind, bool]] = ("connect", False)
_TIMEOUT: Final[tuple[FaultKind, bool]] = ("timeout", True)
_RESET: Final[tuple[FaultKind, bool]] = ("reset", True)
_PROTOCOL: Final[tuple[FaultKind, bool]] = ("protocol", True)
_TLS: Final[tuple[FaultKind, bool]] = ("tls", False)
_HTTPX: Final[dict[str, tuple[FaultKind, bool]]] = {
    "ConnectError": _CONNECT,
    "ConnectTimeout": _CONNECT,
    "PoolTimeout": _CONNECT,
    "ProxyError": _CONNECT,
    "TimeoutException": _TIMEOUT,
    "NetworkError": _RESET,
    "RemoteProtocolError": _PROTOCOL,
}
_KINDS: Final[dict[str, dict[str, tuple[FaultKind, bool]]]] = {
    "requests": {
        "SSLError": _TLS,
        "ConnectTimeout": _CONNECT,
        "ProxyError": _CONNECT,
        "Timeout": _TIMEOUT,
        "ConnectionError": _RESET,
        "ChunkedEncodingError": _PROTOCOL,
    },
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "aiohttp": {
        "ClientConnectorDNSError": ("resolve", False),
        "ClientSSLError": _TLS,
        "ClientConnectorError": _CONNECT,
        "ServerTimeoutError": _TIMEOUT,
        "ClientConnectionError": _RESET,
        "ClientPayloadError": _PROTOCOL,
    },
    "urllib3": {
        "NameResolutionError": ("resolve", False),
        "NewConnectionError": _CONNECT,
        "ConnectTimeoutError": _CONNECT,
        "ReadTimeoutError": _TIMEOUT,
        "ProtocolError": _RESET,
    },
    "botocore": {
        "SSLError": _TLS,
        "EndpointConnectionError": _CONNECT,
        "ConnectTimeoutError": _CONNECT,
        "ReadTimeoutError": _TIMEOUT,
        "ConnectionClosedError": _RESET,
    },
    "http": {"IncompleteRead": _PROTOCOL, "BadStatusLine": _PROTOCOL},
    "ssl": {"SSLError": _TLS},
    "socket": {"gaierror": ("resolve", False)},
    "builtins": {"ConnectionRefusedError": _CONNECT, "ConnectionError": _RESET, "TimeoutError": _TIMEOUT},
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A response of whatever client: status, headers, the body's beginning where it is at hand; and its request."""

    status: int
    headers: Any
    body: bytes | None
    method: str | None
    url: str | None
    sent_headers: Any
    source: Any

    def signal(self, now: float, dialect: str | None = None) -> Signal:
        """What it says about limits; `now`: epoch seconds of its arrival."""
        body = self.body
        if body is not None and not needs_body(self.status, self.headers, url=self.url, dialect=dialect):
            body = None
        return read_signal(
            self.status, self.headers, body, now=now, dialect=dialect, method=self.method, url=self.url
        )


@dataclass(frozen=True, slots=True)
class Broken:
    """What broke a call that brought no response; `sent` is False where the request certainly never left."""

    kind: FaultKind
    sent: bool


def reply_of(value: Any) -> Reply | None:
    """The response that a result is or an exception carries, itself or as a cause; None where there is none.

    >>> from types import SimpleNamespace
    >>> reply_of(SimpleNamespace(status_code=429, headers={"Retry-After": "7"})).signal(now=0.0).retry_after
    7
    >>> reply_of({"id": 17}) is None
    True
    """
    if isinstance(value, BaseException):
        for error in chain_of(value):
            found = _reply_on(error)
            if found is not None:
                return found
        return None
    return _reply(value)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it names as its causes, the outermost first."""
    seen = 0
    each: BaseException | None = error
    while each is not None and seen < _DEEPEST:
        yield each
        each, seen = each.__cause__, seen + 1


def broken_by(error: BaseException) -> Broken | None:
    """What broke the call that ended in this exception; None where it is no broken connection.

    >>> broken_by(ConnectionResetError()), broken_by(ConnectionRefusedError()).sent, broken_by(ValueError())
    (Broken(kind='reset', sent=True), False, None)
    """
    outer = _kind_of(error)
    if outer is None:
        if isinstance(error, Exception) and error.__cause__ is not None and _kind_of(error.__cause__) is not None:
            return broken_by(error.__cause__)
        inner = _attribute(error, "reason")  # urllib's URLError, urllib3's MaxRetryError
        return broken_by(inner) if isinstance(inner, Exception) else None
    for inner in _inside(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return Broken("tls", False)
        found = _kind_of(inner)
        if found is not None and not found[1] and outer[1]:
            # requests says ConnectionError for a refused connection and for one cut half-way.
            outer = found
    return Broken(*outer)


def request_of(value: Any) -> tuple[str | None, str | None, Any]:
    """Method, URL and headers of the request behind a response or exception, None where it does not say."""
    for name in ("request", "request_info"):
        request = _attribute(value, name)
        if request is None:
            continue
        method, url = _attribute(request, "method"), _attribute(request, "url")
        if method is not None or url is not None:
            return (
                str(method).upper() if method else None,
                None if url is None else str(url),
                _attribute(request, "headers"),
            )
    method, url = _attribute(value, "method"), _attribute(value, "url")
    return (
        method.upper() if isinstance(method, str) else None,
        None if url is None else str(url),
        None,
    )


def _reply_on(error: BaseException) -> Reply | None:
    for name in ("response", "last_response"):  # of all clients' errors; of paceline's GaveUp
        carried = _attribute(error, name)
        if carried is not None:
            found = _from_aws(carried) if isinstance(carried, dict) else _reply(carried)
            if found is not None and found.method is None:
                method, url, headers = request_of(error)
                if method is not None:
                    return Reply(found.status, found.headers, found.body, method, url, headers, carried)
            if found is not None:
                return found
    # aiohttp's ClientResponseError and urllib's HTTPError are response and error in one.
    return _reply(error)


def _reply(value: Any) -> Reply | None:
    status = None
    for name in ("status_code", "status", "code"):
        given = _attribute(value, name)
        if isinstance(given, int) and not isinstance(given, bool) and 100 <= given <= 999:
            status = int(given)
            break
    if status is None:
        return None
    headers = _attribute(value, "headers")
    if headers is None and isinstance(value, BaseException):
        headers = {}
    if not isinstance(headers, Mapping) and not hasattr(headers, "items"):
        return None
    method, url, sent = request_of(value)
    return Reply(status, headers, _body_of(value), method, url, sent, value)


def _from_aws(carried: dict[str, Any]) -> Reply | None:
    """botocore hands out a dictionary instead of a response."""
    about = carried.get("ResponseMetadata")
    if not isinstance(about, dict) or not isinstance(about.get("HTTPStatusCode"), int):
        return None
    headers = about.get("HTTPHeaders")
    error = carried.get("Error")
    body = None
    if isinstance(error, dict):
        # As the service wrote it: botocore has taken it apart.
        text = {"__type": str(error.get("Code", "")), "message": str(error.get("Message", ""))}
        body = json.dumps(text).encode()[:_MOST_BODY]
    return Reply(about["HTTPStatusCode"], headers if isinstance(headers, dict) else {}, body, None, None, None, carried)


def _body_of(value: Any) -> bytes | None:
    """The body where the client has read it already: asking a property would make some read from the network now."""
    try:
        facts = vars(value)
    except TypeError:
        return None
    for name in ("_content", "_body", "content", "body", "text"):
        given = facts.get(name)
        if isinstance(given, str):
            given = given.encode("utf-8", "replace")
        if isinstance(given, bytes | bytearray):
            return bytes(given[:_MOST_BODY])
    return None


def _kind_of(error: BaseException) -> tuple[FaultKind, bool] | None:
    for kind in type(error).__mro__:
        package = kind.__module__.partition(".")[0]
        found = _KINDS.get(package, {}).get(kind.__name__)
        if found is not None:
            return found
    return None


def _inside(error: BaseException) -> Iterator[BaseException]:
    """The exceptions inside an exception: its causes, what it was raised in the handling of, its reasons."""
    waiting: list[BaseException | Any] = [error]
    for _ in range(_DEEPEST):
        if not waiting:
            return
        each = waiting.pop(0)
        within = (each.__cause__, each.__context__, _attribute(each, "reason"), *each.args[:1])
        for inner in within:
            if isinstance(inner, BaseException) and inner is not error and inner not in waiting:
                waiting.append(inner)
                yield inner


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a property of a client's object: httpx raises where no request is set
        return None
