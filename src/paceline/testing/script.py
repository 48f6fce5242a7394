"""Scripted answers for the mock libraries that people have: one script, played through any of them, that keeps the times.

No mock library of its own: a script plugs into responses, respx, pytest-httpx, aioresponses, unittest.mock and the
mock transports of httpx and httpx2. All of these stand above the network, so they show what a program does with an
answer, not how it fares on a connection; for that there are `Server` and `Proxy`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import InputError, MissingExtra
from ..masking import mask_url
from ..signals import read_signal

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Self

__all__ = ["Call", "Reply", "Script", "script"]

# A program that sleeps to the very moment may wake a hair before it, by another clock than the script's.
_CRUMB: Final = 0.001
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_FORMS: Final = (
    "write a status, [status, headers], [status, headers, body], an exception, or a function of the Call"
)

# A status, a list or tuple, an exception or its class, or a function of the call: told apart when it is read.
Entry = Any


class Reply(NamedTuple):
    """One scripted answer, as every client library can be given it."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for each, value in self.headers if each.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that a script answered.

    number: 1 for the first. at: when it came, in seconds on the script's clock. method, url: what was asked for, the
    URL without credentials. status: what was answered, or error: the name of the exception raised instead. refused,
    retry_after: what `read_signal` makes of the answer; the wait in seconds, None where none was asked for.
    """

    number: int
    at: float
    method: str
    url: str
    status: int | None = None
    error: str | None = None
    refused: bool = False
    retry_after: float | None = None
    key: str = field(default="", repr=False, compare=False)


def script(
    *entries: Entry, clock: Callable[[], float] | None = None, wall: Callable[[], float] | None = None
) -> Script:
    """A script of answers, given one after the other to whatever asks; the last one is given for ever.

    entries: a status; `[status, headers]`; `[status, headers, body]` with a body of bytes, text, or a dictionary or
    list that becomes JSON; an exception to raise; or a function that is called with the `Call` and returns one of
    these. clock: read at each call (seconds; `time.monotonic` by default); give the one that your program's sleeps
    move. wall: epoch seconds, to read dates in the answers by (`time.time` by default). Raises InputError for an
    entry that is none of these.

    >>> now = 0.0
    >>> answers = script([429, {"Retry-After": "2"}], 429, 200, clock=lambda: now)
    >>> answers.answer("GET", "https://api.example.com/items/1").header("retry-after")
    '2'
    >>> now = 2.0; answers.answer("GET", "https://api.example.com/items/1").status
    429
    >>> now = 7.0; answers.answer("GET", "https://api.example.com/items/1").status
    200
    >>> answers.assert_waited(7); answers.assert_no_early_retry()
    """
    return Script(entries, clock, wall)


class Script:
    """Answers in order, and the calls that they were given to; made by `script`.

    Each method that plugs it into a library takes what that library is steered by, then the URL, and the method
    (GET by default), and returns the script. It may be plugged in several times: the order is that of the calls.
    """

    def __init__(
        self,
        entries: tuple[Entry, ...],
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> None:
        if not entries:
            raise InputError(f"a script needs an entry; {_FORMS}")
        self._entries: list[Any] = [each if _is_function(each) else _read(each) for each in entries]
        self._clock, self._wall = clock, wall
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls so far, in order."""
        with self._lock:
            return tuple(self._calls)

    def answer(self, method: str, url: object) -> Reply:
        """The next answer, for a request that comes now; raises where the script says so.

        What all the others are made of: with it, a script plugs into anything else.
        """
        # Read at each call, not bound once: whoever replaces time.monotonic for a test is heeded.
        at = (self._clock or time.monotonic)()
        now = (self._wall or time.time)()
        with self._lock:
            number = len(self._calls) + 1
            call = Call(
                number=number, at=at, method=method.upper(), url=mask_url(str(url)), key=f"{method.upper()} {url}"
            )
            entry = self._entries[min(number, len(self._entries)) - 1]
            self._calls.append(call)
        outcome = _read(entry(call)) if _is_function(entry) else entry
        if not isinstance(outcome, Reply):
            done = _with(call, error=(outcome if isinstance(outcome, type) else type(outcome)).__name__)
        else:
            signal = read_signal(outcome.status, list(outcome.headers), outcome.body, now=now)
            done = _with(call, status=outcome.status, refused=signal.refused, retry_after=signal.retry_after)
        with self._lock:
            self._calls[number - 1] = done
        if isinstance(outcome, Reply):
            return outcome
        raise outcome

    # -- what was found

    def assert_waited(self, seconds: float, *, at_most: float | None = None) -> None:
        """Fails unless from the first call to the last there passed `seconds` at least, and no more than `at_most`."""
        calls = self.calls
        waited = calls[-1].at - calls[0].at if calls else 0.0
        if waited < seconds - _CRUMB:
            raise AssertionError(f"waited {waited:g} s over {len(calls)} calls, less than {seconds:g} s{self._shown()}")
        if at_most is not None and waited > at_most + _CRUMB:
            raise AssertionError(f"waited {waited:g} s over {len(calls)} calls, more than {at_most:g} s{self._shown()}")

    def assert_no_early_retry(self) -> None:
        """Fails where a request was sent again before the moment that its last answer had asked for."""
        before: dict[str, Call] = {}
        for call in self.calls:
            last = before.get(call.key)
            if last is not None and last.retry_after is not None:
                early = last.at + last.retry_after - call.at
                if early > _CRUMB:
                    raise AssertionError(
                        f"call {call.number} came {early:g} s too early: call {last.number} was answered {last.status} "
                        f"and asked to wait {last.retry_after:g} s{self._shown()}"
                    )
            before[call.key] = call

    def _shown(self) -> str:
        calls = self.calls
        lines = [
            f"\n  {call.number}. at {call.at - calls[0].at:g} s {call.method} {call.url}: {call.error or call.status}"
            + (f", asked to wait {call.retry_after:g} s" if call.retry_after is not None else "")
            for call in calls[:20]
        ]
        return "".join([":", *lines, "\n  …"] if len(calls) > 20 else [":", *lines]) if lines else ""

    # -- the libraries

    def responses(self, mock: Any, url: Any, method: str = "GET") -> Self:
        """Answers what `responses` catches: `mock` is the module, or a `RequestsMock`; `url` text or a pattern."""

        def called(request: Any) -> tuple[int, list[tuple[str, str]], bytes]:
            reply = self.answer(request.method, request.url)
            return reply.status, list(reply.headers), reply.body

        mock.add_callback(method, url, callback=called, content_type=None)
        return self

    def respx(self, router: Any, url: Any, method: str = "GET") -> Self:
        """Answers what respx catches: `router` is the module, a `MockRouter`, or the fixture `respx_mock`."""
        router.route(method=method, url=url).mock(side_effect=self._handler(_library("httpx", "httpx")))
        return self

    def pytest_httpx(self, httpx_mock: Any, url: Any = None, method: str = "GET") -> Self:
        """Answers what pytest-httpx catches: `httpx_mock` is its fixture; no URL: any."""
        handler = self._handler(_library("httpx", "httpx"))
        httpx_mock.add_callback(handler, url=url, method=method, is_reusable=True)
        return self

    def aioresponses(self, mock: Any, url: Any, method: str = "GET") -> Self:
        """Answers what aioresponses catches: `mock` is its context, as in `with aioresponses() as mock`."""
        library, aiohttp, multidict = (_library(name, "aiohttp") for name in ("aioresponses", "aiohttp", "multidict"))

        class Response(aiohttp.ClientResponse):  # type: ignore[misc, name-defined]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                # aioresponses 0.7.9 does not know this argument, which aiohttp 3.14 asks for.
                if "stream_writer" in _parameters(aiohttp.ClientResponse):
                    kwargs.setdefault("stream_writer", _Sent())
                super().__init__(*args, **kwargs)

        def called(asked: Any, **_: Any) -> Any:
            reply = self.answer(method, asked)
            return library.CallbackResult(
                method=method,
                status=reply.status,
                headers=multidict.CIMultiDict(reply.headers),
                content_type=reply.header("content-type") or "application/octet-stream",
                body=reply.body,
                response_class=Response,
            )

        mock.add(url, method, callback=called, repeat=True)
        return self

    def mock(self, client: str | Callable[[Reply], Any] = "requests") -> Callable[..., Any]:
        """A `side_effect` for `unittest.mock`, for a patched function or method that sends a request.

        client: whose responses it returns: requests, httpx or httpx2; or a function that makes one of a `Reply`.
        Method and URL are found among the arguments of the patched call, where they are there.

        >>> from unittest.mock import Mock
        >>> send = Mock(side_effect=script(429, 200).mock(lambda reply: reply.status))
        >>> send("https://api.example.com"), send("https://api.example.com")
        (429, 200)
        """
        make: Callable[..., Any] = _maker(client) if isinstance(client, str) else lambda reply, *_: client(reply)

        def effect(*args: Any, **kwargs: Any) -> Any:
            method, url = _asked(args, kwargs)
            return make(self.answer(method, url), method, url)

        return effect

    def httpx_transport(self) -> Any:
        """An `httpx.MockTransport` that answers every request, for `Client` and `AsyncClient`.

        >>> import httpx
        >>> with httpx.Client(transport=script([200, {}, {"id": 1}]).httpx_transport()) as client:
        ...     client.get("https://api.example.com/items/1").json()
        {'id': 1}
        """
        library = _library("httpx", "httpx")
        return library.MockTransport(self._handler(library))

    def httpx2_transport(self) -> Any:
        """The same for httpx2."""
        library = _library("httpx2", "httpx2")
        return library.MockTransport(self._handler(library))

    def _handler(self, library: ModuleType) -> Callable[[Any], Any]:
        def handle(request: Any) -> Any:
            reply = self.answer(request.method, request.url)
            return library.Response(reply.status, headers=list(reply.headers), content=reply.body)

        return handle


