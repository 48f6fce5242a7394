"""One request on its way through the proxy: its body to the upstream, the answer back, and the faults in between."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from .proxy_core import problem
from .proxy_heads import CHUNKED, head_bytes, hop_by_hop, last_chunk, request_head, returned
from .proxy_record import passage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from .proxy_core import Answer, Plan
    from .proxy_heads import Pairs
    from .proxy_upstream import UpstreamConnection
    from .proxy_wire import ClientConnection

__all__ = ["Passing"]

class Passing:
    """One request and its answer, from the request's head to the end of both; an `Asker` of the pool.

    It is begun when all answers before it are over. `over`: both the request and its answer are.
    """

    def __init__(
        self,
        client: ClientConnection,
        plan: Plan,
        method: str,
        target: bytes,
        headers: Pairs,
        fields: Mapping[bytes, bytes],
        arrived: float,
        *,
        old: bool = False,
        keep: bool = True,
    ) -> None:
        self._client = client
        self._core = client.door.core
        self._plan = plan
        self._method = method
        self._target = target
        self._headers = headers
        self._fields = fields
        self._arrived = arrived
        self._old = old  # HTTP/1.0
        self.keep = keep  # the connection goes on behind this answer
        self.head_only = method == "HEAD"
        self.begun = False
        self._chunked = b"transfer-encoding" in fields
        self._expects = b"expect" in fields and not old
        self._continued = False
        self._up: UpstreamConnection | None = None
        self._waiting = False  # for a connection
        self._held: list[bytes] = []
        self._request_over = self._answer_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._backlog: list[bytes | None] | None = None  # of an answer that is held back; None ends it
        self._length: int | None = None
        self._late_trailers: Pairs = []
        self._chunks = False
        self._started = False
        self._left: int | None = None  # bytes until the answer is truncated
        self._write = self._core.is_write(method, fields)
        self._checksum = 0
        self._status: int | None = None
        self._upstream_status: int | None = None
        self._struck: str | None = plan.fault if plan.answer is not None else None
        self._error: str | None = None
        self._failed = False  # by the upstream
        self._sent = self._received = 0
        self._answer_headers: Pairs = []

    @property
    def over(self) -> bool:
        """Whether the next turn may begin."""
        return self._answer_over and self._request_over

    @property
    def blocked(self) -> bool:
        """Whether the client must send no more of the request for now."""
        return bool(self._held) or (self._up is not None and self._up.full)

    # -- the request

    def begin(self) -> None:
        """All that came before is answered: this one's turn."""
        self.begun = True
        plan = self._plan
        wait = 0.0 if plan.after else plan.delay - (self._client.door.clock() - self._arrived)
        if wait > 0:
            self._timer = self._client.loop.call_later(wait, self._go)
        else:
            self._go()

    def _go(self) -> None:
        timed, self._timer = self._timer is not None, None
        plan = self._plan
        if plan.answer is not None:
            self._answer(plan.answer)
        elif plan.fault in ("cut", "reset") and not plan.after:
            self._struck = plan.fault
            self._end(False)
            self._client.cut(plan.fault == "reset")
        else:
            self._waiting = True
            self._client.door.pool.ask(self)
        if timed:
            self._client.pump()

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection is there: sends what came so far."""
        self._waiting = False
        door = self._client.door
        head = request_head(
            (self._method, self._target),
            self._headers,
            door.settings.upstream,
            door.via,
            keep_host=door.settings.keep_host,
            chunked=self._chunked,
        )
        if head is None:
            connection.drop()
            self._answer(problem(400, "a line end hides in the head of the request"))
            return
        self._up = connection
        self._core.passed += 1
        connection.write(head)
        for piece in self._held:
            connection.write(piece)
        self._held.clear()
        if self._request_over:
            connection.asked = True
        if self._client.full:
            connection.hold(True)
        if not self._client.feeding:
            connection.flush()
            self._client.request_taken()

    def send_body(self, piece: bytes) -> None:
        """A piece of the request's body came."""
        if self._answer_over and self._up is None:
            return  # answered already: it is read over
        self._sent += len(piece)
        self._core.sent_bytes += len(piece)
        if self._write:
            self._checksum = zlib.crc32(piece, self._checksum)
        self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    def send_end(self, trailers: Pairs) -> None:
        """The request is whole."""
        self._request_over = True
        if self._chunked and not (self._answer_over and self._up is None):
            self._send(last_chunk(trailers))
        if self._up is not None:
            self._up.asked = True

    def _send(self, piece: bytes) -> None:
        if self._up is not None:
            self._up.write(piece)
        else:
            self._held.append(piece)

    def flush_request(self) -> None:
        """All that came at once was told."""
        if self._up is not None:
            self._up.flush()

    def taken(self) -> None:
        """The upstream takes more of the request."""
        self._client.request_taken()

    def spoil(self, answer: Answer) -> None:
        """The request broke within its body: the upstream must not take it for whole."""
        self._stop_asking()
        self.keep = False
        if not self.begun:
            self._plan.answer, self._plan.delay = answer, 0.0
        elif self._answer_over:
            self._client.hang_up()
        elif self._started:
            self._end(False)
            self._client.cut(True)
        else:
            self._answer(answer)

    # -- the answer

    def informed(self, status: int, reason: bytes, headers: Pairs) -> None:
        """An interim answer: passed on to those who know them (RFC 9110 section 15.2)."""
        if status == 100:
            self._continued = True
        if not self._old and status != 101:
            drop = hop_by_hop(headers)
            kept = [(name, value) for name, value in headers if name.lower() not in drop]
            head = head_bytes(b"HTTP/1.1 %d %b" % (status, reason), kept)
            if head is not None:
                self._client.write(head)

    def headed(self, status: int, reason: bytes, headers: Pairs, length: int | None) -> None:
        """The head of the answer came: the upstream has acted."""
        plan = self._plan
        self._upstream_status = status
        write = (f"{self._method} {self._target!r}", self._sent, self._checksum) if self._write else None
        self._core.acted(plan, write, status)
        self._length = length
        self._answer_headers = headers
        self._status = status
        head = self._answer_head(status, reason, headers, length)
        bodiless = self.head_only or status in (204, 304) or length == 0
        if plan.fault == "truncate" and not bodiless:
            self._left = -1 if length is None else length // 2
        if plan.after and (plan.delay > 0 or plan.fault not in (None, "truncate")):
            self._backlog = [head]
            if plan.delay > 0:
                if self._up is not None:
                    self._up.hold(True)
                self._timer = self._client.loop.call_later(plan.delay, self._release)
            else:
                self._release()
        else:
            self._started = True
            self._client.write(head)

    def _answer_head(self, status: int, reason: bytes, headers: Pairs, length: int | None) -> bytes:
        door, plan = self._client.door, self._plan
        upstream = None if door.settings.keep_links else door.settings.upstream
        kept = returned(headers, plan.headers, upstream, self._client.base(self._fields.get(b"host")))
        more = b""
        framed = length is not None or self.head_only or status in (204, 304)
        if not framed:
            if self._old:
                self.keep = False
            else:
                self._chunks = True
                more = CHUNKED
        if self._expects and not self._continued and not self._request_over:
            self.keep = False  # whether the body will come, nobody knows
        if not self.keep:
            more += b"Connection: close\r\n"
        elif self._old:
            more += b"Connection: keep-alive\r\n"
        head = head_bytes(b"HTTP/1.1 %d %b" % (status, reason), kept, more)
        # The parser lets none through that could fail here.
        return head if head is not None else b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n"

    def _release(self) -> None:
        """The answer was held back long enough: it goes on, or the fault that befell it strikes."""
        timed, self._timer = self._timer is not None, None
        client, plan = self._client, self._plan
        if plan.fault not in (None, "truncate"):
            self._struck = plan.fault
            answer = self._core.strike(plan, client.door.clock())
            up, self._up = self._up, None
            if up is not None:
                up.let_run_out()
            self._backlog = None
            if answer is None:
                self._end(False)
                client.cut(plan.fault == "reset")
            else:
                self._answer(answer)
        else:
            backlog, self._backlog = self._backlog or [], None
            if self._up is not None:
                self._up.hold(client.full)
            self._started = True
            for place, piece in enumerate(backlog):
                if piece is None:
                    self._finish_answer(self._late_trailers)
                elif place == 0:
                    client.write(piece)
                else:
                    self._pass(piece)
        if timed:
            client.flush()
            client.pump()

    def bodied(self, piece: bytes) -> None:
        """A piece of the answer's body came."""
        self._received += len(piece)
        self._core.received_bytes += len(piece)
        if self._backlog is not None:
            self._backlog.append(piece)
        else:
            self._pass(piece)

    def _pass(self, piece: bytes) -> None:
        if self._answer_over:
            return
        if self._left is not None:
            if self._left < 0:
                self._left = len(piece) // 2
            if len(piece) >= self._left:
                self._truncate(piece[: self._left])
                return
            self._left -= len(piece)
        self._client.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunks else piece)

    def _truncate(self, piece: bytes) -> None:
        client = self._client
        self._core.strike(self._plan, client.door.clock())
        self._struck = "truncate"
        if piece:
            client.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunks else piece)
        self._stop_asking()
        self._end(False)
        client.cut(False)

    def flushed(self) -> None:
        """All that came at once was told."""
        if self._backlog is None:
            self._client.flush()

    def hold(self, held: bool) -> None:
        """The client takes no more for now, or takes it again."""
        if self._up is not None and self._backlog is None:
            self._up.hold(held)

    def ended(self, trailers: Pairs) -> None:
        """The upstream's answer is whole."""
        self._up = None
        if self._backlog is not None:
            self._backlog.append(None)
            self._late_trailers = trailers
        else:
            self._finish_answer(trailers)
            self._client.pump()

    def _finish_answer(self, trailers: Pairs) -> None:
        if self._answer_over:
            return
        client = self._client
        if self._chunks:
            client.write(last_chunk(trailers))
        client.flush()
        self._end(client.open)
        if not self.keep:
            client.hang_up()

    def broke(self, error: str, late: bool) -> None:
        """There will be no more from the upstream."""
        self._up = None
        self._waiting = False
        self._error, self._failed = error, True
        if late:
            self._core.upstream_timeouts += 1
        else:
            self._core.upstream_failures += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._backlog = None
        client = self._client
        if self._started:
            # Where only the connection's end tells the body's, an orderly end would make it look whole.
            unframed = not self._chunks and self._length is None
            self._end(False)
            client.cut(unframed)
        else:
            self._answer(problem(504 if late else 502, error))
        client.pump()

    def _answer(self, answer: Answer) -> None:
        """Gives an answer of the proxy's own."""
        client = self._client
        self._stop_asking()
        self._held.clear()
        if self._expects and not self._request_over and not self._continued:
            self.keep = False
        self._status = answer.status
        self._answer_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        extra = "close" if not self.keep else "keep-alive" if self._old else ""
        head = client.door.head(answer, extra)
        self._started = True
        client.write(head if self.head_only or answer.status in (204, 304) else head + answer.body)
        client.flush()
        self._end(client.open, own=True)
        if not self.keep:
            client.hang_up()

    def _stop_asking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._waiting = False
            self._client.door.pool.leave(self)
        up, self._up = self._up, None
        if up is not None:
            up.drop()

    def leave(self) -> None:
        """The client is gone."""
        if not self._answer_over:
            self._core.abandoned += 1
            self._error = self._error or "the client left"
            self._status = self._status if self._started else None
            self._end(False)
        self._request_over = True
        self._stop_asking()
        self._held.clear()
        self._backlog = None

    def _end(self, whole: bool, *, own: bool = False) -> None:
        """The answer is over, one way or another; `own`: it was the proxy's."""
        if self._answer_over:
            return
        self._answer_over = True
        now = self._client.door.clock()
        status = self._status if self._status is not None and (whole or self._started) else None
        self._core.over(self._plan, now, status or 0, whole and not own)
        door = self._client.door
        if door.wants(self._failed):
            upstream = door.settings.upstream
            door.report(
                passage(
                    at=self._core.origin + self._arrived,
                    method=self._method,
                    url=str(upstream) + self._target.decode("latin-1"),
                    status=status,
                    upstream_status=self._upstream_status,
                    fault=self._struck,
                    when=None if self._struck is None else "after" if self._plan.after else "before",
                    error=self._error,
                    whole=whole,
                    seconds=now - self._arrived,
                    sent_bytes=self._sent,
                    received_bytes=self._received,
                    request_headers=self._headers,
                    response_headers=self._answer_headers,
                ),
                self._failed,
            )
