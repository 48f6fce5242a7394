"""The engine fed from outside: inputs are handed in one by one, records go out, and no more is sent than is taken."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..credentials import AsyncCredential
from ..errors import InputError, RetryLater
from ..masking import mask_url
from ..policy import Policy, credential_of
from .api import Record
from .engine import Engine, Result
from .sender import AiohttpSender, Sender, SenderOptions
from .spec import BadInput, Defaults, Request, read_spec, url_request
from .urls import Unusable, shown

if TYPE_CHECKING:
    from ..paging import Paging
    from .engine import _Lane, _Ride

__all__ = ["Ended", "Flow", "Plan", "Taken", "Window", "Worker", "read_input"]

_BREATH: Final = 256
_WINDOW: Final = 1000
_PAGE_BYTES: Final = 64 * 1024
_WINDOW_BYTES: Final = 64 * 1024 * 1024


class Taken(NamedTuple):
    """A record on its way out; weight: bytes of the request's body, which the window counts; None: more pages come."""

    record: Record[Any]
    weight: int | None


class Ended(NamedTuple):
    """Nothing more comes out; `error` is what is to be raised then."""

    error: BaseException | None


Put = Callable[[Taken | Ended], None]


class Window:
    """How many inputs may be open, read and not given out yet: a bounded number, of bounded weight."""

    def __init__(self, concurrency: int) -> None:
        self._most = max(_WINDOW, 4 * concurrency)
        self._open = self._bytes = 0

    @property
    def full(self) -> bool:
        return self._open >= self._most or self._bytes >= _WINDOW_BYTES

    def enter(self, weight: int) -> None:
        self._open += 1
        self._bytes += weight

    def leave(self, weight: int) -> None:
        self._open -= 1
        self._bytes -= weight


