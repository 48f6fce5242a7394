"""HTTP/1.1 on one connection of the test server: parses with httptools, asks the core, writes answers in order."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

from ..errors import MissingExtra
from .bodies import Half
from .filling import Filling
from .paths import problem
from .verdict import Request, Verdict

if TYPE_CHECKING:
    from .door import Door, Patience

try:
    import httptools
except ImportError:
    raise MissingExtra("httptools", "testing") from None

__all__ = ["Connection"]

_MOST_TARGET: Final = 16_384
_MOST_HEAD: Final = 65_536
_MOST_BODY: Final = 64 << 20
_MOST_PENDING: Final = 128
_LINGER: Final = 1.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOBODY: Final = (204, 304)
# Closed with this set, a connection ends with a RST and not with a FIN.
_NO_FAREWELL: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class _Turn:
    """One answer's place in the order of a connection: raw bytes, or a verdict that is due at its time."""

    __slots__ = ("chunked", "due", "extra", "head_only", "raw", "timer", "verdict")

    def __init__(self, verdict: Verdict | None, extra: str, head_only: bool, raw: bytes = b"") -> None:
        self.verdict = verdict
        # `Connection: close` or `keep-alive`, where it has to be said; "close" ends the connection behind it.
        self.extra = extra
        self.head_only = head_only
        self.raw = raw
        self.chunked = False
        self.due = True
        self.timer: asyncio.TimerHandle | None = None


