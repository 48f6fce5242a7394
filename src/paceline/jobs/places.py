"""Where a job may write: paths checked before anything is begun, and files locked against a second process."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Final

from ..errors import InputError

__all__ = ["check_place", "open_locked"]

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
