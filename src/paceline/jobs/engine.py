"""The batch job's engine: takes requests in, keeps them going through the exchange, and gives results out.

What keeps a request from leaving is taken in this order: its scope's turn (first come, first served; a retry
goes first), a place among the `concurrency` that may be in flight, its permit. So a permit is only ever granted
to a request that leaves at once, and a scope that waits holds one place at most: it delays no other scope.
Until then a request is a tuple in its scope's queue; only one that leaves becomes a task.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

from ..drive import aserve
from ..effects import Answer, Call, Fault, Send
from ..errors import PacelineError, RetryLater
from ..exchange import Rules
from ..masking import is_secret_name, mask_url
from ..policy import Policy, credential_of
from ..signals import Signal
from ..telemetry.fan import wanted
from .paging import turn, walk_of
from .spec import BadInput, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..credentials import AsyncCredential
    from ..effects import Permit
    from ..events import Sink
    from ..ledger import Cost
    from ..outcome import Outcome
    from ..stores.line import Line
    from .paging import Leaf, Places
    from .sender import Sender

__all__ = ["Engine", "Result"]

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "private-token"})
_ABOUT_BODY: Final = frozenset({"content-type", "content-encoding", "content-language", "content-location"})
_OPEN_BYTES: Final = 64 * 1024 * 1024
_NEVER_KEYED: Final = frozenset({"GET", "HEAD"})  # repeatable anyway
_BREATH: Final = 256
_FARTHER: Final = 20
_CROWD: Final = 2048
_SILENCE: Final = Signal()
_NEWS: Final = 64
_ORIGINS: Final = 10_000


class Tally(Protocol):
    """Counts what happens most often without an event for each."""

    def sent(self, scope: str, at: float, status: int | None, error: str | None = None) -> None: ...

    def waited(self, scope: str, seconds: float, reason: str) -> None: ...


class Result(NamedTuple):
    """How one input ended. `error` None: `status`, `headers` and `body` are the final answer's.

    leaf: of an input that is a list, which page this is; then there is a result for each.
    """

    item: Request | BadInput
    status: int | None
    headers: Iterable[tuple[str, str]]
    body: bytes | None
    attempts: int
    waited: float
    elapsed: float
    error: str | None
    leaf: Leaf | None = None


class _Turn(asyncio.Future["Permit"]):
    """One that was sent before and waits for another permit, of its own cost."""

    def __init__(self, cost: Cost) -> None:
        super().__init__()
        self.cost = cost


class _Lane:
    """One scope in this job: its line, who is next to leave, and whether it was put off until later.

    queue: requests that have not left yet, and futures of those that want to leave again (they go first).
    asking: a task waits for this scope's next permit. hungry: the scope waits for a place in flight.
    """

    __slots__ = ("asking", "hungry", "line", "put_off", "queue", "rules", "scope")

    def __init__(self, scope: str, line: Line, rules: Rules) -> None:
        self.scope = scope
        self.line = line
        self.rules = rules
        self.queue: deque[Request | _Turn] = deque()
        self.asking: asyncio.Task[None] | None = None
        self.hungry = False
        self.put_off: RetryLater | None = None


class _Ride:
    """One request on its way; to the driver it is the scope, and what sends. When it has ended, the same task takes
    the next request that may leave.

    permit: granted and not yet taken up. placed: it holds a place in flight, which it keeps until its answer is
    recorded (a kill catches no more requests sent and not recorded than may be in flight) or it has to wait.
    sending: it is on the wire. open: it has not ended. walk: where its item is a list, its way through the pages.
    turned: it goes on to another page, which has not left yet.
    """

    __slots__ = (
        "attempts", "began", "body", "engine", "followed", "foreign", "headers", "item", "lane", "learn", "may_retry",
        "method", "open", "permit", "placed", "sending", "served", "turned", "url", "version", "waited", "walk",
    )  # fmt: skip

    def __init__(self, engine: Engine, lane: _Lane, item: Request, permit: Permit) -> None:
        self.engine = engine
        self.version = -1
        self.turned = False
        self.enter(lane)
        self.begin(lane, item, permit)

    def begin(self, lane: _Lane, item: Request, permit: Permit) -> None:
        self.item = item
        self.method, self.url, self.headers, self.body = item.method, item.url, item.headers, item.body
        self.permit: Permit | None = permit
        self.open = self.placed = True
        self.sending = self.foreign = False
        self.followed = self.attempts = 0
        self.waited = 0.0
        if lane is not self.lane:
            self.enter(lane)
        if item.paging is not None:
            self.walk = walk_of(item, self.engine.places)
            if self.walk.place.page:
                self.go_to_page()

    def enter(self, lane: _Lane) -> None:
        self.lane = lane
        self.learn = lane.line.learn
        self.may_retry = lane.line.may_retry
        self.served = lane.line.served

    def leave(self) -> None:
        """Gives its place in flight to another, where it holds one."""
        if self.placed:
            self.placed = False
            self.engine.give_place()

    async def acquire(self, cost: Cost, *, priority: int = 0, timeout: float | None = None) -> Permit:  # noqa: ARG002
        self.leave()
        if self.engine.draining:
            raise asyncio.CancelledError
        turned, self.turned = self.turned, False
        permit = await self.engine.again(self.lane, cost, last=turned)
        self.placed = True
        self.note_wait(permit)
        return permit

    def note_wait(self, permit: Permit) -> None:
        tally = self.engine.tally
        if tally is not None and permit.waited > 0:
            tally.waited(self.lane.scope, permit.waited, permit.reason)

    async def sleep(self, seconds: float) -> None:
        self.leave()
        if self.engine.draining:
            raise asyncio.CancelledError
        await asyncio.sleep(seconds)

    async def send(self, effect: Send) -> Answer | Fault:
        engine, headers = self.engine, self.headers
        self.sending = True
        try:
            if engine.bearer is not None and not self.foreign:
                held = await engine.bearer.get()
                self.version = held.version
                headers = {**headers, "Authorization": f"Bearer {held.value}"}
            policy = engine.policy
            if policy.headers and not self.foreign:
                headers = policy.headers_for(self.url, headers)
            reply = await engine.sender.send(self.method, self.url, headers, self.body, effect.permit, effect.left)
        finally:
            self.sending = False
        if policy.settle_of is not None and isinstance(reply, Answer):
            actual = policy.settle_of(self.item.cost, reply.status, reply.response)
            if actual is not None:
                effect.permit.settle(actual)
        tally = engine.tally
        if tally is not None:
            if isinstance(reply, Answer):
                tally.sent(self.lane.scope, reply.now - reply.elapsed, reply.status)
            else:
                tally.sent(self.lane.scope, reply.now - reply.elapsed, None, reply.kind)
        return reply

    async def renew(self, _permit: Permit) -> bool:
        if self.foreign:
            return False  # another origin was never sent the token
        self.leave()
        bearer = self.engine.bearer
        return bearer is not None and await bearer.renew(self.version)

    async def run(self) -> None:
        engine = self.engine
        refresh = None if engine.bearer is None else self.renew
        while True:
            self.began = time.perf_counter()
            while True:
                method, permit = self.method, self.permit
                self.permit = None
                if permit is not None and permit.waited:
                    self.note_wait(permit)
                keyed = method not in _NEVER_KEYED and engine.policy.retry.keyed(self.headers)
                call = Call(method, self.url, self.item.cost, 0, True, keyed)
                outcome = await aserve(
                    call,
                    self.lane.rules,
                    self,
                    self.send,
                    permit=permit,
                    emit=engine.events,
                    refresh=refresh,
                    sleep=self.sleep,
                )
                if not self.redirected(outcome):
                    break
            if not engine.take_over(self):
                return

    def redirected(self, outcome: Outcome) -> bool:
        """Takes in how an exchange ended: whether another one follows, at the place that a redirect names."""
        engine = self.engine
        self.attempts += outcome.attempts
        self.waited += outcome.waited
        answer, error = outcome.answer, outcome.error
        if error is not None:
            if isinstance(error, RetryLater):
                engine.put_lane_off(self.lane, error)
                engine.put_off += 1
            else:
                self.end(answer, str(error))
            return False
        if answer is not None and answer.status in _REDIRECTS and engine.redirects:
            target = _next_hop(self, answer)
            if target is not None:
                self.followed += 1
                if self.followed > engine.redirects:
                    why = f"redirects: more than {engine.redirects} in a row, the last to {mask_url(target.url)}"
                    self.end(answer, why)
                    return False
                self.method, self.url, self.headers, self.body, self.foreign = target
                self.enter(engine.lane_of(self.url, self.headers, self.method))
                return True
        return self.end(answer, None)

    def end(self, answer: Answer | None, error: str | None, leaf: Leaf | None = None) -> bool:
        """Hands out the result; whether the same item goes on, with the next page of a list."""
        if leaf is None and self.item.paging is not None:
            return self.end_page(answer, error)
        elapsed = time.perf_counter() - self.began
        if answer is None:
            result = Result(
                self.item, None, (), None, self.attempts, self.waited, elapsed, error or "nothing was sent", leaf
            )
        else:
            headers: Any = answer.headers
            result = Result(
                self.item, answer.status, headers.items(), answer.response, self.attempts, self.waited, elapsed, error,
                leaf,
            )  # fmt: skip
        self.engine.finish(result)
        return False

    def end_page(self, answer: Answer | None, error: str | None) -> bool:
        """The same for a list: hands out the page, where no earlier run has, and turns it."""
        leaf, more, error = turn(self.walk, answer, self.url, error)
        if leaf is not None:
            self.end(answer, error, leaf)
        if more:
            self.go_to_page()
        return more

    def go_to_page(self) -> None:
        """The item's next page is what is asked for from now on, as the item itself was at first."""
        item, ask = self.item, self.walk.ask
        self.method, self.url, self.headers, self.body, self.foreign = item.method, ask.url, item.headers, ask.body, ask.foreign
        if ask.foreign:
            self.headers = _without(self.headers, _SECRET, foreign=True)
        self.followed = self.attempts = 0
        self.waited = 0.0
        self.began = time.perf_counter()
        lane = self.engine.lane_of(self.url, self.headers, self.method)
        if lane is not self.lane:
            if self.permit is not None:
                self.permit.cancel()
                self.permit = None
            self.enter(lane)
        self.turned = True


