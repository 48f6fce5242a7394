"""A store in a SQLite file, for the processes of one machine.

Every call is one transaction begun with BEGIN IMMEDIATE in WAL mode, so a process that is killed leaves either
all of its call or nothing, and readers never block. The clock is the machine's own that counts from its start
(CLOCK_BOOTTIME), shared by all processes; a restart of the machine moves its base, never the log's time back.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final, Literal

from ..errors import InputError
from .protocol import Entry, Message, Reply, Store, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SQLiteStore"]

_APPLICATION: Final = 0x7061636C  # "pacl"
_VERSION: Final = 1
_BUSY: Final = 2.0  # seconds that a call waits for others' transactions
_SWEEP_EVERY: Final = 500  # calls
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "fuse.sshfs", "glusterfs", "fuse.glusterfs"})
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scopes (
  scope TEXT PRIMARY KEY, log TEXT NOT NULL, base INTEGER NOT NULL, last INTEGER NOT NULL, stamp INTEGER NOT NULL,
  snapshot TEXT, snapshot_at INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
  scope TEXT, n INTEGER, stamp INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (scope, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS workers (scope TEXT, worker TEXT, seq INTEGER NOT NULL, PRIMARY KEY (scope, worker)) WITHOUT ROWID;
"""


def _ticks() -> int:
    """Nanoseconds since the machine was started, suspended time included."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


def _boot() -> str:
    """Which start of the machine this is."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return f"{time.time() - _ticks() / 1e9:.0f}"[:-1]  # to ten seconds


