"""Workers as processes of their own, and an independent count of what arrives from them, stamped by the kernel.

    with Arrivals() as arrivals, Fleet() as fleet:
        worker = fleet.start(Task(url, "100/s", items, arrivals.port))
        worker.wait()
    assert arrivals.most(1.0) <= 100

One process is warmed up and forks the workers (`python -m tests.fleet`), so that one more costs milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tests.measures import most_in

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Arrivals", "Fleet", "Task", "Worker"]

_TIMESTAMP: Final = 35  # SO_TIMESTAMPNS, socket(7)
_SECOND: Final = struct.Struct("=qq")


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker does: sends each of its items once, each with a permit of the scope, to the port of the arrivals.

    tasks: 0: one thread; else so many tasks of an event loop. pause: seconds between its items, for a worker that
    could send less than it may. said: limits that it puts in force after so many items: (count, limits).
    """

    url: str
    limits: tuple[str, ...]
    items: tuple[int, ...]
    port: int
    number: int = 0
    scope: str = "api"
    loss: str = "share"
    tasks: int = 0
    pause: float = 0.0
    said: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass(slots=True)
class Arrivals:
    """Counts what arrives, on its own: each datagram is one item, and the kernel stamps it when it comes in.

    moments: (seconds, worker, item) in order of arrival; events: (seconds, worker, kind, facts) as the workers tell them.
    """

    moments: list[tuple[float, int, int]] = field(default_factory=list)
    events: list[tuple[float, int, str, str]] = field(default_factory=list)
    port: int = 0
    _socket: Any = None
    _thread: Any = None

    def __enter__(self) -> Arrivals:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if sys.platform == "linux":
            self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self) -> None:
        while True:
            data, extra, _, _ = self._socket.recvmsg(4096, 64)
            if data == b"end":
                return
            at = time.time()
            for level, kind, stamp in extra:
                if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP):
                    seconds, nanoseconds = _SECOND.unpack(stamp[:16])
                    at = seconds + nanoseconds / 1e9
            said = data.decode().split(" ", 3)
            if said[0] == "item":
                self.moments.append((at, int(said[1]), int(said[2])))
            else:
                self.events.append((at, int(said[1]), said[2], said[3]))

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def most(self, period: float, since: float = 0.0) -> int:
        """The most that came in within any period."""
        return most_in(sorted(at for at, _, _ in self.moments if at >= since), period)

    def between(self, start: float, end: float) -> int:
        """How many came in at moments in [start, end)."""
        return sum(start <= at < end for at, _, _ in self.moments)

    def wait_for(self, count: int, timeout: float = 60.0) -> None:
        """Blocks until so many have arrived."""
        ends = time.monotonic() + timeout
        while len(self.moments) < count:
            assert time.monotonic() < ends, f"{len(self.moments)} of {count} arrived in {timeout} s; {self.events}"
            time.sleep(0.01)

    def wait_for_event(self, kind: str, timeout: float = 60.0, count: int = 1) -> None:
        """Blocks until so many events of a kind were told."""
        ends = time.monotonic() + timeout
        while sum(each[2] == kind for each in self.events) < count:
            assert time.monotonic() < ends, f"no {kind} within {timeout} s; {self.events}"
            time.sleep(0.01)

    def kinds(self) -> Counter[str]:
        """How many events of each kind were told."""
        return Counter(each[2] for each in self.events)

    def spread(self) -> float:
        """Seconds from the first arrival to the last."""
        moments = [at for at, _, _ in self.moments]
        return max(moments) - min(moments)


class Worker:
    """One process. Only this object ends it."""

    def __init__(self, fleet: Fleet, task: Task, pid: int) -> None:
        self.fleet, self.task, self.pid = fleet, task, pid
        self.ended: int | None = None

    def signal(self, number: int) -> None:
        if self.ended is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.wait(5)

    def wait(self, timeout: float = 60.0) -> int:
        """Its exit status, once it has ended; negative: the signal that ended it."""
        ends = time.monotonic() + timeout
        while self.ended is None:
            self.ended = self.fleet.ask({"poll": self.pid})
            if self.ended is None:
                assert time.monotonic() < ends, f"worker {self.task.number} did not end within {timeout} s"
                time.sleep(0.02)
        return self.ended


class Fleet:
    """The process that forks workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.workers: list[Worker] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, what: dict[str, Any]) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(self, task: Task) -> Worker:
        worker = Worker(self, task, self.ask(asdict(task)))
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.workers:
            if worker.ended is None:
                worker.signal(signal.SIGCONT)
                worker.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- in the workers -----------------------------------------------------------------------------


def _work(task: Task) -> None:
    from paceline.limits import Limit
    from paceline.stores import open_store
    from paceline.stores.line import Line, Permit

    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", task.port))

    def tell(event: Any) -> None:
        facts = getattr(event, "error", "") or getattr(event, "reason", "")
        sender.send(f"event {task.number} {type(event).__name__} {facts}"[:2000].encode())

    store = open_store(task.url)
    line = Line(
        task.scope, [Limit.parse(text) for text in task.limits], store=store, emit=tell, on_store_loss=task.loss  # type: ignore[arg-type]
    )
    said = dict(task.said)

    def send(permit: Permit, item: int) -> None:
        permit.sent()
        sender.send(b"item %d %d" % (task.number, item))
        permit.release()
        if (limits := said.pop(item, None)) is not None:
            line.update([Limit.parse(text) for text in limits])
            tell(type("Updated", (), {"reason": ", ".join(limits)})())

    if not task.tasks:
        for item in task.items:
            send(line.acquire(1, 0, 60, True), item)
            if task.pause:
                time.sleep(task.pause)
        if store is not None:
            store.close()
        return

    async def main() -> None:
        items = iter(task.items)

        async def one() -> None:
            for item in items:
                send(await line.acquire_async(1, 0, 60, True), item)
                if task.pause:
                    await asyncio.sleep(task.pause)

        async with asyncio.TaskGroup() as group:
            for _ in range(task.tasks):
                group.create_task(one())
        await line.leave_store()
        if store is not None:
            await store.aclose()

    asyncio.run(main())


def _fork(task: Task) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        # The pipes are the parent's.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        _work(task)
        status = 0
    except BaseException as error:  # noqa: BLE001 - told by the exit status and the text
        sys.stderr.write(f"worker {task.number}: {error!r}\n")
        sys.stderr.flush()
    os._exit(status)


def _serve(commands: Sequence[str] | Any) -> None:
    for line in commands:
        command = json.loads(line)
        if "poll" in command:
            pid, status = os.waitpid(command["poll"], os.WNOHANG)
            answer = None if not pid else os.waitstatus_to_exitcode(status)
        else:
            lists = {name: tuple(command[name]) for name in ("limits", "items")}
            answer = _fork(Task(**{**command, **lists, "said": tuple((at, tuple(texts)) for at, texts in command["said"])}))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    for name in ("line", "redis", "sqlite"):
        import_module(f"paceline.stores.{name}")
    _serve(sys.stdin)
