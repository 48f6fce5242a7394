"""The batch job's engine: takes requests in, keeps them going through the exchange, and gives results out.

One task an open request. What keeps a request from leaving is taken in this order: its scope's turn (first come,
first served; a retry goes first), a place among the `concurrency` that may be in flight, its permit. So a
permit is only ever granted to a request that can leave at once, and a scope that waits holds one place at most:
it delays no other scope.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

from ..drive import adrive
from ..effects import Answer, Call, Fault, Send
from ..errors import RetryLater
from ..exchange import Rules, exchange
from ..masking import mask_text
from ..policy import Policy, credential_of
from ..signals import read_signal
from ..telemetry.fan import wanted
from .spec import BadInput, Request

if TYPE_CHECKING:
    from ..credentials import AsyncCredential
    from ..effects import Permit
    from ..events import Sink
    from ..ledger import Cost, Learned
    from ..signals import Signal
    from ..stores.line import Line
    from .sender import Sender

__all__ = ["Engine", "Result"]

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TO_GET: Final = frozenset({301, 302, 303})
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "private-token"})
_BODY: Final = frozenset({"content-type", "content-encoding", "content-language", "content-location"})
_OPEN_BYTES: Final = 64 * 1024 * 1024
_BREATH: Final = 256
_ORIGINS: Final = 10_000


class Tally(Protocol):
    """Counts what happens most often without an event for each."""

    def sent(self, scope: str, *, at: float, elapsed: float, status: int | None, error: str | None = None) -> None: ...

    def waited(self, scope: str, seconds: float, reason: str) -> None: ...


class Result(NamedTuple):
    """How one input ended. `error` None: `status`, `headers` and `body` are the final answer's."""

    item: Request | BadInput
    status: int | None
    headers: Iterable[tuple[str, str]]
    body: bytes | None
    attempts: int
    waited: float
    elapsed: float
    error: str | None


class _Lane:
    """One scope in this job: its line, whose turn it is, and whether it was put off until later."""

    __slots__ = ("busy", "line", "put_off", "queue", "rules", "scope")

    def __init__(self, scope: str, line: Line, rules: Rules) -> None:
        self.scope = scope
        self.line = line
        self.rules = rules
        self.busy = False
        self.queue: deque[asyncio.Future[None]] = deque()
        self.put_off: RetryLater | None = None

    def pass_turn(self) -> None:
        while self.queue:
            waiter = self.queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.busy = False


class _Seat:
    """One request's place in its scope and among those in flight; what the driver calls its scope."""

    __slots__ = ("_again", "_engine", "_lane", "in_flight", "version")

    def __init__(self, engine: Engine, lane: _Lane) -> None:
        self._engine = engine
        self._lane = lane
        self._again = False
        self.in_flight = False
        self.version = -1

    async def acquire(self, cost: Cost, *, priority: int = 0, timeout: float | None = None) -> Permit:
        engine, lane = self._engine, self._lane
        if engine.draining:
            raise asyncio.CancelledError
        if lane.busy:
            turn = asyncio.get_running_loop().create_future()
            if self._again:
                lane.queue.appendleft(turn)
            else:
                lane.queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    lane.pass_turn()
                raise
        else:
            lane.busy = True
        self._again = True
        try:
            await engine._take_place()
            try:
                permit = lane.line.try_acquire(cost, True)
                if permit is None:
                    permit = await lane.line.acquire_async(cost, priority, timeout, True)
            except BaseException:
                engine._give_place()
                raise
        finally:
            lane.pass_turn()
        self.in_flight = True
        if engine.tally is not None and permit.waited > 0:
            engine.tally.waited(lane.scope, permit.waited, permit.reason)
        return permit

    @property
    def scope(self) -> str:
        return self._lane.scope

    def learn(self, permit: Permit, signal: Signal, status: int) -> Learned:
        return self._lane.line.learn(permit, signal, status)  # type: ignore[arg-type]

    def may_retry(self) -> bool:
        return self._lane.line.may_retry()


