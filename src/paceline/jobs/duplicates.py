"""Finds ids that stand twice among any number of them, in constant memory, and never by mistake.

Ids are hashed to 64 bits (Python's own keyed hash) and dealt into parts by their low bits; parts go to an
unlinked temporary file, 8 bytes an id. At the end each part is looked through by itself. Equal hashes are
only candidates: the caller compares the ids themselves in another pass over the input.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from typing import IO, TYPE_CHECKING, Final

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Duplicates"]

_PARTS: Final = 1024
_HELD: Final = 262_144
_BATCH: Final = 1000


class Duplicates:
    """Takes ids with `add`, then gives sets of the hashes that came more than once.

    >>> with Duplicates() as ids:
    ...     for name in ("a", "b", "a"):
    ...         ids.add(name)
    ...     [hash("a") in batch for batch in ids.candidates()]
    [True]
    """

    def __init__(self) -> None:
        self._parts: list[array[int]] = [array("q") for _ in range(_PARTS)]
        self._held = 0
        self._file: IO[bytes] | None = None
        self._flushes: list[array[int]] = []  # for each flush, how many hashes each part had
        self._ends: list[int] = []

    def __enter__(self) -> Duplicates:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, identity: str | int) -> None:
        """Takes one id. Raises OutputError where the temporary file cannot grow."""
        value = hash(identity)
        self._parts[value & (_PARTS - 1)].append(value)
        self._held += 1
        if self._held >= _HELD:
            self._flush()

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - __exit__ closes it
            view = memoryview(b"".join(part.tobytes() for part in self._parts))
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise OutputError(
                f"cannot compare the ids of the input in {tempfile.gettempdir()}: {error.strerror or error}; "
                "make room there or set TMPDIR to a folder that has it, then run again"
            ) from None
        self._flushes.append(array("I", map(len, self._parts)))
        self._ends.append(self._file.tell())
        for part in self._parts:
            del part[:]
        self._held = 0

    def candidates(self) -> Iterator[set[int]]:
        """The hashes that came more than once, in sets of about a thousand; none, and no id stands twice."""
        found: set[int] = set()
        starts = [0, *self._ends[:-1]]
        for number, part in enumerate(self._parts):
            hashes = array("q")
            if self._file is not None:
                for at, (start, counts) in enumerate(zip(starts, self._flushes, strict=True)):
                    hashes.frombytes(os.pread(self._file.fileno(), counts[number] * 8, start))
                    starts[at] += counts[number] * 8
            hashes.extend(part)
            if len(set(hashes)) == len(hashes):
                continue
            seen: set[int] = set()
            for value in hashes:
                if value in seen:
                    found.add(value)
                seen.add(value)
                if len(found) >= _BATCH:
                    yield found
                    found = set()
                    seen.discard(value)
        if found:
            yield found
