"""Virtual time for tests: a wait of an hour passes in milliseconds, over real sockets, in threads and asyncio."""

from __future__ import annotations

import datetime
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import InputError
from ._virtual.install import installed
from ._virtual.waits import Wait
from ._virtual.world import Stalled, World, here, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Stalled", "VirtualTime", "Wait", "virtual_time"]


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
    with installed(_epoch(start), patience) as (world, clocks):
        yield VirtualTime(world, clocks.epoch)


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