@dataclass(slots=True)
class _Hop:
    """Where a request goes next: first where its input says, then where redirects lead."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    foreign: bool = False


@dataclass(slots=True, kw_only=True)
class Engine:
    """See the module.

    policy: limits, retry and scopes. sender: what sends one attempt. concurrency: most requests in flight.
    redirects: how many a request may follow; 0: a redirect is an answer like any other.
    events: takes the events. tally: told of each attempt and wait, which then are not built as events.
    bearer: the credential to send as `Authorization: Bearer …`, renewed after a 401, once for all who wait.
    new_scope: called before the first request of a scope leaves.
    headers: the mapping that requests without headers of their own carry; credential: what in it is one.
    """

    policy: Policy
    sender: Sender
    concurrency: int = 32
    redirects: int = 10
    events: Sink | None = None
    tally: Tally | None = None
    bearer: AsyncCredential[str] | None = None
    new_scope: Callable[[str, Line], None] | None = None
    headers: Mapping[str, str] | None = None
    credential: str | None = None
    draining: bool = False
    put_off: int = 0
    in_flight: int = 0
    _finish: Callable[[Result], None] = field(default=lambda _: None)
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _lanes_by_origin: dict[tuple[str, str | None], _Lane] = field(default_factory=dict)
    _tasks: dict[asyncio.Task[None], _Seat | None] = field(default_factory=dict)
    _places: deque[asyncio.Future[None]] = field(default_factory=deque)
    _open: int = 0
    _open_bytes: int = 0
    _most_open: int = 0
    _low_open: int = 0
    _room: asyncio.Event | None = None
    _broken: BaseException | None = None

    async def run(self, items: Iterable[Request | BadInput], finish: Callable[[Result], None], ahead: int = 0) -> None:
        """Sends every request and calls `finish` once for each that ended, in order of completion.

        ahead: how many may be open at once (read and not ended); by default four times the concurrency, at
        least 1,000, and 64 MiB of bodies.
        An exception of `finish` or of a sink ends the run and is raised; what had not ended is simply not finished.
        """
        self._finish = finish
        self._most_open = ahead or max(1000, 4 * self.concurrency)
        self._low_open = self._most_open * 3 // 4
        self._room = asyncio.Event()
        loop = asyncio.get_running_loop()
        feed = iter(items)
        taken = 0
        try:
            while not self.draining and self._broken is None:
                if self._open >= self._most_open or (self._open and self._open_bytes >= _OPEN_BYTES):
                    # Woken when a quarter is free again, not for each: waking costs more than reading on.
                    self._room.clear()
                    await self._room.wait()
                    continue
                item = next(feed, None)
                if item is None:
                    break
                taken += 1
                if taken % _BREATH == 0:
                    await asyncio.sleep(0)
                if isinstance(item, BadInput):
                    finish(Result(item, None, (), None, 0, 0.0, 0.0, item.why))
                    continue
                lane = self._lane_of(item.url, item.headers)
                if lane.put_off is not None:
                    self.put_off += 1
                    continue
                self._open += 1
                self._open_bytes += len(item.body or b"")
                task = loop.create_task(self._one(item, lane))
                self._tasks[task] = None
                task.add_done_callback(self._ended)
            while self._tasks:
                await asyncio.wait(list(self._tasks))
        finally:
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._broken is not None:
            raise self._broken

    def drain(self) -> None:
        """Lets what is in flight end, and nothing else leave."""
        self.draining = True
        for task, seat in list(self._tasks.items()):
            if seat is None or not seat.in_flight:
                task.cancel()
        if self._room is not None:
            self._room.set()

    def halt(self) -> None:
        """Stops at once; what is in flight is given up."""
        self.draining = True
        for task in list(self._tasks):
            task.cancel()
        if self._room is not None:
            self._room.set()

    @property
    def stopped_until(self) -> RetryLater | None:
        """The pause that was not sat out, the one that ends first; None where there was none."""
        pauses = [lane.put_off for lane in self._lanes.values() if lane.put_off is not None]
        return min(pauses, key=lambda later: later.until) if pauses else None

    @property
    def lanes(self) -> Mapping[str, Line]:
        """The lines of the scopes in use."""
        return {scope: lane.line for scope, lane in self._lanes.items()}

    # ---- places in flight -----------------------------------------------------------------------

    async def _take_place(self) -> None:
        if self.in_flight < self.concurrency:
            self.in_flight += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._places.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_place()
            raise

    def _give_place(self) -> None:
        while self._places:
            place = self._places.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_flight -= 1

    # ---- one request ----------------------------------------------------------------------------

    def _lane_of(self, url: str, headers: Mapping[str, str]) -> _Lane:
        # The common case: an input that adds no header carries the job's own mapping.
        credential = self.credential if headers is self.headers else credential_of(headers)
        key = (url[: url.find("/", 8)], credential)
        lane = self._lanes_by_origin.get(key)
        if lane is None:
            scope = self.policy.scope_of(url, credential)
            lane = self._lanes.get(scope)
            if lane is None:
                rules = Rules(
                    retry=self.policy.retry,
                    read=partial(read_signal, dialect=self.policy.dialect),
                    scope=scope,
                    slow_budget=True,
                    events="notable" if self.tally is not None else wanted(self.events),
                    refreshable=self.bearer is not None,
                )
                lane = self._lanes[scope] = _Lane(scope, self.policy.line(scope), rules)
                if self.new_scope is not None:
                    self.new_scope(scope, lane.line)
            if len(self._lanes_by_origin) < _ORIGINS and "/" in url[8:]:
                self._lanes_by_origin[key] = lane
        return lane

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._open -= 1
        if self._open <= self._low_open and self._room is not None:
            self._room.set()
        if not task.cancelled():
            error = task.exception()
            if error is not None and self._broken is None:
                self._broken = error
                self.halt()

    async def _one(self, item: Request, lane: _Lane) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        hop = _Hop(item.method, item.url, item.headers, item.body)
        attempts, waited, began = 0, 0.0, time.perf_counter()
        keyed = False
        followed = 0
        try:
            while True:
                seat = self._tasks[task] = _Seat(self, lane)
                keyed = self.policy.retry.keyed(hop.headers)
                outcome = await adrive(
                    exchange(Call(hop.method, hop.url, item.cost, 0, True, keyed), lane.rules, time.time()),
                    seat,
                    partial(self._send, hop, seat),
                    emit=self.events,
                    refresh=None if self.bearer is None else partial(self._renew, seat),
                )
                attempts += outcome.attempts
                waited += outcome.waited
                answer, error = outcome.answer, outcome.error
                if isinstance(error, RetryLater):
                    lane.put_off = error
                    self.put_off += 1
                    return
                if error is None and answer is not None and self.redirects and answer.status in _REDIRECTS:
                    target = _next_hop(hop, answer)
                    if target is not None:
                        followed += 1
                        if followed > self.redirects:
                            why = f"redirects: more than {self.redirects} in a row, the last to {_shown(target.url)}"
                            self._end(item, answer, attempts, waited, began, why)
                            return
                        hop = target
                        lane = self._lane_of(hop.url, hop.headers)
                        continue
                self._end(item, answer, attempts, waited, began, None if error is None else str(error))
                return
        finally:
            self._open_bytes -= len(item.body or b"")

    def _end(
        self, item: Request, answer: Answer | None, attempts: int, waited: float, began: float, error: str | None
    ) -> None:
        elapsed = max(0.0, time.perf_counter() - began)
        if answer is None:
            self._finish(Result(item, None, (), None, attempts, waited, elapsed, error or "nothing was sent"))
        else:
            headers: Any = answer.headers
            self._finish(Result(item, answer.status, headers.items(), answer.response, attempts, waited, elapsed, error))

    async def _send(self, hop: _Hop, seat: _Seat, effect: Send) -> Answer | Fault:
        headers = hop.headers
        try:
            if self.bearer is not None and not hop.foreign:
                held = await self.bearer.get()
                seat.version = held.version
                headers = {**headers, "Authorization": f"Bearer {held.value}"}
            reply = await self.sender.send(hop.method, hop.url, headers, hop.body, effect.permit, effect.left)
            if self.tally is not None:
                status, error = (reply.status, None) if isinstance(reply, Answer) else (None, reply.kind)
                self.tally.sent(seat.scope, at=reply.now, elapsed=reply.elapsed, status=status, error=error)
            return reply
        finally:
            seat.in_flight = False
            self._give_place()


    async def _renew(self, seat: _Seat, _permit: Permit) -> bool:
        return self.bearer is not None and await self.bearer.renew(seat.version)


def _next_hop(hop: _Hop, answer: Answer) -> _Hop | None:
    """Where a redirect leads (RFC 9110, section 15.4); None where it names no place that can be asked."""
    headers: Any = answer.headers
    location = headers.get("Location")
    if not location or len(location) > 8192:
        return None
    try:
        url = urljoin(hop.url, location.strip())
        old, new = urlsplit(hop.url), urlsplit(url)
        same = (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port)
    except ValueError:
        return None
    if new.scheme not in ("http", "https") or not new.hostname:
        return None
    if not url.isascii() or any(char <= " " for char in url):
        return None
    url = url.partition("#")[0]
    kept = dict(hop.headers)
    if not same:
        # Another origin must not see what was meant for this one (RFC 9110, section 15.4).
        kept = {name: value for name, value in kept.items() if name.lower() not in _SECRET}
    method, body = hop.method, hop.body
    if answer.status in _TO_GET and method not in ("GET", "HEAD") and (answer.status == 303 or method == "POST"):
        method, body = "GET", None
        kept = {name: value for name, value in kept.items() if name.lower() not in _BODY}
    return _Hop(method, url, hop.headers if kept == hop.headers else kept, body, hop.foreign or not same)


def _shown(url: str) -> str:
    return mask_text(url[:200])
