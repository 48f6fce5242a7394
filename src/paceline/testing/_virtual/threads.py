"""Locks, queues and threads in virtual time: whoever wakes another counts it as running at once."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from . import real
from .world import Party, here, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from weakref import WeakKeyDictionary

    from .world import World

__all__ = ["VirtualLock", "join", "make_lock", "starter"]


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
            real.join(self)  # what is left of it is its very end
        elif world.closed:
            real.join(self, world.remaining(until))

    return stand
