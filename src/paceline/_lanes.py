"""A policy as one client uses it: the lane of each request's scope, found fast."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ._calls import NONE, Options
from .effects import Answer, Call
from .errors import InputError
from .exchange import Rules
from .nested import attempts_of, warn_above
from .signals import Signal, find_dialect, silent
from .telemetry.fan import wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .effects import Fault
    from .ledger import Cost
    from .stores.line import Line, Permit

__all__ = ["SERVED", "AsyncLane", "Lane", "Lanes"]

SERVED: Final = Signal()
"""What an answer says that says nothing of limits."""

_ORIGINS: Final = 10_000
_NEVER_KEYED: Final = frozenset({"GET", "HEAD"})  # repeatable anyway


class Lane:
    """One scope, for threads: its line, and the rules that hold in it."""

    __slots__ = ("learn", "line", "may_retry", "plain", "rules", "served")

    def __init__(self, line: Line, rules: Rules) -> None:
        self.line = line
        # Whether an answer that is served and says nothing of limits needs no further look.
        self.plain = False
        self.rules = rules
        self.learn = line.learn
        self.may_retry = line.may_retry
        self.served = line.served

    def acquire(self, cost: Cost, *, priority: int, timeout: float | None) -> Any:
        """A permit whose write is told; see `paceline.Limiter.acquire`."""
        return self.line.acquire(cost, priority, timeout, True)

    def may_hide(self, status: int, graphql: bool, names: Iterable[Any]) -> bool:
        """Whether an answer may say something of limits in its body, as far as is seen at once; names: of its headers.

        A refusal that comes as a 200 does not say so in its status: but hardly any comes without a word in its headers.
        """
        return status >= 400 or not self.plain or graphql or not silent(names)

    def serves(self, answer: Answer, names: Iterable[Any]) -> bool:
        """Whether an answer is served, final, and says nothing of limits; names: of its headers."""
        return answer.status < 400 and answer.body is None and not answer.held and silent(names)

    @property
    def holds(self) -> bool:
        """Whether requests in flight are counted, so that a permit is held until its body is read."""
        if self.line.own.calm:
            return False  # one limit alone, and of a rate
        return any(not limit.period for limit in self.line.ledger.limits)

    def look_above(self) -> None:
        """Warns of a loop of retries around this one (tenacity's, …): for the moment of a retry."""
        warn_above("a client of paceline", attempts_of(self.rules.retry.stop))


class AsyncLane(Lane):
    """One scope, for tasks."""

    __slots__ = ()

    async def acquire(self, cost: Cost, *, priority: int, timeout: float | None) -> Permit:
        """A permit whose write is told; see `paceline.AsyncLimiter.acquire`."""
        return await self.line.acquire_async(cost, priority, timeout, True)


AnyLane = TypeVar("AnyLane", bound=Lane)


class Lanes(Generic[AnyLane]):
    """The lanes of one policy that one client sends in; see the module."""

    def __init__(self, policy: Any, kind: Callable[[Line, Rules], AnyLane]) -> None:
        self.policy = policy
        self.emit = policy.events
        self._kind = kind
        self._by_origin: dict[tuple[str, str | None], AnyLane] = {}
        # As `_by_origin`, by whatever a client's own kind of URL has at hand; filled by the client.
        self.quick: dict[tuple[Any, ...], AnyLane] = {}
        self._by_scope: dict[tuple[str, str], AnyLane] = {}
        # A policy that has buckets of its own within a host is asked for each request.
        self.costs = policy.cost_of is not None or policy.settle_of is not None
        self._by_url = bool(getattr(policy, "scope_by_url", False))

    def lane(self, method: str, url: str, credential: str | None) -> AnyLane:
        """The lane of a request."""
        end = url.find("/", 8)
        origin = url if end < 0 else url[:end]
        if self._by_url:
            return self._lane_of(self._scope_of(method, url, credential, origin), origin)
        key = (origin, credential)
        found = self._by_origin.get(key)
        if found is None:
            found = self._lane_of(self._scope_of(method, url, credential, origin), origin)
            if len(self._by_origin) < _ORIGINS and len(origin) < 300:
                self._by_origin[key] = found
        return found

    def note(self, key: tuple[Any, ...], lane: AnyLane) -> AnyLane:
        """Remembers a lane for the quick way, where a host and credential have one only."""
        if not self._by_url and len(self.quick) < _ORIGINS and len(str(key)) < 1000:
            self.quick[key] = lane
        return lane

    def _scope_of(self, method: str, url: str, credential: str | None, origin: str) -> str:
        try:
            return str(self.policy.scope_of(url, credential, method=method))
        except InputError:
            return origin  # a host or port that cannot be: the client says so in its own words

    def named(self, scope: str) -> AnyLane:
        """The lane of a scope that is no host's."""
        return self._lane_of(scope, "")

    def _lane_of(self, scope: str, origin: str) -> AnyLane:
        found = self._by_scope.get((scope, origin))
        if found is None:
            policy = self.policy
            rules = Rules(
                retry=policy.retry,
                read=policy.reader(),
                scope=scope,
                events=wanted(policy.events),
                refreshable=policy.refresh is not None,
            )
            found = self._kind(policy.line(scope), rules)
            spoken = find_dialect(origin)
            found.plain = (
                rules.events != "all"
                and policy.dialect is None
                and not self.costs
                and (spoken is None or spoken.served_body is None)
                and min(policy.retry.statuses, default=999) >= 400
            )
            if len(self._by_scope) < _ORIGINS and len(origin) < 300:
                # Two threads may come here at once: one lane wins.
                found = self._by_scope.setdefault((scope, origin), found)
        return found

    def call(
        self,
        method: str,
        url: str,
        names: Iterable[str],
        replayable: bool,
        chosen: Options,
        rules: Rules,
        body: bytes | None = None,
    ) -> tuple[Call, Rules]:
        """What the loop must know of a request, and the rules for it; names: of its headers."""
        if self.policy.cost_of is not None and chosen.cost == 1:
            chosen = replace(chosen, cost=self.policy.cost_of(method, url, body) or 1)
        if chosen is NONE:
            if method in _NEVER_KEYED:
                return Call(method, url, 1, 0, replayable), rules
            return Call(method, url, 1, 0, replayable, self._keyed(names)), rules
        deadline, idempotent = chosen.deadline, chosen.idempotent
        retry = rules.retry
        if deadline is not None:
            retry = replace(retry, deadline=deadline if retry.deadline is None else min(deadline, retry.deadline))
        keyed = self._keyed(names) if idempotent is None else idempotent
        if idempotent is False:
            retry = replace(retry, methods=retry.methods - {method})
        if retry is not rules.retry:
            rules = replace(rules, retry=retry)
        return Call(method, url, chosen.cost, chosen.priority, replayable, keyed), rules

    def settle(self, permit: Any, cost: Cost, reply: Answer | Fault, body: bytes | None) -> None:
        """Corrects what a request was reserved for, where the policy can tell it from the answer."""
        settle_of = self.policy.settle_of
        if settle_of is not None and isinstance(reply, Answer):
            actual = settle_of(cost, reply.status, body)
            if actual is not None:
                permit.settle(actual)

    def _keyed(self, names: Iterable[str]) -> bool:
        wanted_name = self.policy.retry.idempotency_header.lower()
        return any(name.lower() == wanted_name for name in names)
