"""Locks, queues and threads in virtual time: whoever wakes another counts it as running at once."""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import real
from .world import Party, here, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from weakref import WeakKeyDictionary

    from .world import World

__all__ = ["VirtualLock", "VirtualSimpleQueue", "join", "make_lock", "starter"]


class VirtualLock:
    """A lock whose waits the rule sees. Outside of the block it is a plain lock."""

    __slots__ = ("__weakref__", "_lock", "_queue", "_world")

    def __init__(self, world: World) -> None:
        self._lock = real.allocate_lock()
        self._world = world
        self._queue: deque[Party] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`."""
        lock = self._lock
        if not blocking or (timeout < 0 and timeout != -1):
            return lock.acquire(blocking, timeout)
        if lock.acquire(False):
            return True
        both = here()
        if both is None or both[0] is not self._world:
            return lock.acquire(True, timeout)
        world, party = both
        until = None if timeout < 0 else world.now + nanoseconds(timeout)
        began = world.now
        queue = self._queue
        while True:
            with world.mutex:
                queue.append(party)
                if lock.acquire(False):
                    queue.remove(party)
                    world.record(party, "lock", world.now - began)
                    return True
                if until is not None and world.now >= until:
                    queue.remove(party)
                    world.record(party, "lock", world.now - began)
                    return False
                if world.closed:
                    queue.remove(party)
                    break
            try:
                world.wait(party, until)
            finally:
                with world.mutex:
                    if party in queue:
                        queue.remove(party)
                    elif queue and not lock.locked():
                        # It was told that the lock is free, and may not come to take it: so is the next.
                        world.wake(queue[0])
        left = world.remaining(until)
        return lock.acquire(True, -1 if left is None else left)

    def release(self) -> None:
        """As `threading.Lock.release`."""
        self._lock.release()
        if self._queue:
            world = self._world
            with world.mutex:
                if self._queue:
                    world.wake(self._queue.popleft())

    def locked(self) -> bool:
        """As `threading.Lock.locked`."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._lock = real.allocate_lock()
        self._queue.clear()


class VirtualSimpleQueue:
    """A queue whose waits the rule sees; as with the original, `put` may be called from a destructor at any point."""

    def __init__(self) -> None:
        self._queue: Any = real.SimpleQueue()
        self._waiters: deque[tuple[World, Party]] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002 - never blocks
        """As `queue.SimpleQueue.put`."""
        self._queue.put(item)
        if self._waiters:
            with suppress(IndexError):
                world, party = self._waiters.popleft()
                with world.mutex:
                    world.wake(party)

    def put_nowait(self, item: Any) -> None:
        """As `queue.SimpleQueue.put_nowait`."""
        self.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `queue.SimpleQueue.get`."""
        both = here()
        if both is None or not block or (timeout is not None and timeout < 0):
            return self._queue.get(block, timeout)
        world, party = both
        until = None if timeout is None else world.now + nanoseconds(timeout)
        began = world.now
        while not world.closed:
            self._waiters.append(both)
            try:
                # Those that wait for the last item may be two: whoever comes too late waits on.
                item = self._queue.get_nowait()
            except queue.Empty:
                if until is not None and world.now >= until:
                    self._forget(both)
                    world.record(party, "lock", world.now - began)
                    raise
            else:
                self._forget(both)
                world.record(party, "lock", world.now - began)
                return item
            try:
                world.wait(party, until)
            finally:
                self._forget(both)
        return self._queue.get(True, world.remaining(until))

    def _forget(self, both: tuple[World, Party]) -> None:
        with suppress(ValueError):
            self._waiters.remove(both)
            return
        # It was told of an item already: if it leaves one behind, so is the next.
        if self._waiters and not self._queue.empty():
            with suppress(IndexError):
                world, party = self._waiters[0]
                with world.mutex:
                    world.wake(party)

    def get_nowait(self) -> Any:
        """As `queue.SimpleQueue.get_nowait`."""
        return self._queue.get_nowait()

    def empty(self) -> bool:
        """As `queue.SimpleQueue.empty`."""
        return bool(self._queue.empty())

    def qsize(self) -> int:
        """As `queue.SimpleQueue.qsize`."""
        return int(self._queue.qsize())


def make_lock(_: Any = None) -> Any:
    """Stands in for `threading.Lock`."""
    both = here()
    if both is None:
        return real.allocate_lock()
    return VirtualLock(both[0])


def starter(threads: WeakKeyDictionary[Any, Party]) -> Callable[..., Any]:
    """Stands in for the functions that start a thread: one started by a thread of the block belongs to it."""

    def stand(original: Any, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        both = here()
        if both is None:
            return original(function, *args, **options)
        world = both[0]
        thread = getattr(function, "__self__", None)
        name = getattr(thread, "name", None) or "a thread without a name"
        party = world.expect(name)

        def run(*inner: Any, **named: Any) -> None:
            world.enter(party)
            try:
                function(*inner, **named)
            finally:
                world.leave(party)

        if isinstance(thread, threading.Thread):
            threads[thread] = party
        try:
            return original(run, *args, **options)
        except BaseException:
            world.leave(party)
            raise

    return stand


def join(threads: WeakKeyDictionary[Any, Party]) -> Callable[..., Any]:
    """Stands in for `Thread.join`."""

    def stand(self: threading.Thread, timeout: float | None = None) -> None:
        both = here()
        party = threads.get(self)
        if both is None or party is None or party is both[1] or not self.is_alive():
            real.join(self, timeout)
            return
        world, me = both
        until = None if timeout is None else world.now + nanoseconds(timeout)
        began = world.now
        while not world.closed:
            with world.mutex:
                if party.ended or (until is not None and world.now >= until):
                    break
                party.waiters.append(me)
            try:
                world.wait(me, until)
            finally:
                with world.mutex:
                    if me in party.waiters:
                        party.waiters.remove(me)
        world.record(me, "lock", world.now - began)
        if party.ended:
            # What is left of it is its very end, after which nobody in the block counts it: to the kernel, this
            # thread sleeps on a lock meanwhile, and yet it is about to run.
            native, me.native = me.native, None
            try:
                real.join(self)
            finally:
                me.native = native
        elif world.closed:
            real.join(self, world.remaining(until))

    return stand
