"""The two loops that act for an exchange, sync and async: they take permits, send, learn, sleep and tell.

`serve` and `aserve` are what clients call. Nearly every request is served by its first attempt, and needs no generator
for that: they take that attempt themselves, and hand over to `drive` and `adrive` where it was not the last.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from . import events
from .effects import Acquire, Answer, Discard, Emit, Fault, Learn, Refresh, Refreshed, Send, Sleep
from .errors import PacelineError
from .exchange import ends_at_once, exchange
from .outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from .effects import Call, Effect, Learned, Permit
    from .events import Sink
    from .exchange import Rules
    from .ledger import Cost
    from .signals import Signal

__all__ = ["AsyncScope", "Scope", "Steps", "adrive", "aserve", "drive", "serve"]

Steps: TypeAlias = "Generator[Effect, Any, Outcome]"


class _Teachable(Protocol):
    """What both kinds of scopes do at once, without waiting."""

    def learn(self, permit: Any, signal: Signal, status: int) -> Learned:
        """Takes in what a response says about the limits; says how long the scope pauses now."""

    def may_retry(self) -> bool:
        """Spends one retry of the scope's budget where there is one left."""

    def served(self, permit: Any, signal: Signal) -> None:
        """`learn` and the permit's `release` in one, where an answer was served and says nothing of limits."""


class Scope(_Teachable, Protocol):
    """What shares a limit, for threads."""

    def acquire(self, cost: Cost, *, priority: int, timeout: float | None) -> Permit:
        """Waits for a permit; raises AcquireTimeout, CostAboveQuota or RetryLater where none comes."""


class AsyncScope(_Teachable, Protocol):
    """What shares a limit, for tasks."""

    def acquire(self, cost: Cost, *, priority: int, timeout: float | None) -> Awaitable[Permit]:
        """Waits for a permit; raises AcquireTimeout, CostAboveQuota or RetryLater where none comes."""


