"""The one loop: all sends of one request until it ends, as a generator that does no I/O itself.

It yields effects (what it wants done) and is sent replies (what came of it), see `paceline.effects`;
`paceline.drive` has the two loops, sync and async, that act. So one logic serves every client and every
store, and its tests need neither clock nor socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ._course import Course
from .effects import Acquire, Answer, Discard, Fault, Learn, MayRetry, Refresh, Send, Sleep
from .errors import PacelineError
from .outcome import Outcome
from .retry import Again, Stop, decide, over_budget

if TYPE_CHECKING:
    from collections.abc import Generator

    from .effects import Call, Effect, Learned, Permit, Refreshed
    from .retry import Retry
    from .signals import Signal

__all__ = ["ReadSignal", "Rules", "ends_at_once", "exchange"]


class ReadSignal(Protocol):
    """The shape of `paceline.read_signal`; a `functools.partial` of it chooses a dialect."""

    def __call__(
        self,
        status: int,
        headers: Any,
        body: bytes | None = None,
        *,
        now: float,
        method: str | None = None,
        url: str | None = None,
    ) -> Signal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What all exchanges of one policy share; built once.

    retry: when to try again. read: how responses are read. scope: the name events carry.
    slow_budget: an exhausted retry budget makes retries slower and never ends an exchange (the batch job).
    refreshable: a credential hook exists, so that a 401 may be answered by `Refresh`.
    events: which are built at all: "all", "notable" (above the level debug), or "none".
    silence: what an answer says that its shell has seen to be silent on limits; None: it is read all the same.
    """

    retry: Retry
    read: ReadSignal
    scope: str
    slow_budget: bool = False
    refreshable: bool = False
    events: Literal["all", "notable", "none"] = "all"
    silence: Signal | None = None


def ends_at_once(call: Call, rules: Rules, status: int, signal: Signal) -> bool:
    """Whether the first answer is the last: neither refused, nor to be repeated, nor a credential to be renewed.

    >>> from types import SimpleNamespace
    >>> from paceline.effects import Call
    >>> from paceline.retry import Retry
    >>> served = SimpleNamespace(refused=False)
    >>> rules = Rules(retry=Retry(), read=lambda *a, **k: served, scope="api")
    >>> [ends_at_once(Call("GET", "https://api.example.com/"), rules, status, served) for status in (200, 404, 503)]
    [True, True, False]
    """
    if signal.refused or (status == 401 and rules.refreshable and call.replayable):
        return False
    return status not in rules.retry.statuses or not rules.retry.repeatable(call.method, call.keyed)


