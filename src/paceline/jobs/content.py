"""The bytes of SOURCE, readable again and again: plain, compressed or spooled from a pipe, as blocks and as lines."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import tempfile
import zlib
from typing import IO, TYPE_CHECKING, Any, Final

from ..errors import InputError, MissingExtra, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_LINE", "Content", "TooLong", "split_lines"]

MAX_LINE: Final = 16 * 1024 * 1024
_BLOCK: Final = 256 * 1024
_EXCERPT: Final = 200
_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# An RLE block of zstd makes 128 KiB of 4 bytes: small slices keep what one call can inflate to within 64 MiB.
_ZSTD_SLICE: Final = 2048


class TooLong(bytes):
    """Stands for a line over MAX_LINE bytes: a NUL, which no usable line holds, and the line's beginning."""

    __slots__ = ()


class _At(io.RawIOBase):
    """Reads a descriptor by position, so that several readers of one descriptor never disturb each other."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self._size, self._at = fd, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._fd, min(len(buffer), max(0, self._size - self._at)), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Content:
    """What SOURCE holds, uncompressed; `name` is for messages, `stem` the file's name without .gz or .zst.

    A regular file is read where it lies, up to the size it had when it was opened; anything else
    (`-`, a pipe, a device) is first copied to an unlinked temporary file, however long it is
    (in TMPDIR, which must have room for it). Gzip and Zstandard are known by name or by first bytes.
    """

    def __init__(self, file: IO[bytes], name: str, path: str | None) -> None:
        self._file, self.name, self.path = file, name, path
        self._fd = file.fileno()
        self._size = os.fstat(self._fd).st_size
        magic = os.pread(self._fd, 4, 0)
        self.stem, suffix = os.path.splitext(name)
        by_name = {".gz": "gzip", ".zst": "zstd"}.get(suffix.lower())
        by_bytes = "gzip" if magic[:2] == _GZIP else "zstd" if magic == _ZSTD else None
        if by_name is None:
            self.stem = name
        elif by_name != by_bytes:
            file.close()
            raise InputError(f"{name} is not {by_name} data, as its name says: decompress or rename it")
        self.packing = by_bytes

    @classmethod
    def open(cls, path: str) -> Content:
        """Opens a file, or standard input for `-`; raises InputError where it cannot be read."""
        if path == "-":
            return cls(_spool(sys.stdin.buffer, "standard input"), "standard input", None)
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115 - Content.close closes it
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from None
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return cls(file, path, os.path.realpath(path))
        with file:
            return cls(_spool(file, path), path, None)

    def close(self) -> None:
        """Closes the file; the content cannot be read any more."""
        self._file.close()

    def identity(self) -> tuple[int, int]:
        """Device and inode, to tell whether another path is this very file."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def blocks(self) -> Iterator[bytes]:
        """The content from its beginning, in blocks; each call reads by itself.

        Raises InputError where it is damaged or cannot be read.
        """
        try:
            if self.packing == "gzip":
                with gzip.GzipFile(fileobj=io.BufferedReader(_At(self._fd, self._size), _BLOCK)) as unpacked:
                    while block := unpacked.read(_BLOCK):
                        yield block
            elif self.packing == "zstd":
                yield from self._zstd_blocks()
            else:
                at = 0
                while block := os.pread(self._fd, min(_BLOCK, self._size - at), at):
                    at += len(block)
                    yield block
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot read {self.name} to its end: {error}") from None

    def _zstd_blocks(self) -> Iterator[bytes]:
        try:
            import zstandard
        except ImportError:
            raise MissingExtra("zstandard", "cli") from None
        packed = io.BufferedReader(_At(self._fd, self._size), _BLOCK)
        frame, left = zstandard.ZstdDecompressor().decompressobj(), b""
        begun = False
        try:
            while data := left or packed.read(_ZSTD_SLICE):
                block, left, begun = frame.decompress(data), b"", True
                if block:
                    yield block
                if frame.eof:
                    left, begun = frame.unused_data, False
                    frame = zstandard.ZstdDecompressor().decompressobj()
        except zstandard.ZstdError as error:
            raise InputError(f"cannot read {self.name} to its end: {error}") from None
        if begun:
            raise InputError(f"cannot read {self.name} to its end: the last frame is cut off")


def _spool(stream: Any, name: str) -> IO[bytes]:
    spool = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - Content.close closes it
    while True:
        try:
            block = stream.read(_BLOCK)
        except OSError as error:
            spool.close()
            raise InputError(f"cannot read {name}: {error.strerror or error}") from None
        if not block:
            return spool
        try:
            view = memoryview(block)
            while view:
                view = view[spool.write(view) :]
        except OSError as error:
            spool.close()
            raise OutputError(
                f"cannot keep a copy of {name} in {tempfile.gettempdir()}: {error.strerror or error}; "
                "make room there or set TMPDIR to a folder that has it, then run again"
            ) from None


def split_lines(blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Lines without their newline, in lists; one over MAX_LINE comes as TooLong, and memory stays bounded.

    >>> list(split_lines(iter([b"a\\nb", b"c\\n", b"d"])))
    [[b'a'], [b'bc'], [b'd']]
    """
    tail = b""
    too_long: TooLong | None = None
    first = True
    for block in blocks:
        lines = block.split(b"\n")
        if too_long is None:
            lines[0] = tail + lines[0]
            if len(lines[0]) > MAX_LINE:
                too_long = TooLong(b"\0" + lines[0][:_EXCERPT])
                lines[0] = b""
        else:
            lines[0] = b""
        if too_long is not None and len(lines) > 1:
            lines[0], too_long = too_long, None
        tail = lines.pop()
        if lines:
            if first:
                first = False
                if lines[0].startswith(_BOM):
                    lines[0] = lines[0].removeprefix(_BOM)
            yield lines
    if first:
        tail = tail.removeprefix(_BOM)
    if too_long is not None:
        yield [too_long]
    elif tail:
        yield [tail]