def serve(
    call: Call,
    rules: Rules,
    scope: Scope,
    send: Callable[[Send], Answer | Fault],
    *,
    permit: Permit | None = None,
    emit: Sink | None = None,
    refresh: Callable[[Permit], bool] | None = None,
    discard: Callable[[Answer], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """All sends of one request until it ends: `drive` of its `exchange`, by a shorter way where one attempt is enough.

    permit: one that was granted for the first attempt already. The other arguments are those of `drive`.
    """
    if events.listeners:
        emit, rules = events.heard_too(emit, rules.events), replace(rules, events="all")
    replies: list[Any] = [] if permit is None else [permit]
    answer: Answer | None = None
    if rules.events != "all":
        try:
            if permit is None:
                permit = scope.acquire(call.cost, priority=call.priority, timeout=rules.retry.deadline)
                replies.append(permit)
            left = rules.retry.deadline
            reply = send(Send(permit, 1, left if left is None else left - permit.waited))
            if isinstance(reply, Answer):
                answer = reply
                signal = rules.silence if reply.silent and not reply.held else None
                if signal is not None and permit.wrote is not None and ends_at_once(call, rules, reply.status, signal):
                    scope.served(permit, signal)
                    return Outcome(reply, None, None, 1, 0, permit.waited, None)
                if signal is None:
                    signal = rules.read(
                        reply.status, reply.headers, reply.body, now=reply.now, method=call.method, url=call.url
                    )
                learned = scope.learn(permit, signal, reply.status)
                if not reply.held:
                    permit.release()
                if ends_at_once(call, rules, reply.status, signal):
                    return Outcome(reply, None, None, 1, 0, permit.waited, None)
                replies += reply, learned
            else:
                _end(permit, reply)
                replies.append(reply)
        except BaseException as error:
            if permit is None and isinstance(error, PacelineError):
                replies.append(error)
            else:
                if answer is not None and discard is not None:
                    discard(answer)
                if permit is not None:
                    permit.cancel()
                raise
    return drive(
        exchange(call, rules, clock()),
        scope,
        send,
        replies=replies,
        emit=emit,
        refresh=refresh,
        discard=discard,
        sleep=sleep,
        clock=clock,
    )


def drive(
    steps: Steps,
    scope: Scope,
    send: Callable[[Send], Answer | Fault],
    *,
    replies: Sequence[Any] = (),
    emit: Sink | None = None,
    refresh: Callable[[Permit], bool] | None = None,
    discard: Callable[[Answer], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """Acts for one exchange until it ends, blocking this thread.

    replies: what came of the first effects already (see `serve`): permit, answer or fault, and what was learned.
    send: sends the request once. It stamps `effect.permit.sent()` when the request goes on the wire, bounds
    its time by `effect.left`, and makes a `Fault` of its client's exceptions; one it raises ends the exchange.
    emit: takes the events. refresh: renews the credential (see `paceline.credentials`), True if it is fresher.
    discard: called with an answer that another attempt is to replace: it reads what is left of the body and
    gives the connection back, and leaves the response fit to be handed out, should nothing better come.
    sleep, clock: seconds, and epoch seconds.

    Every permit is released, or cancelled where nothing was sent, on every way out. Exceptions, cancellation
    and KeyboardInterrupt are thrown into the exchange, which lets them pass: they are never retried.

    >>> from types import SimpleNamespace
    >>> from paceline.effects import Call
    >>> from paceline.exchange import Rules, exchange
    >>> from paceline.retry import Retry
    >>> from paceline.signals import read_signal
    >>> permit = SimpleNamespace(waited=0.0, reason="", sent=bool, release=bool, cancel=bool)
    >>> def acquire(cost, *, priority, timeout):
    ...     return permit
    >>> nothing = SimpleNamespace(wait=0.0, until=0.0, others_served=False, remaining=None)
    >>> free = SimpleNamespace(acquire=acquire, learn=lambda *_: nothing, may_retry=lambda: True)
    >>> statuses = iter([503, 200])
    >>> def send(effect):
    ...     effect.permit.sent()
    ...     return Answer(next(statuses), {}, b"", "the response", elapsed=0.1, now=0.0)
    >>> def sleep(seconds):
    ...     print("sleeps", 1 <= seconds <= 2)
    >>> rules = Rules(retry=Retry(), read=read_signal, scope="api")
    >>> steps = exchange(Call("GET", "https://api.example.com/items/1"), rules, started=0.0)
    >>> drive(steps, free, send, sleep=sleep).attempts
    sleeps True
    2
    """
    permit, answer = _taken(replies)
    reply: Any
    try:
        effect = _catch_up(steps, replies)
        while True:
            try:
                if isinstance(effect, Acquire):
                    cost, priority, timeout = effect
                    permit = reply = scope.acquire(cost, priority=priority, timeout=timeout)
                elif isinstance(effect, Send):
                    reply = send(effect)
                    if isinstance(reply, Answer):
                        answer = reply
                    else:
                        _end(effect.permit, reply)
                        permit = None
                elif isinstance(effect, Learn):
                    reply = scope.learn(effect.permit, effect.signal, effect.status)
                    if answer is not None and not answer.held:
                        effect.permit.release()
                        permit = None
                elif isinstance(effect, Emit):
                    reply = None if emit is None else emit(effect.event)
                elif isinstance(effect, Discard):
                    reply = answer = None
                    if discard is not None:
                        discard(effect.answer)
                    if permit is not None:
                        permit.release()
                        permit = None
                elif isinstance(effect, Sleep):
                    sleep(effect.seconds)
                    reply = clock()
                elif isinstance(effect, Refresh):
                    before = clock()
                    fresh = refresh is not None and refresh(effect.permit)
                    reply = Refreshed(fresh, max(0.0, clock() - before))
                else:
                    reply = scope.may_retry()
            except BaseException as error:  # noqa: BLE001 - the exchange decides, and lets it pass
                effect = steps.throw(error)
            else:
                effect = steps.send(reply)
    except StopIteration as end:
        if answer is not None:
            # The final answer: where its body is still to be read, the permit is the shell's from here on.
            permit = None
        outcome: Outcome = end.value
        return outcome
    except BaseException:
        if answer is not None and discard is not None:
            discard(answer)
        raise
    finally:
        if permit is not None:
            permit.cancel()


async def aserve(
    call: Call,
    rules: Rules,
    scope: AsyncScope,
    send: Callable[[Send], Awaitable[Answer | Fault]],
    *,
    permit: Permit | None = None,
    emit: Sink | None = None,
    refresh: Callable[[Permit], Awaitable[bool]] | None = None,
    discard: Callable[[Answer], Awaitable[None]] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """All sends of one request until it ends; as `serve`, awaited."""
    if events.listeners:
        emit, rules = events.heard_too(emit, rules.events), replace(rules, events="all")
    replies: list[Any] = [] if permit is None else [permit]
    answer: Answer | None = None
    if rules.events != "all":
        try:
            if permit is None:
                permit = await scope.acquire(call.cost, priority=call.priority, timeout=rules.retry.deadline)
                replies.append(permit)
            left = rules.retry.deadline
            reply = await send(Send(permit, 1, left if left is None else left - permit.waited))
            if isinstance(reply, Answer):
                answer = reply
                signal = rules.silence if reply.silent and not reply.held else None
                if signal is not None and permit.wrote is not None and ends_at_once(call, rules, reply.status, signal):
                    scope.served(permit, signal)
                    return Outcome(reply, None, None, 1, 0, permit.waited, None)
                if signal is None:
                    signal = rules.read(
                        reply.status, reply.headers, reply.body, now=reply.now, method=call.method, url=call.url
                    )
                learned = scope.learn(permit, signal, reply.status)
                if not reply.held:
                    permit.release()
                if ends_at_once(call, rules, reply.status, signal):
                    return Outcome(reply, None, None, 1, 0, permit.waited, None)
                replies += reply, learned
            else:
                _end(permit, reply)
                replies.append(reply)
        except BaseException as error:
            if permit is None and isinstance(error, PacelineError):
                replies.append(error)
            else:
                if answer is not None and discard is not None:
                    await discard(answer)
                if permit is not None:
                    permit.cancel()
                raise
    return await adrive(
        exchange(call, rules, clock()),
        scope,
        send,
        replies=replies,
        emit=emit,
        refresh=refresh,
        discard=discard,
        sleep=sleep,
        clock=clock,
    )


async def adrive(
    steps: Steps,
    scope: AsyncScope,
    send: Callable[[Send], Awaitable[Answer | Fault]],
    *,
    replies: Sequence[Any] = (),
    emit: Sink | None = None,
    refresh: Callable[[Permit], Awaitable[bool]] | None = None,
    discard: Callable[[Answer], Awaitable[None]] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """Acts for one exchange until it ends, as a task; arguments and promises as for `drive`, awaited.

    >>> from types import SimpleNamespace
    >>> from paceline.effects import Call
    >>> from paceline.exchange import Rules, exchange
    >>> from paceline.retry import Retry
    >>> from paceline.signals import read_signal
    >>> permit = SimpleNamespace(waited=0.0, reason="", sent=bool, release=bool, cancel=bool)
    >>> async def acquire(cost, *, priority, timeout):
    ...     return permit
    >>> nothing = SimpleNamespace(wait=0.0, until=0.0, others_served=False, remaining=None)
    >>> free = SimpleNamespace(acquire=acquire, learn=lambda *_: nothing, may_retry=lambda: True)
    >>> statuses = iter([503, 200])
    >>> async def send(effect):
    ...     effect.permit.sent()
    ...     return Answer(next(statuses), {}, b"", "the response", elapsed=0.1, now=0.0)
    >>> async def sleep(seconds):
    ...     print("sleeps", 1 <= seconds <= 2)
    >>> rules = Rules(retry=Retry(), read=read_signal, scope="api")
    >>> steps = exchange(Call("GET", "https://api.example.com/items/1"), rules, started=0.0)
    >>> asyncio.run(adrive(steps, free, send, sleep=sleep)).attempts
    sleeps True
    2
    """
    permit, answer = _taken(replies)
    reply: Any
    try:
        effect = _catch_up(steps, replies)
        while True:
            try:
                if isinstance(effect, Acquire):
                    cost, priority, timeout = effect
                    permit = reply = await scope.acquire(cost, priority=priority, timeout=timeout)
                elif isinstance(effect, Send):
                    reply = await send(effect)
                    if isinstance(reply, Answer):
                        answer = reply
                    else:
                        _end(effect.permit, reply)
                        permit = None
                elif isinstance(effect, Learn):
                    reply = scope.learn(effect.permit, effect.signal, effect.status)
                    if answer is not None and not answer.held:
                        effect.permit.release()
                        permit = None
                elif isinstance(effect, Emit):
                    reply = None if emit is None else emit(effect.event)
                elif isinstance(effect, Discard):
                    reply = answer = None
                    if discard is not None:
                        await discard(effect.answer)
                    if permit is not None:
                        permit.release()
                        permit = None
                elif isinstance(effect, Sleep):
                    await sleep(effect.seconds)
                    reply = clock()
                elif isinstance(effect, Refresh):
                    before = clock()
                    fresh = refresh is not None and await refresh(effect.permit)
                    reply = Refreshed(fresh, max(0.0, clock() - before))
                else:
                    reply = scope.may_retry()
            except BaseException as error:  # noqa: BLE001 - the exchange decides, and lets it pass
                effect = steps.throw(error)
            else:
                effect = steps.send(reply)
    except StopIteration as end:
        if answer is not None:
            # The final answer: where its body is still to be read, the permit is the shell's from here on.
            permit = None
        outcome: Outcome = end.value
        return outcome
    except BaseException:
        if answer is not None and discard is not None:
            await discard(answer)
        raise
    finally:
        if permit is not None:
            permit.cancel()


def _end(permit: Permit, fault: Fault) -> None:
    """Gives a permit back after a broken attempt: whole, where the server never saw the request."""
    if fault.sent:
        permit.release()
    else:
        permit.cancel()


def _catch_up(steps: Steps, replies: Sequence[Any]) -> Effect:
    """Tells the exchange what came of its first effects; the effect it wants next."""
    effect = next(steps)
    for reply in replies:
        effect = steps.throw(reply) if isinstance(reply, PacelineError) else steps.send(reply)
    return effect


def _taken(replies: Sequence[Any]) -> tuple[Permit | None, Answer | None]:
    """What those replies leave in the hands of whoever goes on: a permit not yet given back, an answer not yet final."""
    if not replies or isinstance(replies[0], PacelineError):
        return None, None
    if len(replies) == 1:
        return replies[0], None
    answer = replies[1]
    if isinstance(answer, Answer):
        return (replies[0] if answer.held else None), answer
    return None, None