class _Sent:
    """A request's body that was sent, as a response asks for it."""

    output_size = 0


def _is_function(entry: object) -> bool:
    return callable(entry) and not _raises(entry)


def _raises(entry: object) -> bool:
    return isinstance(entry, BaseException) or (isinstance(entry, type) and issubclass(entry, BaseException))


def _read(entry: Any) -> Reply | BaseException | type[BaseException]:
    if isinstance(entry, Reply) or _raises(entry):
        return entry  # type: ignore[no-any-return]
    parts = list(entry) if isinstance(entry, list | tuple) and 1 <= len(entry) <= 3 else [entry]
    status, headers, body = (*parts, None, None)[:3]
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise InputError(f"cannot read the entry {_cut(entry)} of a script; {_FORMS}")
    pairs: list[Any] = list(headers.items() if isinstance(headers, Mapping) else headers or ())
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise InputError(f"the headers of {_cut(entry)} are neither a dictionary nor pairs")
    named = [(str(name), str(value)) for name, value in pairs]
    if body is None:
        content = b""
    elif isinstance(body, str):
        content = body.encode()
    elif isinstance(body, bytes | bytearray):
        content = bytes(body)
    else:
        content = json.dumps(body).encode()
        if not any(name.lower() == "content-type" for name, _ in named):
            named.append(("Content-Type", "application/json"))
    return Reply(status, tuple(named), content)


