"""One worker's part of a job that runs on many: an engine that takes inputs, and gives results, by turns.

The process that runs the job keeps the inputs, OUT and its checkpoint (`spread`); a seat only sends. Whoever carries
the turns between the two (Dask, a test) need only carry two kinds of values, `Turn` there and `Came` back.

A request keeps its place in flight until its result was taken, which is told with the next turn: so a worker that is
killed, or cut off for good, catches no more requests sent and not recorded than it has places.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ..errors import PacelineError, RetryLater
from ..masking import mask_text
from ..policy import credential_of
from .engine import Engine, Result
from .spec import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..credentials import AsyncCredential, Held
    from ..events import Event
    from ..policy import Policy
    from .engine import _Lane, _Ride
    from .paging import Leaf
    from .sender import Sender

__all__ = ["Came", "Given", "Order", "Outcome", "Seat", "Turn"]

_LEASE: Final = 30.0  # seconds without a turn, after which nobody is there any more
_GATHER: Final = 0.004  # seconds that a turn waits for more results once there is one
_HEAVY: Final = 8 * 1024 * 1024  # bytes of bodies that one turn carries; the rest goes with the next


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Order:
    """What a seat is told once. headers: those that most requests carry. debug: every event is wanted, not only counts.

    renews: the process that runs the job holds a bearer token, and lends it.
    """

    policy: Policy
    make_sender: Callable[[Mapping[str, str]], Sender]
    headers: Mapping[str, str] = field(default_factory=dict)
    redirects: int = 10
    debug: bool = False
    renews: bool = False

    def __repr__(self) -> str:
        return f"Order({self.policy!r})"  # headers and a proxy's address may hold secrets


class Given(NamedTuple):
    """One input on its way to a seat; headers: None for those that are the order's. place: how far its list has come."""

    number: int
    method: str
    url: str
    headers: Mapping[str, str] | None
    body: bytes | None
    cost: Any
    paging: Any = None
    place: Any = None

    def __repr__(self) -> str:
        return f"Given({self.number})"


class Turn(NamedTuple):
    """What a seat is told in one turn.

    taken: how many results of earlier turns have been recorded since the last turn. places: how many requests may be
    in flight or unrecorded from now on. patience: seconds to wait for something to tell.
    """

    inputs: tuple[Given, ...] = ()
    taken: int = 0
    places: int = 1
    patience: float = 0.25

    def __repr__(self) -> str:
        return f"Turn({len(self.inputs)} inputs, {self.places} places)"


class Outcome(NamedTuple):
    """A result on its way back: `Result`, with the number of its input."""

    number: int
    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    attempts: int
    waited: float
    elapsed: float
    error: str | None
    leaf: Leaf | None

    def __repr__(self) -> str:
        return f"Outcome({self.number}, {self.status})"


class Came(NamedTuple):
    """What a seat tells in one turn.

    left: numbers of inputs that it has let go of without a result: put off, or drained. sent, waited: for the tally.
    pauses: those that are not sat out. in_flight: places taken. free: places are free, though there are inputs.
    refused: the version of the lent credential that was refused, -1 for the first one; None: none is asked for.
    waiting: what the next one waits for, and until when. now: the seat's clock. ended: nothing is under way and
    nothing will be. error: what broke it.
    """

    results: tuple[Outcome, ...] = ()
    left: tuple[int, ...] = ()
    sent: tuple[tuple[str, float, int | None, str | None], ...] = ()
    waited: tuple[tuple[str, float, str], ...] = ()
    events: tuple[Event, ...] = ()
    pauses: tuple[RetryLater, ...] = ()
    in_flight: int = 0
    free: bool = False
    refused: int | None = None
    waiting: tuple[str | None, float | None] = (None, None)
    now: float = 0.0
    ended: bool = False
    error: Exception | None = None


class _Lent:
    """A bearer token that another process holds and renews; speaks as `AsyncCredential` does."""

    def __init__(self, ask: Callable[[int], None]) -> None:
        self._ask = ask
        self._held: Held[str] | None = None
        self._flight: asyncio.Future[None] | None = None

    async def get(self) -> Held[str]:
        while self._held is None or self._flight is not None:
            await self._fly(-1)
        return self._held

    async def renew(self, refused: int) -> bool:
        if self._held is None or self._held.version <= refused:
            await self._fly(refused)
        return self._held is not None and self._held.version > refused

    async def _fly(self, refused: int) -> None:
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_future()
            self._ask(refused)
        await asyncio.shield(self._flight)

    def lend(self, held: Held[str]) -> None:
        self._held = held
        flight, self._flight = self._flight, None
        if flight is not None and not flight.done():
            flight.set_result(None)