class SQLiteStore(Store):
    """See the module. path: the file, made with mode 0600 where there is none. timeout: seconds to wait for others.

    Raises InputError for a path that cannot hold one: a network file system (its locks do not hold between machines),
    another program's file, or one that a newer version of paceline has written.
    """

    def __init__(self, path: str, *, timeout: float = _BUSY, ticks: Callable[[], int] = _ticks) -> None:
        self.path = os.path.abspath(path)
        self.name = f"sqlite:///{self.path}"
        self._timeout = timeout
        self._ticks = ticks
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._calls = 0
        _check_place(self.path)
        with self._lock:
            try:
                self._connection()
            except sqlite3.Error as error:
                raise InputError(f"cannot keep a store in {self.path}: {error}") from None

    # ---- the connection -------------------------------------------------------------------------

    def _connection(self) -> sqlite3.Connection:
        """This process's connection; opened anew after a fork, and where the file was replaced or removed."""
        if self._db is not None and self._pid == os.getpid():
            try:
                found = os.stat(self.path)
                if (found.st_dev, found.st_ino) == self._file:
                    return self._db
            except FileNotFoundError:
                pass
            self._db.close()
        self._db = None  # a parent's connection is left alone: closing it would drop the parent's locks
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.close(fd)
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror or str(error)) from None
        db = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        found = os.stat(self.path)
        self._file = (found.st_dev, found.st_ino)
        self._db, self._pid = db, os.getpid()
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if version > _VERSION and application == _APPLICATION:
            raise InputError(
                f"the store {self.path} was written by a newer version of paceline (format {version}, this one reads "
                f"{_VERSION}): use that version, or name another file, like sqlite:///other.db"
            )
        filled = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        # Before anything is written: WAL is noted in the file itself. Asked again: tables come together with the id.
        foreign = application == 0 and filled and db.execute("PRAGMA application_id").fetchone()[0] == 0
        if foreign or application not in (0, _APPLICATION):
            raise InputError(f"{self.path} is another program's database: name another file, like sqlite:///paceline.db")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            # Asked again: another process may have made the tables meanwhile.
            if db.execute("PRAGMA application_id").fetchone()[0] == 0:
                if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise InputError(f"{self.path} is another program's database: name another file, like sqlite:///paceline.db")
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={_APPLICATION}")
                db.execute(f"PRAGMA user_version={_VERSION}")
            self._offset = self._offset_of(db)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def _offset_of(self, db: sqlite3.Connection) -> int:
        """Microseconds to add to this boot's clock; agreed on by the first process that opens the file in it."""
        boot = _boot()
        row = db.execute("SELECT value FROM facts WHERE name='boot'").fetchone()
        if row is not None and row[0].partition(" ")[0] == boot:
            return int(row[0].partition(" ")[2])
        newest = db.execute("SELECT max(base + stamp) FROM scopes").fetchone()[0] or 0
        offset = max(time.time_ns() // 1000, newest) - self._ticks() // 1000
        db.execute("INSERT OR REPLACE INTO facts VALUES ('boot', ?)", (f"{boot} {offset}",))
        return offset

    # ---- calls ----------------------------------------------------------------------------------

    def call(self, scope: str, message: Message) -> Reply:
        with self._lock:
            db = None
            try:
                db = self._connection()
                if message.text is None and not message.found and message.snapshot is None:
                    db.execute("BEGIN")
                else:
                    db.execute("BEGIN IMMEDIATE")
                reply = self._do(db, scope, message)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back(db)
                raise StoreUnavailable(self.name, str(error)) from None
            except BaseException:
                self._roll_back(db)
                raise
            return reply

    @staticmethod
    def _roll_back(db: sqlite3.Connection | None) -> None:
        if db is not None and db.in_transaction:
            try:
                db.execute("ROLLBACK")
            except sqlite3.Error:
                db.close()

    def _do(self, db: sqlite3.Connection, scope: str, message: Message) -> Reply:
        clock = self._ticks() // 1000 + self._offset
        row = db.execute("SELECT log, base, last, stamp, snapshot_at FROM scopes WHERE scope=?", (scope,)).fetchone()
        until = clock // 1_000_000 + int(message.keep)
        if message.found and (row is None or row[0] == message.log):
            self._clear(db, scope)
            db.execute(
                "INSERT INTO scopes VALUES (?,?,?,?,?,?,?,?)",
                (scope, message.found, message.base, message.snapshot_at, 0, message.snapshot, message.snapshot_at, until),
            )
            return Reply("ok", clock, message.found, message.base, message.snapshot_at)
        if row is None:
            return Reply("none", clock)
        log, base, last, stamp, snapshot_at = row
        if log != message.log or message.since > last:
            since = message.since if log == message.log else -1
            return self._reply(db, "other", scope, clock, since)
        if message.text is not None:
            known = db.execute("SELECT seq FROM workers WHERE scope=? AND worker=?", (scope, message.worker)).fetchone()
            if known is None or known[0] < message.seq:
                stamp, last = max(stamp, clock - base), last + 1
                db.execute("INSERT INTO entries VALUES (?,?,?,?)", (scope, last, stamp, message.text))
                db.execute("INSERT OR REPLACE INTO workers VALUES (?,?,?)", (scope, message.worker, message.seq))
                db.execute("UPDATE scopes SET last=?, stamp=?, until=? WHERE scope=?", (last, stamp, until, scope))
        if message.snapshot is not None and snapshot_at < message.snapshot_at <= last:
            db.execute(
                "UPDATE scopes SET snapshot=?, snapshot_at=? WHERE scope=?", (message.snapshot, message.snapshot_at, scope)
            )
            db.execute("DELETE FROM entries WHERE scope=? AND n<=?", (scope, message.snapshot_at))
        for worker in message.gone:
            db.execute("DELETE FROM workers WHERE scope=? AND worker=?", (scope, worker))
        self._calls += 1
        if message.text is not None and self._calls % _SWEEP_EVERY == 0:
            for (old,) in db.execute("SELECT scope FROM scopes WHERE until < ?", (clock // 1_000_000,)).fetchall():
                self._clear(db, old)
        return self._reply(db, "ok", scope, clock, message.since)

    @staticmethod
    def _reply(db: sqlite3.Connection, kind: Literal["ok", "other"], scope: str, clock: int, since: int) -> Reply:
        log, base, last, snapshot, snapshot_at = db.execute(
            "SELECT log, base, last, snapshot, snapshot_at FROM scopes WHERE scope=?", (scope,)
        ).fetchone()
        whole = not snapshot_at <= since <= last
        start = snapshot_at if whole else since
        rows = db.execute("SELECT n, stamp, text FROM entries WHERE scope=? AND n>? ORDER BY n", (scope, start))
        entries = tuple(Entry(n, stamp / 1e6, text) for n, stamp, text in rows)
        return Reply(
            kind, clock, log, base, last, False, snapshot if whole else None, snapshot_at if whole else 0, entries
        )

    @staticmethod
    def _clear(db: sqlite3.Connection, scope: str) -> None:
        for table in ("scopes", "entries", "workers"):
            db.execute(f"DELETE FROM {table} WHERE scope=?", (scope,))

    async def acall(self, scope: str, message: Message) -> Reply:
        # In a thread: another process may be stopped in the middle of its transaction.
        return await asyncio.to_thread(self.call, scope, message)

    # ---- for people -----------------------------------------------------------------------------

    def scopes(self) -> list[str]:
        with self._lock:
            try:
                return [row[0] for row in self._connection().execute("SELECT scope FROM scopes ORDER BY scope")]
            except sqlite3.Error as error:
                raise StoreUnavailable(self.name, str(error)) from None

    def forget(self, scope: str) -> bool:
        with self._lock:
            db = None
            try:
                db = self._connection()
                db.execute("BEGIN IMMEDIATE")
                there = db.execute("SELECT 1 FROM scopes WHERE scope=?", (scope,)).fetchone() is not None
                self._clear(db, scope)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back(db)
                raise StoreUnavailable(self.name, str(error)) from None
            return there

    def key(self) -> bytes:
        with self._lock:
            try:
                db = self._connection()
                db.execute("INSERT OR IGNORE INTO facts VALUES ('key', ?)", (secrets.token_hex(16),))
                return bytes.fromhex(db.execute("SELECT value FROM facts WHERE name='key'").fetchone()[0])
            except sqlite3.Error as error:
                raise StoreUnavailable(self.name, str(error)) from None

    def close(self) -> None:
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None


def _check_place(path: str) -> None:
    """Raises InputError for a folder that is not there, or lies on a network file system."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise InputError(f"there is no folder {folder} for the store {path}: make it, or name another place")
    kind = _file_system(os.path.realpath(folder))
    if kind in _NETWORK:
        raise InputError(
            f"the store {path} would lie on a network file system ({kind}), whose locks do not hold between machines: "
            "name a file on a local disk, or use redis:// for several machines"
        )


def _file_system(folder: str, mounts: str = "/proc/self/mountinfo") -> str | None:
    """The type of the file system that a folder lies on, where the system tells it (proc_pid_mountinfo(5))."""
    try:
        with open(mounts, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    best, kind = "", None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) < 5:
            continue
        point = parts[4].replace("\\040", " ")
        if (folder == point or folder.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind
