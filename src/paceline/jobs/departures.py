"""How many permits each scope gave out, counted in a mapped file, so that not even kill -9 hides a departure.

A checkpoint is a second old when the process dies, and a whole burst may have left since. This count is written
with every permit into memory that the kernel keeps, and tells the next run exactly how much more was spent.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Departures", "Spent"]

_SLOT: Final = struct.Struct("<dd")
SLOTS: Final = 256
_MOST: Final = 2.0**52


class Spent(NamedTuple):
    """What a scope had spent: permits in all, and the epoch moment of the last."""

    permits: float
    last: float


class Departures:
    """The counts of up to 256 scopes; slot numbers are given by the caller, who remembers whose they are.

    path: the file, made if it is not there (mode 0600). Raises OutputError where it cannot be.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                size = _SLOT.size * SLOTS
                if os.fstat(fd).st_size != size:
                    os.ftruncate(fd, 0)
                    # Written, not left as a hole: a full disk must show now, not as a fault of the mapped memory.
                    os.pwrite(fd, bytes(size), 0)
                self._map = mmap.mmap(fd, size)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot keep the count of departures in {path}: {error}") from None

    def spent(self, slot: int) -> Spent:
        """What stands in a slot."""
        return Spent(*_SLOT.unpack_from(self._map, slot * _SLOT.size))

    def counter(self, slot: int) -> Callable[[float, float], None]:
        """A function (cost, epoch seconds) that counts one departure in a slot.

        It counts on from what stands there, whoever counted that: the checkpoint on disk still speaks of it until
        the next one is saved, and begun at nothing it would hide what the killed run had spent.
        """
        at = slot * _SLOT.size
        pack, mapped = _SLOT.pack_into, self._map
        permits, last = _SLOT.unpack_from(mapped, at)
        if not 0.0 <= permits < _MOST:
            permits = 0.0  # no count, or one so large that adding a permit would change nothing
            pack(mapped, at, permits, last)

        def count(cost: float, moment: float) -> None:
            nonlocal permits
            permits += cost
            pack(mapped, at, permits, moment)

        return count

    def close(self, *, remove: bool) -> None:
        """Lets go of the file; remove: nothing is left to remember."""
        self._map.close()
        if remove:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
