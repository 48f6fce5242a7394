"""The batch job's engine where the sending is done by workers: hands inputs to seats, and takes their results.

It keeps what an engine keeps for its job: which inputs are open, when all have ended, and how it is stopped. What a
lost worker had under way is handed to the others; a result counts once, whoever gives it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import OutputError
from .engine import Result
from .seat import Given, Turn
from .spec import BadInput, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping

    from ..credentials import AsyncCredential, Held
    from ..errors import RetryLater
    from ..events import Event, Sink
    from ..policy import Policy
    from ..stores.line import Line
    from .engine import Tally
    from .paging import Places
    from .seat import Came, Order

__all__ = ["Chair", "Crew", "SeatLost", "Spread"]

_LOOK_EVERY: Final = 0.5  # seconds between looks at who is there
_NOBODY: Final = 60.0  # seconds without any worker after which the job stops
_MOST_LOSSES: Final = 20  # workers lost in a row without one result between them
_NEAR: Final = 64  # inputs that a seat holds at least, beside four for each of its places
_FARTHER: Final = 20
_CHUNK: Final = 256
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_OPEN_BYTES: Final = 64 * 1024 * 1024
_SHOWN_SCOPES: Final = 64


class SeatLost(Exception):
    """A worker is gone, or cannot be reached any more."""


class Chair(Protocol):
    """One seat on one worker, from here."""

    async def turn(self, turn: Turn) -> Came:
        """One turn; raises SeatLost."""
        ...

    async def drain(self) -> None:
        """Lets what is in flight end, and nothing else leave; raises SeatLost."""
        ...

    async def lend(self, held: Held[str]) -> None:
        """Hands over a bearer token; raises SeatLost."""
        ...

    async def close(self) -> None:
        """Ends the seat, where it can be reached."""
        ...


class Crew(Protocol):
    """The workers: who is there, and how a seat is taken there."""

    async def open(self) -> None:
        """Reaches or starts the workers; raises InputError where there are none."""
        ...

    async def workers(self) -> Collection[str]:
        """The names of the workers that are there now; raises OutputError where nobody can tell any more."""
        ...

    async def seat(self, worker: str, order: Order) -> Chair:
        """Takes a seat; raises SeatLost, or InputError where the worker cannot do this job."""
        ...

    async def close(self) -> None:
        """Lets go of the workers, and ends those that `open` has started."""
        ...


@dataclass(slots=True, eq=False)
class _Post:
    """What is known here of one seat.

    given: its open inputs. places: what it was told; granted: what it may still be using. taken: results recorded that
    it was not told of. skew: seconds that its clock is ahead of ours.
    """

    worker: str
    chair: Chair
    given: dict[int, Request] = field(default_factory=dict)
    weight: int = 0
    places: int = 0
    granted: int = 0
    in_flight: int = 0
    free: bool = False
    taken: int = 0
    waiting: tuple[str | None, float | None] = (None, None)
    skew: float = 0.0
    closest: float = float("inf")
    ended: bool = False


@dataclass(slots=True, kw_only=True)
class Spread:
    """See the module. Arguments as for `Engine`; order: what each seat is told; crew: who sends."""

    crew: Crew
    order: Order
    policy: Policy
    finish: Callable[[Result], None]
    concurrency: int = 32
    events: Sink | None = None
    tally: Tally | None = None
    bearer: AsyncCredential[str] | None = None
    places: Places = field(default_factory=dict)
    draining: bool = False
    put_off: int = 0
    _posts: dict[str, _Post] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _asides: set[asyncio.Task[None]] = field(default_factory=set)
    _closings: set[asyncio.Task[None]] = field(default_factory=set)
    _again: deque[Request] = field(default_factory=deque)
    _feed: Iterator[Request | BadInput] = field(default_factory=lambda: iter(()))
    _fed: bool = False
    _pauses: list[RetryLater] = field(default_factory=list)
    _scopes: dict[str, None] = field(default_factory=dict)
    _news: asyncio.Event | None = None
    _broken: BaseException | None = None
    _halted: bool = False
    _losses: int = 0
    _someone_at: float = 0.0

    # ---- what a job asks -------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Places in flight that are taken, in all seats."""
        return sum(post.in_flight for post in self._posts.values())

    @property
    def lanes(self) -> Mapping[str, Line]:
        """The lines of the scopes met; they only tell limits here, for nothing is sent from this process."""
        return {scope: self.policy.line(scope) for scope in self._scopes}

    @property
    def stopped_until(self) -> RetryLater | None:
        """The pause that was not sat out, the one that ends first; None where there was none."""
        return min(self._pauses, key=lambda later: later.until) if self._pauses else None

    def waiting(self) -> tuple[str | None, float | None]:
        """What a request that waits is held up by, and until when (epoch seconds)."""
        return next((post.waiting for post in self._posts.values() if post.waiting[0] is not None), (None, None))

    def drain(self) -> None:
        """Lets what is in flight end, and nothing else leave."""
        self.draining = True
        for post in self._posts.values():
            self._aside(self._tell_drain(post))
        self._wake()

    def halt(self) -> None:
        """Stops at once; what is in flight is given up."""
        self.draining = self._halted = True
        self._wake()

    async def run(self, items: Iterable[Request | BadInput]) -> None:
        """Has every request sent; returns when all have ended, or were put off, or it was stopped.

        An exception of `finish` ends the run and is raised, and so is OutputError where the workers are lost for good.
        """
        self._news = asyncio.Event()
        self._feed = iter(items)
        try:
            await self.crew.open()
            self._someone_at = asyncio.get_running_loop().time()
            while not self._done():
                self._news.clear()
                if not self.draining:
                    await self._look_who_is_there()
                if self._done():
                    break
                try:
                    await asyncio.wait_for(self._news.wait(), _LOOK_EVERY)
                except TimeoutError:
                    pass  # time to look again who is there
        finally:
            self.draining = True
            tasks = [*self._tasks.values(), *self._asides]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # seats that nobody attends any more are being closed from here on
            if self._closings:
                await asyncio.wait(list(self._closings), timeout=10.0)
            await self.crew.close()
        if self._broken is not None:
            raise self._broken

    def _done(self) -> bool:
        if self._broken is not None or self._halted:
            return True
        if self.draining:
            return not self._tasks
        return self._fed and not self._again and not any(post.given for post in self._posts.values())

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()

    def _break(self, error: BaseException) -> None:
        if self._broken is None:
            self._broken = error
        self._wake()

    # ---- who is there ----------------------------------------------------------------------------

    async def _look_who_is_there(self) -> None:
        """Takes a seat at each worker that has none, and gives up those whose worker has gone."""
        there = set(await self.crew.workers())
        for worker in [worker for worker in self._tasks if worker not in there]:
            self._tasks[worker].cancel()
        for worker in sorted(there):
            if worker not in self._tasks and len(self._tasks) < self.concurrency:
                task = self._tasks[worker] = asyncio.get_running_loop().create_task(self._attend(worker))
                task.add_done_callback(partial(self._left, worker))
        now = asyncio.get_running_loop().time()
        if self._posts:
            self._someone_at = now
        elif now - self._someone_at > _NOBODY:
            raise OutputError(f"there has been no worker for {_NOBODY:g} s; run the same command again to go on")

    def _left(self, worker: str, task: asyncio.Task[None]) -> None:
        """Nobody attends a seat any more: what it had under way is handed out again, first of all."""
        self._tasks.pop(worker, None)
        post = self._posts.pop(worker, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SeatLost):
            self._break(error)
        elif post is None or not post.ended:
            self._losses += 1
            if self._losses > _MOST_LOSSES:
                self._break(
                    OutputError(f"{self._losses} workers were lost in a row, the last with: {error or 'it has gone'}; run the same command again to go on")
                )
        if post is not None:
            self._again.extendleft(reversed(post.given.values()))
            closing = asyncio.get_running_loop().create_task(_closed(post.chair))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
        self._wake()

    def _aside(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    # ---- one seat --------------------------------------------------------------------------------

    async def _attend(self, worker: str) -> None:
        """Takes turn after turn with one seat; raises SeatLost."""
        chair = await self.crew.seat(worker, self.order)
        post = self._posts[worker] = _Post(worker, chair)
        if self.draining:
            await chair.drain()
        while not post.ended:
            inputs = self._inputs_for(post)
            taken, post.taken = post.taken, 0
            places = self._places_for(post)
            began = time.time()
            came = await chair.turn(Turn(inputs, taken, places))
            self._take_in(post, came, began, time.time())
            self._wake()

    async def _tell_drain(self, post: _Post) -> None:
        try:
            await post.chair.drain()
        except SeatLost:
            pass  # whoever attends it finds out

    def _places_for(self, post: _Post) -> int:
        """A seat's part of the places; never more than those that no other seat may still be using."""
        busy = [each for each in self._posts.values() if each.given or not (self._fed or self.draining)]
        share = 0  # one that has nothing left to do leaves its places to the others
        if post in busy:
            share = max(1, self.concurrency // len(busy))
            share += self.concurrency > len(busy) and busy.index(post) < self.concurrency % len(busy)
        others = sum(each.granted for each in self._posts.values() if each is not post)
        post.places = max(0, min(share, self.concurrency - others))
        post.granted = max(post.places, post.in_flight)
        return post.places

    def _inputs_for(self, post: _Post) -> tuple[Given, ...]:
        """The next inputs for a seat: as many as keep it busy, and more while its places are free."""
        near = max(_NEAR, 4 * post.granted)
        most = near * _FARTHER if post.free and len(post.given) >= near else near
        given: list[Given] = []
        weight, weight_open = 0, sum(each.weight for each in self._posts.values())
        while (
            not self.draining
            and len(post.given) < most
            and len(given) < _CHUNK
            and weight < _CHUNK_BYTES
            and weight_open + weight < _OPEN_BYTES
        ):
            item = self._next()
            if item is None:
                break
            post.given[item.number] = item
            post.weight += len(item.body or b"")
            weight += len(item.body or b"")
            headers = None if item.headers is self.order.headers else item.headers
            place = None if item.paging is None else self.places.get(item.number)
            given.append(Given(item.number, item.method, item.url, headers, item.body, item.cost, item.paging, place))
        return tuple(given)

    def _next(self) -> Request | None:
        if self._again:
            return self._again.popleft()
        while not self._fed:
            item = next(self._feed, None)
            if item is None:
                self._fed = True
            elif isinstance(item, BadInput):
                self.finish(Result(item, None, (), None, 0, 0.0, 0.0, item.why))
            else:
                return item
        return None

    def _take_in(self, post: _Post, came: Came, began: float, ended: float) -> None:
        """What a turn brought."""
        if ended - began < post.closest:
            post.closest = ended - began
            skew = came.now - (began + ended) / 2
            # Within what the journey took, clocks cannot be told apart: as a rule they are one machine's.
            post.skew = skew if abs(skew) > post.closest else 0.0
        for outcome in came.results:
            post.taken += 1
            leaf = outcome.leaf
            more = leaf is not None and leaf.more
            item = post.given.get(outcome.number) if more else self._closed(post, outcome.number)
            if item is not None:
                self._losses = 0
                self.finish(
                    Result(item, outcome.status, outcome.headers, outcome.body, outcome.attempts, outcome.waited, outcome.elapsed, outcome.error, leaf)
                )
        for number in came.left:
            if self._closed(post, number) is not None:
                self.put_off += 1
        self._pauses.extend(came.pauses)
        if self.tally is not None:
            for scope, at, status, error in came.sent:
                self._note_scope(scope)
                self.tally.sent(scope, at - post.skew, status, error)
            for scope, seconds, reason in came.waited:
                self.tally.waited(scope, seconds, reason)
        if self.events is not None:
            for event in came.events:
                self._note_scope(event.scope)
                self.events(_at_our_clock(event, post.skew))
        post.in_flight, post.free, post.waiting = came.in_flight, came.free, came.waiting
        post.granted = max(post.places, post.in_flight)
        post.ended = came.ended
        if came.error is not None:
            raise came.error
        if came.refused is not None:
            self._aside(self._renew(post, came.refused))

    def _closed(self, post: _Post, number: int) -> Request | None:
        item = post.given.pop(number, None)
        if item is not None:
            post.weight -= len(item.body or b"")
        return item

    def _note_scope(self, scope: str) -> None:
        if scope not in self._scopes and len(self._scopes) < _SHOWN_SCOPES:
            self._scopes[scope] = None

    async def _renew(self, post: _Post, refused: int) -> None:
        """A seat asks for the bearer token, or for a fresher one: renewed once for all seats."""
        assert self.bearer is not None
        try:
            if refused >= 0:
                await self.bearer.renew(refused)
            await post.chair.lend(await self.bearer.get())
        except SeatLost:
            pass  # whoever attends it finds out
        except Exception as error:  # noqa: BLE001 - raised by `run`, as an engine would
            self._break(error)


async def _closed(chair: Chair) -> None:
    try:
        await chair.close()
    except SeatLost:
        pass  # gone: as it should be


def _at_our_clock(event: Event, skew: float) -> Event:
    """An event of another machine, with the moment that it was by this machine's clock."""
    return event if not skew else replace(event, at=event.at - skew)
