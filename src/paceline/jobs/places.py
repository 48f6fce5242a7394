"""Where a job may write: paths checked before anything is begun, and files locked against a second process."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from ..errors import InputError

if TYPE_CHECKING:
    from .source import Source

__all__ = ["check_place", "keep_apart", "open_locked"]

_PACKED: Final = (".gz", ".zst", ".bz2", ".xz")


def check_place(path: str, what: str) -> str:
    """The real path of a file to be written; raises InputError where none can stand there.

    what: what the file is called in messages, OUT or the file of --failed.
    """
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    if not os.path.isdir(folder):
        raise InputError(f"the folder of {what}, {folder}, does not exist: create it, or name another place")
    if real.lower().endswith(_PACKED):
        raise InputError(f"{what} {path} is written as plain lines, uncompressed: leave its last suffix out")
    try:
        mode = os.stat(real).st_mode
    except FileNotFoundError:
        return real
    except OSError as error:
        raise InputError(f"cannot use {path} as {what}: {error.strerror or error}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{what} {path} is a folder: name a file in it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{what} {path} is not a regular file; a job can only go on from one")
    return real


def open_locked(path: str, what: str, *, mode: int = 0o666) -> int:
    """Opens a file to read and append, creates it where it is missing, and locks it; returns the descriptor.

    The lock is flock(2)'s: it goes with the process, however that ends. Raises InputError where another
    process holds it or the file cannot be opened.
    """
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
        except OSError as error:
            raise InputError(f"cannot write {what} {path}: {error.strerror or error}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and lock, the file may have been replaced by the process that held the lock.
            same = os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path))
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise InputError(
                    f"{what} {path} is in use by another process: wait for it, or name another file"
                ) from None
            raise InputError(
                f"cannot lock {what} {path}: {error.strerror or error}; name a file on another disk"
            ) from None
        if same:
            return fd
        os.close(fd)


def keep_apart(out: str, failed: str | None, source: Source) -> None:
    """Raises InputError where two of SOURCE, OUT, its state and the file of --failed are one file."""
    state = out + ".state"
    taken = {out: "OUT", state: "OUT's state", state + ".out": "OUT's", state + ".new": "OUT's", out + ".departures": "OUT's"}
    if source.path is not None and (source.path in taken or _same(source, out)):
        raise InputError(f"SOURCE and OUT are the same file, {source.path}: name another OUT")
    if failed is None:
        return
    if failed in taken:
        raise InputError(f"the file of --failed is {taken[failed]} itself: name another one")
    if failed == source.path or _same(source, failed):
        raise InputError(
            "the file of --failed is SOURCE itself, which would be overwritten: name another one"
        )
    if failed.lower().endswith(".csv"):
        raise InputError(
            "failed inputs are listed as URLs or JSON lines, not as CSV: name the file of --failed .jsonl"
        )


def _same(source: Source, path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return source.path is not None and source.content.identity() == (status.st_dev, status.st_ino)
