"""`select`, `poll`, `epoll` and the selectors in virtual time: a descriptor is waited for by the rule."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from . import real
from .world import here, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Epoll", "Poll", "select_stand", "selector_stand"]

_READ, _WRITE, _URGENT = select.POLLIN, select.POLLOUT, select.POLLPRI
_EVENT_READ, _EVENT_WRITE = 1, 2  # of the module selectors


def _until_ready(
    look: Callable[[float | None], Any],
    seconds: float | None,
    fds: Callable[[], Sequence[tuple[int, int]]],
    watch: Callable[[], Iterable[int]],
) -> Any:
    """Looks without waiting, and waits by the rule until there is something to see or the time is over."""
    both = here()
    if both is None or (seconds is not None and seconds <= 0):
        return look(seconds)
    world, party = both
    until = None if seconds is None else world.now + nanoseconds(seconds)
    while True:
        ready = look(0)
        if ready or (until is not None and world.now >= until):
            return ready
        if world.closed:
            return look(world.remaining(until))
        world.wait(party, until, fds(), watch)


def selector_stand(original: Callable[..., Any]) -> Callable[..., Any]:
    """Stands in for a selector's `select`."""

    def select_(self: Any, timeout: float | None = None) -> Any:
        def keys() -> Iterable[int]:
            mapping = self.get_map()
            return () if mapping is None else [key.fd for key in list(mapping.values())]

        def fds() -> Sequence[tuple[int, int]]:
            if hasattr(self, "fileno"):
                return ((self.fileno(), _READ),)  # an epoll's or a kqueue's, which stands for all
            return [
                (key.fd, (_READ if key.events & _EVENT_READ else 0) | (_WRITE if key.events & _EVENT_WRITE else 0))
                for key in list(self.get_map().values())
            ]

        return _until_ready(lambda seconds: original(self, seconds), timeout, fds, keys)

    return select_


def select_stand(_: Any, read: Any, write: Any, urgent: Any, timeout: float | None = None) -> Any:
    """Stands in for `select.select`."""
    read, write, urgent = list(read), list(write), list(urgent)
    nothing: tuple[list[Any], list[Any], list[Any]] = ([], [], [])

    def look(seconds: float | None) -> Any:
        found = real.select_(read, write, urgent, seconds)
        return None if found == nothing else found

    def fds() -> list[tuple[int, int]]:
        wanted: dict[int, int] = {}
        for group, event in ((read, _READ), (write, _WRITE), (urgent, _URGENT)):
            for each in group:
                fd = each if isinstance(each, int) else each.fileno()
                wanted[fd] = wanted.get(fd, 0) | event
        return list(wanted.items())

    return _until_ready(look, timeout, fds, lambda: [fd for fd, _ in fds()]) or nothing


class Poll:
    """Stands in for `select.poll()`."""

    def __init__(self) -> None:
        self._poll = real.poll()
        self._wanted: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = _READ | _URGENT | _WRITE) -> None:
        """As the original's."""
        self._poll.register(fd, eventmask)
        self._wanted[fd if isinstance(fd, int) else fd.fileno()] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """As the original's."""
        self._poll.modify(fd, eventmask)
        self._wanted[fd if isinstance(fd, int) else fd.fileno()] = eventmask

    def unregister(self, fd: Any) -> None:
        """As the original's."""
        self._poll.unregister(fd)
        self._wanted.pop(fd if isinstance(fd, int) else fd.fileno(), None)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """As the original's: `timeout` in milliseconds."""
        seconds = None if timeout is None or timeout < 0 else timeout / 1000

        def look(left: float | None) -> list[tuple[int, int]]:
            return self._poll.poll(None if left is None else left * 1000)

        found: list[tuple[int, int]] = _until_ready(
            look, seconds, lambda: list(self._wanted.items()), lambda: list(self._wanted)
        )
        return found


class Epoll:
    """Stands in for `select.epoll()`."""

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._epoll = real.epoll(sizehint, flags)
        self._wanted: dict[int, None] = {}

    def register(self, fd: Any, *eventmask: int) -> None:
        """As the original's."""
        self._epoll.register(fd, *eventmask)
        self._wanted[fd if isinstance(fd, int) else fd.fileno()] = None

    def unregister(self, fd: Any) -> None:
        """As the original's."""
        self._wanted.pop(fd if isinstance(fd, int) else fd.fileno(), None)
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> Any:
        """As the original's: `timeout` in seconds."""
        seconds = None if timeout is None or timeout < 0 else timeout

        def look(left: float | None) -> Any:
            return self._epoll.poll(-1 if left is None else left, maxevents)

        return _until_ready(look, seconds, lambda: ((self._epoll.fileno(), _READ),), lambda: list(self._wanted))

    def __enter__(self) -> Epoll:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)