class _Target(NamedTuple):
    """Where a redirect leads."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    foreign: bool


@dataclass(slots=True, kw_only=True)
class Engine:
    """See the module.

    policy: limits, retry and scopes. sender: what sends one attempt. finish: called once for each input that
    ended, in order of completion. concurrency: most requests in flight. redirects: how many a request may
    follow; 0: a redirect is an answer like any other.
    events: takes the events. tally: told of each attempt and wait, which then are not built as events.
    bearer: the credential to send as `Authorization: Bearer …`, renewed after a 401, once for all who wait.
    new_scope: called before the first request of a scope leaves.
    places: how far an earlier run has come in lists that are under way.
    headers: the mapping that requests without headers of their own carry; credential: what in it is one.
    ahead: how many may be open at once (read and not ended); 0: four times the concurrency, at least 1,000, and
    twenty times as many while places in flight are free. However many, at most 64 MiB of bodies wait.
    """

    policy: Policy
    sender: Sender
    finish: Callable[[Result], None]
    concurrency: int = 32
    redirects: int = 10
    events: Sink | None = None
    tally: Tally | None = None
    bearer: AsyncCredential[str] | None = None
    new_scope: Callable[[str, Line], None] | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    credential: str | None = field(default=None, repr=False)
    places: Places = field(default_factory=dict)
    ahead: int = 0
    draining: bool = False
    put_off: int = 0
    in_flight: int = 0
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _lanes_by_origin: dict[tuple[str, str | None, str | None], _Lane] = field(default_factory=dict)
    _rides: dict[asyncio.Task[None], _Ride] = field(default_factory=dict)
    _crowded: int = _CROWD
    _hungry: deque[_Lane] = field(default_factory=deque)
    _feed: Iterator[Request | BadInput] = field(default_factory=lambda: iter(()))
    _fed: bool = False
    _open: int = 0
    _open_bytes: int = 0
    _news: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _broken: BaseException | None = None

    async def run(self, items: Iterable[Request | BadInput]) -> None:
        """Sends every request; returns when all have ended, or were put off, or the engine was stopped.

        An exception of `finish` or of a sink ends the run and is raised; what had not ended is simply not finished.
        """
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._feed = iter(items)
        try:
            while self._broken is None:
                most = self._read_ahead()
                if not self._fed and not self.draining and self._open <= most * 3 // 4 and self._open_bytes < _OPEN_BYTES:
                    self._read_on(most)
                    await asyncio.sleep(0)
                    continue
                if self._open == 0 and (self._fed or self.draining):
                    break
                self._news.clear()
                await self._news.wait()
        finally:
            self.halt()
            rides = [*self._rides, *(lane.asking for lane in self._lanes.values() if lane.asking is not None)]
            if rides:
                await asyncio.gather(*rides, return_exceptions=True)
            if self._rides:
                await asyncio.sleep(0)  # what tasks that have just ended held is given back in the next tick
        if self._broken is not None:
            raise self._broken

    def _read_ahead(self) -> int:
        """How many inputs may be open: more where places are free, lest those of a scope that waits hold up others."""
        if self.ahead:
            return self.ahead
        near = max(1000, 4 * self.concurrency)
        return near if self.in_flight >= self.concurrency else near * _FARTHER

    def _read_on(self, most: int) -> None:
        """Reads inputs into the queues of their scopes; a few hundred, so that the loop can breathe."""
        for _ in range(_BREATH):
            item = next(self._feed, None)
            if item is None:
                self._fed = True
                return
            if isinstance(item, BadInput):
                self.finish(Result(item, None, (), None, 0, 0.0, 0.0, item.why))
                continue
            if self.policy.cost_of is not None and item.cost == 1:
                item = self.weighed(item)
            lane = self.lane_of(item.url, item.headers, item.method)
            if lane.put_off is not None:
                self.put_off += 1
                continue
            self._open += 1
            self._open_bytes += len(item.body or b"")
            lane.queue.append(item)
            self._pump(lane)
            if self._open >= most or self._open_bytes >= _OPEN_BYTES:
                return

    def drain(self) -> None:
        """Lets what is in flight end, and nothing else leave."""
        self.draining = True
        for lane in self._lanes.values():
            self._empty(lane)
        for task, ride in list(self._rides.items()):
            if not ride.sending and ride.permit is None:
                task.cancel()
        self._wake()

    def halt(self) -> None:
        """Stops at once; what is in flight is given up."""
        self.draining = True
        for lane in self._lanes.values():
            self._empty(lane)
        for task in list(self._rides):
            task.cancel()
        self._wake()

    def put_lane_off(self, lane: _Lane, later: RetryLater) -> None:
        """The server asked for a pause that is not sat out: all that waits for this scope is left for later."""
        if lane.put_off is None:
            lane.put_off = later
        self.put_off += sum(not isinstance(entry, asyncio.Future) for entry in lane.queue)
        self._empty(lane, later)

    def _empty(self, lane: _Lane, error: Exception | None = None) -> None:
        if lane.asking is not None:
            lane.asking.cancel()
        while lane.queue:
            entry = lane.queue.popleft()
            if not isinstance(entry, asyncio.Future):
                self._close(entry)
            elif not entry.done():
                if error is not None:
                    entry.set_exception(error)
                else:
                    entry.cancel()
        self._wake()

    @property
    def stopped_until(self) -> RetryLater | None:
        """The pause that was not sat out, the one that ends first; None where there was none."""
        pauses = [lane.put_off for lane in self._lanes.values() if lane.put_off is not None]
        return min(pauses, key=lambda later: later.until) if pauses else None

    @property
    def lanes(self) -> Mapping[str, Line]:
        """The lines of the scopes in use."""
        return {scope: lane.line for scope, lane in self._lanes.items()}

    def waiting(self) -> tuple[str | None, float | None]:
        """What the next request that waits for a permit is held up by, and until when (epoch seconds)."""
        for lane in self._lanes.values():
            if lane.asking is not None:
                state = lane.line.state()
                until = state.paused_until or state.next_at
                # A pause by hand may have no end.
                return lane.line.ledger.held_by, until if until is not None and isfinite(until) else None
        return None, None

    # ---- leaving --------------------------------------------------------------------------------

    def _pump(self, lane: _Lane) -> None:
        """Lets go whoever of a scope may leave now, in order; else sees to it that somebody asks again."""
        if lane.asking is not None or lane.hungry:
            return
        while lane.queue:
            if self.in_flight >= self.concurrency:
                lane.hungry = True
                self._hungry.append(lane)
                return
            entry = lane.queue[0]
            cost = entry.cost
            try:
                permit = lane.line.try_acquire(cost, True)
            except PacelineError as error:
                lane.queue.popleft()
                self._refused_entry(entry, error)
                continue
            if permit is None:
                assert self._loop is not None
                lane.asking = self._loop.create_task(self._ask(lane, cost))
                lane.asking.add_done_callback(partial(self._asked, lane))
                return
            self.in_flight += 1
            lane.queue.popleft()
            self._let_go(lane, entry, permit)

    async def _ask(self, lane: _Lane, cost: Cost) -> None:
        """Waits, with a place held, for a scope's next permit and gives it to whoever is first by then."""
        try:
            permit: Permit = await lane.line.acquire_async(cost, 0, None, True)
        except RetryLater as later:
            lane.asking = None
            self.put_lane_off(lane, later)
            return
        except PacelineError as error:
            lane.asking = None
            self._refused_entry(lane.queue.popleft(), error)
            self._pump(lane)
            return
        lane.asking = None
        if lane.queue and self.in_flight < self.concurrency:
            self.in_flight += 1
            self._let_go(lane, lane.queue.popleft(), permit)
        else:
            permit.cancel()
        self._pump(lane)

    def _asked(self, lane: _Lane, task: asyncio.Task[None]) -> None:
        if lane.asking is task:  # cancelled, perhaps before its first step, or broken: nobody has given its place on
            lane.asking = None
        if not task.cancelled():
            self._break(task.exception())

    def _break(self, error: BaseException | None) -> None:
        if error is not None and self._broken is None:
            self._broken = error
            self.halt()

    def _let_go(self, lane: _Lane, entry: Request | asyncio.Future[Permit], permit: Permit) -> None:
        if isinstance(entry, asyncio.Future):
            if entry.done():  # cancelled while it waited
                permit.cancel()
                self.give_place()
            else:
                entry.set_result(permit)
            return
        assert self._loop is not None
        ride = _Ride(self, lane, entry, permit)
        task = self._loop.create_task(ride.run())
        self._rides[task] = ride
        task.add_done_callback(self._ended)

    def _refused_entry(self, entry: Request | asyncio.Future[Permit], error: PacelineError) -> None:
        """An input that can never be granted a permit (its cost is above the quota): a record with an error."""
        if isinstance(entry, asyncio.Future):
            entry.set_exception(error)
            return
        self._close(entry)
        self.finish(Result(entry, None, (), None, 0, 0.0, 0.0, str(error)))

    async def again(self, lane: _Lane, cost: Cost, *, last: bool = False) -> Permit:
        """Another permit for a request that was sent before: it goes ahead of all that were not, but for one.

        Were it always the first, a request that is refused for its own sake would be the one to probe after every
        pause, and nothing else of its scope would ever be served.
        last: behind the others that were sent before, so that lists take turns page by page and none waits until
        another is through; new ones begin only when no list waits, so that few are under way.
        """
        if lane.put_off is not None:
            raise lane.put_off
        assert self._loop is not None
        turn = _Turn(cost)
        place = 1
        if last:
            behind = (n for n, entry in enumerate(lane.queue) if n and not isinstance(entry, asyncio.Future))
            place = next(behind, len(lane.queue))
        lane.queue.insert(place, turn)
        self._pump(lane)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().cancel()
                self.give_place()
            raise

    def give_place(self) -> None:
        """A place in flight is free: the next scope that waits for one goes on."""
        self.in_flight -= 1
        # A scope whose turn it is may have nothing left to send: then it is the next one's.
        while self._hungry and self.in_flight < self.concurrency and not self.draining:
            lane = self._hungry.popleft()
            lane.hungry = False
            self._pump(lane)

    def take_over(self, ride: _Ride) -> bool:
        """A request has ended: whether its task goes on with the next one, which takes over its place."""
        self._close(ride.item)
        ride.open = False
        hungry = self._hungry
        if hungry and ride.placed and not self.draining:
            lane = hungry[0]
            queue = lane.queue
            if queue and lane.asking is None and not isinstance(queue[0], asyncio.Future):
                entry = queue[0]
                try:
                    permit = lane.line.try_acquire(entry.cost, True)
                except PacelineError:
                    permit = None  # what can never be granted is sorted out where the lane is pumped
                if permit is not None:
                    queue.popleft()
                    ride.begin(lane, entry, permit)
                    if not queue:
                        lane.hungry = False
                        hungry.popleft()
                    elif len(hungry) > 1:
                        hungry.rotate(-1)  # scopes that wait for a place take turns
                    return True
        ride.leave()
        return False

    def _ended(self, task: asyncio.Task[None]) -> None:
        ride = self._rides.pop(task)
        if ride.permit is not None:
            ride.permit.cancel()  # stopped before its first step
        ride.leave()
        if ride.open:
            self._close(ride.item)
        if not task.cancelled():
            self._break(task.exception())
        elif not self.draining:
            self._break(RuntimeError("a request was cancelled from outside of the engine"))

    def _close(self, item: Request) -> None:
        """One input is no longer open."""
        self._open -= 1
        if item.body is not None:
            if self._open_bytes >= _OPEN_BYTES:
                self._wake()
            self._open_bytes -= len(item.body)
        if not self._open % _NEWS or self._fed or self.draining:
            self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()

    def weighed(self, item: Request) -> Request:
        """An input that names no cost, with the one that the policy reckons."""
        assert self.policy.cost_of is not None
        cost = self.policy.cost_of(item.method, item.url, item.body)
        return item if cost is None else item._replace(cost=cost)

    def lane_of(self, url: str, headers: Mapping[str, str], method: str = "GET") -> _Lane:
        """The lane of a request's scope."""
        # The common case: an input that adds no header carries the job's own mapping.
        credential = self.credential if headers is self.headers else credential_of(headers)
        policy = self.policy
        bucket = policy.bucket_of(method, url) if policy.scope_by_url else None
        key = (url[: url.find("/", 8)], credential, bucket)
        lane = self._lanes_by_origin.get(key)
        if lane is None:
            scope = policy.scope_of(url, credential, method=method)
            lane = self._lanes.get(scope)
            if lane is None:
                if len(self._lanes) >= self._crowded:
                    self._sweep()
                rules = Rules(
                    retry=self.policy.retry,
                    read=policy.reader(),
                    scope=scope,
                    slow_budget=True,
                    events="notable" if self.tally is not None else wanted(self.events),
                    refreshable=self.bearer is not None,
                    silence=_SILENCE if policy.dialect is None else None,
                )
                lane = self._lanes[scope] = _Lane(scope, self.policy.line(scope), rules)
                lane.line.behind = lane.queue
                if self.new_scope is not None:
                    self.new_scope(scope, lane.line)
            if len(self._lanes_by_origin) < _ORIGINS and "/" in url[8:]:
                self._lanes_by_origin[key] = lane
        return lane


    def _sweep(self) -> None:
        """Lets go of scopes that nothing is under way for and that have nothing left to remember."""
        riding = {ride.lane.scope for ride in self._rides.values()}
        idle = [
            scope
            for scope, lane in self._lanes.items()
            if not (lane.queue or lane.asking or lane.hungry or lane.put_off) and scope not in riding
        ]
        for scope in self.policy.forget_rested(idle):
            del self._lanes[scope]
        self._lanes_by_origin = {
            key: lane for key, lane in self._lanes_by_origin.items() if self._lanes.get(lane.scope) is lane
        }
        self._crowded = max(_CROWD, 2 * len(self._lanes))


