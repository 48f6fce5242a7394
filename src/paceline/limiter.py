"""Limiter and AsyncLimiter: a limit to hold by hand, around any piece of code."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from math import inf
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .policy import read_limits
from .stores import open_store
from .stores.line import Line, Permit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from .events import Sink
    from .ledger import Cost, ScopeState
    from .limits import Limit
    from .stores.clock import Clock
    from .stores.shared import OnStoreLoss

__all__ = ["AsyncLimiter", "Limiter", "Permit"]

P = ParamSpec("P")
R = TypeVar("R")
_new = object.__new__  # makes a permit in half the time of its class


class _Limiting:
    """What both limiters share: a line, and how it is steered."""

    def __init__(
        self,
        limits: str | Limit | Iterable[str | Limit],
        *,
        scope: str = "limiter",
        store: str = "memory:",
        share: float = 1.0,
        on_store_loss: OnStoreLoss = "share",
        max_wait: float = inf,
        events: Sink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._line = Line(
            scope,
            read_limits(limits),
            max_wait=max_wait,
            emit=events,
            clock=clock,
            store=open_store(store),
            share=share,
            on_store_loss=on_store_loss,
        )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force."""
        return self._line.ledger.limits

    def try_acquire(self, cost: Cost = 1) -> Permit | None:
        """A permit if one is to be had at once and nobody waits for it, else None; never blocks."""
        return self._line.try_acquire(cost)

    def update(self, limits: str | Limit | Iterable[str | Limit]) -> None:
        """Puts other limits in force from now on; those who wait are timed anew."""
        self._line.update(read_limits(limits))

    def pause(self, seconds: float = inf) -> None:
        """Grants nothing more for `seconds`, or until `resume`."""
        self._line.pause(seconds)

    def resume(self) -> None:
        """Ends a pause."""
        self._line.resume()

    def state(self) -> ScopeState:
        """How things stand: what each limit has left, who waits until when, whether and why it is paused."""
        return self._line.state()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorates a function, sync or async: each call takes a permit first and releases it afterwards."""
        line = self._line
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def paced_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                permit = await line.acquire_async()
                try:
                    return await cast("Awaitable[Any]", function(*args, **kwargs))
                finally:
                    permit.release()

            return cast("Callable[P, R]", paced_async)

        @functools.wraps(function)
        def paced(*args: P.args, **kwargs: P.kwargs) -> R:
            permit = line.acquire()
            try:
                return function(*args, **kwargs)
            finally:
                permit.release()

        return paced

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.limits))!r})"


class Limiter(_Limiting):
    """Holds limits for threads: `with limiter:`, `@limiter`, or `limiter.acquire()`.

    limits: a limit, its text, or several that hold together, all or nothing.
    scope: a name for events, and in a shared store what all who write the same name share. store: `memory:` (this
    process), `sqlite:///path` (this machine), `redis://host:6379/0` (many machines). share: this worker's weight.
    on_store_loss: see Policy. max_wait: the longest pause asked by a server that is sat out (seconds); longer
    ones raise RetryLater. events: called with every event.

    Raises LimitSyntaxError for a text that is no limit.

    >>> limiter = Limiter("100/s")
    >>> with limiter:
    ...     pass  # at most 100 such blocks begin in any second, in all threads together
    >>> limiter.try_acquire() is not None
    True
    """

    def __init__(
        self,
        limits: str | Limit | Iterable[str | Limit],
        *,
        scope: str = "limiter",
        store: str = "memory:",
        share: float = 1.0,
        on_store_loss: OnStoreLoss = "share",
        max_wait: float = inf,
        events: Sink | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            limits,
            scope=scope,
            store=store,
            share=share,
            on_store_loss=on_store_loss,
            max_wait=max_wait,
            events=events,
            clock=clock,
        )
        self._held = threading.local()

    def acquire(self, cost: Cost = 1, *, priority: int = 0, timeout: float | None = None) -> Permit:
        """Waits for a permit, first come first served.

        cost: how much of the quota it takes (0: nothing). priority: higher ones are served first, but one
        permit in eight goes to those below. timeout: seconds to wait at most.

        Raises AcquireTimeout when the time is over, CostAboveQuota for what would never be granted, and
        RetryLater for a pause longer than `max_wait`. Whoever is not granted a permit is charged nothing.

        >>> permit = Limiter("8 concurrent").acquire(timeout=1)
        >>> permit.release()
        """
        # The short way, for when nobody waits: kept in one piece, it is what a permit costs.
        line = self._line
        with line.lock:
            own = line.own
            only = own.only
            if only is not None and cost == 1 and not line.waiting:
                now = line.now()
                if only.take(own.only_state, now) <= now:
                    permit = _new(Permit)
                    permit._line, permit.cost, permit.at = line, cost, now
                    return permit
        return line.acquire(cost, priority, timeout)

    def reserve(self, cost: Cost, *, priority: int = 0, timeout: float | None = None) -> Permit:
        """A permit for an estimated cost, to be corrected by `permit.settle(actual)` once it is known.

        >>> permit = Limiter("90000 tokens/min").reserve(4000)
        >>> permit.settle(1250)
        """
        return self.acquire(cost, priority=priority, timeout=timeout)

    def __enter__(self) -> Permit:
        permit = self.acquire()
        held: list[Permit] | None = getattr(self._held, "stack", None)
        if held is None:
            held = self._held.stack = []
        held.append(permit)
        return permit

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._held.stack.pop().release()


class AsyncLimiter(_Limiting):
    """Holds limits for tasks: `async with limiter:`, `@limiter`, or `await limiter.acquire()`.

    Arguments as for `Limiter`. Usable from several event loops and threads at once.

    >>> import asyncio
    >>> async def main():
    ...     limiter = AsyncLimiter("100/s")
    ...     async with limiter as permit:
    ...         return permit.waited
    >>> asyncio.run(main())
    0.0
    """

    def __init__(
        self,
        limits: str | Limit | Iterable[str | Limit],
        *,
        scope: str = "limiter",
        store: str = "memory:",
        share: float = 1.0,
        on_store_loss: OnStoreLoss = "share",
        max_wait: float = inf,
        events: Sink | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            limits,
            scope=scope,
            store=store,
            share=share,
            on_store_loss=on_store_loss,
            max_wait=max_wait,
            events=events,
            clock=clock,
        )
        self._held: dict[asyncio.Task[Any] | None, list[Permit]] = {}

    async def acquire(self, cost: Cost = 1, *, priority: int = 0, timeout: float | None = None) -> Permit:
        """Waits for a permit; arguments and errors as for `Limiter.acquire`.

        A cancelled wait gives its place, or its permit, to the next who waits.
        """
        line = self._line
        with line.lock:
            own = line.own
            only = own.only
            if only is not None and cost == 1 and not line.waiting:
                now = line.now()
                if only.take(own.only_state, now) <= now:
                    permit = _new(Permit)
                    permit._line, permit.cost, permit.at = line, cost, now
                    return permit
        return await line.acquire_async(cost, priority, timeout)

    async def reserve(self, cost: Cost, *, priority: int = 0, timeout: float | None = None) -> Permit:
        """A permit for an estimated cost, to be corrected by `permit.settle(actual)` once it is known."""
        return await self.acquire(cost, priority=priority, timeout=timeout)

    async def __aenter__(self) -> Permit:
        permit = await self.acquire()
        self._held.setdefault(asyncio.current_task(), []).append(permit)
        return permit

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        stack = self._held[task]
        stack.pop().release()
        if not stack:
            del self._held[task]