def exchange(call: Call, rules: Rules, started: float) -> Generator[Effect, Any, Outcome]:
    """All sends of one request until it ends; `started`: epoch seconds now.

    Every attempt takes its own permit. A refusal is safe to repeat for any method, and does not sleep itself:
    it asks for a permit again, which the scope's queue holds until the pause is over (this request alone
    sleeps only what the server asked for beyond that). A transient status or a broken connection is repeated
    only where the method is idempotent (RFC 9110, section 9.2.2), an idempotency key is there, or nothing
    reached the server. A 401 is repeated once, with a credential renewed for all.

    Returns an `Outcome`. Errors of `paceline.errors` thrown in at `Acquire` end in its `error`; any other
    exception thrown in, cancellation above all, passes through, and a fault that is one is raised again.

    >>> from types import SimpleNamespace
    >>> from paceline.effects import Call
    >>> from paceline.ledger import Learned
    >>> from paceline.retry import Retry
    >>> served = SimpleNamespace(refused=False, retry_after=None, terminal=False)
    >>> rules = Rules(retry=Retry(), read=lambda *a, **k: served, scope="api", events="none")
    >>> steps = exchange(Call("GET", "https://api.example.com/items/1"), rules, started=0.0)
    >>> next(steps)
    Acquire(cost=1, priority=0, timeout=None)
    >>> steps.send(SimpleNamespace(waited=0.25, reason="pace")).attempt
    1
    >>> steps.send(Answer(200, {}, b"{}", "the response", elapsed=0.1, now=1.0)).status
    200
    >>> try:
    ...     steps.send(Learned())
    ... except StopIteration as end:
    ...     end.value.response(), end.value.attempts, end.value.waited
    ('the response', 1, 0.25)
    """
    retry, method = rules.retry, call.method
    deadline = retry.deadline
    notable, everything = rules.events != "none", rules.events == "all"
    course = Course(call, retry, rules.scope)
    renewed = False
    while True:
        left = None if deadline is None else deadline - course.spent
        try:
            permit: Permit = yield Acquire(call.cost, call.priority, left)
        except PacelineError as error:
            end = course.not_granted(error)
            if notable:
                yield course.tell_gave_up(started + course.spent, end)
            return course.outcome(end)
        if permit.waited:
            course.wait(permit.waited)
            left = None if deadline is None else deadline - course.spent
        course.number += 1
        reply: Answer | Fault = yield Send(permit, course.number, left)
        signal: Signal | None = None
        learned: Learned | None = None
        if isinstance(reply, Answer):
            signal = rules.read(
                reply.status, reply.headers, reply.body, now=reply.now, method=method, url=call.url
            )
            learned = yield Learn(permit, signal, reply.status)
        if everything:
            if permit.waited > 0:
                yield course.tell_waited(reply.now - reply.elapsed, permit.waited, permit.reason)
            yield course.tell_attempted(reply)
        if isinstance(reply, Fault):
            if not isinstance(reply.error, Exception):
                raise reply.error
        elif signal is not None and not signal.refused:
            if course.number == 1 and ends_at_once(call, rules, reply.status, signal):
                return Outcome(reply, None, None, 1, 0, course.waited, None)
            if reply.status == 401 and rules.refreshable and not renewed and call.replayable:
                renewed = True
                course.ended(reply, signal)
                refreshed: Refreshed = yield Refresh(permit)
                course.wait(refreshed.seconds)
                if everything and refreshed.seconds > 0:
                    yield course.tell_waited(reply.now + refreshed.seconds, refreshed.seconds, "credential")
                if refreshed.fresh and (deadline is None or course.spent < deadline):
                    yield Discard(reply)
                    continue
                return course.outcome()
            if reply.status not in retry.statuses or not retry.repeatable(method, call.keyed):
                course.ended(reply, signal)
                return course.outcome()
        course.ended(reply, signal)
        outcome = yield from _go_on(course, rules, reply, signal, learned)
        if outcome is not None:
            return outcome


def _go_on(
    course: Course, rules: Rules, reply: Answer | Fault, signal: Signal | None, learned: Learned | None
) -> Generator[Effect, Any, Outcome | None]:
    """After a refusal or a failure: None once this request may ask for a permit again, else the end."""
    retry, notable = rules.retry, rules.events != "none"
    asked = None if signal is None else signal.retry_after
    remaining = None if learned is None else learned.remaining
    held = 0.0
    verdict: Again | Stop
    if isinstance(reply, Answer) and signal is not None and learned is not None and signal.refused:
        # The scope's queue holds all its requests until its pause is over: only what this one was told
        # beyond that is slept here.
        held = learned.wait
        refusal = course.refusal(reply, signal, learned)
        verdict = decide(retry, course.history(), refusal)
        if notable:
            yield course.tell_refused(reply, asked, remaining, verdict.wait)
        course.held_up += verdict.wait
    else:
        failure = course.failure(reply, signal)
        verdict = decide(retry, course.history(), failure)
        if isinstance(verdict, Again) and not (yield MayRetry()):
            verdict = over_budget(retry, course.history(), verdict, slow=rules.slow_budget)
    if isinstance(verdict, Stop):
        end = course.stopped(verdict, reply)
        if notable:
            yield course.tell_gave_up(reply.now, end)
        return course.outcome(end)
    if notable:
        yield course.tell_retrying(reply, asked, remaining, verdict.wait)
    if isinstance(reply, Answer):
        yield Discard(reply)
    seconds = verdict.wait - held
    if seconds > 0:
        now = yield Sleep(seconds, verdict.reason)
        course.wait(seconds)
        course.slept += seconds
        if rules.events == "all":
            yield course.tell_waited(now, seconds, verdict.reason)
    return None
