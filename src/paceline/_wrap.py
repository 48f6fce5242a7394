"""`Policy.wrap`: any function that makes a call and returns a response or raises, sent by a policy."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ._calls import NONE, Options, current, mark
from ._lanes import AsyncLane, Lane, Lanes
from ._replies import broken_by, reply_of, request_of
from .drive import aserve, serve
from .effects import Answer, Call, Fault
from .errors import GaveUp, InputError, RetryLater
from .nested import attempts_of, warn_below
from .signals import needs_body
from .stores.trio_gate import running_trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from .effects import Send
    from .outcome import Outcome
    from .retry import Retry

__all__ = ["Classify", "Wrapping"]

Classify: TypeAlias = "Callable[[Any], tuple[int, Mapping[str, str], bytes | None] | None]"
"""Turns what a function returned or raised into (status, headers, body), or None where it is no answer of a server."""

_clock = time.perf_counter
_SILENT: Final = object()


class _Came(NamedTuple):
    """What one call of the function came to: a value, or the exception that it raised."""

    value: Any
    error: Exception | None = None


class _First(NamedTuple):
    """The first item of a generator, and the generator that goes on; no item: `_SILENT`."""

    item: Any
    rest: Any


class Wrapping:
    """How one policy's wrapped functions are called; see `Policy.wrap`."""

    def __init__(
        self,
        policy: Any,
        *,
        scope: str | Callable[..., str] | None,
        options: Options,
        method: str | None,
        classify: Classify | None,
        raises: bool,
    ) -> None:
        if classify is not None and not callable(classify):
            raise InputError(f"classify must be a function of one argument, not {classify!r}")
        self._policy = policy
        self._scope = scope
        self._options = options
        self._method = None if method is None else method.upper()
        self._classify = classify
        self._raises = raises
        self._sync: Lanes[Lane] = Lanes(policy, Lane)
        self._async: Lanes[AsyncLane] = Lanes(policy, AsyncLane)

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, each of its calls sent by the policy."""
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def items_async(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                async def begin() -> _First:
                    items = function(*args, **kwargs)
                    try:
                        return _First(await anext(items), items)
                    except StopAsyncIteration:
                        return _First(_SILENT, items)

                first, release = await self._acall(function, begin, args, kwargs, streams=True)
                try:
                    if first.item is not _SILENT:
                        yield first.item
                        async for item in first.rest:
                            yield item
                finally:
                    release()
                    await first.rest.aclose()

            return items_async
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                return (await self._acall(function, functools.partial(function, *args, **kwargs), args, kwargs))[0]

            return call_async
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def items(*args: Any, **kwargs: Any) -> Iterator[Any]:
                def begin() -> _First:
                    rest = function(*args, **kwargs)
                    return _First(next(rest, _SILENT), rest)

                first, release = self._call(function, begin, args, kwargs, streams=True)
                try:
                    if first.item is not _SILENT:
                        yield first.item
                        yield from first.rest
                finally:
                    release()
                    first.rest.close()

            return items

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(function, functools.partial(function, *args, **kwargs), args, kwargs)[0]

        return call

    def _name(self, function: Callable[..., Any], args: Any, kwargs: Any) -> str:
        if callable(self._scope):
            return self._scope(*args, **kwargs)
        return self._scope or self._policy.scope or f"{function.__module__}.{function.__qualname__}"

    def _chosen(self) -> Options:
        chosen = current.get()
        mine = self._options
        if chosen is NONE:
            return mine
        return Options(
            cost=mine.cost if chosen.cost == 1 else chosen.cost,
            priority=chosen.priority or mine.priority,
            deadline=mine.deadline if chosen.deadline is None else chosen.deadline,
            idempotent=mine.idempotent if chosen.idempotent is None else chosen.idempotent,
        )

    def _called(self, function: Callable[..., Any], chosen: Options, came: Answer | Fault) -> Call:
        """What the loop must know of a call; its method and URL are known once there is an answer."""
        shown = came.response if isinstance(came, Answer) else _Came(None, came.error if isinstance(came.error, Exception) else None)
        method, url, sent = request_of(shown.value if shown.error is None else shown.error)
        if shown.error is not None:
            found = reply_of(shown.error)
            if found is not None and found.method is not None:
                method, url, sent = found.method, found.url, found.sent_headers
        name = self._method or method or "POST"
        retry: Retry = self._policy.retry
        keyed = chosen.idempotent
        if keyed is None:
            keyed = sent is not None and hasattr(sent, "keys") and retry.keyed(sent)
        url = url or f"function:{function.__qualname__}"
        return Call(name, url, chosen.cost, chosen.priority, True, keyed)

    def _reply(self, came: _Came, began: float, held: bool) -> Answer | Fault:
        """What a call came to, as the loop sees it; raises what is no matter of a server's."""
        now, elapsed = time.time(), _clock() - began
        shown = came.value if came.error is None else came.error
        if isinstance(shown, _First):
            return Answer(200, {}, None, came, elapsed, now, held)
        if self._classify is not None:
            told = self._classify(shown)
            if told is not None:
                status, headers, body = told
                return Answer(status, headers, body, came, elapsed, now)
        else:
            reply = reply_of(shown)
            if reply is not None:
                if reply.status >= 400:
                    warn_below(shown, "a wrapped function", attempts_of(self._policy.retry.stop))
                body = reply.body if needs_body(reply.status, reply.headers, url=reply.url) else None
                return Answer(reply.status, reply.headers, body, came, elapsed, now)
        if came.error is None:
            return Answer(200, {}, None, came, elapsed, now)
        broken = broken_by(came.error)
        if broken is None:
            raise came.error
        return Fault(came.error, broken.kind, elapsed, now, broken.sent)

    def _end(self, outcome: Outcome) -> Any:
        """Hands out what the last call came to."""
        error, answer = outcome.error, outcome.answer
        came: _Came | None = None if answer is None else answer.response
        shown = None if came is None else came.value if came.error is None else came.error
        if error is not None:
            mark(error, outcome)
            if isinstance(error, GaveUp) and shown is not None:
                error.last_response = shown
            if isinstance(error, RetryLater) or (self._raises and isinstance(error, GaveUp)):
                raise error
        if came is None:
            if outcome.fault is not None:
                mark(outcome.fault.error, outcome)
            return outcome.response()
        mark(shown, outcome)
        if came.error is None:
            return came.value
        if error is not None:
            came.error.add_note(f"paceline: {error}")
        raise came.error

    def _call(
        self, function: Callable[..., Any], once: Callable[[], Any], args: Any, kwargs: Any, streams: bool = False
    ) -> tuple[Any, Callable[[], None]]:
        chosen = self._chosen()
        lane = self._sync.named(self._name(function, args, kwargs))
        held = streams and lane.holds

        def attempt(permit: Any) -> Answer | Fault:
            permit.sent()
            began = _clock()
            try:
                came = _Came(once())
            except Exception as error:  # noqa: BLE001 - classified, and raised again where it is none of ours
                came = _Came(None, error)
            return self._reply(came, began, held)

        permit: Any = lane.acquire(chosen.cost, priority=chosen.priority, timeout=chosen.deadline)
        try:
            first: Answer | Fault | None = attempt(permit)
        except BaseException:
            permit.cancel()
            raise
        assert first is not None

        def send(effect: Send) -> Answer | Fault:
            nonlocal first, permit
            given, first = first, None
            permit = effect.permit
            return given if given is not None else attempt(permit)

        rules = lane.rules
        if chosen.deadline is not None:
            rules = replace(rules, retry=replace(rules.retry, deadline=chosen.deadline))
        call = self._called(function, chosen, first)
        outcome = serve(call, rules, lane, send, permit=permit, emit=self._sync.emit)
        return self._end(outcome), permit.release

    async def _acall(
        self, function: Callable[..., Any], once: Callable[[], Any], args: Any, kwargs: Any, streams: bool = False
    ) -> tuple[Any, Callable[[], None]]:
        chosen = self._chosen()
        lane = self._async.named(self._name(function, args, kwargs))
        held = streams and lane.holds

        async def attempt(permit: Any) -> Answer | Fault:
            permit.sent()
            began = _clock()
            try:
                came = _Came(await once())
            except Exception as error:  # noqa: BLE001 - classified, and raised again where it is none of ours
                came = _Came(None, error)
            return self._reply(came, began, held)

        permit: Any = await lane.acquire(chosen.cost, priority=chosen.priority, timeout=chosen.deadline)
        try:
            first: Answer | Fault | None = await attempt(permit)
        except BaseException:
            permit.cancel()
            raise
        assert first is not None

        async def send(effect: Send) -> Answer | Fault:
            nonlocal first, permit
            given, first = first, None
            permit = effect.permit
            return given if given is not None else await attempt(permit)

        rules = lane.rules
        if chosen.deadline is not None:
            rules = replace(rules, retry=replace(rules.retry, deadline=chosen.deadline))
        call = self._called(function, chosen, first)
        trio = running_trio()
        sleep = asyncio.sleep if trio is None else trio.sleep
        outcome = await aserve(call, rules, lane, send, permit=permit, emit=self._async.emit, sleep=sleep)
        return self._end(outcome), permit.release