class Seat(Engine):
    """See the module. Made, served and asked on one event loop; `serve` runs it to its end."""

    __slots__ = (
        "_closing", "_events", "_expected", "_gone", "_heard_at", "_kept", "_lent", "_out", "_over", "_paused", "_refused", "_renewals",
        "_sent", "_something", "_trouble", "_turning", "_untaken", "_waited",
    )  # fmt: skip

    def __init__(self, order: Order, sender: Sender) -> None:
        self._lent = _Lent(self._ask_for_credential) if order.renews else None
        order.policy.events = self._hear if order.debug else _quiet(self._hear)
        super().__init__(
            policy=order.policy,
            sender=sender,
            finish=self._finish,
            concurrency=0,
            redirects=order.redirects,
            events=order.policy.events,
            tally=None if order.debug else self,
            bearer=cast("AsyncCredential[str] | None", self._lent),
            headers=order.headers,
            credential=credential_of(order.headers),
        )
        self._loop = asyncio.get_running_loop()
        self._out: list[Outcome] = []
        self._expected: set[int] = set()
        self._gone: list[int] = []
        self._sent: list[tuple[str, float, int | None, str | None]] = []
        self._waited: list[tuple[str, float, str]] = []
        self._events: list[Event] = []
        self._paused: list[RetryLater] = []
        self._refused: int | None = None
        self._untaken = self._kept = self._turning = 0
        self._something = asyncio.Event()
        self._over = asyncio.Event()
        self._closing = False
        self._trouble: Exception | None = None
        self._heard_at = _now()

    # ---- what the engine tells -------------------------------------------------------------------

    def sent(self, scope: str, at: float, status: int | None, error: str | None = None) -> None:
        """As `Tally.sent`."""
        self._sent.append((scope, at, status, error))

    def waited(self, scope: str, seconds: float, reason: str) -> None:
        """As `Tally.waited`."""
        self._waited.append((scope, seconds, reason))

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        self._something.set()

    def _ask_for_credential(self, refused: int) -> None:
        self._refused = refused
        self._something.set()

    def _finish(self, result: Result) -> None:
        number, leaf = result.item.number, result.leaf
        if leaf is None or not leaf.more:
            self._expected.discard(number)
            self.places.pop(number, None)
        self._out.append(
            Outcome(
                number, result.status, tuple(result.headers), result.body, result.attempts, result.waited, result.elapsed,
                result.error, leaf,
            )
        )  # fmt: skip
        self._untaken += 1
        self._something.set()

    def _close(self, item: Request) -> None:
        super()._close(item)
        # Whether it has a result is known once the engine has come to rest: some are closed before they are finished.
        self._gone.append(item.number)
        self._something.set()

    def put_lane_off(self, lane: _Lane, later: RetryLater) -> None:
        """As in an engine; the process that runs the job is told."""
        if lane.put_off is None:
            self._paused.append(later)
        super().put_lane_off(lane, later)

    # ---- places: kept until results are taken ----------------------------------------------------

    def give_place(self) -> None:
        """A place in flight is free: kept back while the result of what was in it is not taken."""
        if self._kept < self._untaken:
            self._kept += 1
        else:
            super().give_place()

    def take_over(self, ride: _Ride) -> bool:
        """A request has ended; its place is not the next one's yet."""
        ride.leave()
        return super().take_over(ride)

    def _set_places(self, places: int, taken: int) -> None:
        self._untaken -= taken
        self.concurrency = places
        while self._kept > self._untaken:
            self._kept -= 1
            super().give_place()
        self.in_flight += 1
        super().give_place()  # whoever waits for a place looks again: there may be more of them than before

    # ---- turns -----------------------------------------------------------------------------------

    async def turn(self, turn: Turn) -> Came:
        """Takes inputs in, and tells what has come of those before, once there is something to tell."""
        self._turning += 1
        try:
            return await self._turn(turn)
        finally:
            self._turning -= 1

    async def _turn(self, turn: Turn) -> Came:
        self._heard_at = _now()
        if not self._over.is_set():
            try:
                self._set_places(turn.places, turn.taken)
                for given in turn.inputs:
                    self._begin(given)
            except Exception as error:  # noqa: BLE001 - told with this very turn
                self._fail(error)
        else:
            self._gone.extend(given.number for given in turn.inputs)
            self._expected.update(given.number for given in turn.inputs)
        if not self._telling():
            self._something.clear()
            try:
                await asyncio.wait_for(self._something.wait(), turn.patience)
            except TimeoutError:
                pass  # nothing to tell but that all is well
        if self._out and len(self._out) * 2 < self.concurrency and not self._over.is_set():
            await asyncio.sleep(_GATHER)
        self._heard_at = _now()
        return self._tell()

    def _telling(self) -> bool:
        return bool(self._out or self._gone or self._refused is not None or self._over.is_set())

    def _tell(self) -> Came:
        weight = count = 0
        for count, outcome in enumerate(self._out, 1):  # noqa: B007 - how many go along
            weight += len(outcome.body or b"")
            if weight > _HEAVY:
                break
        results, self._out = tuple(self._out[:count]), self._out[count:]
        gone, self._gone = self._gone, []
        left = tuple(number for number in gone if number in self._expected)
        self._expected.difference_update(left)
        came = Came(
            results,
            left,
            tuple(self._sent),
            tuple(self._waited),
            tuple(self._events),
            tuple(self._paused),
            self.in_flight,
            self.in_flight < self.concurrency,
            self._refused,
            self.waiting(),
            time.time(),
            self._over.is_set() and not self._out,
            self._trouble,
        )
        self._sent.clear()
        self._waited.clear()
        self._events.clear()
        self._paused.clear()
        self._refused = None
        return came

    def _begin(self, given: Given) -> None:
        headers = given.headers
        if headers is None:
            assert self.headers is not None
            headers = self.headers
        item = Request(
            given.number, given.number, given.method, given.url, headers, given.body, given.cost, given.url, b"", given.number, given.paging
        )
        self._expected.add(item.number)
        if given.place is not None:
            self.places[item.number] = given.place
        if self.policy.cost_of is not None and item.cost == 1:
            item = self.weighed(item)
        lane = self.lane_of(item.url, item.headers, item.method)
        if self.draining or lane.put_off is not None:
            self._gone.append(item.number)
            return
        self._open += 1
        self._open_bytes += len(item.body or b"")
        lane.queue.append(item)
        self._pump(lane)

    def lend(self, held: Held[str]) -> None:
        """Hands over the credential that was asked for."""
        if self._lent is not None:
            self._lent.lend(held)

    def __repr__(self) -> str:
        return f"<Seat, {self._open} open, {self.in_flight} of {self.concurrency} in flight>"

    def close(self) -> None:
        """Nobody wants anything more: gives up what is in flight, and ends `serve`."""
        self._closing = True
        self.halt()
        self._something.set()

    def _fail(self, error: Exception) -> None:
        if self._broken is None:
            self._broken = error
        self.halt()

    def drain(self) -> None:
        """Lets what is in flight end, and nothing else leave."""
        super().drain()
        self._something.set()

    # ---- from begin to end -----------------------------------------------------------------------

    async def serve(self) -> None:
        """Runs until it is closed, or nobody has taken a turn for 30 s; closes its connections."""
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001 - told with the next turn
            self._trouble = error if isinstance(error, PacelineError) else _described(error)
        try:
            self._over.set()
            self._something.set()
            while self._turning or not (self._closing or not self._attended()):  # noqa: ASYNC110 - a lease that runs out is no event
                await asyncio.sleep(0.05)
        finally:
            await self.sender.close()
            await self.policy.aclose()

    def _attended(self) -> bool:
        return _now() - self._heard_at < _LEASE

    async def _serve(self) -> None:
        news = self._news = asyncio.Event()
        try:
            while not (self.draining or self._broken):
                news.clear()
                try:
                    await asyncio.wait_for(news.wait(), 1.0)
                except TimeoutError:
                    if not self._attended():
                        self.halt()
        except BaseException:
            self.halt()
            raise
        finally:
            # Nothing more comes in: the engine's own run sees to the end of what is under way.
            await self.run(())


def _now() -> float:
    return asyncio.get_running_loop().time()


def _quiet(hear: Callable[[Event], None]) -> Callable[[Event], None]:
    """A sink that is spared what the tally counts."""

    def notable(event: Event) -> None:
        hear(event)

    notable.debug = False  # type: ignore[attr-defined]
    return notable


def _described(error: Exception) -> PacelineError:
    """An error that crosses processes, whatever it holds."""
    told = PacelineError(f"a worker failed with {type(error).__name__}: {mask_text(str(error))[:500]}")
    told.__cause__ = error
    return told
