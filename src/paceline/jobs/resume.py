"""How OUT is taken up again: what stands in it is noted, half and failed records are taken out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError, OutputError
from ..paging import is_kept
from .checkpoint import sync_folder
from .fastjson import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bitmap import Bitmap
    from .paging import Places
    from .source import Source

__all__ = ["Replayed", "cut_half_line", "lines_of", "replay", "still_there", "without_failed"]

_BLOCK: Final = 1024 * 1024
_AT_ONCE: Final = 200_000
_ERROR: Final = b'"error":'
_NOTED: Final = ("error", "status", "attempts", "page", "paging")


@dataclass(slots=True)
class Replayed:
    """The records of OUT that the last checkpoint had not noted, for the account.

    records: how many inputs ended; pages: how many pages of lists; attempts: the sum of theirs; status_400: answers of status 400 or more among them that are
    no failures; failed: records with an error; dropped: offsets of lines that must go.
    """

    records: int = 0
    pages: int = 0
    attempts: int = 0
    status_400: int = 0
    failed: int = 0
    dropped: set[int] = field(default_factory=set)


def cut_half_line(fd: int) -> int:
    """Cuts what stands behind the last newline; returns the size then."""
    size = end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)
    return end


def lines_of(fd: int, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Offset and text (newline included) of each whole line from `start`, which must be a line's beginning."""
    at = start
    parts: list[bytes] = []
    while block := os.pread(fd, _BLOCK, at):
        at += len(block)
        *whole, rest = block.split(b"\n")
        for line in whole:
            text = b"".join([*parts, line, b"\n"]) if parts else line + b"\n"
            yield start, text
            start += len(text)
            parts = []
        if rest:
            parts.append(rest)


def replay(
    fd: int,
    start: int,
    source: Source,
    recorded: Bitmap,
    failed: Bitmap,
    name: str,
    places: Places,
) -> Replayed:
    """Notes the records from `start` on in `recorded` and `failed`, and in `places` how far lists have come.

    Lines that are no records (blocks lost in a power cut), records that stand twice, and pages behind one that was
    lost are noted in `dropped`, by offset. Raises InputError for a record whose id no input has: such a file is not this job's alone.
    """
    found = Replayed()
    held: list[tuple[int, str | int, dict[str, Any]]] = []
    for offset, line in lines_of(fd, start):
        record = _record(line)
        if record is None:
            found.dropped.add(offset)
            continue
        held.append((offset, record["id"], {key: record.get(key) for key in _NOTED}))
        if len(held) >= _AT_ONCE:
            _note(held, source, recorded, failed, found, name, places)
            held.clear()
    _note(held, source, recorded, failed, found, name, places)
    return found


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict) or type(record.get("id")) not in (int, str):
        return None
    # A page whose place cannot be read tells nothing of how to go on: it is asked for again.
    if record.get("page") is not None and record.get("error") is None and not is_kept(record["page"], record.get("paging")):
        return None
    return record


def _note(
    held: list[tuple[int, str | int, dict[str, Any]]],
    source: Source,
    recorded: Bitmap,
    failed: Bitmap,
    found: Replayed,
    name: str,
    places: Places,
) -> None:
    if not held:
        return
    wanted = {identity for _, identity, _ in held}
    numbers: dict[str | int, int] = {}
    if source.named:
        for number, identity in source.ids():
            if identity in wanted:
                numbers[identity] = number
    else:
        numbers = {one: one for one in wanted if isinstance(one, int) and 1 <= one <= source.count}
    for offset, identity, record in held:
        if identity not in numbers:
            raise InputError(
                f"{name} holds a record with the id {str(identity)[:80]!r}, which no input has: it was changed by "
                "another program; name another OUT, or overwrite it with --fresh"
            )
        number = numbers[identity]
        error = record["error"] is not None
        status, attempts = record["status"], record["attempts"]
        page, so_far = record["page"], record["paging"]
        if page is not None and not error:
            # Pages come in order: one that does not follow stands twice, or one before it was lost.
            followed = (number not in recorded or number in failed) and page == places.get(number, (0, None))[0] + 1
            if not followed:
                found.dropped.add(offset)
                continue
            found.pages += 1
            if so_far["next"] is not None:
                found.attempts += attempts if isinstance(attempts, int) else 0
                places[number] = (page, so_far)
                if number in failed:
                    failed.discard(number)
                    recorded.discard(number)
                    found.dropped.add(-1)
                continue
            places.pop(number, None)
        if number in recorded:
            # One of the two must go; one with an error goes anyway.
            if error:
                found.dropped.add(offset)
                continue
            if number in failed:
                failed.discard(number)
                # No line's offset, but a reason to write OUT anew: the old record stands before `start`.
                found.dropped.add(-1)
            else:
                found.dropped.add(offset)
                continue
        recorded.add(number)
        if error:
            failed.add(number)
        found.records += 1
        found.failed += error
        found.attempts += attempts if isinstance(attempts, int) else 0
        found.status_400 += not error and isinstance(status, int) and status >= 400


def without_failed(fd: int, path: str, dropped: set[int]) -> int:
    """Writes OUT anew without the records that have an error and the lines at `dropped`; returns the new descriptor.

    The new file is written beside OUT, synced, locked, then renamed over it, so that at every moment OUT is
    either the old one or the new one. Raises OutputError, and then OUT is as it was.
    """
    fresh = path + ".state.out"
    new = -1
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        new = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kept: list[bytes] = []
        size = 0
        for offset, line in lines_of(fd):
            if offset in dropped or (_ERROR in line and _has_error(line)):
                continue
            kept.append(line)
            size += len(line)
            if size >= _BLOCK:
                _write(new, kept)
                size = 0
        _write(new, kept)
        os.fchmod(new, stat.S_IMODE(os.fstat(fd).st_mode))
        os.fsync(new)
        os.replace(fresh, path)
        sync_folder(path)
    except OSError as error:
        if new >= 0:
            os.close(new)
            with contextlib.suppress(OSError):
                os.unlink(fresh)
        raise OutputError(
            f"cannot write {path} anew without the failed records: {error.strerror or error}; it is as it was: "
            "make room for a second copy, then run the same command again to go on"
        ) from None
    except BaseException:
        if new >= 0:
            os.close(new)  # and with it the lock, which the next try needs
        raise
    return new


def _has_error(line: bytes) -> bool:
    record = _record(line)
    return record is not None and record.get("error") is not None


def _write(fd: int, lines: list[bytes]) -> None:
    view = memoryview(b"".join(lines))
    lines.clear()
    while view:
        view = view[os.write(fd, view) :]


def still_there(fd: int, path: str) -> None:
    """Raises OutputError where `path` is not the file behind `fd` any more; a removed one is written anew first."""
    mine = os.fstat(fd)
    try:
        if os.path.samestat(mine, os.stat(path)):
            return
        what = "replaced by another file"
    except OSError:
        what = "moved away"
        if mine.st_nlink == 0:
            what = "removed, and has been written anew" if _written_anew(fd, path) else "removed"
    raise OutputError(
        f"{path} was {what} while the job ran; what it held counts if it stands there again: "
        "run the same command again to go on"
    )


def _written_anew(fd: int, path: str) -> bool:
    """Puts a removed OUT back from the descriptor that still holds it."""
    try:
        with open(path, "xb") as file:
            file.writelines(line for _, line in lines_of(fd))
    except OSError:
        return False
    sync_folder(path)
    return True