def _cut(entry: object) -> str:
    text = repr(entry)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _with(call: Call, **facts: Any) -> Call:
    old = {name: getattr(call, name) for name in ("number", "at", "method", "url", "key")}
    return Call(**{**old, **facts})


def _library(name: str, extra: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        if name == "aioresponses":
            raise InputError("aioresponses is not installed; install it with: pip install aioresponses") from None
        raise MissingExtra(name, extra) from None


def _parameters(kind: Any) -> tuple[str, ...]:
    code = kind.__init__.__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return names


def _asked(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """The method and URL of a patched call: of its keywords, of a request object, else of what looks like them."""
    method, url = kwargs.get("method"), kwargs.get("url")
    for each in args:
        if isinstance(each, str):
            if each.upper() in _METHODS:
                method = method or each
            else:
                url = url or each
        elif hasattr(each, "url") and hasattr(each, "method"):
            method, url = method or each.method, url or each.url
        elif url is None and "://" in str(each)[:20]:
            url = each
    return str(method or "GET"), str(url or "")


def _maker(client: str) -> Callable[..., Any]:
    if client == "requests":
        library = _library("requests", "requests")

        def make(reply: Reply, method: str, url: str) -> Any:
            response = library.Response()
            response.status_code, response._content, response.url = reply.status, reply.body, url
            response._content_consumed = True
            response.headers.update(reply.headers)
            response.reason = library.status_codes._codes.get(reply.status, ("",))[0].replace("_", " ").title()
            response.request = library.Request(method, url).prepare() if "://" in url else None
            return response

        return make
    if client in ("httpx", "httpx2"):
        library = _library(client, client)

        def make_httpx(reply: Reply, method: str, url: str) -> Any:
            request = library.Request(method, url or "http://localhost")
            return library.Response(reply.status, headers=list(reply.headers), content=reply.body, request=request)

        return make_httpx
    raise InputError(f"client is requests, httpx, httpx2 or a function that makes a response of a Reply, not {client!r}")
