"""A SQLite store whose processes are killed, whose disk is full, whose file is another's: nothing half written, all told."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.fleet import Arrivals, Fleet, Task

from paceline.errors import InputError
from paceline.stores import sqlite as module
from paceline.stores.protocol import Message, StoreUnavailable
from paceline.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

TALK = """
import sys
from paceline.stores.protocol import Message
from paceline.stores.sqlite import SQLiteStore
store, worker, log = SQLiteStore(sys.argv[1]), sys.argv[2], ""
print("ready", flush=True)
sys.stdin.readline()
for seq in range(1, 100_000):
    reply = store.call("api", Message(log="log", since=0, worker=worker, seq=seq, text=f"{worker} {seq}" + "." * 500))
    print(seq, flush=True)
"""
FULL = """
import resource, signal, sys
from paceline.stores.protocol import Message, StoreUnavailable
from paceline.stores.sqlite import SQLiteStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SQLiteStore(sys.argv[1])
store.call("api", Message(found="log", snapshot="{}", base=1))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
seq = 0
try:
    while True:
        seq += 1
        store.call("api", Message(log="log", worker="w", seq=seq, since=seq - 1, text="." * 5000))
except StoreUnavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
reply = store.call("api", Message(log="log", worker="w", seq=seq, text="." * 5000))
print(seq, reply.last, len(reply.entries))
"""


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """kill -9 at any moment leaves all of a call or nothing: what was answered is there, once, and the file is whole."""
    path = str(tmp_path / "scopes.db")
    store = SQLiteStore(path)
    store.call("api", Message(found="log", snapshot="{}", base=1))
    answered: dict[str, int] = {}
    processes = {
        name: subprocess.Popen([sys.executable, "-c", TALK, path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in (f"w{number}" for number in range(8))
    }
    for process in processes.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes.values():
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for name, process in processes.items():
        time.sleep(0.011)  # another moment of its transaction each time
        process.kill()
        said = process.communicate()[0].split("\n")[:-1]
        answered[name] = int(said[-1]) if said else 0
    reply = store.call("api", Message(log="log"))
    store.close()
    assert [entry.index for entry in reply.entries] == list(range(1, reply.last + 1))
    assert sum(answered.values()) > 8
    for name, last in answered.items():
        said = [int(entry.text.split(" ")[1].rstrip(".")) for entry in reply.entries if entry.text.startswith(name + " ")]
        # One more may have been written whose answer nobody read.
        assert said == list(range(1, len(said) + 1))
        assert last <= len(said) <= last + 1
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the size of files is limited as Linux does it")
def test_full_disk(tmp_path: Path) -> None:
    """A write that does not fit fails as a store that cannot be used; once there is room, the same call is taken in once."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "scopes.db")], capture_output=True, text=True, timeout=60, check=True
    )
    error, facts = done.stdout.strip().split("\n")
    assert "cannot be used" in error
    seq, last, entries = map(int, facts.split())
    assert seq == last == entries


def test_a_newer_file(tmp_path: Path) -> None:
    """A file that a newer version wrote is refused, by name, and left as it is; `fetch` ends with status 2."""
    path = tmp_path / "scopes.db"
    SQLiteStore(str(path)).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(InputError, match=r"written by a newer version of paceline \(format 99, this one reads 1\)"):
        SQLiteStore(str(path))
    (tmp_path / "urls").write_text("http://127.0.0.1:9/\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "paceline", "fetch", str(tmp_path / "urls"), "-o", str(tmp_path / "out"),
            "--store", f"sqlite:///{path}", "--limit", "1/s", "--progress", "none",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "newer version" in done.stderr
    assert "Traceback" not in done.stderr


def test_files_that_are_no_store(tmp_path: Path) -> None:
    """A file of junk, another program's database and a folder are refused with a message that names them."""
    junk = tmp_path / "junk.db"
    junk.write_bytes(os.urandom(8192))
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = other.read_bytes()
    for path, why in ((junk, "not a database"), (other, "another program's database"), (tmp_path, "cannot keep a store")):
        with pytest.raises(InputError, match=why) as caught:
            SQLiteStore(str(path))
        assert str(path) in str(caught.value)
    assert other.read_bytes() == before


def test_damaged_while_it_is_used(tmp_path: Path) -> None:
    """A file that is damaged while it is used is a store that cannot be used, not a traceback."""
    path = tmp_path / "scopes.db"
    store = SQLiteStore(str(path))
    store.call("api", Message(found="log", snapshot="{}", base=1))
    store.close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 20_000)
    with pytest.raises((StoreUnavailable, InputError), match=r"scopes\.db"):
        store.call("api", Message(log="log", worker="w", seq=1, text="x"))
    store.close()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_file_systems(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on a network file system is refused, with the reason; the system's own table says what it lies on."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n36 22 0:31 / {tmp_path} rw shared:1 - {kind} server:/export rw\n")
    real = module._file_system
    monkeypatch.setattr(module, "_file_system", lambda folder: real(folder, str(mounts)))
    with pytest.raises(InputError, match=rf"network file system \({kind}\), whose locks do not hold between machines"):
        SQLiteStore(str(tmp_path / "scopes.db"))
    assert not (tmp_path / "scopes.db").exists()


def test_a_lock_that_is_held(tmp_path: Path) -> None:
    """Another process that holds the file for long costs a call its timeout, no more; then it goes on."""
    path = str(tmp_path / "scopes.db")
    store = SQLiteStore(path, timeout=0.2)
    store.call("api", Message(found="log", snapshot="{}", base=1))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.call("api", Message(log="log", worker="w", seq=1, text="x"))
    assert store.call("api", Message(log="log")).last == 0  # who only reads is not held up
    holder.execute("ROLLBACK")
    holder.close()
    assert store.call("api", Message(log="log", worker="w", seq=1, text="x")).last == 1
    store.close()


def test_workers_of_one_file(tmp_path: Path) -> None:
    """Four processes share a file, one is killed, the file is held and then removed: the quota holds, all is sent once."""
    path = tmp_path / "scopes.db"
    with Arrivals() as arrivals, Fleet() as fleet:
        workers = [
            fleet.start(Task(f"sqlite:///{path}", ("100/s",), tuple(range(n, 450, 4)), arrivals.port, n, tasks=4 * (n % 2)))
            for n in range(4)
        ]
        arrivals.wait_for(130)
        workers[0].kill()
        arrived = {item for _, number, item in list(arrivals.moments) if number == 0}
        rest = tuple(item for item in range(0, 450, 4) if item not in arrived)
        workers[0] = fleet.start(Task(f"sqlite:///{path}", ("100/s",), rest, arrivals.port, 5))
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(0.4)
        holder.execute("ROLLBACK")
        holder.close()
        arrivals.wait_for(220)
        for name in ("scopes.db", "scopes.db-wal", "scopes.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        assert [worker.wait() for worker in workers] == [0] * 4
    assert sorted(item for _, _, item in arrivals.moments) == list(range(450))
    assert arrivals.most(1.0) <= 100
    assert arrivals.kinds()["StoreReplaced"]