def _next_hop(ride: _Ride, answer: Answer) -> _Target | None:
    """Where a redirect leads (RFC 9110, section 15.4); None where it names no place that can be asked."""
    answered: Any = answer.headers
    location = answered.get("Location")
    if not location or len(location) > 8192:
        return None
    try:
        url = urljoin(ride.url, location.strip()).partition("#")[0]
        old, new = urlsplit(ride.url), urlsplit(url)
        same = (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port)
    except ValueError:
        return None
    if new.scheme not in ("http", "https") or not new.hostname:
        return None
    if not url.isascii() or any(char <= " " for char in url):
        return None
    dropped: frozenset[str] = frozenset()
    if not same:
        # Another origin must not see what was meant for this one (RFC 9110, section 15.4).
        dropped = _SECRET
    method, body = ride.method, ride.body
    if method not in ("GET", "HEAD") and (answer.status == 303 or (answer.status in (301, 302) and method == "POST")):
        method, body = "GET", None
        dropped |= _ABOUT_BODY
    return _Target(method, url, _without(ride.headers, dropped, foreign=not same), body, ride.foreign or not same)


def _without(headers: Mapping[str, str], dropped: frozenset[str], *, foreign: bool) -> Mapping[str, str]:
    """The headers without those of these names, and, for another origin, without what looks secret."""
    gone = {name for name in headers if name.lower() in dropped or (foreign and is_secret_name(name))}
    return {name: value for name, value in headers.items() if name not in gone} if gone else headers
