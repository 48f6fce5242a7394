"""A growing set of positive whole numbers, one bit each, that knows below which number nothing is missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bitmap"]

_NOT_FULL: Final = re.compile(rb"[^\xff]")
_NOT_EMPTY: Final = re.compile(rb"[^\x00]")
_GROWTH: Final = 4096


class Bitmap:
    """A set of numbers from 0 up, at one bit each: 10⁸ inputs take 12.5 MB.

    >>> done = Bitmap()
    >>> done.add(3); done.add(70)
    >>> 3 in done, 4 in done, len(done), list(done)
    (True, False, 2, [3, 70])
    >>> list(Bitmap.from_compact(*done.compact()))
    [3, 70]
    """

    __slots__ = ("_count", "_full", "bits")

    def __init__(self) -> None:
        self.bits = bytearray(_GROWTH)
        self._count = 0
        self._full = 0  # every byte before this one is 0xff

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int) or number < 0:
            return False
        at = number >> 3
        return at < len(self.bits) and self.bits[at] >> (number & 7) & 1 == 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        """The numbers, ascending."""
        for match in _NOT_EMPTY.finditer(bytes(self.bits)):
            byte, base = self.bits[match.start()], match.start() << 3
            for bit in range(8):
                if byte >> bit & 1:
                    yield base + bit

    def add(self, number: int) -> None:
        """Puts a number in; nothing happens where it was in already. Raises IndexError below 0."""
        if number < 0:
            raise IndexError(f"a bitmap holds numbers from 0 up, not {number}")
        bits, at, mask = self.bits, number >> 3, 1 << (number & 7)
        if at >= len(bits):
            # An eighth more each time: linear cost, and little memory unused.
            bits.extend(bytes(at - len(bits) + 1 + _GROWTH + (at >> 3)))
        byte = bits[at]
        if not byte & mask:
            bits[at] = byte | mask
            self._count += 1

    def discard(self, number: int) -> None:
        """Takes a number out, where it is in."""
        if number in self:
            at = number >> 3
            self.bits[at] &= ~(1 << (number & 7)) & 0xFF
            self._count -= 1
            self._full = min(self._full, at)

    def compact(self) -> tuple[int, bytes]:
        """How many first bytes are all ones, and the bytes after them without trailing zeros: cheap to take often."""
        found = _NOT_FULL.search(self.bits, self._full)
        self._full = found.start() if found else len(self.bits)
        return self._full, bytes(self.bits[self._full :]).rstrip(b"\0")

    @classmethod
    def from_compact(cls, full: int, rest: bytes) -> Bitmap:
        """The set that `compact` gave."""
        bitmap = cls()
        bitmap.bits = bytearray(b"\xff" * full + rest)
        bitmap._full = full
        bitmap._count = full * 8 + int.from_bytes(rest, "little").bit_count()
        return bitmap
