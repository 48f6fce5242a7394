"""A store in this process's memory: the model that the others are held against, and a store for tests.

Limits of one process need none of it (a line keeps its own books); with it, several lines meet as processes do.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .protocol import Entry, Message, Reply, Store

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Log:
    """One scope's log."""

    name: str
    base: int
    run: str
    last: int = 0
    stamp: int = 0
    snapshot: str | None = None
    snapshot_at: int = 0
    entries: list[Entry] = field(default_factory=list)
    seqs: dict[str, int] = field(default_factory=dict)


class MemoryStore(Store):
    """See the module. clock: epoch microseconds, as a server would read them; tests step it. run: the server's life.

    >>> store = MemoryStore(clock=lambda: 5_000_000)
    >>> store.call("api", Message()).kind
    'none'
    >>> store.call("api", Message(found="log1", snapshot="{}", base=4_000_000)).kind
    'ok'
    >>> reply = store.call("api", Message(log="log1", worker="w1", seq=1, text="hello"))
    >>> reply.entries
    (Entry(index=1, at=1.0, text='hello'),)
    """

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        if clock is None:
            import time

            def clock() -> int:
                return time.time_ns() // 1000

        self.name = "memory:"
        self.run = "1"
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[str, _Log] = {}
        self._key = secrets.token_bytes(16)

    def call(self, scope: str, message: Message) -> Reply:
        with self._lock:
            clock = self._clock()
            log = self._logs.get(scope)
            if message.found and (log.name if log else "") in ("", message.log):
                log = _Log(message.found, message.base, self.run, message.snapshot_at, 0, message.snapshot, message.snapshot_at)
                self._logs[scope] = log
                return Reply("ok", clock, log.name, log.base, log.last)
            if log is None:
                return Reply("none", clock)
            moved = log.run != self.run
            if log.name != message.log or moved or message.since > log.last:
                since = message.since if log.name == message.log else -1
                return self._reply("other", log, clock, since, moved)
            if message.text is not None and log.seqs.get(message.worker, 0) < message.seq:
                # The log's time never goes back, whatever the server's clock does.
                log.stamp = max(log.stamp, clock - log.base)
                log.last += 1
                log.entries.append(Entry(log.last, log.stamp / 1e6, message.text))
                log.seqs[message.worker] = message.seq
            if message.snapshot is not None and log.snapshot_at < message.snapshot_at <= log.last:
                log.snapshot, log.snapshot_at = message.snapshot, message.snapshot_at
                log.entries = [entry for entry in log.entries if entry.index > log.snapshot_at]
            for worker in message.gone:
                log.seqs.pop(worker, None)
            return self._reply("ok", log, clock, message.since, False)

    @staticmethod
    def _reply(kind: str, log: _Log, clock: int, since: int, moved: bool) -> Reply:
        whole = not log.snapshot_at <= since <= log.last
        start = log.snapshot_at if whole else since
        return Reply(
            kind, clock, log.name, log.base, log.last, moved,  # type: ignore[arg-type]
            log.snapshot if whole else None, log.snapshot_at if whole else 0,
            tuple(entry for entry in log.entries if entry.index > start),
        )  # fmt: skip

    async def acall(self, scope: str, message: Message) -> Reply:
        return self.call(scope, message)

    def scopes(self) -> list[str]:
        with self._lock:
            return sorted(self._logs)

    def forget(self, scope: str) -> bool:
        with self._lock:
            return self._logs.pop(scope, None) is not None

    def key(self) -> bytes:
        return self._key

    def close(self) -> None:
        pass
