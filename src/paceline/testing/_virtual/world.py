"""The rule of virtual time: who waits for what, and when the clock may jump.

Every thread of the block is running or waiting: until a moment, for news, or for one of its file descriptors.
The clock stands while any of them runs. When all wait, the conductor looks, in this order:

1. Something to read has come for one who waits: it is about to run; the clock stands.
2. Bytes are on their way from one socket of this process to another: the clock stands until they are there.
3. Somebody waits for a server outside of the block: time goes on at its real pace, until an answer comes.
4. Else nothing but time can move anyone: the clock jumps to the earliest moment that is waited for.

Whoever wakes another counts it as running before it goes to sleep itself, so that there is no moment at which all
seem to wait and one is about to run. A thread that blocks where there is no stand-in counts as running, unless the
kernel says that it sleeps on a lock (see `kernel`): then only one of the others can wake it.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import traceback
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ...errors import PacelineError
from . import kernel, real
from .traffic import Traffic
from .waits import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .waits import Kind

__all__ = ["Party", "Stalled", "World", "active", "here", "nanoseconds"]

_RECHECK: Final = 0.02  # whoever has something to read wakes by itself; looked at again all the same
_TRANSIT: Final = 0.0002
_STALLED_TRANSIT: Final = 0.25  # bytes that do not move for so long wait for a reader, not for the network
_SAMPLE: Final = 0.002
_LONGEST_SAMPLE: Final = 0.05
_ASLEEP: Final = 0.05  # ten times what a thread waits at most, at once, for the interpreter's lock
_BACKSTAGE: Final = ("paceline-test-server", "paceline-test-proxy", "paceline-proxy")


class Stalled(PacelineError):
    """Virtual time stood still for too long: a thread of the block waits for something that has no stand-in."""


class Party:
    """A thread of the block, and what it waits for."""

    __slots__ = (
        "asleep", "backstage", "ended", "fds", "gate", "name", "native", "news", "stalled", "thread", "until", "waiters",
        "waiting", "wake_read", "wake_write", "watch",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread: int | None = None
        self.native: int | None = None
        self.backstage = name.startswith(_BACKSTAGE)
        self.gate = real.allocate_lock()
        self.gate.acquire()
        self.waiting = self.news = self.ended = False
        self.until: int | None = None
        self.stalled: str | None = None  # what it is to be told
        self.fds: Sequence[tuple[int, int]] = ()
        self.watch: Callable[[], Iterable[int]] | None = None
        self.waiters: deque[Party] = deque()  # who waits for its end
        self.asleep: tuple[int, float] | None = None  # the kernel's count of its switches, and since when it is that
        self.wake_read = self.wake_write = -1

    def open(self) -> None:
        """Makes what wakes it from a wait for descriptors."""
        if self.wake_read < 0:
            self.wake_read, self.wake_write = os.pipe()
            os.set_blocking(self.wake_read, False)

    def sleep_on_descriptors(self) -> None:
        """Blocks until one of the descriptors is ready, or `rouse`."""
        poller = real.poll()
        for fd, events in self.fds:
            poller.register(fd, events)
        poller.register(self.wake_read, select.POLLIN)
        poller.poll()

    def rouse(self) -> None:
        """Ends the real wait; the mutex is held."""
        if self.fds:
            os.write(self.wake_write, b"\0")
        else:
            self.gate.release()

    def calm(self) -> None:
        """Takes back what `rouse` has left, so that the next wait does not end at once."""
        self.gate.acquire(False)
        if self.wake_read >= 0:
            with suppress(BlockingIOError):
                os.read(self.wake_read, 64)

    def close(self) -> None:
        for fd in (self.wake_read, self.wake_write):
            if fd >= 0:
                os.close(fd)
        self.wake_read = self.wake_write = -1


def nanoseconds(seconds: float) -> int:
    """A duration in nanoseconds; what is more than nothing is at least one, so that a wait always gets on."""
    if seconds <= 0:
        return 0
    return max(1, round(min(seconds, 1e10) * 1e9))


class World:
    """One block of virtual time. `now`: nanoseconds since it began."""

    def __init__(self, patience: float) -> None:
        self.mutex = real.RLock()
        self.now = 0
        self.closed = False
        self.traffic = Traffic()
        self.by_thread: dict[int, Party] = {}
        self.parties: set[Party] = set()
        self.running = 0
        self.jumps: list[int] = []
        self.waits: list[Wait] = []
        self._patience = patience
        self._failed: str | None = None
        self._moves = 0
        self._bell = real.allocate_lock()
        self._bell.acquire()
        self._rung = self._resting = False
        self._flow: tuple[int, int] | None = None
        self._transit_since: float | None = None
        self._sample = _SAMPLE
        self._gone = real.allocate_lock()

    # ---- parties ----------------------------------------------------------------------------------------

    def expect(self, name: str) -> Party:
        """A thread is about to begin: it counts as running from now on."""
        party = Party(name)
        with self.mutex:
            self.parties.add(party)
            self.running += 1
        return party

    def enter(self, party: Party) -> None:
        """This thread is that party."""
        party.thread = threading.get_ident()
        party.native = threading.get_native_id()
        with self.mutex:
            self.by_thread[party.thread] = party

    def leave(self, party: Party) -> None:
        """That party has ended."""
        with self.mutex:
            if party.ended:
                return
            party.ended = True
            if party.thread is not None:
                self.by_thread.pop(party.thread, None)
            self.parties.discard(party)
            self.running -= 1
            for waiter in party.waiters:
                self.wake(waiter)
            party.close()
            self._look_up()

    def record(self, party: Party, kind: Kind, duration: int, task: str | None = None) -> None:
        """Time passed for that party while it waited; what the test server waits is nobody's business."""
        if duration > 0 and not party.backstage:
            began = (self.now - duration) / 1e9
            self.waits.append(Wait(duration / 1e9, kind, party.name, task, began))

    # ---- waiting ----------------------------------------------------------------------------------------

    def wait(
        self,
        party: Party,
        until: int | None,
        fds: Sequence[tuple[int, int]] = (),
        watch: Callable[[], Iterable[int]] | None = None,
    ) -> None:
        """Blocks this thread until the moment `until` (None: for ever), news, or one of `fds` is ready.

        fds: descriptors and what to poll them for. watch: the descriptors behind them, where one stands for
        many (an epoll's). It may return earlier: whoever calls looks again.
        """
        if fds:
            party.open()
        with self.mutex:
            if self.closed or party.news or (until is not None and until <= self.now):
                party.news = False
                return
            party.until, party.fds, party.watch = until, fds, watch
            party.waiting = True
            self.running -= 1
            self._moves += 1
            self._look_up()
        try:
            if fds:
                party.sleep_on_descriptors()
            else:
                party.gate.acquire()
        finally:
            with self.mutex:
                if party.waiting:  # by a descriptor, or by an interrupt
                    self._resume(party)
                party.news = False
                party.calm()
                party.fds, party.watch = (), None
        why, party.stalled = party.stalled or self._failed, None
        if why is not None:
            raise Stalled(why)

    def wake(self, party: Party) -> None:
        """There is news for that party; it counts as running from now on. The mutex is held."""
        if party.waiting:
            self._resume(party)
            party.rouse()
        else:
            party.news = True

    def sleep(self, party: Party, duration: int) -> None:
        """Lets that much time pass for this thread."""
        until = self.now + duration
        while self.now < until and not self.closed:
            self.wait(party, until)
        if self.closed and self.now < until:
            real.sleep((until - self.now) / 1e9)

    def remaining(self, until: int | None) -> float | None:
        """Seconds left to `until`, never below 0; None for ever."""
        return None if until is None else max(0.0, (until - self.now) / 1e9)

    def _resume(self, party: Party) -> None:
        self._settle()
        party.waiting = False
        self.running += 1

    def _look_up(self) -> None:
        """Calls the conductor where there may be something for it to do."""
        if (self.running == 0 or self._resting) and not self._rung:
            self._rung = True
            self._bell.release()

    # ---- the conductor ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Starts the conductor, in a thread outside of the block."""
        self._gone.acquire()
        real.start_new_thread(self._conduct, ())

    def end(self) -> None:
        """The block is over: those who wait go on waiting in real time."""
        with self.mutex:
            self._settle()
            self.closed = True
            for party in self.parties:
                if party.waiting:
                    self._resume(party)
                    party.rouse()
            if not self._rung:
                self._rung = True
                self._bell.release()
        self._gone.acquire()

    def _conduct(self) -> None:
        try:
            moves, since = -1, real.monotonic()
            while True:
                with self.mutex:
                    self._rung = self._resting = False
                    self._bell.acquire(False)
                    if self.closed:
                        return
                    self._settle()
                    pause = self._decide()
                    self._resting = pause is None
                    if self._moves != moves or self._flow is not None or pause is None:
                        moves, since = self._moves, real.monotonic()
                    elif real.monotonic() - since > self._patience:
                        self._give_up()
                        moves, since = self._moves, real.monotonic()
                self._listen(pause)
        except BaseException:  # noqa: BLE001 - told to those who wait, who would else wait for ever
            with self.mutex:
                self._failed = f"virtual time has failed:\n{traceback.format_exc()}"
                self._stall(self._failed)
        finally:
            self._gone.release()

    def _listen(self, pause: float | None) -> None:
        """Sleeps until called, or for `pause` seconds; the bell stays rung until the next look."""
        if self._bell.acquire(timeout=-1 if pause is None else pause):
            self._bell.release()

    def _decide(self) -> float | None:
        """Jumps if it may; seconds after which to look again, None: when called. The mutex is held."""
        waiting = [party for party in self.parties if party.waiting]
        if self.running and not self._all_stuck(waiting):
            pause, self._sample = self._sample, min(2 * self._sample, _LONGEST_SAMPLE)
            return pause if any(party.until is not None for party in waiting) else None
        self._sample = _SAMPLE
        if _ready(waiting):
            return _RECHECK
        moving = self.traffic.in_transit()
        if moving:
            now = real.monotonic()
            if self._transit_since is None:
                self._transit_since = now
            if now - self._transit_since < _STALLED_TRANSIT:
                return _TRANSIT
            self.traffic.excuse()
            if self.traffic.in_transit():
                return _RECHECK
        self._transit_since = None
        until = min((party.until for party in waiting if party.until is not None), default=None)
        look_again = self.traffic.real_world(waiting)
        if look_again is not None:
            self._flow = (real.monotonic_ns(), self.now)
            return look_again if until is None else min(look_again, max(0.0, (until - self.now) / 1e9))
        if until is None:
            return None
        if until > self.now:
            self.jumps.append(until - self.now)
            self.now = until
        self._moves += 1
        self._wake_due(waiting)
        return None

    def _wake_due(self, waiting: Iterable[Party]) -> None:
        for party in waiting:
            if party.waiting and party.until is not None and party.until <= self.now:
                party.waiting = False
                self.running += 1
                party.rouse()

    def _settle(self) -> None:
        """Where time went on at its real pace: how far it has come."""
        if self._flow is None:
            return
        began, was = self._flow
        self._flow = None
        waiting = [party for party in self.parties if party.waiting]
        come = was + real.monotonic_ns() - began
        self.now = max(self.now, min([come, *(party.until for party in waiting if party.until is not None)]))
        self._wake_due(waiting)

    def _all_stuck(self, waiting: Sequence[Party]) -> bool:
        """Whether all that count as running sleep on a lock, as the kernel says, and have since the last look."""
        if not any(party.until is not None for party in waiting):
            return False
        now = real.monotonic()
        enough = max(_ASLEEP, 10 * sys.getswitchinterval())
        stuck = True
        for party in self.parties:
            if party.waiting:
                continue
            count = kernel.asleep_on_lock(party.native)
            if count is None:
                party.asleep = None
            elif party.asleep is None or party.asleep[0] != count:
                party.asleep = (count, now)
            stuck = stuck and party.asleep is not None and now - party.asleep[1] >= enough
        return stuck

    def _give_up(self) -> None:
        """Nothing has moved for too long: those who wait are told why."""
        frames = sys._current_frames()
        busy = []
        for party in self.parties:
            if not party.waiting:
                frame = frames.get(party.thread or -1)
                where = "".join(traceback.format_stack(frame, 3)) if frame is not None else "(it has not begun)\n"
                busy.append(f"thread {party.name}:\n{where}")
        told = "\n".join(busy) or "(none: bytes between two sockets do not arrive)"
        self._stall(
            f"virtual time has stood still for {self._patience:g} real seconds: it cannot go on while a thread runs, or "
            f"waits for something that virtual time does not know. These did:\n{told}"
        )

    def _stall(self, why: str) -> None:
        for party in self.parties:
            if party.waiting:
                party.stalled = why
                self.wake(party)


def _ready(waiting: Iterable[Party]) -> bool:
    """Whether something has come for one of those who wait."""
    wanted: dict[int, int] = {}
    for party in waiting:
        for fd, events in party.fds:
            wanted[fd] = wanted.get(fd, 0) | events
    poller = real.poll()
    for fd, events in wanted.items():
        poller.register(fd, events)
    return bool(wanted) and bool(poller.poll(0))


# The block of virtual time that is on; one a process.
_active: World | None = None


def active() -> World | None:
    """The block that is on, None where there is none."""
    return _active


def activate(world: World | None) -> None:
    """Begins or ends virtual time for the threads of `world`."""
    global _active
    _active = world


def here() -> tuple[World, Party] | None:
    """The block that this thread belongs to, and what it is in there; None outside."""
    world = _active
    if world is None:
        return None
    party = world.by_thread.get(threading.get_ident())
    return None if party is None else (world, party)
