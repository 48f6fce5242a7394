"""The proxy's connections to its upstream: opened as they are needed, kept, and watched for silence."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final

from ..errors import InputError
from .proxy_upstream import UpstreamConnection, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .proxy_settings import ProxySettings
    from .proxy_upstream import Asker

__all__ = ["Pool"]

# Servers keep an idle connection for 5 s at least (uvicorn, Node); one used just when it is closed there fails.
_KEEP: Final = 4.0
_MOST_OPEN: Final = 512
_CONNECT: Final = 10.0


class Pool:
    """All connections to one upstream: idle ones, used last first, and those at work."""

    def __init__(self, settings: ProxySettings, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._upstream = settings.upstream
        self._timeout = settings.timeout
        self._context = _tls(settings.ca_file) if self._upstream.scheme == "https" else None
        self._idle: deque[UpstreamConnection] = deque()
        self._busy: dict[UpstreamConnection, None] = {}
        self._waiting: dict[Asker, None] = {}
        self._opening: dict[asyncio.Task[None], None] = {}
        self._closed = False

    def ask(self, asker: Asker) -> None:
        """Gives a connection to one that asks, now or as soon as there is one (`connected`), or tells why not."""
        oldest = self.clock() - _KEEP
        while self._idle:
            connection = self._idle.pop()
            if connection.open and connection.last > oldest:
                self._busy[connection] = None
                connection.begin(asker)
                asker.connected(connection)
                return
            connection.drop()
        self._waiting[asker] = None
        self._open_more()

    def leave(self, asker: Asker) -> None:
        """One that waited is gone."""
        self._waiting.pop(asker, None)

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection has done its work: the next that waits may have it."""
        self._busy.pop(connection, None)
        if self._closed:
            connection.drop()
        elif self._waiting:
            asker = next(iter(self._waiting))
            del self._waiting[asker]
            self._busy[connection] = None
            connection.begin(asker)
            asker.connected(connection)
        else:
            self._idle.append(connection)

    def lose(self, connection: UpstreamConnection) -> None:
        """A connection is no more."""
        if connection in self._busy:
            del self._busy[connection]
            self._open_more()
        elif connection in self._idle:
            self._idle.remove(connection)

    def sweep(self) -> None:
        """Closes what was idle too long, and ends what the upstream has been silent on for too long."""
        now = self.clock()
        while self._idle and self._idle[0].last <= now - _KEEP:
            self._idle.popleft().drop()
        for connection in [*self._busy]:
            # While the client takes or gives nothing, the silence is not the upstream's.
            waits = not connection.held and (connection.asked or connection.full)
            if waits and connection.last <= now - self._timeout:
                connection.time_out(self._timeout)

    def close(self) -> None:
        """Cuts all connections."""
        self._closed = True
        for task in [*self._opening]:
            task.cancel()
        for connection in [*self._idle, *self._busy]:
            connection.drop()
        self._idle.clear()

    def _open_more(self) -> None:
        while len(self._opening) < len(self._waiting) and len(self._opening) + len(self._busy) < _MOST_OPEN:
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening[task] = None
            task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        del self._opening[task]
        if not self._closed:
            self._open_more()

    async def _open(self) -> None:
        upstream, loop = self._upstream, asyncio.get_running_loop()
        error, late = "", False
        try:
            async with asyncio.timeout(min(_CONNECT, self._timeout)):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self), upstream.host, upstream.port, ssl=self._context
                )
        except TimeoutError:
            error, late = f"no connection to {upstream.scheme}://{upstream.authority} in time", True
        except (OSError, ssl.SSLError, UnicodeError) as problem:
            error = f"no connection to {upstream.scheme}://{upstream.authority} ({reason_of(problem)})"
        if error:
            # One failure for each attempt, the longest wait first; the others have attempts of their own.
            asker = next(iter(self._waiting), None)
            if asker is not None:
                del self._waiting[asker]
                asker.broke(error, late)
        elif self._closed:
            connection.drop()
        else:
            connection.last = self.clock()
            self.give_back(connection)


def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InputError(f"cannot read the certificates in {ca_file!r} ({error.strerror or error})") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
