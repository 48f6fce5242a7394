"""Credentials that many exchanges share: a hook renews them, once for all who wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from .events import CredentialRefreshed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .events import Sink

__all__ = ["AsyncCredential", "Credential", "Held"]

Value = TypeVar("Value")


class Held(NamedTuple, Generic[Value]):
    """A credential in use: its value, and a version that grows with each renewal. Prints without the value."""

    value: Value
    version: int

    def __repr__(self) -> str:
        return f"Held(***, version={self.version})"


class _Versions(Generic[Value]):
    """What both kinds share: the value held now, and whether a refused one is worth a renewal."""

    def __init__(
        self,
        value: Value | None,
        shortest_life: float,
        emit: Sink | None,
        scope: str,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        if not 0 <= shortest_life < float("inf"):
            raise ValueError(
                f"shortest_life must be a number of seconds of at least 0, like 30, not {shortest_life!r}"
            )
        self._held = None if value is None else Held(value, 0)
        self._shortest_life, self._emit, self._scope = shortest_life, emit, scope
        self._now, self._clock = now, clock
        self._renewed_at: float | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'none yet' if self._held is None else repr(self._held)})"

    def _verdict(self, refused: int) -> bool | None:
        """Whether a fresher credential than version `refused` is at hand; None: the hook has to be asked."""
        if self._held is not None and self._held.version > refused:
            return True
        # A credential refused right after the hook gave it will not get better by asking again: without this
        # every request of a job with a wrong password would run the hook.
        if self._renewed_at is not None and self._now() - self._renewed_at < self._shortest_life:
            return False
        return None

    def _took(self, value: Value, began: float) -> Held[Value]:
        first = self._held is None
        self._held = held = Held(value, 1 if self._held is None else self._held.version + 1)
        now = self._now()
        if not first:
            # The first one may have lain in a cache for long: only one that follows a refusal is known to be fresh.
            self._renewed_at = now
        if self._emit is not None:
            self._emit(CredentialRefreshed(at=self._clock(), scope=self._scope, seconds=now - began))
        return held


class Credential(_Versions[Value]):
    """A credential for threads; `hook` returns a new one.

    value: the first one; None: the hook is asked when it is first wanted. shortest_life: seconds; one
    refused within them after its renewal is refused for good, and the hook is not asked again so soon.
    emit, scope: take the event `credential_refreshed`. now, clock: monotonic and epoch seconds.

    However many threads meet a 401, the hook runs once and all share what comes of it, its exception too.

    >>> credential = Credential(lambda: "fresh", "stale")
    >>> held = credential.get()
    >>> credential.renew(held.version), credential.get().value
    (True, 'fresh')
    >>> credential.renew(credential.get().version)
    False
    """

    def __init__(
        self,
        hook: Callable[[], Value],
        value: Value | None = None,
        *,
        shortest_life: float = 30.0,
        emit: Sink | None = None,
        scope: str = "",
        now: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(value, shortest_life, emit, scope, now, clock)
        self._hook = hook
        self._lock = threading.Lock()
        self._flight: Future[Held[Value] | None] | None = None

    def get(self) -> Held[Value]:
        """The credential to send with; while one is being renewed, the coming one. Raises whatever the hook raises."""
        held, flight = self._held, self._flight
        if flight is not None:
            held = flight.result() or self._held
        while held is None:
            held = self._fly(-1) or self._held
        return held

    def renew(self, refused: int) -> bool:
        """After a 401 to a request sent with version `refused`: whether a fresher one is at hand now.

        Raises whatever the hook raises.
        """
        while True:
            verdict = self._verdict(refused)
            if verdict is not None:
                return verdict
            self._fly(refused)

    def _fly(self, refused: int) -> Held[Value] | None:
        """Runs the hook, or waits for the thread that does; None where that thread was interrupted."""
        with self._lock:
            if self._verdict(refused) is not None:
                return self._held
            flight = self._flight
            if flight is None:
                mine = self._flight = Future()
        if flight is not None:
            return flight.result()
        began = self._now()
        try:
            held = self._took(self._hook(), began)
        except Exception as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(held)
            return held
        finally:
            with self._lock:
                self._flight = None
            if not mine.done():
                # Interrupted: not the others' business, one of them asks the hook again.
                mine.set_result(None)


class AsyncCredential(_Versions[Value]):
    """A credential for tasks of one event loop; `hook` is a coroutine function that returns a new one.

    Arguments and promises as for `Credential`. A cancelled task does not break the renewal off for the others.

    >>> async def main():
    ...     async def hook():
    ...         return "fresh"
    ...     credential = AsyncCredential(hook, "stale")
    ...     held = await credential.get()
    ...     return await credential.renew(held.version), (await credential.get()).value
    >>> asyncio.run(main())
    (True, 'fresh')
    """

    def __init__(
        self,
        hook: Callable[[], Awaitable[Value]],
        value: Value | None = None,
        *,
        shortest_life: float = 30.0,
        emit: Sink | None = None,
        scope: str = "",
        now: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(value, shortest_life, emit, scope, now, clock)
        self._hook = hook
        self._flight: asyncio.Task[Held[Value]] | None = None

    async def get(self) -> Held[Value]:
        """The credential to send with; while one is being renewed, the coming one. Raises whatever the hook raises."""
        if self._held is None or self._flight is not None:
            return await self._fly()
        return self._held

    async def renew(self, refused: int) -> bool:
        """After a 401 to a request sent with version `refused`: whether a fresher one is at hand now.

        Raises whatever the hook raises.
        """
        verdict = self._verdict(refused)
        if verdict is None:
            verdict = (await self._fly()).version > refused
        return verdict

    async def _fly(self) -> Held[Value]:
        if self._flight is None:
            self._flight = asyncio.create_task(self._ask())
            self._flight.add_done_callback(self._landed)
        # Shielded: the renewal is everyone's, so no single waiter's cancellation ends it.
        return await asyncio.shield(self._flight)

    async def _ask(self) -> Held[Value]:
        began = self._now()
        return self._took(await self._hook(), began)

    def _landed(self, flight: asyncio.Task[Held[Value]]) -> None:
        self._flight = None
        if not flight.cancelled():
            # Marks an exception as seen: where every waiter was cancelled nobody else would.
            flight.exception()
