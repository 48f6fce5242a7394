"""One client's connection to the proxy: HTTP/1.1 read as it comes, answered in order, passed both ways in pieces."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from ..errors import MissingExtra
from .proxy_core import Plan, problem
from .proxy_exchange import Passing
from .proxy_heads import own_target
from .verdict import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from .proxy_core import Answer, ProxyCore
    from .proxy_heads import Pairs
    from .proxy_pool import Pool
    from .proxy_record import Passage, Record

try:
    import httptools
except ImportError:
    raise MissingExtra("httptools", "testing") from None

__all__ = ["ClientConnection", "ProxyDoor"]

_MOST_TARGET: Final = 16_384
_MOST_HEAD: Final = 65_536
_LINGER: Final = 1.0
_HOST: Final = re.compile(rb"[A-Za-z0-9.\-_:\[\]]{1,255}")
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


class ProxyDoor:
    """What all connections of one proxy share: the core, the pool, a clock, the record, and who is connected."""

    def __init__(
        self,
        core: ProxyCore,
        pool: Pool,
        clock: Callable[[], float],
        name: str,
        record: Record | None = None,
        watch: Callable[[Passage], None] | None = None,
        on_failure: Callable[[Passage], None] | None = None,
    ) -> None:
        self.core = core
        self.settings = core.settings
        self.pool = pool
        self.clock = clock
        self.record = record
        self.watch = watch
        self._on_failure = on_failure
        self._watched = record is not None or watch is not None
        self.via = f"1.1 {name}".encode()
        self.authority = b""
        self.connections: set[ClientConnection] = set()
        self._emptied: asyncio.Future[None] | None = None

    async def empty(self) -> None:
        """Waits until every connection is closed."""
        if self.connections:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def leave(self, connection: ClientConnection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self.core.limits.disconnected()
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def sweep(self) -> None:
        """Ends what has been silent for too long, on either side."""
        self.pool.sweep()
        oldest = self.clock() - self.settings.timeout
        for connection in [*self.connections]:
            connection.end_if_stalled(oldest)
        if self.record is not None:
            self.record.flush()

    def wants(self, failed: bool) -> bool:
        """Whether anybody is to be told of a passage, one that the upstream failed or not."""
        return self._watched or (failed and self._on_failure is not None)

    def report(self, made: Passage, failed: bool) -> None:
        """A passage is over; `failed`: by the upstream."""
        if failed and self._on_failure is not None:
            self._on_failure(made)
        if self.record is not None:
            self.record.add(made)
            self.core.record_left_out = self.record.left_out
        if self.watch is not None:
            self.watch(made)

    def head(self, answer: Answer, extra: str) -> bytes:
        """The head of an answer that the proxy gives itself."""
        epoch = self.core.origin + self.clock()
        lines = [
            f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}",
            f"Date: {formatdate(int(epoch), usegmt=True)}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            *[f"{name}: {value}" for name, value in answer.headers],
        ]
        if extra:
            lines.append(f"Connection: {extra}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class ClientConnection(asyncio.Protocol):
    """One client's connection: keep-alive, pipelining in order, bodies of any length, what is not HTTP gets a 400."""

    def __init__(self, door: ProxyDoor) -> None:
        self.door = door
        self.loop = asyncio.get_running_loop()
        self._core = door.core
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._address = ""
        self._turns: deque[Passing] = deque()
        self._receiving: Passing | None = None
        self._headers: Pairs = []
        self._fields: dict[bytes, bytes] = {}
        self._trailers: Pairs = []
        self._target = b""
        self._hosts = self._fed = self._size = 0
        self._in_head = self._begun = False
        self._deaf = False  # nothing more is read from this client
        self._gone = False
        self._pumping = False
        self._reading_paused = False
        self._out: list[bytes] = []
        self._last = door.clock()
        self._farewell: asyncio.TimerHandle | None = None
        self.full = False  # the client is slow to take what is written
        self.feeding = False  # what was received is being read

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self.door.connections.add(self)
        self._core.limits.connected()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._gone = self._deaf = True
        self._out.clear()
        if self._farewell is not None:
            self._farewell.cancel()
        self.door.leave(self)
        while self._turns:
            self._turns.popleft().leave()
        self._receiving = None

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._last = self.door.clock()
        self._begun, self.feeding = False, True
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            # A mistake of ours, not of the client's: say so, and go on with the other connections.
            self.loop.call_exception_handler({"message": "the proxy failed", "exception": error})
            self._transport.abort()
            return
        except httptools.HttpParserError as error:
            self._turn_away(400, f"this is not HTTP/1.1: {error}")
        finally:
            self.feeding = False
        if self._in_head and not self._begun:
            self._fed += len(data)
            if self._fed > _MOST_HEAD:
                self._turn_away(431, "the head of the request is too large")
        if self._turns:
            # Of all turns, only the first has begun.
            self._turns[0].flush_request()
        self._balance()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # Whoever hopes for another protocol than WebSocket (h2c) is answered in this one (RFC 9110 7.8).
                data = data[upgrade.args[0] :]
                if data and not self._deaf:
                    continue
            return

    def eof_received(self) -> bool:
        # Whoever has closed is gone, as most servers see it, and the upstream may stop; what is written goes out.
        self._deaf = True
        for turn in self._turns:
            turn.leave()
        self._turns.clear()
        return False

    def pause_writing(self) -> None:
        self.full = True
        self._last = self.door.clock()
        if self._turns:
            self._turns[0].hold(True)

    def resume_writing(self) -> None:
        self.full = False
        self._last = self.door.clock()
        if self._turns:
            self._turns[0].hold(False)
        self.pump()

    # -- callbacks of the parser

    def on_message_begin(self) -> None:
        self._headers, self._fields, self._trailers = [], {}, []
        self._target = b""
        self._hosts = self._fed = self._size = 0
        self._in_head = self._begun = True

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > _MOST_TARGET:
            self._turn_away(414, "the target of the request is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailers.append((name, value))
            if len(self._trailers) > 100:
                self._turn_away(431, "the trailer of the request is too large")
            return
        lower = name.lower()
        if lower == b"host":
            self._hosts += 1
        self._headers.append((name, value))
        self._fields[lower] = value
        self._size += len(name) + len(value)
        if self._size > _MOST_HEAD:
            self._turn_away(431, "the head of the request is too large")

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf:
            return
        parser, fields = self._parser, self._fields
        method = parser.get_method().decode("latin-1")
        old = parser.get_http_version() == "1.0"
        target = own_target(self._target, method)
        wrong = self._unfit(method, target, old)
        if wrong is not None or target is None:
            status, message = wrong or (400, "the target of the request is neither a path nor a URL")
            self._turn_away(status, message)
            return
        now = self.door.clock()
        text = target.decode("latin-1")
        control = self._core.settings.control
        if control and text.startswith(control):
            plan = Plan(answer=self._core.control(text[len(control) :], now))
        elif b"via" in fields and self.door.via in fields[b"via"]:
            plan = Plan(answer=problem(508, "the proxy was asked by itself: is its upstream its own address?"))
        else:
            plan = self._core.plan(Request(method, text, fields, self._address), now)
        turn = Passing(
            self, plan, method, target, self._headers, fields, now, old=old, keep=parser.should_keep_alive()
        )
        self._receiving = turn
        self._turns.append(turn)
        self.pump()

    def _unfit(self, method: str, target: bytes | None, old: bool) -> tuple[int, str] | None:
        """Why a request cannot be passed on, by its head: status and message."""
        fields = self._fields
        if method == "CONNECT":
            return 501, "this is a reverse proxy: it passes requests to one upstream, and opens no tunnel"
        if target is None:
            return 400, "the target of the request is neither a path nor a URL"
        if b"upgrade" in fields and b"websocket" in fields[b"upgrade"].lower():
            return 501, "the proxy does not pass WebSocket on; connect to the upstream itself"
        if self._hosts != 1 and not (old and not self._hosts):
            return 400, "there must be one Host field (RFC 9112 section 3.2)"
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            # RFC 9112 section 6.1; the parser has refused it beside a Content-Length.
            if old:
                return 400, "HTTP/1.0 has no Transfer-Encoding"
            if coding.lower() != b"chunked":
                return 501, "of transfer codings, only chunked is passed on"
        expected = fields.get(b"expect")
        if expected is not None and expected.lower() != b"100-continue":
            return 417, "only 100-continue can be expected"
        return None

    def on_body(self, piece: bytes) -> None:
        if self._receiving is not None and not self._deaf:
            self._receiving.send_body(piece)

    def on_message_complete(self) -> None:
        turn, self._receiving = self._receiving, None
        if turn is not None and not self._deaf:
            # Nothing behind a request that closes the connection is a request (RFC 9112 section 9.6).
            self._deaf = not turn.keep
            turn.send_end(self._trailers)
            self.pump()

    # -- answers

    def pump(self) -> None:
        """Goes on with the first of the turns, and with the next when it is over."""
        if self._pumping:
            return
        turns = self._turns
        self._pumping = True
        try:
            while turns and self.open:
                turn = turns[0]
                if not turn.begun:
                    if self.full:
                        break
                    turn.begin()
                if not turns or turns[0] is not turn or not turn.over:
                    break
                turns.popleft()
        finally:
            self._pumping = False
        self._balance()

    def _balance(self) -> None:
        """Reads on only while there is one request at most, and its body is taken."""
        turns = self._turns
        stop = len(turns) > 1 or (bool(turns) and turns[0].blocked)
        if stop != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = stop
            self._last = self.door.clock()
            if stop:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def write(self, piece: bytes) -> None:
        """Adds a piece of an answer; `flush` sends it."""
        self._out.append(piece)

    def flush(self) -> None:
        """Sends what was written."""
        out = self._out
        if out:
            if not self._transport.is_closing():
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def request_taken(self) -> None:
        """The upstream takes more of a request's body."""
        self._balance()

    @property
    def open(self) -> bool:
        """Whether what is written still goes out."""
        return not self._gone and not self._transport.is_closing()

    def base(self, host: bytes | None) -> bytes:
        """The proxy's own address as this client knows it."""
        known = host if host is not None and _HOST.fullmatch(host) else self.door.authority
        return b"http://" + known

    def hang_up(self) -> None:
        """Closes the connection behind what was written; a client still sending gets time to read it."""
        self.flush()
        self._deaf = True
        transport = self._transport
        if transport.is_closing() or self._farewell is not None:
            return
        if self._receiving is not None and transport.can_write_eof():
            # A plain close with data unread would reset the connection, and tear the answer away.
            self._receiving = None
            transport.write_eof()
            if self._reading_paused:
                self._reading_paused = False
                transport.resume_reading()
            self._farewell = self.loop.call_later(_LINGER, transport.close)
        else:
            transport.close()

    def cut(self, reset: bool) -> None:
        """Closes the connection with no answer: in order, or by a reset."""
        self._deaf = True
        if not reset:
            self.flush()
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            # Lingering for 0 s is a reset (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _turn_away(self, status: int, message: str) -> None:
        """Answers what cannot be passed on, behind all that came before, and reads no more."""
        if self._deaf:
            return
        self._deaf = True
        self._core.malformed += 1
        if self._receiving is not None:
            # A request broken within its body: what the upstream got of it must not look whole.
            self._receiving.spoil(problem(status, message))
            return
        plan = Plan(answer=problem(status, message))
        method = (self._parser.get_method() or b"?").decode("latin-1") if self._headers else "?"
        turn = Passing(
            self, plan, method, self._target[:1024] or b"?", self._headers, self._fields, self.door.clock(), keep=False
        )
        self._receiving = turn
        self._turns.append(turn)
        self.pump()

    def end_if_stalled(self, oldest: float) -> None:
        """Ends the connection where its client owes something and has been silent since before `oldest`."""
        if self._last > oldest or self._transport.is_closing():
            return
        owes = self._in_head or self._receiving is not None
        if self.full:
            self._transport.abort()
        elif owes and not self._reading_paused:
            self._turn_away(408, "the request did not come in time")

    def abort(self) -> None:
        """Closes the connection at once (the proxy stops)."""
        self._transport.abort()
