"""What all connections of a test server share: its core, its clock, and the patience it has with them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Core

__all__ = ["PATIENCE", "Door", "Guest", "Patience"]

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds that a client may take, so that one who sends or reads nothing does not hold a connection for ever.

    head: for the head of a request; body: between two parts of a body; message: for one request in all; idle: between
    two requests; taking: for taking anything of an answer.
    """

    head: float = 20.0
    body: float = 60.0
    message: float = 900.0
    idle: float = 180.0
    taking: float = 300.0

    @property
    def shortest(self) -> float:
        """The least of them."""
        return min(self.head, self.body, self.message, self.idle, self.taking)


PATIENCE: Final = Patience()


class Guest(Protocol):
    """A connection, as the door sees it."""

    def look_after(self, now: float, patience: Patience) -> None:
        """Ends it where the client has kept it waiting for too long; `now` on the loop's clock."""

    def abort(self) -> None:
        """Closes it at once."""


class Door:
    """What all connections of one server share: the core, its clock, the date of the second, who is connected."""

    def __init__(self, core: Core, clock: Callable[[], float], patience: Patience | None = None) -> None:
        self.core = core
        self.clock = clock
        self.patience = patience or PATIENCE
        self._round: asyncio.TimerHandle | None = None
        self.connections: set[Guest] = set()
        self._emptied: asyncio.Future[None] | None = None
        self._date_of = -1
        self._starts: dict[int, str] = {}

    async def empty(self) -> None:
        """Waits until every connection is closed."""
        if self.connections:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def enter(self, connection: Guest) -> None:
        """A connection was opened."""
        self.connections.add(connection)
        self.core.connected()
        if self._round is None:
            self._make_rounds()

    def _make_rounds(self) -> None:
        """Looks after all connections from time to time: one timer for all of them, none for each request."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.connections):
            connection.look_after(now, self.patience)
        self._round = (
            loop.call_later(self.patience.shortest / 4, self._make_rounds) if self.connections else None
        )

    def close(self) -> None:
        """Nobody needs to be looked after any more."""
        if self._round is not None:
            self._round.cancel()
            self._round = None

    def leave(self, connection: Guest) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self.core.disconnected()
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def start(self, status: int, epoch: float) -> str:
        """The status line and the fields that are the same for a whole second."""
        second = int(epoch)
        if second != self._date_of:
            self._date_of = second
            self._starts.clear()
        start = self._starts.get(status)
        if start is None:
            date = formatdate(second, usegmt=True)
            start = f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\nDate: {date}\r\n"
            self._starts[status] = start
        return start