def read_input(item: object, number: int, defaults: Defaults) -> Request | BadInput:
    """One URL or spec as a request; never raises for what it holds.

    >>> read_input("https://example.com/a", 1, Defaults()).url
    'https://example.com/a'
    >>> read_input({"url": "https://example.com/a", "params": {"q": 1}}, 2, Defaults()).url
    'https://example.com/a?q=1'
    >>> read_input(7, 3, Defaults()).why
    'it is of the type int, neither a URL as text nor a spec; write it like {"url": "https://api.example.com/items/1"}'
    """
    if isinstance(item, str):
        try:
            return url_request(item.strip(), number, number, b"", number, defaults)
        except Unusable as error:
            return BadInput(number, number, str(error), shown(item.strip()), b"", number)
    if not isinstance(item, Mapping):
        kind = type(item).__name__
        why = f"it is of the type {kind}, neither a URL as text nor a spec"
        return BadInput(
            number, number, f'{why}; write it like {{"url": "https://api.example.com/items/1"}}', "", b"", number
        )
    try:
        text = json.dumps(dict(item), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        why = f"the spec holds what JSON cannot: {error}"[:300]
        return BadInput(number, number, why, "", b"", number)
    read = read_spec(text, number, number, defaults)
    if isinstance(read, BadInput):
        # What numbers a file's lines says nothing here: the input itself stands beside the record.
        return read._replace(why=read.why.removeprefix(f"line {number}: "))
    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that one fetch is told, checked; `flow` begins it on the running loop."""

    policy: Policy
    options: SenderOptions
    headers: Mapping[str, str]
    concurrency: int
    redirects: int
    bearer: str | None
    paging: Paging | None = None

    def flow(self, put: Put) -> Flow:
        # No headers common to all: what a session adds by itself would follow a redirect to another host too.
        return Flow(self, AiohttpSender(self.options, {}), put)


class Flow(Engine):
    """An engine that is given its inputs by `give`, from any thread, and puts records out by `put`.

    A refused pause longer than the policy's `max_wait` lets what is in flight end, and ends the flow with RetryLater.
    Where what was put out and not taken weighs too much, places in flight are kept back until it is taken.
    """

    __slots__ = (
        "_expected", "_held_out", "_inbox", "_kept", "_kicked", "_over", "_put", "_renewing", "_taken_out", "defaults",
    )  # fmt: skip

    def __init__(self, plan: Plan, sender: Sender, put: Put) -> None:
        refresh = plan.policy.refresh
        self._renewing: set[asyncio.Task[Any]] = set()
        super().__init__(
            policy=plan.policy,
            sender=sender,
            finish=self._finish,
            concurrency=plan.concurrency,
            redirects=plan.redirects,
            events=plan.policy.events,
            bearer=None if refresh is None else AsyncCredential(self._hook(refresh), plan.bearer),
            headers=plan.headers,
            credential=credential_of(plan.headers),
        )
        self.defaults = Defaults(headers=plan.headers, paging=plan.paging)
        self._put = put
        self._inbox: deque[tuple[Any, Request | BadInput] | None] = deque()
        self._expected: dict[int, Any] = {}
        self._kicked = self._over = False
        self._kept = 0
        self._held_out = self._taken_out = 0

    def _hook(self, refresh: Callable[[], Any]) -> Callable[[], Any]:
        async def renew() -> str:
            task: Any = asyncio.current_task()
            self._renewing.add(task)
            try:
                if inspect.iscoroutinefunction(refresh):
                    value = await refresh()
                else:
                    # It may well block: it asks somebody for a token.
                    value = await asyncio.to_thread(refresh)
                    if inspect.isawaitable(value):
                        value = await value
            finally:
                self._renewing.discard(task)
            if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
                raise InputError("the policy's refresh gave no token: it must return text of printable ASCII characters")
            return value

        return renew

    # ---- in --------------------------------------------------------------------------------------

    def give(self, item: object, read: Request | BadInput) -> None:
        """Hands one input in; from any thread."""
        self._inbox.append((item, read))
        self._kick()

    def end_input(self) -> None:
        """No more inputs come; from any thread."""
        self._inbox.append(None)
        self._kick()

    def fail(self, error: BaseException) -> None:
        """Ends the flow with this error, at once; in the loop's thread."""
        if self._broken is None:
            self._broken = error
        self.halt()

    def _kick(self) -> None:
        # Read after the append, and cleared before the inbox is emptied: so no input is left lying.
        if not self._kicked and self._loop is not None:
            self._kicked = True
            try:
                self._loop.call_soon_threadsafe(self._take_in)
            except RuntimeError:
                if not self._loop.is_closed():
                    raise
                # The flow has ended meanwhile: what it ended with is the next that the consumer takes.

    def _take_in(self) -> None:
        self._kicked = False
        try:
            for _ in range(_BREATH):
                if not self._inbox or self.draining:
                    return
                entry = self._inbox.popleft()
                if entry is None:
                    self._over = True
                    self._wake()
                    return
                self._begin(*entry)
        except Exception as error:  # noqa: BLE001 - a callback of the loop: raised where the records are taken
            self.fail(error)
            return
        self._kick()

    def _begin(self, item: Any, read: Request | BadInput) -> None:
        self._expected[read.number] = item
        if isinstance(read, BadInput):
            self._finish(Result(read, None, (), None, 0, 0.0, 0.0, read.why))
            return
        if self.policy.cost_of is not None and read.cost == 1:
            read = self.weighed(read)
        lane = self.lane_of(read.url, read.headers, read.method)
        self._open += 1
        self._open_bytes += len(read.body or b"")
        lane.queue.append(read)
        self._pump(lane)

    # ---- out -------------------------------------------------------------------------------------

    def _finish(self, result: Result) -> None:
        item, body = result.item, result.body or b""
        headers: dict[str, str] = {}
        for name, value in result.headers:
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        leaf = result.leaf
        more = leaf is not None and leaf.more
        record = Record(
            id=item.id,
            url=mask_url(item.given),
            status=result.status,
            attempts=result.attempts,
            waited_s=result.waited,
            elapsed_s=result.elapsed,
            headers=headers,
            body=body,
            error=result.error,
            item=self._expected[item.number] if more else self._expected.pop(item.number),
            page=None if leaf is None else leaf.page,
        )
        self._held_out += _weight_out(record)
        self._put(Taken(record, None if more else weight_of(item)))

    def taken(self, record: Record[Any]) -> None:
        """A record was taken; from any thread, but one thread only."""
        self._taken_out += _weight_out(record)
        if self._kept and self._loop is not None:
            with suppress(RuntimeError):  # the flow has ended, and its loop is closed
                self._loop.call_soon_threadsafe(self._give_back)

    @property
    def _heavy(self) -> bool:
        return self._held_out - self._taken_out > _WINDOW_BYTES

    def give_place(self) -> None:
        """A place in flight is free; it is kept back while too much waits to be taken."""
        if not self._heavy:
            super().give_place()
            return
        self._kept += 1
        # Once more: all may have been taken meanwhile, by a thread that saw no place kept back.
        self._give_back()

    def take_over(self, ride: _Ride) -> bool:
        """A request has ended: whether its task goes on with the next one; not while too much waits to be taken."""
        if self._heavy:
            ride.leave()
        return super().take_over(ride)

    def _give_back(self) -> None:
        while self._kept and not self._heavy:
            self._kept -= 1
            super().give_place()

    def put_lane_off(self, lane: _Lane, later: RetryLater) -> None:
        """A pause that is not sat out ends the flow: what is in flight ends, nothing else leaves."""
        super().put_lane_off(lane, later)
        self.drain()

    # ---- from begin to end -------------------------------------------------------------------------

    async def serve(self) -> None:
        """Runs until all that was given has ended, or it was stopped; the last thing put out is how it ended."""
        error: BaseException | None = None
        try:
            await self._serve()
            later = self.stopped_until
            if later is not None:
                error = RetryLater(later.scope, later.until, later.wait, later.reason)
        except Exception as trouble:  # noqa: BLE001 - raised where the records are taken
            error = trouble
        except (SystemExit, KeyboardInterrupt) as trouble:
            error = trouble
            raise
        finally:
            for task in self._renewing:
                task.cancel()
            await asyncio.gather(*self._renewing, return_exceptions=True)
            await self.sender.close()
            self._put(Ended(error))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        news = self._news = asyncio.Event()
        self._kick()
        try:
            while not (self._over or self.draining):
                news.clear()
                await news.wait()
        except BaseException:
            self.halt()
            raise
        finally:
            # Nothing more comes in: the engine's own run sees the rest through, or cleans up after a stop.
            await self.run(())


def weight_of(read: Request | BadInput) -> int:
    """Bytes of an input's body."""
    return 0 if isinstance(read, BadInput) else len(read.body or b"")


def _weight_out(record: Record[Any]) -> int:
    """What a record that was not taken yet counts; pages have no window that bounds their number, so each is some."""
    return len(record.body) + (0 if record.page is None else _PAGE_BYTES)


class Worker:
    """A flow on an event loop of its own, in a thread; raises what hinders it from beginning."""

    def __init__(self, plan: Plan, put: Put) -> None:
        self._loop = _new_loop()
        ready: Future[Flow] = Future()
        # A daemon: an iteration that nobody ended must not keep the interpreter from ending.
        self._thread = threading.Thread(
            target=self._run, args=(plan, put, ready), name="paceline-fetch", daemon=True
        )
        self._thread.start()
        try:
            self.flow = ready.result()
        except BaseException:
            self._thread.join()
            raise

    def _run(self, plan: Plan, put: Put, ready: Future[Flow]) -> None:
        loop = self._loop
        try:
            loop.run_until_complete(_serve(plan, put, ready))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException as error:  # noqa: BLE001 - raised where the records are taken
            put(Ended(error))
        finally:
            loop.close()

    def stop(self) -> None:
        """Gives up what is in flight, closes all, and ends the thread."""
        try:
            self._loop.call_soon_threadsafe(self.flow.halt)
        except RuntimeError:
            # It has ended by itself, and its loop is closed.
            pass
        # Where the collector ends an iteration, it may do so in this very thread.
        if self._thread is not threading.current_thread():
            self._thread.join()


async def _serve(plan: Plan, put: Put, ready: Future[Flow]) -> None:
    try:
        flow = plan.flow(put)
    except Exception as error:  # noqa: BLE001 - raised by Worker
        ready.set_exception(error)
        return
    serving = asyncio.ensure_future(flow.serve())
    await asyncio.sleep(0)  # its loop is known from here on
    ready.set_result(flow)
    await serving


def _new_loop() -> asyncio.AbstractEventLoop:
    """A fresh event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
