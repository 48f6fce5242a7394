"""The test server as a whole: a front for threads (`Server`, used in tests) and one for an event loop (`listen`)."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .core import Core
from .door import Door
from .loop_thread import LoopThread
from .scenario import Scenario
from .settings import Options, Settings
from .wire import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self, Unpack

    from ..limits import Limit
    from .account import Account
    from .judging import ReportCard

__all__ = ["Listener", "Server", "behaviour", "listen"]


class Listener:
    """A test server that listens on the running event loop; see `listen`."""

    def __init__(self, core: Core, door: Door, server: asyncio.Server, host: str) -> None:
        self.core = core
        self._door = door
        self._server = server
        self.host = host
        self.port: int = server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def account(self) -> Account:
        """What was seen until now."""
        return self.core.account(self._door.clock())

    def report(self, calls: int | None = None) -> ReportCard:
        """The verdict on the client until now; `calls`: how many different items it was to fetch, where that is known."""
        return self.core.report(self._door.clock(), calls)

    async def close(self) -> None:
        """Stops listening and cuts the connections that are still open."""
        self._server.close()
        for connection in list(self._door.connections):
            connection.abort()
        await self._door.empty()
        self._door.close()
        await self._server.wait_closed()


async def listen(
    settings: Settings | Scenario | None = None, host: str = "127.0.0.1", port: int = 0
) -> Listener:
    """Opens a test server on the running loop; port 0 takes a free one. Raises InputError where it cannot listen."""
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a number from 0 to 65535, not {port}")
    begun, origin = time.monotonic(), time.time()
    core = Core(settings, origin=origin)
    door = Door(core, lambda: time.monotonic() - begun)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Connection(door), host, port, backlog=1024)
    except OSError as error:
        # A name that does not resolve has a code of the resolver's, below 0, and words of its own.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise InputError(
            f"the test server cannot listen on {host}:{port} ({reason}); choose another port or host"
        ) from error
    return Listener(core, door, server, host)


def behaviour(
    limit: str | Limit | Sequence[str | Limit] | None,
    enforce: str | Sequence[str] | None,
    scenario: str | Path | Scenario | None,
    options: Mapping[str, Any],
) -> Settings | Scenario:
    """What a server is told to do: settings, or a scenario with these changes to it; raises InputError.

    >>> behaviour("10/s", None, None, {}).limits[0].quota, behaviour(None, None, "steady", {"latency": 0.1}).settings.latency
    (10, 0.1)
    """
    if scenario is None:
        return Settings.of(limit, enforce, options)
    changes = dict(options)
    if limit:
        changes["limit"] = limit
    if enforce:
        changes["enforce"] = enforce
    return Scenario.of(scenario).changed(changes)


class Server:
    """A rate-limited HTTP server on loopback, in a thread of its own, for tests of any client.

    limit: one limit or several, as text or `Limit`; None: no limit. enforce: how each is enforced (sliding, fixed,
    anchored, counter, counter-lenient, bucket, concurrent, none); by default, by the limit's own shape. host, port:
    where it listens (port 0: a free one). scenario: behaviour in phases, by name or from a TOML file; the others then
    change it. report: called at the end of a `with` block with the verdict on the client, in lines of text.
    options: the fields of `Settings`: latency, fail_rate, seed and so on.
    Raises InputError for settings that make no sense and for a port that is taken.

    >>> import urllib.request
    >>> with Server("100/2s", enforce="sliding", headers="ietf") as server:
    ...     with urllib.request.urlopen(server.url + "/items/17") as response:
    ...         print(response.read().decode(), response.headers["RateLimit-Policy"])
    ...     print(server.account().accepted, server.times_served("17"))
    {"id":"17"} "default";q=100;w=2
    1 1
    """

    def __init__(
        self,
        limit: str | Limit | Sequence[str | Limit] | None = None,
        enforce: str | Sequence[str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        scenario: str | Path | Scenario | None = None,
        report: Callable[[str], object] | None = None,
        **options: Unpack[Options],
    ) -> None:
        settings = behaviour(limit, enforce, scenario, options)
        self._tell = report
        self._thread = LoopThread("test server", lambda: listen(settings, host, port))

    def start(self) -> Self:
        """Begins to listen; returns once connections are accepted."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cuts what is open and ends the thread; the account can still be read."""
        self._thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._tell is not None:
            self._tell(self.report().text())

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._thread.opened.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._thread.opened.port

    @property
    def settings(self) -> Settings:
        """How it behaves now."""
        return self._thread.opened.core.settings

    def account(self) -> Account:
        """What it saw since the start or the last reset; also after `stop`."""
        return self._thread.inside(self._thread.opened.account)

    def report(self, calls: int | None = None) -> ReportCard:
        """The verdict on the client until now; also after `stop`.

        calls: how many different items the client was to fetch, where that is known; what is missing then was lost.

        >>> import urllib.request
        >>> with Server("100/2s") as server:
        ...     _ = urllib.request.urlopen(server.url + "/items/17").read()
        ...     print(server.report().text())
        Verdict on the client: good
          good  kept the limit        0 of 1 refused; at most 1 sent against 100/2s, as sliding
          good  nothing served twice  0 items served again
          good  spoke HTTP            0 malformed requests
        """
        listener = self._thread.opened
        return self._thread.inside(lambda: listener.report(calls))

    def items(self) -> dict[str, int]:
        """How often each item was served, those served at least once."""
        return self._thread.inside(self._thread.opened.core.tally.items)

    def times_served(self, name: str) -> int:
        """How often one item was served."""
        core = self._thread.opened.core
        return self._thread.inside(lambda: core.tally.times_served(name))

    def reset(self) -> None:
        """Forgets all it saw and all that was used up."""
        self._thread.inside(self._thread.opened.core.reset)

    def change(self, **changes: Any) -> None:
        """Goes on with other settings (`limit`, `enforce`, or fields of `Settings`); raises InputError.

        What was used up under a limit of the same kind stays used up.
        """
        core = self._thread.opened.core
        old = core.settings
        limit = changes.pop("limit", old.limits)
        enforce = changes.pop("enforce", old.enforce if limit is old.limits else None)
        kept = {name: getattr(old, name) for name in Options.__annotations__}
        settings = Settings.of(limit, enforce, {**kept, **changes})
        self._thread.inside(lambda: core.change(settings))
