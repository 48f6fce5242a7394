"""Virtual time for tests: a wait of an hour passes in milliseconds, over real sockets, in threads and asyncio; or not at all."""

from __future__ import annotations

import asyncio
import datetime
import math
from contextlib import contextmanager
from threading import current_thread
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ._virtual import real
from ._virtual.clocks import Clocks, Stand
from ._virtual.install import installed
from ._virtual.swap import swap
from ._virtual.waits import Wait
from ._virtual.world import Stalled, World, active, here, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Skipped", "Stalled", "VirtualTime", "Wait", "no_waiting", "virtual_time"]


class VirtualTime:
    """The clock of one block of virtual time, and all that was waited by it; see `virtual_time`."""

    def __init__(self, world: World, start: int) -> None:
        self._world = world
        self._start = start

    @property
    def now(self) -> float:
        """Seconds since the block began."""
        return self._world.now / 1e9

    @property
    def start(self) -> float:
        """The epoch seconds at which the block began, as its threads see them."""
        return self._start / 1e9

    @property
    def waits(self) -> tuple[Wait, ...]:
        """Every wait in which virtual time passed, in order of their ends; without those of the test server."""
        return tuple(self._world.waits)

    @property
    def slept(self) -> tuple[float, ...]:
        """The seconds of each sleep (`time.sleep`, `asyncio.sleep`), in order of their ends."""
        return tuple(wait.seconds for wait in self._world.waits if wait.kind == "sleep")

    @property
    def jumps(self) -> int:
        """How often the clock jumped."""
        return len(self._world.jumps)

    def advance(self, seconds: float) -> None:
        """Lets that much time pass, for all threads of the block; what falls due on the way happens in its order.

        It blocks this thread, so in a coroutine write `await asyncio.sleep(seconds)`. It is not among the waits.
        """
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise InputError(f"time advances by a number of seconds from 0 on, like 3600, not {seconds!r}")
        both = here()
        if both is None or both[0] is not self._world:
            raise InputError("this thread does not live in this block of virtual time; advance it from one that does")
        self._world.sleep(both[1], nanoseconds(seconds))

    def __repr__(self) -> str:
        return f"<VirtualTime now={self.now:g} s, {len(self._world.waits)} waits>"


@contextmanager
def virtual_time(
    start: float | datetime.datetime | None = None, *, patience: float = 60.0
) -> Iterator[VirtualTime]:
    """Time for this thread, and for all threads and event loops begun in the block, jumps where all of them wait.

    start: what the wall clock shows at first, in epoch seconds or as a datetime with a zone; None: the real time.
    patience: real seconds after which a clock that cannot go on raises `Stalled`, which names the thread that
    hinders it.

    Clocks stand while any of these threads runs, or a request is under way; they jump to the next moment that
    somebody waits for when all wait and nothing is under way. Threads begun before the block, and other processes,
    live on in real time; while one of the block waits for a server there, its clocks go at their real pace.
    A test server is to be started in the block. Loops of uvloop made in the block are plain asyncio's.

    Raises InputError inside another such block, on a running loop of uvloop, and for a start without a zone.

    >>> import time
    >>> with virtual_time() as clock:
    ...     time.sleep(3600)
    >>> clock.now, clock.slept
    (3600.0, (3600.0,))
    """
    if _skipped is not None:
        raise InputError("sleeps are skipped already: one block of no_waiting or virtual_time at a time")
    with installed(_epoch(start), patience) as (world, clocks):
        yield VirtualTime(world, clocks.epoch)


class Skipped:
    """The sleeps that were skipped in a block of `no_waiting`."""

    def __init__(self) -> None:
        self._waits: list[Wait] = []

    @property
    def waits(self) -> tuple[Wait, ...]:
        """Each sleep, in order of their beginnings."""
        return tuple(self._waits)

    @property
    def slept(self) -> tuple[float, ...]:
        """The seconds of each sleep, in order of their beginnings."""
        return tuple(wait.seconds for wait in self._waits)

    def __repr__(self) -> str:
        return f"<Skipped {len(self._waits)} sleeps, {sum(self.slept):g} s>"


# What `no_waiting` has skipped so far, in nanoseconds; None outside of it.
_skipped: Skipped | None = None


@contextmanager
def no_waiting() -> Iterator[Skipped]:
    """Lets every `time.sleep` and `asyncio.sleep` of the process return at once, and keeps account of them.

    For unit tests without sockets or other threads: what was slept is added to all clocks, so that a loop that sleeps
    until a moment ends; no order is kept between threads or tasks. Waits for locks, queues and timers are as ever: for
    these, and for limiters, there is `virtual_time`. Raises InputError inside a block of either.

    >>> import time
    >>> with no_waiting() as skipped:
    ...     time.sleep(3600)
    >>> skipped.slept
    (3600.0,)
    """
    global _skipped
    if _skipped is not None or active() is not None:
        raise InputError("sleeps are skipped already, or virtual: one block of no_waiting or virtual_time at a time")
    skipped = Skipped()
    began, ahead = real.monotonic_ns(), 0

    def elapsed() -> int:
        return real.monotonic_ns() - began + ahead

    def skip(seconds: float, task: str | None) -> None:
        nonlocal ahead
        if seconds > 0:
            moment = elapsed() / 1e9
            skipped._waits.append(Wait(float(seconds), "sleep", current_thread().name, task, moment))
            ahead += nanoseconds(seconds)

    def sleep(original: Any, seconds: float, /) -> None:
        if isinstance(seconds, int | float) and seconds > 0:
            skip(seconds, None)
        else:
            original(seconds)

    async def asleep(original: Any, delay: float, result: Any = None) -> Any:
        task = asyncio.current_task()
        skip(delay, None if task is None else task.get_name())
        return await original(0, result)

    clocks = Clocks(elapsed, None)
    pairs = [*clocks.stands(), (real.sleep, Stand(real.sleep, sleep)), (asyncio.sleep, Stand(asyncio.sleep, asleep))]
    undo: list[Callable[[], Any]] = []
    _skipped = skipped
    try:
        swap(pairs, undo)
        yield skipped
    finally:
        while undo:
            undo.pop()()
        swap([(new, old) for old, new in pairs])
        _skipped = None


def _epoch(start: float | datetime.datetime | None) -> int | None:
    if start is None:
        return None
    if isinstance(start, datetime.datetime):
        if start.tzinfo is None:
            raise InputError(f"a start without a zone could be any moment of a day; write {start!r} with tzinfo=UTC")
        start = start.timestamp()
    if not isinstance(start, int | float) or not 0 <= start < 253_402_300_800:
        raise InputError(f"start is epoch seconds or a datetime with a zone, not {start!r}")
    return round(start * 1e9)
