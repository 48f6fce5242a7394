"""A long or slow body on its way to one client, piece by piece."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .bodies import Body

__all__ = ["Filling", "Recipient"]


class Recipient(Protocol):
    """Who takes the pieces: writes them, and asks to go on when the time has come."""

    def write_piece(self, piece: bytes) -> bool:
        """Writes a piece; whether another may follow at once."""

    def fill(self) -> None:
        """Goes on with the body under way."""


class Filling:
    """A body on its way: writes pieces as the client takes them, or as time passes; framed in chunks where it is so."""

    def __init__(self, connection: Recipient, body: Body, *, chunked: bool) -> None:
        self._connection = connection
        self._pieces = body.pieces()
        self._chunked = chunked
        self._pause = body.pause
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False
        if self._pause:
            self._wait()

    def _wait(self) -> None:
        self._waiting = True
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._tick)

    def _tick(self) -> None:
        self._waiting = False
        self._connection.fill()

    def go_on(self) -> bool:
        """Writes what may be written now; whether that was the end."""
        while not self._waiting:
            piece = next(self._pieces, None)
            if piece is None:
                return True
            ready = self._connection.write_piece(
                b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
            )
            if self._pause:
                self._wait()
            elif not ready:
                break
        return False

    def stop(self) -> None:
        """The connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
