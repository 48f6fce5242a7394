"""A long or slow body on its way to one client, piece by piece."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from .paths import Filler

__all__ = ["Filling", "Recipient"]

_CHUNK: Final = 65_536
_PIECES_PER_SECOND: Final = 20


class Recipient(Protocol):
    """Who takes the pieces: writes them, and asks to go on when the time has come."""

    def write_piece(self, piece: bytes) -> bool:
        """Writes a piece; whether another may follow at once."""

    def fill(self) -> None:
        """Goes on with the body under way."""


class Filling:
    """A long or slow body on its way: writes pieces as the client takes them, or as time passes."""

    def __init__(self, connection: Recipient, body: Filler) -> None:
        self._connection = connection
        self._left = body.size
        self._after = body.after
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._piece, self._pause = _CHUNK, 0.0
        if body.seconds:
            self._piece = max(1, math.ceil(body.size / (body.seconds * _PIECES_PER_SECOND)))
            self._pause = body.seconds / max(1, math.ceil(body.size / self._piece))
        self._waiting = bool(self._pause)
        if self._waiting:
            self._wait()

    def _wait(self) -> None:
        self._waiting = True
        self._timer = self._loop.call_later(self._pause, self._tick)

    def _tick(self) -> None:
        self._waiting = False
        self._connection.fill()

    def go_on(self) -> bool:
        """Writes what may be written now; whether that was the end."""
        while not self._waiting:
            size = min(self._left, self._piece)
            self._left -= size
            last = not self._left
            ready = self._connection.write_piece(b"x" * size + (self._after if last else b""))
            if last:
                return True
            if self._pause:
                self._wait()
            elif not ready:
                break
        return False

    def stop(self) -> None:
        """The connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
