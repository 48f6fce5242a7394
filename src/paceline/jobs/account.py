"""The account of a run: what was fetched, refused and failed, where the time went, and what to do now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from .. import events
from ..telemetry.words import one_line, timestamp
from .summary import UNUSABLE, next_steps, ranked_by_count, summary_lines
from .timeline import Timeline
from .utilisation import Utilisation, utilisation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..limits import Limit

__all__ = ["Account", "How"]

How = Literal["done", "interrupted", "deadline", "paused", "broken"]

SHOWN_SCOPES: Final = 50
_KEPT_SCOPES: Final = 200
_MOST_KEYS: Final = 50
_OTHER: Final = "other"


class _Scope:
    """The counts of one scope."""

    __slots__ = ("attempts", "broken", "first", "last", "name", "refused", "waited")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts = self.refused = self.broken = 0
        self.waited = 0.0
        self.first = float("inf")
        self.last = float("-inf")

    def take(self, other: _Scope) -> None:
        self.attempts += other.attempts
        self.refused += other.refused
        self.broken += other.broken
        self.waited += other.waited
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)

    def as_dict(self) -> dict[str, Any]:
        return {
            "scope": self.name,
            "attempts": self.attempts,
            "refused": self.refused,
            "broken": self.broken,
            "waited_s": round(self.waited, 3),
        }


class Account:
    """Counts a run as it goes; it is itself a sink of events, and its memory does not grow with the run.

    started: epoch seconds. limits: those told, for every scope. hosts: other limits for single hosts.
    told: gives the limits of a scope, where there is more to it (buckets).
    total: how many inputs there are, where that is known. before: how many of them an earlier run had done;
    then no unspent quota is assumed at the start.

    The runner tells of each input's end by `fetched` or `failed`, and of the run's by `ended`; all else comes as
    events. `sent` and `waited` are the same as the events `Attempted` and `Waited`, without the cost of one.

    >>> from paceline.limits import Limit
    >>> account = Account(started=0.0, limits=[Limit.parse("100/2s")], total=2)
    >>> account.sent("api", at=0.1, status=200)
    >>> account.fetched(200)
    >>> account.failed("attempts used up")
    >>> account.ended(1.0, "done")
    >>> account.as_dict()["next"]
    ['1 input failed: run the same command again to try only that one']
    """

    debug = True  # attempts and waits are events of the level debug

    def __init__(
        self,
        *,
        started: float,
        limits: Iterable[Limit] = (),
        hosts: Mapping[str, Iterable[Limit]] | None = None,
        total: int | None = None,
        before: int = 0,
        told: Callable[[str], tuple[Limit, ...]] | None = None,
    ) -> None:
        self.started = started
        self.limits = tuple(limits)
        self.hosts = {host: tuple(each) for host, each in (hosts or {}).items()}
        self.total = total
        self.before = before
        self._told = told
        self.end: float | None = None
        self.how: How | None = None
        self.until: float | None = None
        self.fetched_by_status: dict[int, int] = {}
        self.failed_by_reason: dict[str, int] = {}
        self.refused_by_status: dict[str, int] = {}
        self.retries_by_cause: dict[str, int] = {}
        self.broken_by_kind: dict[str, int] = {}
        self.waited_by_reason: dict[str, float] = {}
        self.learned: dict[str, str] = {}
        self.mismatches: dict[str, int] = {}
        self.pages = 0
        self.cooldowns = 0
        self.refreshes = 0
        self.timeline = Timeline(started)
        self._scopes: dict[str, _Scope] = {}
        self._rest = _Scope("all others")
        self._pauses: dict[str, tuple[float, float]] = {}
        self._takers: dict[type[events.Event], Callable[[Any], None]] = {
            events.Attempted: self._attempted,
            events.Waited: self._waited,
            events.Refused: self._refused,
            events.Retrying: self._retrying,
            events.CooldownBegan: self._cooldown_began,
            events.CooldownEnded: self._cooldown_ended,
            events.LimitLearned: self._limit_learned,
            events.LimitMismatch: self._limit_mismatch,
            events.CredentialRefreshed: self._credential_refreshed,
        }

    # --- what the runner tells

    def __call__(self, event: events.Event) -> None:
        """Takes one event; kinds that an account has no place for are passed over."""
        taker = self._takers.get(type(event))
        if taker is not None:
            taker(event)

    def sent(self, scope: str, at: float, status: int | None, error: str | None = None) -> None:
        """One send that began at `at` (epoch seconds) ended, with a status or an error."""
        counts = self._scopes.get(scope)
        if counts is None:
            counts = self._new_scope(scope)
        counts.attempts += 1
        if at > counts.last:
            counts.last = at
        if at < counts.first:
            counts.first = at
        timeline = self.timeline
        index = timeline.index(at)
        timeline.sent[index] += 1
        if status is None or status >= 500:
            timeline.broken[index] += 1
            if status is None:
                counts.broken += 1
                _count(self.broken_by_kind, (error or "unknown").partition(":")[0])

    def waited(self, scope: str, seconds: float, reason: str) -> None:
        """A request waited `seconds` for its permit, or before a retry."""
        reasons = self.waited_by_reason
        reasons[reason] = reasons.get(reason, 0.0) + seconds
        (self._scopes.get(scope) or self._new_scope(scope)).waited += seconds

    def fetched(self, status: int) -> None:
        """An input ended with a final answer."""
        self.fetched_by_status[status] = self.fetched_by_status.get(status, 0) + 1

    def page(self) -> None:
        """One page of a list came; the input that is the list ends by `fetched` or `failed` like any other."""
        self.pages += 1

    def failed(self, reason: str = UNUSABLE) -> None:
        """An input ended without a final answer; without a reason: its line could not be used."""
        _count(self.failed_by_reason, reason)

    def ended(self, at: float, how: How, until: float | None = None) -> None:
        """The run is over; until: when to come back (epoch seconds), where the server paused us."""
        for begin, end in self._pauses.values():
            self.timeline.pause(begin, min(end, at))
        self._pauses.clear()
        self.end, self.how, self.until = at, how, until

    # --- what it all comes to

    @property
    def fetched_count(self) -> int:
        return sum(self.fetched_by_status.values())

    @property
    def failed_count(self) -> int:
        return sum(self.failed_by_reason.values())

    @property
    def attempts(self) -> int:
        return self._rest.attempts + sum(scope.attempts for scope in self._scopes.values())

    @property
    def refused_count(self) -> int:
        return sum(self.refused_by_status.values())

    @property
    def left(self) -> int | None:
        """Inputs that have not ended; None where the total is not known."""
        if self.total is None:
            return None
        return max(0, self.total - self.before - self.fetched_count - self.failed_count)

    def sends(self) -> tuple[float, float] | None:
        """Epoch seconds of the first and the last send; None before the first."""
        scopes = [scope for scope in (self._rest, *self._scopes.values()) if scope.attempts]
        if not scopes:
            return None
        return min(scope.first for scope in scopes), max(scope.last for scope in scopes)

    def busiest(self) -> tuple[list[_Scope], _Scope | None]:
        """The scopes with the most attempts, at most 50, and the sum of the rest."""
        ranked = sorted(self._scopes.values(), key=lambda scope: (-scope.attempts, scope.name))
        rest = _Scope("all others")
        for scope in (self._rest, *ranked[SHOWN_SCOPES:]):
            rest.take(scope)
        return ranked[:SHOWN_SCOPES], rest if rest.attempts or rest.waited else None

    def limits_of(self, scope: str) -> tuple[Limit, ...]:
        """The limits told for a scope: its host's own, or those for all."""
        if self._told is not None:
            return self._told(scope)
        address = scope.partition("#")[0]
        return self.hosts.get(address) or self.hosts.get(address.rpartition(":")[0]) or self.limits

    def use_of(self, scope: _Scope) -> Utilisation | None:
        """How much of its quota a scope used."""
        if not scope.attempts:
            return None
        served = scope.attempts - scope.refused
        return utilisation(
            self.limits_of(scope.name), served, first=scope.first, last=scope.last, from_idle=not self.before
        )

    def use(self) -> Utilisation | None:
        """How much of its quota the busiest scope used."""
        ranked, _ = self.busiest()
        return self.use_of(ranked[0]) if ranked else None

    def next_steps(self) -> list[str]:
        """What to do now, a sentence each."""
        return next_steps(self)

    def summary_lines(self) -> list[str]:
        """The account in a few lines for a terminal."""
        return summary_lines(self)

    def as_dict(self) -> dict[str, Any]:
        """The whole account, ready for JSON: what a `.json` report holds. Moments are RFC 3339, spans seconds."""
        sends, use = self.sends(), self.use()
        ranked, rest = self.busiest()
        fetched_bad = sum(count for status, count in self.fetched_by_status.items() if status >= 400)
        taken = (self.end - self.started) if self.end is not None else None
        return {
            "version": 1,
            "started": timestamp(self.started),
            "ended": None if self.end is None else timestamp(self.end),
            "elapsed_s": None if taken is None else round(taken, 3),
            "how": self.how,
            "until": None if self.until is None else timestamp(self.until),
            "inputs": {
                "total": self.total,
                "done_before": self.before,
                "fetched": self.fetched_count,
                "fetched_status_400_or_more": fetched_bad,
                "failed": self.failed_count,
                "left": self.left,
            },
            "pages": self.pages,
            "fetched_by_status": {str(status): n for status, n in sorted(self.fetched_by_status.items())},
            "failed_by_reason": ranked_by_count(self.failed_by_reason),
            "attempts": self.attempts,
            "broken_by_kind": ranked_by_count(self.broken_by_kind),
            "refused": self.refused_count,
            "refused_by_status": ranked_by_count(self.refused_by_status),
            "retries": sum(self.retries_by_cause.values()),
            "retries_by_cause": ranked_by_count(self.retries_by_cause),
            "waited_s": round(sum(self.waited_by_reason.values()), 3),
            "waited_s_by_reason": {
                reason: round(s, 3) for reason, s in ranked_by_count(self.waited_by_reason).items()
            },
            "cooldowns": self.cooldowns,
            "paused_s": round(sum(self.timeline.paused), 3),
            "credential_refreshes": self.refreshes,
            "limits": [str(limit) for limit in self.limits],
            "limits_by_host": {host: [str(limit) for limit in each] for host, each in self.hosts.items()},
            "limits_learned": dict(self.learned),
            "limit_mismatches": dict(self.mismatches),
            "quota": None if use is None else use.as_dict(),
            "first_send": None if sends is None else timestamp(sends[0]),
            "last_send": None if sends is None else timestamp(sends[1]),
            "scopes": [self._scope_dict(scope) for scope in ranked],
            "scopes_rest": None if rest is None else rest.as_dict(),
            "timeline": self.timeline.as_dict(),
            "next": self.next_steps(),
        }

    # --- what the events tell

    def _attempted(self, event: events.Attempted) -> None:
        self.sent(event.scope, event.at - event.elapsed, event.status, event.error)

    def _waited(self, event: events.Waited) -> None:
        self.waited(event.scope, event.seconds, event.reason)

    def _refused(self, event: events.Refused) -> None:
        _count(self.refused_by_status, str(event.status))
        (self._scopes.get(event.scope) or self._new_scope(event.scope)).refused += 1
        self.timeline.refused[self.timeline.index(event.at)] += 1

    def _retrying(self, event: events.Retrying) -> None:
        cause = (
            f"status {event.status}"
            if event.status is not None
            else (event.error or "unknown").partition(":")[0]
        )
        _count(self.retries_by_cause, cause)

    def _cooldown_began(self, event: events.CooldownBegan) -> None:
        if event.scope not in self._pauses:
            self.cooldowns += 1
            if len(self._pauses) < _KEPT_SCOPES:
                self._pauses[event.scope] = (event.at, event.until)
        else:
            # A longer refusal while paused makes the same pause longer.
            begin, end = self._pauses[event.scope]
            self._pauses[event.scope] = (begin, max(end, event.until))

    def _cooldown_ended(self, event: events.CooldownEnded) -> None:
        begin, _ = self._pauses.pop(event.scope, (event.at - event.lasted, event.at))
        self.timeline.pause(begin, event.at)

    def _limit_learned(self, event: events.LimitLearned) -> None:
        if event.scope in self.learned or len(self.learned) < _MOST_KEYS:
            self.learned[event.scope] = event.limit

    def _limit_mismatch(self, event: events.LimitMismatch) -> None:
        _count(self.mismatches, event.limit)

    def _credential_refreshed(self, _event: events.CredentialRefreshed) -> None:
        self.refreshes += 1

    def _scope_dict(self, scope: _Scope) -> dict[str, Any]:
        use = self.use_of(scope)
        limits = [str(limit) for limit in self.limits_of(scope.name)]
        return {**scope.as_dict(), "limits": limits, "quota": None if use is None else use.as_dict()}

    def _new_scope(self, name: str) -> _Scope:
        if len(self._scopes) >= _KEPT_SCOPES:
            # The least busy half is summed: memory stays bounded, and no count is lost.
            ranked = sorted(self._scopes.values(), key=lambda scope: scope.attempts)
            for scope in ranked[: _KEPT_SCOPES // 2]:
                self._rest.take(self._scopes.pop(scope.name))
        scope = self._scopes[name] = _Scope(name)
        return scope


def _count(counter: dict[str, int], key: str) -> None:
    if key not in counter:
        key = one_line(key, 100)
        if key not in counter and len(counter) >= _MOST_KEYS:
            key = _OTHER
    counter[key] = counter.get(key, 0) + 1
