"""Bodies that are too long, too slow or of unknown length to be held as bytes; made piece by piece as they are sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Body", "Filler", "Half", "Lines"]

_CHUNK: Final = 65_536
_PIECES_PER_SECOND: Final = 20


class Body(Protocol):
    """A body on its way: `pieces` in order, `pause` seconds before each; `chunked`: its length is not told before.

    `len` is the number of bytes of all pieces together.
    """

    @property
    def chunked(self) -> bool:
        """Whether it is sent in chunks, without a Content-Length."""

    @property
    def pause(self) -> float:
        """Seconds before each piece."""

    def __len__(self) -> int: ...

    def pieces(self) -> Iterator[bytes]:
        """The bytes, a piece at a time, none of them empty."""


@dataclass(frozen=True, slots=True)
class Filler:
    """A body too long, or too slow, to be held: `before`, `size` bytes of x, `after`, over `seconds`.

    >>> b"".join(Filler(b"<", 3, b">").pieces()), len(Filler(b"<", 3, b">"))
    (b'<xxx>', 5)
    """

    before: bytes
    size: int
    after: bytes = b""
    seconds: float = 0.0

    @property
    def chunked(self) -> bool:
        """Never: its length is known."""
        return False

    @property
    def pause(self) -> float:
        """Seconds before each piece."""
        return self.seconds / max(1, math.ceil(len(self) / self._piece)) if self.seconds else 0.0

    @property
    def _piece(self) -> int:
        if not self.seconds:
            return _CHUNK
        return max(1, math.ceil(len(self) / (self.seconds * _PIECES_PER_SECOND)))

    def __len__(self) -> int:
        return len(self.before) + self.size + len(self.after)

    def pieces(self) -> Iterator[bytes]:
        """The bytes, a piece at a time."""
        size, edge, end = self._piece, len(self.before), len(self.before) + self.size
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield (
                self.before[start:stop]
                + b"x" * (max(0, min(stop, end) - max(start, edge)))
                + self.after[max(0, start - end) : max(0, stop - end)]
            )


@dataclass(frozen=True, slots=True)
class Lines:
    """So many lines of JSON, in chunks, over `seconds`; their number is not told before.

    >>> b"".join(Lines(2).pieces())
    b'{"line":1}\\n{"line":2}\\n'
    """

    count: int
    seconds: float = 0.0

    @property
    def chunked(self) -> bool:
        """Always: the client does not know when it ends."""
        return True

    @property
    def pause(self) -> float:
        """Seconds before each piece."""
        return self.seconds / max(1, math.ceil(self.count / self._lines)) if self.seconds else 0.0

    @property
    def _lines(self) -> int:
        if not self.seconds:
            return 1000
        return max(1, math.ceil(self.count / (self.seconds * _PIECES_PER_SECOND)))

    def __len__(self) -> int:
        total, digits, first = 10 * self.count, 1, 1
        while first <= self.count:
            total += digits * (min(self.count, first * 10 - 1) - first + 1)
            digits, first = digits + 1, first * 10
        return total

    def pieces(self) -> Iterator[bytes]:
        """The lines, some at a time."""
        for start in range(1, self.count + 1, self._lines):
            stop = min(start + self._lines, self.count + 1)
            yield b"".join(b'{"line":%d}\n' % number for number in range(start, stop))


@dataclass(frozen=True, slots=True)
class Half:
    """The first half of a body that ends in the middle, under the length of the whole.

    >>> b"".join(Half(b"abcd").pieces()), len(Half(b"abcd"))
    (b'ab', 4)
    """

    whole: bytes | Body

    @property
    def chunked(self) -> bool:
        """As the whole is."""
        return not isinstance(self.whole, bytes) and self.whole.chunked

    @property
    def pause(self) -> float:
        """Seconds before each piece."""
        return 0.0 if isinstance(self.whole, bytes) else self.whole.pause

    def __len__(self) -> int:
        return len(self.whole)

    def pieces(self) -> Iterator[bytes]:
        """The pieces of the first half."""
        left = len(self.whole) // 2
        for piece in [self.whole] if isinstance(self.whole, bytes) else self.whole.pieces():
            if left <= 0:
                return
            yield piece[:left]
            left -= len(piece)