class Connection(asyncio.Protocol):
    """One client's connection: keep-alive, pipelining, chunked bodies, HEAD, Expect; what is not HTTP gets a 400."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._core = door.core
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._address = ""
        self._loop = asyncio.get_running_loop()
        self._turns: deque[_Turn] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._target = b""
        self._version = ""
        self._in_message = self._in_head = self._begun = False
        self._fed = 0
        self._hash: Any = None
        self._heard = self._began = self._stalled = 0.0
        self._closing = self._lingers = self._paused = self._reading_paused = False
        self._filling: Filling | None = None
        self._farewell: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._heard = self._loop.time()
        self._door.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._closing = True
        self._door.leave(self)
        now = self._door.clock()
        if self._filling is not None:
            self._filling.stop()
            self._filling = None
        if self._farewell is not None:
            self._farewell.cancel()
        for turn in self._turns:
            if turn.timer is not None:
                turn.timer.cancel()
            if turn.verdict is not None:
                self._core.settle(turn.verdict, now, False)
        self._turns.clear()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._begun = False
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request was answered as any other; what follows is in the protocol it hoped for.
            self._end_after_turns()
        except httptools.HttpParserCallbackError as error:
            # A mistake of ours, not of the client's: say so, and go on with the other connections.
            self._loop.call_exception_handler({"message": "the test server failed", "exception": error})
            self._transport.abort()
        except httptools.HttpParserError:
            self._malformed(400, "this is not HTTP/1.1")
        # A message is measured from the first chunk that it fills; chunks are bounded themselves.
        if self._in_message and not self._begun:
            self._fed += len(data)
            if self._in_head and self._fed > _MOST_HEAD:
                self._malformed(431, "the head of the request is too large")
            elif self._fed > _MOST_BODY:
                self._malformed(413, "the body of the request is too large")

    def eof_received(self) -> bool:
        # Whoever has closed is gone, as most servers see it, though what is due already is still written: to a
        # half-closed connection it arrives, and to a dead one the writing fails.
        self._closing = True
        return bool(self._turns) and all(turn.due for turn in self._turns)

    def pause_writing(self) -> None:
        self._paused = True
        self._stalled = self._loop.time()
        self._balance()

    def resume_writing(self) -> None:
        self._paused = False
        if self._filling is not None:
            self.fill()
        self._pump()

    # -- callbacks of the parser

    def on_message_begin(self) -> None:
        self._headers = {}
        self._target = b""
        self._in_message = self._in_head = self._begun = True
        self._began = self._heard
        self._fed = 0
        self._hash = None

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > _MOST_TARGET:
            self._malformed(414, "the target of the request is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        # Not the trailers: nothing said behind a body changes who asked.
        if self._in_head:
            lower = name.lower()
            if lower == b"host" and lower in self._headers:
                self._malformed(400, "there are two Host fields")  # RFC 9112 section 3.2
            self._headers[lower] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._version = self._parser.get_http_version()
        if self._version not in ("1.1", "1.0"):
            self._malformed(505, "only HTTP/1.1 and 1.0 are spoken here")
        expected = self._headers.get(b"expect")
        if expected is not None and not self._closing:
            if expected.lower() != b"100-continue":
                self._malformed(417, "only 100-continue can be expected")
            elif self._version == "1.1":
                self._turns.append(_Turn(None, "", False, _CONTINUE))
                self._pump()

    def on_body(self, part: bytes) -> None:
        # Bodies are not kept: a hash is enough to know the same write when it comes again.
        if self._hash is None:
            self._hash = blake2b(digest_size=8)
        self._hash.update(part)

    def on_message_complete(self) -> None:
        self._in_message = False
        if self._closing:
            return
        parser = self._parser
        now = self._door.clock()
        method = parser.get_method().decode("latin-1")
        headers = self._headers
        extra = ""
        if not parser.should_keep_alive():
            extra = "close"
        elif b"connection" in headers and self._version == "1.0":
            extra = "keep-alive"
        if b"host" not in headers and self._version == "1.1":
            self._malformed(400, "there is no Host field")
            return
        if method == "CONNECT":
            # Any 2xx would promise a tunnel (RFC 9110 section 9.3.6).
            self._malformed(501, "this is no proxy: CONNECT is not served")
            return
        verdict = self._core.decide(
            Request(
                method,
                self._target.decode("latin-1"),
                headers,
                self._address,
                self._hash.digest() if self._hash is not None else b"",
            ),
            now,
        )
        turn = _Turn(verdict, extra, method == "HEAD")
        if not isinstance(verdict.body, bytes) and verdict.body.chunked:
            turn.chunked = self._version != "1.0"
            if not turn.chunked:
                # HTTP/1.0 knows no chunks: the end of the connection ends the body.
                turn.extra = extra = "close"
        if extra == "close":
            self._closing = True
        if verdict.delay > 0:
            turn.due = False
            turn.timer = self._loop.call_later(verdict.delay, self._fall_due, turn)
            self._turns.append(turn)
            self._balance()
        elif self._turns or self._paused:
            self._turns.append(turn)
            self._balance()
        else:
            self._carry_out(turn, now)

    # -- answers

    def _fall_due(self, turn: _Turn) -> None:
        turn.due = True
        turn.timer = None
        self._pump()

    def _pump(self) -> None:
        """Carries out what is due, in order, as long as the client takes it."""
        turns = self._turns
        while turns and turns[0].due and not self._paused and self._filling is None:
            if self._transport.is_closing() or not self._carry_out(turns[0], self._door.clock()):
                break
            turns.popleft()
        self._balance()

    def _balance(self) -> None:
        """Reads on only while what is to be answered is few and what was answered is taken."""
        full = self._paused or len(self._turns) > _MOST_PENDING
        if full != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _carry_out(self, turn: _Turn, now: float) -> bool:
        """Writes one answer; False when its body goes on later."""
        verdict = turn.verdict
        transport = self._transport
        if verdict is None:
            transport.write(turn.raw)
            return True
        body = verdict.body
        if verdict.fault is not None:
            if verdict.fault != "truncate" or turn.head_only or not body:
                self._break_off(turn, now, reset=verdict.fault == "reset")
                return True
            body = Half(body)
        head = self._head(verdict, turn, now)
        if turn.head_only or verdict.status in _NOBODY:
            transport.write(head)
        elif isinstance(body, bytes):
            transport.write(head + body)
        else:
            transport.write(head)
            filling = Filling(self, body, chunked=turn.chunked)
            if not filling.go_on():
                self._filling = filling
                if not self._turns:
                    self._turns.append(turn)
                return False
            self._end_body(turn)
        self._finish(turn, now)
        return True

    def _break_off(self, turn: _Turn, now: float, *, reset: bool) -> None:
        """The connection ends instead of an answer."""
        verdict, turn.verdict = turn.verdict, None
        if verdict is not None:
            # Told as over before the connection is lost, so that it is not told twice.
            self._core.settle(verdict, now, False)
        self._closing = True
        if reset:
            connected = self._transport.get_extra_info("socket")
            if connected is not None:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_FAREWELL)
        self._transport.abort()

    def _end_body(self, turn: _Turn) -> None:
        if turn.chunked and turn.verdict is not None and turn.verdict.fault is None:
            self._transport.write(b"0\r\n\r\n")

    def _head(self, verdict: Verdict, turn: _Turn, now: float) -> bytes:
        parts = [self._door.start(verdict.status, self._core.origin + now)]
        if turn.chunked:
            parts.append(f"Content-Type: {verdict.content_type}\r\nTransfer-Encoding: chunked\r\n")
        elif not isinstance(verdict.body, bytes) and verdict.body.chunked:
            parts.append(f"Content-Type: {verdict.content_type}\r\n")
        elif verdict.status not in _NOBODY:
            length = len(verdict.body) if verdict.declared is None else verdict.declared
            parts.append(f"Content-Type: {verdict.content_type}\r\nContent-Length: {length}\r\n")
        for name, value in verdict.headers:
            parts.append(f"{name}: {value}\r\n")
        if verdict.declared is not None or verdict.fault is not None:
            turn.extra = "close"
        if turn.extra:
            parts.append(f"Connection: {turn.extra}\r\n")
        parts.append("\r\n")
        return "".join(parts).encode("latin-1")

    def _finish(self, turn: _Turn, now: float) -> None:
        verdict, turn.verdict = turn.verdict, None
        if verdict is not None:
            self._core.settle(verdict, now, verdict.fault is None and not self._transport.is_closing())
        if turn.extra == "close" or (self._closing and len(self._turns) <= 1):
            self._hang_up()

    def fill(self) -> None:
        """Goes on with the long body under way; at its end, with the answers that wait behind it."""
        if self._filling is not None and self._filling.go_on():
            self._filling = None
            self._end_body(self._turns[0])
            self._finish(self._turns[0], self._door.clock())
            self._turns.popleft()
            self._pump()

    def write_piece(self, piece: bytes) -> bool:
        """Writes a piece of a body; whether more may follow at once."""
        self._transport.write(piece)
        return not self._paused and not self._transport.is_closing()

    def _hang_up(self) -> None:
        self._closing = True
        transport = self._transport
        if self._lingers and transport.can_write_eof() and not transport.is_closing():
            # A client still sending would have its unread answer torn away by a plain close.
            transport.write_eof()
            self._farewell = self._loop.call_later(_LINGER, transport.close)
        else:
            transport.close()

    def _end_after_turns(self) -> None:
        self._closing = True
        if not self._turns:
            self._transport.close()

    def _malformed(self, status: int, message: str) -> None:
        if self._closing:
            return
        self._core.malformed()
        self._closing = self._lingers = True
        made = problem(status, message)
        verdict = Verdict(made.status, made.headers, made.body)
        self._turns.append(_Turn(verdict, "close", False))
        self._pump()

    def look_after(self, now: float, patience: Patience) -> None:
        """Ends the connection where the client has kept it waiting for too long; `now` on the loop's clock."""
        if self._paused:
            if now - self._stalled > patience.taking:
                self._transport.abort()
        elif self._in_message and not self._closing and not self._reading_paused:
            silent, taken = now - self._heard, now - self._began
            if (taken if self._in_head else silent) > (patience.head if self._in_head else patience.body):
                self._malformed(408, "the request did not come to its end in time")
            elif taken > patience.message:
                self._malformed(408, "the request takes too long")
        elif not self._turns and self._filling is None and now - self._heard > patience.idle:
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once (the server stops)."""
        self._transport.abort()
