"""A thread with an event loop of its own, in which one thing stands open: how servers run beside a test."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LoopThread", "new_event_loop"]

_PATIENCE: Final = 30.0


class _Closable(Protocol):
    async def close(self) -> None: ...


_Opened = TypeVar("_Opened", bound=_Closable)
_Result = TypeVar("_Result")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A fresh loop, uvloop's where it is installed: it is three times as fast."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class LoopThread(Generic[_Opened]):
    """Opens something on a loop in a thread, and closes it at the end.

    what: its name for people, like "test server". opening: called on the loop; what it raises, `start` raises.
    """

    def __init__(self, what: str, opening: Callable[[], Awaitable[_Opened]]) -> None:
        self._what = what
        self._opening = opening
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._opened: _Opened | None = None

    @property
    def opened(self) -> _Opened:
        """What was opened, also after `stop`; raises InputError before `start`."""
        if self._opened is None:
            raise InputError(f"this {self._what} was not started; use it in a with statement, or call start()")
        return self._opened

    def start(self) -> None:
        """Begins the thread; returns once the thing is open."""
        if self._thread is not None:
            raise InputError(f"this {self._what} runs already")
        ready: Future[_Opened] = Future()
        name = f"paceline-{self._what.replace(' ', '-')}"
        self._thread = threading.Thread(target=self._run, args=(ready,), name=name, daemon=True)
        self._thread.start()
        try:
            self._opened = ready.result(_PATIENCE)
        except BaseException:
            self._thread.join(_PATIENCE)
            self._thread = None
            raise

    def stop(self) -> None:
        """Closes the thing and ends the thread."""
        thread, loop, stop = self._thread, self._loop, self._stop
        if thread is None:
            return
        if loop is not None and stop is not None:
            # The loop may have ended by itself.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)
        thread.join(_PATIENCE)
        self._thread = None

    def inside(self, act: Callable[[], _Result]) -> _Result:
        """Runs a short act in the thread, between two requests; here, where the thread has ended."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return act()
        done: Future[_Result] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller's thread
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        return done.result(_PATIENCE)

    def _run(self, ready: Future[_Opened]) -> None:
        loop = self._loop = new_event_loop()
        try:
            loop.run_until_complete(self._stay_open(ready))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    async def _stay_open(self, ready: Future[_Opened]) -> None:
        self._stop = asyncio.Event()
        try:
            opened = await self._opening()
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that waits in `start`
            ready.set_exception(error)
            return
        ready.set_result(opened)
        await self._stop.wait()
        await opened.close()
