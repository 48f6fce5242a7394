"""One connection to the proxy's upstream: a request out, its answer in, and nothing that nobody asked for."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from ..errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

    from .proxy_heads import Pairs

try:
    import httptools
except ImportError:
    raise MissingExtra("httptools", "testing") from None

__all__ = ["Asker", "Home", "UpstreamConnection", "reason_of"]

_MOST_HEAD: Final = 262_144
_MOST_READ_OVER: Final = 1 << 20


class Asker(Protocol):
    """Who has sent a request on a connection: is told of the answer as it comes, in order, and of its end."""

    head_only: bool

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection is there for it."""

    def informed(self, status: int, reason: bytes, headers: Pairs) -> None:
        """An interim answer (1xx) came."""

    def headed(self, status: int, reason: bytes, headers: Pairs, length: int | None) -> None:
        """The head of the final answer came; `length`: of its body, None where only its end will tell."""

    def bodied(self, piece: bytes) -> None:
        """A piece of the answer's body came."""

    def flushed(self) -> None:
        """All that had come at once was told."""

    def ended(self, trailers: Pairs) -> None:
        """The answer is whole; the connection is no longer its own."""

    def broke(self, error: str, late: bool) -> None:
        """There will be no more of it; `late`: because it took too long."""

    def taken(self) -> None:
        """The upstream takes more of the request again."""


