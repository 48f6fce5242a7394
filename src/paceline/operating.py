"""Scopes of a store from outside: how they stand, and steering them for all their workers at once.

An operator is one more participant of a scope: it brings back the same entries, replays them through the same code, and
what it tells is an entry like any other, which every worker obeys as soon as it hears of it: with its next call, and
while somebody waits there within half a second.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import unquote

from .errors import InputError
from .policy import read_limits
from .stores import in_full, open_store, plain_name
from .stores.protocol import Entry, Message, Reply, StoreUnavailable
from .stores.replica import AHEAD, FORMAT, SEAT_KEPT, Replica

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .limits import Limit
    from .stores.protocol import Store

__all__ = ["LimitReport", "ScopeReport", "Scopes", "WorkerReport"]

_WHO: Final = "operator"  # one name for all, so that a store has not to remember each who ever came
_TRIES: Final = 5
_LONGEST_REASON: Final = 200
_LONGEST_PAUSE: Final = 366 * 86_400.0
_MOST_NAMED: Final = 5

Origin = Literal["policy", "set", "learned"]


@dataclass(frozen=True, slots=True)
class LimitReport:
    """One limit in force.

    used: permits that departed in the current period, over all workers: in the last one as long as the limit's, in the
    present window for `fixed`, in flight for `concurrent`. left: of the quota, what no slot is booked for yet; a steady
    pace makes callers wait while some is left.
    origin: told by the workers' policies, set by hand, or learned from the server's answers. full: the limit as it was
    told, while the server's headers or refusals keep `limit` below it. scale: the share of it used since refusals.
    """

    limit: Limit
    used: float
    left: float
    origin: Origin
    full: Limit | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker: a process, or each scope's line in it.

    name: host and process; "" if it has not said. rate: departures a second over the last period (1 s to 60 s).
    waiting: its callers that wait for a permit, in_flight: permits that it has not released, both as of its last word.
    weight: its share against others', eight times as much for each priority above 0. seen: seconds since that. gone: it was not heard of for half a minute, so it ended, or is cut off from the store.
    """

    worker: str
    name: str
    rate: float
    waiting: int
    in_flight: int
    weight: float
    seen: float
    gone: bool


@dataclass(frozen=True, slots=True)
class ScopeReport:
    """One scope as its store knows it.

    at: when it was looked at; paused_until: both epoch seconds by this machine's clock; infinite: until it is resumed,
    None: it goes. paused_for: why; by_hand: whether people paused it, not the server. set: whether limits were set by
    hand. trouble: why it cannot be told how it stands, or what to know about its store; "" else.
    """

    scope: str
    at: float
    limits: tuple[LimitReport, ...] = ()
    waiting: int = 0
    in_flight: int = 0
    rate: float = 0.0
    paused_until: float | None = None
    paused_for: str = ""
    by_hand: bool = False
    set: bool = False
    workers: tuple[WorkerReport, ...] = ()
    trouble: str = ""

    def facts(self) -> dict[str, Any]:
        """The report as a dictionary that JSON can hold; limits are texts, a pause without an end has `until` null."""
        paused = None
        if self.paused_until is not None:
            until = self.paused_until if isfinite(self.paused_until) else None
            paused = {"until": until, "reason": self.paused_for, "by_hand": self.by_hand}
        return {
            "scope": self.scope,
            "at": self.at,
            "limits": [
                {
                    "limit": str(each.limit), "used": each.used, "left": each.left, "origin": each.origin,
                    "full": None if each.full is None else str(each.full), "scale": each.scale,
                }
                for each in self.limits
            ],
            "waiting": self.waiting,
            "in_flight": self.in_flight,
            "rate": self.rate,
            "paused": paused,
            "set": self.set,
            "workers": [
                {
                    "worker": each.worker, "name": each.name, "rate": each.rate, "waiting": each.waiting,
                    "in_flight": each.in_flight, "weight": each.weight, "seen": each.seen, "gone": each.gone,
                }
                for each in self.workers
            ],
            "trouble": self.trouble,
        }  # fmt: skip


class _Books(NamedTuple):
    """What a store holds of a scope; now: the log's time. moved: it was written in another life of the server."""

    reply: Reply
    replica: Replica
    now: float
    moved: bool


