"""What a store is: for each scope one short log that many processes append to, and read from in the same order.

Nobody computes in a store. An entry says what one process wants or what happened to it (so many slots, a refusal,
a late write), the store stamps it with its own clock, and every process replays the same entries through the same
pure code (`replica`): so all hold the same books, and each reads its own slots from them. One call appends an
entry and brings back what others have appended meanwhile. Now and then a process leaves a snapshot of its books,
and what came before it is dropped.

Moments are seconds since the log's `base` on the store's clock; only that clock is ever compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import PacelineError

__all__ = ["Entry", "Message", "Reply", "Store", "StoreUnavailable"]


class StoreUnavailable(PacelineError, OSError):
    """The store did not answer in time, or not with an answer: `store` names it without credentials, `why` says it."""

    def __init__(self, store: str, why: str) -> None:
        self.store, self.why = store, why
        super().__init__(f"the store {store} cannot be used: {why}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log: its number (from 1 on, without gaps), when the store took it in, and its text."""

    index: int
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One call of a process for one scope.

    log: the log that it knows ("": none). since: the last entry of it that it has replayed.
    worker, seq: who calls, and the number of its call: a call that is repeated with the same number is taken in once.
    text: what to append; None: nothing, only look.
    snapshot: books as they are after entry `snapshot_at`, offered to take the place of all before.
    found: the name of a log to begin with `snapshot` instead of `log`, at `base` (epoch microseconds).
    gone: workers whose last numbers need not be kept any more. keep: seconds after which an unused scope is forgotten.
    """

    log: str = ""
    since: int = 0
    worker: str = ""
    seq: int = 0
    text: str | None = None
    snapshot: str | None = None
    snapshot_at: int = 0
    found: str = ""
    base: int = 0
    gone: tuple[str, ...] = ()
    keep: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    kind: `ok`: taken in; `none`: there is no log; `other`: it is another log than the caller knows, or was moved
    to another server or back in time (`run`: the server's life is another one than the log was begun in).
    clock: the store's clock (epoch microseconds). base: what the log's moments count from. last: its newest entry.
    snapshot, snapshot_at: books to begin with, where the caller needs them; entries: those that follow, in order.
    """

    kind: Literal["ok", "none", "other"]
    clock: int
    log: str = ""
    base: int = 0
    last: int = 0
    run_changed: bool = False
    snapshot: str | None = None
    snapshot_at: int = 0
    entries: tuple[Entry, ...] = ()


class Store(Protocol):
    """One store: `memory:`, a SQLite file, a Redis or Valkey server. Its verbs are atomic and bounded in time.

    name: its URL without credentials. remote: whether a call goes over a network (else it takes well under 1 ms).
    """

    name: str

    def call(self, scope: str, message: Message) -> Reply:
        """Does one call, blocking; raises StoreUnavailable. Whether it was taken in is not known then: repeat it."""
        ...

    async def acall(self, scope: str, message: Message) -> Reply:
        """The same without blocking the event loop."""
        ...

    def scopes(self) -> list[str]:
        """The names of the scopes that the store holds; for people, never on the way of a request."""
        ...

    def forget(self, scope: str) -> bool:
        """Removes all that the store holds of a scope; whether there was anything."""
        ...

    def key(self) -> bytes:
        """The store's own random key, made at first use: scopes are named with a hash under it."""
        ...

    def close(self) -> None:
        """Closes this process's connections; a later call opens them again."""
        ...

    async def aclose(self) -> None:
        """Closes what `acall` opened in the running event loop."""