class Home(Protocol):
    """Where connections come from and return to."""

    clock: Callable[[], float]

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection has done its work."""

    def lose(self, connection: UpstreamConnection) -> None:
        """A connection is no more."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to the upstream; it asks for one request at a time."""

    def __init__(self, pool: Home) -> None:
        self._pool = pool
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpResponseParser(self)
        self._asker: Asker | None = None
        self._out: list[bytes] = []
        self._renew = False
        self._begun = False  # a byte of the answer has come
        self._headed = self._complete = self._until_close = False
        self._reason = b""
        self._headers: Pairs = []
        self._trailers: Pairs = []
        self._fed = 0
        self._fit = True  # for another request after this one
        self.uses = 0
        self.full = False  # the upstream is slow to take the request
        self.held = False  # the client is slow to take the answer
        self.last = 0.0
        self.asked = False  # the request is sent whole: silence is the upstream's

    # -- for the asker

    def begin(self, asker: Asker) -> None:
        """From now on what comes is the answer to this one's request."""
        self._asker = asker
        self._begun = self._headed = self._complete = False
        self.asked = False
        self._fed = 0
        self.uses += 1
        self.last = self._pool.clock()
        if self._renew:
            self._parser, self._renew = httptools.HttpResponseParser(self), False

    def write(self, piece: bytes) -> None:
        """Adds a piece of the request; `flush` sends it."""
        self._out.append(piece)

    def flush(self) -> None:
        """Sends what was written."""
        out = self._out
        if out:
            if not self._transport.is_closing():
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))
                self.last = self._pool.clock()
            out.clear()

    def hold(self, held: bool) -> None:
        """Stops, or goes on, reading the answer."""
        if held != self.held and not self._transport.is_closing():
            self.held = held
            self.last = self._pool.clock()
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def drop(self) -> None:
        """Closes the connection: its asker is gone, or has had enough."""
        self._asker = None
        self._pool.lose(self)
        self._transport.abort()

    def let_run_out(self) -> None:
        """Its asker wants no more: the rest of the answer is read over if it is short, so that the connection is kept."""
        if self.asked:
            self.hold(False)
            self._asker = _Nobody(self)
        else:
            self.drop()

    @property
    def open(self) -> bool:
        """Whether it can be used."""
        return not self._transport.is_closing()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        asker = self._asker
        if asker is None:
            # Nobody asked: whatever it is, it must not become the answer to the next request.
            self.drop()
            return
        self._begun = True
        self.last = self._pool.clock()
        problem = ""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            problem = "the upstream switches to another protocol"
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            if not self._complete:
                problem = f"the upstream's answer is not HTTP/1.1: {error}"
            self._fit = False
        if not self._headed:
            self._fed += len(data)
            if self._fed > _MOST_HEAD:
                problem = "the head of the upstream's answer is too large"
        asker.flushed()
        if self._asker is None:
            return  # dropped on the way
        if problem:
            self._fail(problem)
        elif self._complete:
            self._finish()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lose(self)
        asker = self._asker
        if asker is None:
            return
        if self._headed and self._until_close and exc is None:
            self._fit = False
            self._finish()
            return
        why = f"the upstream closed the connection{f' ({reason_of(exc)})' if exc else ''}"
        if not self._begun:
            why += " before it answered" + (", one kept from an earlier request" if self.uses > 1 else "")
        else:
            why += " within its answer"
        self._fail(why)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self.last = self._pool.clock()
        if self._asker is not None:
            self._asker.taken()

    # -- callbacks of the parser

    def on_message_begin(self) -> None:
        if self._complete:
            self._fit = False  # more than one answer to one request
            return
        self._headers, self._trailers, self._reason = [], [], b""
        self._headed = False

    def on_status(self, part: bytes) -> None:
        self._reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete:
            (self._trailers if self._headed else self._headers).append((name, value))

    def on_headers_complete(self) -> None:
        asker = self._asker
        if asker is None or self._complete:
            return
        parser = self._parser
        status = parser.get_status_code()
        if status < 200:
            asker.informed(status, self._reason, self._headers)
            return
        self._headed = True
        length: int | None = None
        chunked = False
        for name, value in self._headers:
            lower = name.lower()
            if lower == b"content-length":
                length = int(value)  # the parser has checked it
            elif lower == b"transfer-encoding":
                chunked = True
        bodiless = asker.head_only or status in (204, 304)
        self._until_close = length is None and not chunked and not bodiless
        self._fit = parser.should_keep_alive() and not self._until_close
        asker.headed(status, self._reason, self._headers, length)
        if asker.head_only:
            # The parser cannot know that no body follows.
            self._complete = self._renew = True

    def on_body(self, piece: bytes) -> None:
        if self._complete:
            self._fit = False
        elif self._asker is not None:
            self._asker.bodied(piece)

    def on_message_complete(self) -> None:
        if self._headed:  # else an interim answer is over
            self._complete = True

    # -- ends

    def _finish(self) -> None:
        asker, self._asker = self._asker, None
        assert asker is not None
        if self._fit and self.asked and not self._transport.is_closing():
            self.hold(False)
            self._pool.give_back(self)
        else:
            self._pool.lose(self)
            self._transport.abort()
        asker.ended(self._trailers)

    def _fail(self, why: str, late: bool = False) -> None:
        asker = self._asker
        self.drop()
        if asker is not None:
            asker.broke(why, late)

    def time_out(self, seconds: float) -> None:
        """The upstream was silent for too long."""
        self._fail(f"nothing came from the upstream for {seconds:g} s", late=True)


class _Nobody:
    """An asker who wants nothing: what comes is dropped, and the connection with it when that is too much."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._left = _MOST_READ_OVER
        self.head_only = False

    def connected(self, connection: UpstreamConnection) -> None:
        """Never happens."""

    def informed(self, status: int, reason: bytes, headers: Pairs) -> None:
        """Nothing to do."""

    def headed(self, status: int, reason: bytes, headers: Pairs, length: int | None) -> None:
        """Nothing to do."""

    def bodied(self, piece: bytes) -> None:
        """Counts."""
        self._left -= len(piece)

    def flushed(self) -> None:
        """Drops the connection when it was too much."""
        if self._left < 0:
            self._connection.drop()

    def ended(self, trailers: Pairs) -> None:
        """Nothing to do."""

    def broke(self, error: str, late: bool) -> None:
        """Nothing to do."""

    def taken(self) -> None:
        """Nothing to do."""


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify: {error.verify_message}"
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and isinstance(number, int) and number > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