class Scopes:
    """The scopes of a shared store, to look at and to steer, from any process that reaches it.

    store: a URL as in `Policy(store=…)`; `sqlite:` is the file in this user's state folder. Every method makes one to
    three short calls of the store; in an async program use `await asyncio.to_thread(scopes.pause, …)`.

    Raises InputError for a URL that names no shared store, or a SQLite file that does not exist; the methods raise
    StoreUnavailable where the store does not answer, and InputError for a scope that it does not hold.

    >>> import tempfile, paceline
    >>> store = f"sqlite:///{tempfile.mkdtemp()}/scopes.db"
    >>> limiter = paceline.Limiter("100/2s", scope="crm", store=store)
    >>> limiter.acquire().release()
    >>> scopes = Scopes(store)
    >>> scopes.names()
    ['crm']
    >>> scopes.pause("crm", 60, reason="maintenance").paused_for
    'paused by hand: maintenance'
    >>> scopes.resume("crm").paused_until is None
    True
    >>> [str(each.limit) for each in scopes.set("crm", "50/2s").limits]
    ['50/2s']
    >>> [(str(each.limit), each.origin) for each in scopes.reset("crm").limits]
    [('100/2s', 'policy')]
    """

    def __init__(self, store: str | Store) -> None:
        self._store = _open(store) if isinstance(store, str) else store
        self.name = self._store.name

    def __repr__(self) -> str:
        return f"Scopes({self.name!r})"

    # ---- looking --------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The scopes that the store holds, in order."""
        return self._store.scopes()

    def show(self, scope: str) -> ScopeReport:
        """How one scope stands; changes nothing."""
        return _report(scope, self._read(scope))

    def show_all(self) -> list[ScopeReport]:
        """How all scopes stand; one that cannot be read (another version wrote it) is a report with its `trouble`."""
        reports = []
        for scope in self.names():
            try:
                books = self._look(scope)
            except InputError as error:
                reports.append(ScopeReport(scope, time.time(), trouble=str(error)))
                continue
            if books is not None:  # forgotten meanwhile
                reports.append(_report(scope, books))
        return reports

    # ---- steering -------------------------------------------------------------------------------

    def pause(self, scope: str, seconds: float | None = None, *, reason: str = "") -> ScopeReport:
        """Lets nothing more depart, in any worker, for `seconds`, or until `resume`; booked slots are void.

        What is in flight ends. A later pause takes the place of this one; the server's own cooldown is not made shorter.
        reason: for people, up to 200 characters: stands in the workers' events and in `show`.
        """
        if seconds is not None and not 0 < seconds <= _LONGEST_PAUSE:
            raise InputError(
                f"a pause is a number of seconds above 0, a year at most, not {seconds!r}; without one it lasts until `resume`"
            )
        return self._tell(scope, ["pause", seconds, " ".join(reason.split())[:_LONGEST_REASON]])

    def resume(self, scope: str) -> ScopeReport:
        """Ends a pause, also a cooldown that the server asked for; departures ramp up from a tenth of the rate."""
        return self._tell(scope, ["resume"])

    def set(self, scope: str, limits: str | Limit | Iterable[str | Limit]) -> ScopeReport:
        """Puts limits in force for all workers, those that come later too, whatever their policies say, until `reset`.

        What has gone counts on under a limit of the same period and shape; those who wait are timed anew.
        Raises LimitSyntaxError for a text that is no limit.
        """
        texts = [str(limit) for limit in read_limits(limits)]
        if not texts:
            raise InputError(f"no limit was given for {scope!r}: write it like 50/2s; `reset` goes back to the policies' limits")
        return self._tell(scope, ["set", texts])

    def reset(self, scope: str) -> ScopeReport:
        """Forgets what was learned (cooldown, tightening, the server's quotas), counted and set: as at a first use.

        The limits of the workers' policies hold again, with a whole quota: what has gone in this period counts no
        more, so use it where the server has forgotten it too. A pause by hand stays.
        """
        return self._tell(scope, ["reset"])

    # ---- the store ------------------------------------------------------------------------------

    def _look(self, scope: str) -> _Books | None:
        reply = self._store.call(scope, Message())
        if reply.kind == "none" or reply.snapshot is None:
            return None
        replica = Replica.of(reply)
        now = max(replica.last, (reply.clock - reply.base) / 1e6)
        return _Books(reply, replica, now, reply.run_changed)

    def _read(self, scope: str) -> _Books:
        books = self._look(scope)
        if books is None:
            raise self._unknown(scope)
        return books

    def _unknown(self, scope: str) -> InputError:
        try:
            names = self.names()
        except StoreUnavailable:
            names = []  # a user that may not list them is told so by `names`
        if not names:
            return InputError(f"there is no scope {scope!r} in the store {self.name}; it holds none that can be listed")
        near = get_close_matches(scope, names, n=_MOST_NAMED, cutoff=0.5) or [name for name in names if scope in name]
        hint = f"did you mean {_list(near)}?" if near else f"it holds {_list(names)}"
        return InputError(f"there is no scope {scope!r} in the store {self.name}: {hint}")

    def _tell(self, scope: str, operation: Sequence[Any]) -> ScopeReport:
        """Appends one entry that steers, once, and reports how the scope stands then."""
        for _ in range(_TRIES):
            books = self._read(scope)
            if books.moved:
                self._begin_anew(scope, books)
                continue
            reply, replica = books.reply, books.replica
            seq = time.time_ns() // 1000  # greater than that of whoever steered before
            said = {"f": FORMAT, "w": _WHO, "s": seq, "g": 1, "t": secrets.token_hex(4), "o": [operation]}
            text = json.dumps(said, separators=(",", ":"))
            replayed = replica.replayed
            # Tried on this copy first: how long the store must remember it follows from what it comes to.
            replica.apply(Entry(replayed + 1, books.now, text))
            message = Message(
                reply.log, since=replayed, worker=_WHO, seq=seq, text=text, keep=replica.keep(books.now)
            )
            try:
                answer = self._store.call(scope, message)
            except StoreUnavailable:
                answer = self._store.call(scope, message)  # word for word: it is taken in once
            if answer.kind == "ok" and any(entry.text == text for entry in answer.entries):
                return self.show(scope)
        raise StoreUnavailable(self.name, f"the scope {scope!r} was begun anew, or steered by others, again and again")

    def _begin_anew(self, scope: str, books: _Books) -> None:
        """The server was started anew since the log was begun, and no worker has come since: begins it anew, like one."""
        reply, replica = books.reply, books.replica
        replica.not_before = max(replica.not_before, books.now + 2 * AHEAD)
        replica.lineage = (reply.log, replica.replayed)
        self._store.call(
            scope,
            Message(
                reply.log, worker=_WHO, snapshot=replica.snapshot(), snapshot_at=replica.replayed,
                found=secrets.token_hex(8), base=reply.clock - int(books.now * 1e6), keep=replica.keep(books.now),
            ),
        )  # fmt: skip


