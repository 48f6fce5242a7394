"""Those who wait for one scope in this process, in order, and the permits that they are given.

One queue for threads and event loops alike. Only its head has a timer: a thread that is the head sleeps to the
known moment itself, a task has its loop's timer; whoever is granted a permit grants all others that are due
and wakes the next head. So there is no polling, no background thread, and no lock is held while waiting.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from _thread import allocate_lock
from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Any, Final

from .. import events
from ..errors import AcquireTimeout, CostAboveQuota, InputError, RetryLater
from ..events import (
    CooldownBegan,
    CooldownEnded,
    Event,
    LimitLearned,
    LimitMismatch,
    Sink,
    Steered,
    StoreBack,
    StoreLost,
    StoreReplaced,
)
from ..ledger import Cost, Learned, Ledger, ScopeState
from .clock import Clock, SystemClock
from .protocol import StoreUnavailable
from .shared import OnStoreLoss, Shared
from .trio_gate import TrioGate, running_trio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Sized
    from types import TracebackType

    from ..limits import Limit
    from ..signals import Signal
    from .protocol import Store

__all__ = ["Line", "Permit"]

_LONGEST_SLEEP: Final = 60.0  # a machine that was suspended is noticed within this
_SHORTEST_TIMER: Final = 0.001  # what an event loop's timer can tell apart
_TURN: Final = 8  # of so many permits, one goes to a lower priority that waits
_FLOOR_TIME: Final = 10.0
_MOST_GROUPS: Final = 256  # of costs that one call asks slots for
_MOST_RETRIES: Final = 100.0
_SERVER: Final = frozenset({"cooldown", "quota"})
_new = object.__new__  # makes a permit in half the time of its class


class Permit:
    """The right to send one request from the moment `at` on.

    at: moment of the grant, on the scope's clock; waited: seconds that it took; reason: what was waited for.

    Use it as a context manager, or call `release` when the exchange has ended and `cancel` if nothing was sent.
    `sent` tells the moment at which the request goes on the wire: that is what a server counts.
    """

    # Defaults stand on the class: a permit that nobody waited for is three attributes, which is most of its price.
    waited: float = 0.0
    reason: str = ""
    wrote: float | None = None
    _tracked: bool = False
    _open: bool = True

    def __init__(self, line: Line, cost: Cost, at: float) -> None:
        self._line = line
        self.cost = cost
        self.at = at

    def sent(self) -> None:
        """The request goes on the wire now; later calls change nothing."""
        if self.wrote is None:
            line = self._line
            with line.lock:
                self.wrote = wrote = line.now()
                own = line.own
                only = own.only
                if only is not None and self._tracked and self.cost == 1:
                    # The short way, as `Ledger.written` has it.
                    if own._unwritten:
                        own._unwritten -= 1
                    only.written(own.only_state, self.at, wrote, 1.0)
                    if own.only_meter is not None:
                        own.only_meter.add(wrote, 1.0)
                    return
                if self._tracked:
                    line.ledger.written(self.at, wrote, self.cost)
            if line.shared is not None:
                line.tell_store(block=False)

    def release(self) -> None:
        """The exchange ended: a place in flight is free again."""
        if self._open:
            self._open = False
            line = self._line
            with line.lock:
                line.ledger.release(self.at, self.cost, self._tracked, self.wrote is not None, line.now())
                queue = line.waiting
            if line.shared is not None:
                line.tell_store()
            if queue:
                line.dispatch()

    def cancel(self) -> None:
        """Nothing was sent: gives the permit to the next who waits, or back."""
        if self._open:
            self._open = False
            line = self._line
            with line.lock:
                if self.wrote is None:
                    line.ledger.cancel(self.at, self.cost, self._tracked)
                else:
                    line.ledger.release(self.at, self.cost, self._tracked, True, line.now())
            line.dispatch()
            if line.shared is not None:
                line.tell_store()

    def settle(self, actual: Cost) -> None:
        """The cost is known now: charges or gives back the difference to what was reserved."""
        line = self._line
        with line.lock:
            line.ledger.adjust(line.now(), self.at, self.wrote, self._tracked, self.cost, actual)
            self.cost = actual
        line.dispatch()
        if line.shared is not None:
            line.tell_store()

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    async def __aenter__(self) -> Permit:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Permit cost={self.cost} waited={self.waited:.3f}s {'open' if self._open else 'closed'}>"


class _Waiter:
    """One who waits: a thread (with a lock that is free once there is news) or a task (with a future)."""

    __slots__ = (
        "armed", "at", "cost", "error", "future", "lock", "loop", "max_wait", "priority", "reason", "since", "timer", "tracked",
    )  # fmt: skip

    def __init__(self, cost: Cost, priority: int, tracked: bool, max_wait: float, since: float) -> None:
        self.cost = cost
        self.priority = priority
        self.tracked = tracked
        self.max_wait = max_wait
        self.since = since
        self.reason = ""
        self.at: float | None = None
        self.error: Exception | None = None
        self.lock: Any = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.armed: float | None = None  # the moment that its alarm is set to


class Line:
    """See the module. One object a scope and process, shared by all limiters and clients of the scope."""

    def __init__(
        self,
        scope: str,
        limits: Sequence[Limit] = (),
        *,
        max_wait: float = inf,
        retry_share: float = 0.2,
        retry_floor: int = 3,
        emit: Sink | None = None,
        clock: Clock | None = None,
        store: Store | None = None,
        share: float = 1.0,
        on_store_loss: OnStoreLoss = "share",
    ) -> None:
        self.scope = scope
        self.clock = clock if clock is not None else SystemClock()
        self.now = self.clock.now
        self.max_wait = max_wait
        self.emit = emit
        self.lock = threading.Lock()
        self.waiting = 0
        self.journal: Callable[[float, float], None] | None = None
        self._told = tuple(limits)
        self.store = store
        self.behind: Sized | None = None  # those who would leave if they could, whether or not they wait here yet
        self.shared: Shared | None = None
        self.ledger: Ledger | Shared
        # The books where this process alone keeps them; of a shared scope empty ones, which offer no short way.
        self.own = Ledger(limits if store is None else (), now=self.now(), offset=self.clock.epoch() - self.now())
        if store is None:
            self.ledger = self.own
        else:
            self.shared = self.ledger = Shared(limits, clock=self.clock, weight=share, on_loss=on_store_loss)
            self.shared.wanted = self._wanted
        self._call_task: asyncio.Task[None] | None = None
        self._tell_timer: asyncio.TimerHandle | None = None
        self._classes: dict[int, OrderedDict[_Waiter, None]] = {}
        self._turn = 0
        self._next_at: float | None = None
        self._news: list[Event] = []
        self._abandoned: list[_Waiter] = []
        self._pause_began: float | None = None
        self._retry_share = retry_share
        self._retry_floor = float(retry_floor)
        self._retries_left = float(retry_floor)
        self._retries_at = self.now()
        _lines.add(self)

    # ---- acquiring ------------------------------------------------------------------------------

    def try_acquire(self, cost: Cost = 1, tracked: bool = False) -> Permit | None:
        """A permit if one is to be had at once and nobody waits for it, else None."""
        with self.lock:
            if self.waiting:
                return None
            own = self.own
            only = own.only
            if only is not None and cost == 1:
                # The short way, as `Ledger.take` has it: in one piece, since nearly every permit takes it.
                now = self.now()
                if only.take(own.only_state, now, tracked) > now:
                    return None
                permit = _new(Permit)
                permit._line, permit.cost, permit.at = self, cost, now
                if tracked:
                    permit._tracked = True
                    own.in_flight += 1
                    own._unwritten += 1
                if self.journal is not None:
                    self.journal(1.0, now + own.offset)
                return permit
            now = self._tick()
            ledger = self.ledger
            if ledger.take(now, cost, tracked) > now:
                return None
            granted = now if self.shared is None else self.shared.granted
            if self.journal is not None:
                self.journal(cost if isinstance(cost, int | float) else 1.0, now + ledger.offset)
            if self._pause_began is not None:
                self._note_pause_end(now)
                news = self._take_news()
            else:
                news = None
        if news:
            self._tell(news)
        permit = Permit(self, cost, granted)
        permit._tracked = tracked
        return permit

    def acquire(
        self, cost: Cost = 1, priority: int = 0, timeout: float | None = None, tracked: bool = False
    ) -> Permit:
        """Blocks this thread until a permit is granted; see `Limiter.acquire`."""
        permit = self.try_acquire(cost, tracked)
        if permit is not None:
            return permit
        waiter = _Waiter(cost, priority, tracked, self.max_wait, self.now())
        waiter.lock = lock = allocate_lock()
        lock.acquire()
        deadline = None if timeout is None else waiter.since + timeout
        try:
            self._enqueue(waiter)
            while True:
                at = self.dispatch(waiter)
                if waiter.at is not None:
                    return self._granted(waiter)
                if waiter.error is not None:
                    raise waiter.error
                if self.shared is not None and self._claim():
                    self._call_store()
                    waiter.armed = None
                    continue
                now = self.now()
                if deadline is not None and now >= deadline:
                    raise AcquireTimeout(self.scope, timeout or 0.0, waiter.reason or "those before it")
                until = min(inf if at is None else at, inf if deadline is None else deadline)
                pause = None if at is None and deadline is None else min(until - now, _LONGEST_SLEEP)
                self.clock.wait(lock, pause)
                waiter.armed = None
        except BaseException:
            self._leave(waiter)
            raise

    async def acquire_async(
        self, cost: Cost = 1, priority: int = 0, timeout: float | None = None, tracked: bool = False
    ) -> Permit:
        """Waits, as a task, until a permit is granted; see `AsyncLimiter.acquire`."""
        permit = self.try_acquire(cost, tracked)
        if permit is not None:
            return permit
        if (trio := running_trio()) is not None:
            return await self._acquire_trio(TrioGate(trio), cost, priority, timeout, tracked)
        waiter = _Waiter(cost, priority, tracked, self.max_wait, self.now())
        waiter.loop = loop = asyncio.get_running_loop()
        waiter.future = loop.create_future()
        expiry: asyncio.TimerHandle | None = None
        try:
            self._enqueue(waiter)
            self.dispatch(waiter)
            if waiter.at is None and waiter.error is None:
                if timeout is not None:
                    expiry = loop.call_later(timeout, _wake, waiter.future)
                await waiter.future
            if waiter.at is None:
                raise waiter.error or AcquireTimeout(self.scope, timeout or 0.0, waiter.reason or "those before it")
            return self._granted(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        finally:
            if expiry is not None:
                expiry.cancel()

    async def _acquire_trio(
        self, gate: TrioGate, cost: Cost, priority: int, timeout: float | None, tracked: bool
    ) -> Permit:
        """As `acquire`, for a task of trio."""
        waiter = _Waiter(cost, priority, tracked, self.max_wait, self.now())
        waiter.lock = gate
        deadline = None if timeout is None else waiter.since + timeout
        try:
            self._enqueue(waiter)
            while True:
                at = self.dispatch(waiter)
                if waiter.at is not None:
                    return self._granted(waiter)
                if waiter.error is not None:
                    raise waiter.error
                if self.shared is not None and self._claim():
                    await gate.in_thread(self._call_store)
                    waiter.armed = None
                    continue
                now = self.now()
                if deadline is not None and now >= deadline:
                    raise AcquireTimeout(self.scope, timeout or 0.0, waiter.reason or "those before it")
                until = min(inf if at is None else at, inf if deadline is None else deadline)
                await gate.wait(None if at is None and deadline is None else min(until - now, _LONGEST_SLEEP))
                waiter.armed = None
        except BaseException:
            self._leave(waiter)
            raise

    def _granted(self, waiter: _Waiter) -> Permit:
        assert waiter.at is not None
        permit = Permit(self, waiter.cost, waiter.at)
        permit._tracked = waiter.tracked
        permit.waited = max(0.0, waiter.at - waiter.since)
        permit.reason = waiter.reason or "pace"
        return permit

    def _enqueue(self, waiter: _Waiter) -> None:
        with self.lock:
            queue = self._classes.get(waiter.priority)
            if queue is None:
                queue = OrderedDict()
                self._classes[waiter.priority] = queue
                self._classes = dict(sorted(self._classes.items(), reverse=True))
            queue[waiter] = None
            self.waiting += 1

    def _remove(self, waiter: _Waiter) -> bool:
        queue = self._classes.get(waiter.priority)
        if queue is None or waiter not in queue:
            return False
        del queue[waiter]
        self.waiting -= 1
        if not queue:
            del self._classes[waiter.priority]
        if waiter.timer is not None:
            waiter.timer.cancel()
            waiter.timer = None
        return True

    def _leave(self, waiter: _Waiter) -> None:
        """A waiter went away (timeout, cancellation, Ctrl-C): its place, or its permit, goes to the next."""
        with self.lock:
            waited = self._remove(waiter)
            if not waited and waiter.at is not None:
                self.ledger.cancel(waiter.at, waiter.cost, waiter.tracked)
                waiter.at = None
        self.dispatch()

    def _head(self) -> _Waiter | None:
        """Whose turn it is: the highest priority, but one permit in eight goes to whoever waits below it."""
        if not self.waiting:
            return None
        classes = self._classes
        if len(classes) == 1 or self._turn < _TURN - 1:
            return next(iter(next(iter(classes.values()))))
        lower = list(classes.values())[1:]
        return min((next(iter(queue)) for queue in lower), key=lambda waiter: waiter.since)

    # ---- granting -------------------------------------------------------------------------------

    def _tick(self) -> float:
        """The moment now; keeps the wall clock's offset fresh for windows that follow a calendar."""
        now = self.now()
        ledger = self.ledger
        if ledger.reads_epoch:
            ledger.offset = self.clock.epoch() - now
        return now

    def dispatch(self, caller: _Waiter | None = None) -> float | None:
        """Grants every permit that is due, in order, and sets the next head's alarm.

        Returns, for a caller that is now the head, the moment until which it may sleep.
        """
        woken: list[_Waiter] = []
        moment: float | None = None
        calls: asyncio.AbstractEventLoop | None = None
        with self.lock:
            now = self._tick()
            ledger, shared = self.ledger, self.shared
            while self._abandoned:
                gone = self._abandoned.pop()
                if not self._remove(gone) and gone.at is not None:
                    ledger.cancel(gone.at, gone.cost, gone.tracked)
            head = self._head()
            while head is not None:
                if head.loop is not None and head.loop.is_closed():
                    self._remove(head)  # its loop is gone, and the task with it
                    head = self._head()
                    continue
                try:
                    at = ledger.take(now, head.cost, head.tracked)
                except CostAboveQuota as error:
                    head.error = error  # limits lowered while it waited: its own error, nobody else's
                else:
                    if at <= now:
                        self._turn = 0 if self._turn >= _TURN - 1 or len(self._classes) == 1 else self._turn + 1
                        head.at = now if shared is None else shared.granted
                        if self.journal is not None:
                            self.journal(head.cost if isinstance(head.cost, int | float) else 1.0, now + ledger.offset)
                    elif at - now > head.max_wait and ledger.held_by in _SERVER and at < inf:
                        head.error = RetryLater(self.scope, at + ledger.offset, at - now, ledger.held_by)
                    else:
                        head.reason = ledger.held_by
                        self._next_at = moment = at
                        break
                self._remove(head)
                if head is not caller:
                    woken.append(head)
                head = self._head()
            else:
                self._next_at = None
            if shared is not None and head is not None and moment is not None:
                if shared.wants_call and not shared.calling and (calls := _running_loop()) is not None:
                    shared.calling, shared.wants_call = True, False
                moment = shared.wake(now, moment)
            if head is not None and moment is not None:
                self._alarm(head, now, moment, head is caller)
            if self._pause_began is not None:
                self._note_pause_end(now)
            news = self._take_news()
        if calls is not None:
            self._call_task = calls.create_task(self._acall_store())
        for waiter in woken:
            self._notify(waiter)
        self._tell(news)
        return moment if head is caller else None

    def _alarm(self, head: _Waiter, now: float, moment: float, awake: bool) -> None:
        """Sets the head's alarm: a thread sleeps to it itself, a task has a timer on its own loop."""
        if head.armed is not None and head.armed <= moment:
            return  # it looks again in time
        if head.loop is None:
            if awake:
                head.armed = moment
            else:
                self._notify(head)
        elif head.loop is _running_loop():
            if head.timer is not None:
                head.timer.cancel()
                head.timer = None
            if moment < inf:
                head.armed = moment
                delay = min(max(moment - now, _SHORTEST_TIMER), _LONGEST_SLEEP)
                head.timer = head.loop.call_later(delay, self._due, head)
        else:
            self._call(head, self.dispatch)

    def _due(self, head: _Waiter) -> None:
        head.timer = head.armed = None
        self.dispatch()

    def _notify(self, waiter: _Waiter) -> None:
        if waiter.loop is None:
            if waiter.lock.locked():
                try:
                    waiter.lock.release()
                except RuntimeError:
                    return  # another thread was quicker to wake it: it is awake
        elif waiter.loop is _running_loop():
            _wake(waiter.future)
        else:
            self._call(waiter, _wake, waiter.future)

    def _call(self, waiter: _Waiter, action: Any, *args: Any) -> None:
        try:
            assert waiter.loop is not None
            waiter.loop.call_soon_threadsafe(action, *args)
        except RuntimeError:
            # Its loop was closed just now, and the task with it: nobody will take what it was given.
            self._abandoned.append(waiter)

    # ---- the store ------------------------------------------------------------------------------

    def _wanted(self) -> int:
        return max(self.waiting, len(self.behind or ()))

    def _demand(self) -> tuple[list[list[Any]], int]:
        """What to book in the store: for those who wait, in order, beyond what is in hand, and a little ahead."""
        shared = self.shared
        assert shared is not None
        groups: list[list[Any]] = []
        shared.priority = next(iter(self._classes), 0)
        covered = shared.in_hand
        skipped = 0
        cost: Cost = 1
        tracked = True
        for queue in self._classes.values():
            for waiter in queue:
                cost, tracked = waiter.cost, waiter.tracked
                if skipped < covered:
                    skipped += 1
                elif groups and groups[-1][0] == cost and groups[-1][2] == int(tracked):
                    groups[-1][1] += 1
                else:
                    groups.append([cost, 1, int(tracked)])
        backlog = len(self.behind or ())
        if backlog > max(self.waiting, covered) and cost == 1:
            behind = backlog - max(self.waiting, covered)
            if groups:
                groups[-1][1] += behind
            else:
                groups.append([1, behind, int(tracked)])
        more = shared.ahead() - max(self.waiting, covered, backlog) if self.behind is None and self.waiting and cost == 1 else 0
        return groups[:_MOST_GROUPS], max(0, more)

    def _claim(self) -> bool:
        """Whether this thread is to call the store now."""
        shared = self.shared
        assert shared is not None
        with self.lock:
            if shared.calling or not shared.wants_call:
                return False
            shared.calling, shared.wants_call = True, False
            return True

    def _call_store(self) -> None:
        """One call, on this thread, for all who wait; `calling` is held and given up."""
        shared, store = self.shared, self.store
        assert shared is not None and store is not None  # noqa: PT018
        steps = shared.steps(self._demand)
        reply: Any = None
        try:
            while True:
                with self.lock:
                    message = steps.send(reply)
                try:
                    reply = store.call(self.scope, message)
                except StoreUnavailable as error:
                    reply = error
        except StopIteration:
            pass
        except InputError as error:
            self._fail_all(error)
        finally:
            with self.lock:
                shared.calling = False
            self.dispatch()

    async def _acall_store(self) -> None:
        """One call, as a task of its own: no waiter that is cancelled takes it along."""
        shared, store = self.shared, self.store
        assert shared is not None and store is not None  # noqa: PT018
        steps = shared.steps(self._demand)
        reply: Any = None
        try:
            while True:
                with self.lock:
                    message = steps.send(reply)
                try:
                    reply = await store.acall(self.scope, message)
                except StoreUnavailable as error:
                    reply = error
        except StopIteration:
            pass
        except InputError as error:
            self._fail_all(error)
        finally:
            with self.lock:
                shared.calling = False
            self.dispatch()
            self.tell_store()

    async def leave_store(self) -> None:
        """Gives back what is in hand, and tells what others must know, before this loop ends."""
        shared = self.shared
        if shared is None:
            return
        self.behind = None
        if self._call_task is not None:
            await asyncio.gather(self._call_task, return_exceptions=True)
        with self.lock:
            if shared.calling or not shared.leave():
                return
            shared.calling = True
        await self._acall_store()

    def _fail_all(self, error: InputError) -> None:
        """What the store holds cannot be used: everyone who waits is told so."""
        with self.lock:
            waiters = [waiter for queue in self._classes.values() for waiter in queue]
            for waiter in waiters:
                waiter.error = error
                self._remove(waiter)
        for waiter in waiters:
            self._notify(waiter)

    def tell_store(self, block: bool = True) -> None:
        """Sees to it that the store hears in time what others must know: now, or by a timer of the running loop.

        Without a loop a thread tells it itself, unless it must not `block`.
        """
        shared = self.shared
        if shared is None or shared.flush_at == inf:
            return
        loop = _running_loop()
        with self.lock:
            wait = shared.flush_at - self.now()
            if wait > 0 or (loop is None and not block):
                if loop is not None and wait < inf and self._tell_timer is None:
                    self._tell_timer = loop.call_later(max(wait, _SHORTEST_TIMER), self._tell_now)
                return
            if shared.calling:
                return
            shared.calling = True
        if loop is not None:
            self._call_task = loop.create_task(self._acall_store())
        else:
            self._call_store()

    def _tell_now(self) -> None:
        self._tell_timer = None
        self.tell_store()

    # ---- learning -------------------------------------------------------------------------------

    def learn(self, permit: Permit, signal: Signal, status: int) -> Learned:
        """Feeds one answer's signal back to the scope; everyone who waits feels it."""
        with self.lock:
            self._retries_left += self._retry_share
            now = self._tick()
            # By the grant, not by the write: what was granted before a pause belongs to what began it.
            learned = self.ledger.learn(now, permit.at, permit.cost, signal, status)
            if learned.began:
                self._pause_began = now
                reason = f"{self.ledger.cooling[1] if self.ledger.cooling else 'refused'} (status {status})"
                self._news.append(
                    CooldownBegan(
                        at=now + self.ledger.offset, scope=self.scope, until=learned.until, seconds=learned.wait, reason=reason
                    )
                )
            if learned.mismatch:
                limits = ", ".join(str(limit) for limit in self._told) or "none told"
                self._news.append(
                    LimitMismatch(at=now + self.ledger.offset, scope=self.scope, limit=limits, action=learned.mismatch)
                )
            if learned.learned:
                self._news.append(
                    LimitLearned(
                        at=now + self.ledger.offset, scope=self.scope, limit=learned.learned, before=learned.before
                    )
                )
            waiting = self.waiting
            news = self._take_news() if not waiting else []
        if waiting:
            self.dispatch()
        elif news:
            self._tell(news)
        if self.shared is not None:
            self.tell_store()
        return learned

    def served(self, permit: Permit, signal: Signal) -> None:
        """`learn` and `release` in one, for a written permit whose answer was served and says nothing of limits."""
        permit._open = False
        with self.lock:
            self._retries_left += self._retry_share
            own = self.own
            if own.calm and permit.cost == 1 and not self.waiting:
                # The short way, as `Ledger.served` has it.
                own._last_served = self.now()
                if permit.at >= own._served_since:
                    own._served += 1.0
                if own.in_flight:
                    own.in_flight -= 1
                return
            self.ledger.served(self._tick(), permit.at, permit.cost, signal)
            waiting = self.waiting
            news = self._take_news() if self._news and not waiting else None
        if waiting:
            self.dispatch()
        elif news:
            self._tell(news)
        if self.shared is not None:
            self.tell_store()

    def may_retry(self) -> bool:
        """Spends one retry of the scope's budget, if there is one left.

        The budget is a share of the calls answered; a floor of a few comes back within ten seconds, so that a
        scope with hardly any traffic can still retry.
        """
        with self.lock:
            now = self.now()
            if self._retries_left < self._retry_floor:
                grown = self._retries_left + (now - self._retries_at) * self._retry_floor / _FLOOR_TIME
                self._retries_left = min(self._retry_floor, grown)
            self._retries_at = now
            self._retries_left = min(self._retries_left, _MOST_RETRIES)
            if self._retries_left < 1:
                return False
            self._retries_left -= 1
            return True

    def _note_pause_end(self, now: float) -> None:
        cooling = self.ledger.cooling
        if self._pause_began is not None and (cooling is None or cooling[0] <= now):
            self._news.append(CooldownEnded(at=now + self.ledger.offset, scope=self.scope, lasted=now - self._pause_began))
            self._pause_began = None

    def _hear(self, shared: Shared) -> None:
        """What the store, or other workers through it, have told meanwhile."""
        at = self.now() + shared.offset
        for kind, facts in shared.heard:
            if kind == "lost":
                self._news.append(StoreLost(at=at, scope=self.scope, error=facts, then=shared.on_loss))
            elif kind == "back":
                self._news.append(StoreBack(at=at, scope=self.scope, lasted=facts))
            elif kind == "anew":
                self._news.append(StoreReplaced(at=at, scope=self.scope, reason=facts))
            elif kind == "steered":
                until = facts.until if facts.until is not None and facts.until < inf else None
                said = facts._replace(until=until)._asdict()
                self._news.append(Steered(at=at, scope=self.scope, **said))
            else:
                learned, status = facts
                if learned.began:
                    self._pause_began = self.now()
                    why = f"another worker was refused (status {status})"
                    self._news.append(
                        CooldownBegan(at=at, scope=self.scope, until=learned.until, seconds=learned.wait, reason=why)
                    )
                if learned.learned:
                    self._news.append(
                        LimitLearned(at=at, scope=self.scope, limit=learned.learned, before=learned.before)
                    )
        shared.heard.clear()

    def _take_news(self) -> list[Event]:
        if self.shared is not None and self.shared.heard:
            self._hear(self.shared)
        if not self._news:
            return self._news
        news, self._news = self._news, []
        return news

    def _tell(self, news: list[Event]) -> None:
        # Outside the lock: a sink may do anything, even ask this line for its state.
        for event in news:
            if events.listeners:
                events.tell_listeners(event)
            if self.emit is not None:
                self.emit(event)

    # ---- steering -------------------------------------------------------------------------------

    def update(self, limits: Sequence[Limit]) -> None:
        """Puts other limits in force; those who wait are timed anew."""
        with self.lock:
            self._told = tuple(limits)
            self.ledger.update(limits, self._tick())
        self.dispatch()
        self.tell_store()

    def pause(self, seconds: float = inf) -> None:
        """Lets nothing more go for `seconds`, or until `resume`."""
        with self.lock:
            self.ledger.pause(self.now() + seconds)
        self.dispatch()
        self.tell_store()

    def resume(self) -> None:
        """Ends a pause, whoever began it."""
        with self.lock:
            self.ledger.resume(self.now())
        self.dispatch()
        self.tell_store()

    def rested(self) -> bool:
        """Whether nobody waits here and nothing is left to remember, so that it may be made anew when it is wanted."""
        with self.lock:
            return isinstance(self.ledger, Ledger) and not self.waiting and self.ledger.rested(self._tick())

    def state(self) -> ScopeState:
        """How the scope stands now."""
        with self.lock:
            return self.ledger.look(self._tick(), self.waiting, self._next_at if self.waiting else None)

    def export(self) -> dict[str, Any]:
        """What a later run must know of this one's departures (small, JSON)."""
        with self.lock:
            now = self.now()
            # What another process reads is told in the wall clock's time as it is now.
            self.ledger.offset = self.clock.epoch() - now
            return self.ledger.export(now)

    def restore(self, saved: Mapping[str, Any], permits: float = 0.0, last: float = 0.0) -> None:
        """Takes over what `export` gave; `permits` more had gone since, the last at `last` (epoch seconds)."""
        with self.lock:
            now = self._tick()
            self.ledger.restore(saved, now)
            if permits > 0:
                self.ledger.charge(permits, min(now, last - self.ledger.offset))

    def _begin_anew_after_fork(self) -> None:
        """In a forked child: nobody waits here, nothing is in flight, and the lock is whole."""
        self.lock = threading.Lock()
        self._classes = {}
        self.waiting = self._turn = 0
        self._next_at = self._pause_began = None
        self._news, self._abandoned = [], []
        self.journal = None
        self._call_task = self._tell_timer = None
        if self.shared is not None:
            self.shared.begin()
        else:
            self.own = self.ledger = Ledger(self._told, now=self.now(), offset=self.clock.epoch() - self.now())


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


_running_loop = asyncio._get_running_loop
_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _after_fork() -> None:
    for line in list(_lines):
        line._begin_anew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
