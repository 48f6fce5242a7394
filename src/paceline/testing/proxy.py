"""The fault-injecting reverse proxy as a whole: a front for threads (`Proxy`) and one for an event loop (`open_proxy`)."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from typing import TYPE_CHECKING

from ..errors import InputError
from .loop_thread import LoopThread
from .proxy_core import ProxyCore
from .proxy_pool import Pool
from .proxy_record import Record
from .proxy_settings import ProxyOptions, ProxySettings
from .proxy_wire import ClientConnection, ProxyDoor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self, Unpack

    from ..limits import Limit
    from .proxy_account import ProxyAccount
    from .proxy_record import Passage

__all__ = ["OpenProxy", "Proxy", "open_proxy"]


class OpenProxy:
    """A proxy that listens on the running event loop; see `open_proxy`."""

    def __init__(self, door: ProxyDoor, server: asyncio.Server, host: str) -> None:
        self.core = door.core
        self._door = door
        self._server = server
        self.host = host
        self.port: int = server.sockets[0].getsockname()[1]
        door.authority = self._authority.encode("latin-1")
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @property
    def _authority(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{self._authority}"

    def account(self) -> ProxyAccount:
        """What was seen until now."""
        return self.core.account(self._door.clock())

    async def close(self) -> None:
        """Stops listening, cuts the connections that are still open, and ends the record."""
        self._server.close()
        self._sweeper.cancel()
        for connection in list(self._door.connections):
            connection.abort()
        await self._door.empty()
        self._door.pool.close()
        await self._server.wait_closed()
        if self._door.record is not None:
            self._door.record.close()

    async def _sweep(self) -> None:
        pause = min(1.0, self.core.settings.timeout / 4)
        while True:
            await asyncio.sleep(pause)
            self._door.sweep()


async def open_proxy(
    settings: ProxySettings,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    record: str | Path | None = None,
    watch: Callable[[Passage], None] | None = None,
    on_failure: Callable[[Passage], None] | None = None,
) -> OpenProxy:
    """Opens a proxy on the running loop; port 0 takes a free one.

    record: a file that gets one JSON line a request. watch: called with each `Passage`, on the loop; on_failure: with
    those alone that the upstream failed. Raises InputError where it cannot listen, or cannot write the record.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a number from 0 to 65535, not {port}")
    begun, origin = time.monotonic(), time.time()

    def clock() -> float:
        return time.monotonic() - begun

    core = ProxyCore(settings, origin=origin)
    pool = Pool(settings, clock)
    book = None if record is None else Record(record)
    # A name of its own, so that it knows itself again where it is its own upstream.
    door = ProxyDoor(core, pool, clock, f"paceline-{secrets.token_hex(4)}", book, watch, on_failure)
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(door), host, port, backlog=1024
        )
    except OSError as error:
        if book is not None:
            book.close()
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise InputError(f"the proxy cannot listen on {host}:{port} ({reason}); choose another port or host") from error
    return OpenProxy(door, server, host)


class Proxy:
    """A reverse proxy with faults on loopback, in a thread of its own, for tests of any client.

    upstream: where requests go, like `http://127.0.0.1:8000` or `https://api.example.com/v2`. limit, enforce: limits
    in front of it, as for `Server`. options: rules for faults (`refuse`, `fail`, `cut`, `reset`, `truncate`, `slow`,
    each one or several of first:N, every:N, share:P) and the other fields of `ProxySettings`. record: a file for one
    JSON line a request. watch: called with each `Passage`, in the proxy's thread. host, port: where it listens.
    Raises InputError for options that make no sense and for a port that is taken.

    >>> import urllib.request, urllib.error
    >>> from paceline.testing import Server
    >>> with Server() as server, Proxy(server.url, refuse="first:1", refuse_wait=2) as proxy:
    ...     try:
    ...         urllib.request.urlopen(proxy.url + "/items/17")
    ...     except urllib.error.HTTPError as error:
    ...         with error:
    ...             print(error.code, error.headers["Retry-After"])
    ...     with urllib.request.urlopen(proxy.url + "/items/17") as response:
    ...         print(response.status, proxy.account().refused, proxy.account().client.early_retries)
    429 2
    200 1 1
    """

    def __init__(
        self,
        upstream: str,
        limit: str | Limit | Sequence[str | Limit] | None = None,
        enforce: str | Sequence[str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        record: str | Path | None = None,
        watch: Callable[[Passage], None] | None = None,
        **options: Unpack[ProxyOptions],
    ) -> None:
        settings = self._settings = ProxySettings.of(upstream, limit, enforce, dict(options))
        self._thread = LoopThread("proxy", lambda: open_proxy(settings, host, port, record=record, watch=watch))

    def start(self) -> Self:
        """Begins to listen; returns once connections are accepted."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cuts what is open, ends the record and the thread; the account can still be read."""
        self._thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end: the base URL for the client under test."""
        return self._thread.opened.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._thread.opened.port

    @property
    def settings(self) -> ProxySettings:
        """How it behaves."""
        return self._settings

    def account(self) -> ProxyAccount:
        """What it saw since the start or the last reset; also after `stop`."""
        return self._thread.inside(self._thread.opened.account)

    def reset(self) -> None:
        """Forgets all it saw and used up; rules count from the beginning."""
        self._thread.inside(self._thread.opened.core.reset)