def _open(url: str) -> Store:
    named = in_full(url)
    if named.lower().startswith("sqlite:///"):
        path = Path(unquote(named[len("sqlite:///") :]))
        if not path.exists():
            raise InputError(
                f"there is no store {plain_name(named)}: no worker has made it yet, or it lies elsewhere; name it like "
                "sqlite:////path/to/scopes.db or redis://host:6379/0"
            )
    store = open_store(named)
    if store is None:
        raise InputError(
            "the store memory: lives in one process, so there is nothing to see of it from outside: share it as "
            "sqlite:///path/to/file.db or redis://host:6379/0 (in the process itself, Limiter.state() tells)"
        )
    return store


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _report(scope: str, books: _Books) -> ScopeReport:
    replica, now = books.replica, books.now
    ledger, at, length = replica.ledger, time.time(), replica.turn
    state = ledger.look(now, 0, None)
    limits = []
    for index, told in enumerate(ledger._told):
        origin: Origin = "learned" if not told.told else "policy" if replica.ordered is None else "set"
        left = told.schedule.left(told.state, now)
        limits.append(LimitReport(told.limit, replica.used(index, now), left, origin, told.full, state.limits[index].scale))
    workers = tuple(
        WorkerReport(
            name, seat.name, seat.rate(now, length), seat.waiting, seat.flying, seat.weight, max(0.0, now - seat.seen),
            now - seat.seen > SEAT_KEPT,
        )
        for name, seat in sorted(replica.seats.items(), key=lambda each: (each[1].name, each[0]))
    )  # fmt: skip
    here = [worker for worker in workers if not worker.gone]
    until = max(ledger._pause.until, ledger._held_until)
    trouble = ""
    if books.moved:
        trouble = "the store's server was started anew or replaced since, and no worker has come yet: it may hold less than there was"
    return ScopeReport(
        scope, at, tuple(limits),
        waiting=sum(worker.waiting for worker in here),
        in_flight=sum(worker.in_flight for worker in here),
        rate=sum(worker.rate for worker in here),
        paused_until=at + (until - now) if until > now else None,
        paused_for=state.paused_for or "",
        by_hand=until > now and ledger._held_until >= ledger._pause.until,
        set=replica.ordered is not None,
        workers=workers,
        trouble=trouble,
    )  # fmt: skip


