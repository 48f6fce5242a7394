"""Puts all stand-ins of a block of virtual time in place, and takes them out again."""

from __future__ import annotations

import _thread
import asyncio
import importlib.util
import socket
import ssl
import threading
from asyncio import base_events
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ...errors import InputError
from . import loops, polling, real, sockets, threads
from .clocks import Clocks, Stand, sleep_stand
from .swap import swap
from .world import World, activate, active, here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .swap import Swap
    from .world import Party

__all__ = ["installed"]


@contextmanager
def installed(start: int | None, patience: float) -> Iterator[tuple[World, Clocks]]:
    """One block of virtual time, for this thread and all that it starts."""
    if active() is not None:
        raise InputError("virtual time runs already; one block of it holds for all that begins in it")
    _refuse_uvloop()
    world = World(patience)

    def elapsed() -> int | None:
        both = here()
        return None if both is None else both[0].now

    clocks = Clocks(elapsed, start)
    started: WeakKeyDictionary[Any, Party] = WeakKeyDictionary()
    pairs = [*clocks.stands(), sleep_stand(), *_others(started)]
    undo: list[Callable[[], Any]] = []
    activate(world)
    try:
        swap(pairs, undo)
        _methods(undo, started)
        me = world.expect(threading.current_thread().name)
        world.enter(me)
        world.begin()
        try:
            yield world, clocks
        finally:
            world.end()
            world.leave(me)
    finally:
        while undo:
            undo.pop()()
        # What was imported or made in the block holds stand-ins.
        swap([(new, old) for old, new in pairs])
        activate(None)


def _others(started: WeakKeyDictionary[Any, Party]) -> list[Swap]:
    """Functions and classes, other than clocks, that are replaced wherever they are held."""
    pairs: list[Swap] = [
        (real.allocate_lock, Stand(real.allocate_lock, threads.make_lock)),
        (real.select_, Stand(real.select_, polling.select_stand)),
        (real.poll, polling.Poll),
        (real.SimpleQueue, threads.VirtualSimpleQueue),
    ]
    pairs += [
        (start, Stand(start, threads.starter(started)))
        for name in ("start_new_thread", "start_joinable_thread")
        if (start := getattr(_thread, f"_{name}" if name.startswith("start_j") else name, None)) is not None
    ]
    if real.epoll is not None:
        pairs.append((real.epoll, polling.Epoll))
    if importlib.util.find_spec("uvloop") is not None:
        uvloop: Any = importlib.import_module("uvloop")
        pairs += [
            (uvloop.new_event_loop, Stand(uvloop.new_event_loop, loops.new_loop)),
            (uvloop.run, Stand(uvloop.run, loops.run)),
        ]
    return pairs


def _methods(undo: list[Callable[[], Any]], started: WeakKeyDictionary[Any, Party]) -> None:
    """Methods, which are replaced in their classes: what exists already has them too."""

    def put(owner: Any, name: str, stand: Any) -> None:
        if name in vars(owner):
            undo.append(partial(setattr, owner, name, vars(owner)[name]))
        else:
            undo.append(partial(delattr, owner, name))
        setattr(owner, name, stand)

    for name, stand in sockets.SOCKET.items():
        if hasattr(socket.socket, name):
            put(socket.socket, name, stand)
    for name, make in sockets.TLS.items():
        put(ssl.SSLSocket, name, make(vars(ssl.SSLSocket)[name]))
    for kind, original in real.SELECTS.items():
        put(kind, "select", polling.selector_stand(original))
    put(threading.Thread, "join", threads.join(started))
    put(threading, "_CRLock", None)  # then RLock() is made of locks that have a stand-in
    put(base_events.BaseEventLoop, "call_at", loops.call_at(base_events.BaseEventLoop.call_at))


def _refuse_uvloop() -> None:
    """A loop of uvloop that runs already cannot be given another clock."""
    loop = asyncio._get_running_loop()
    if loop is not None and type(loop).__module__.partition(".")[0] == "uvloop":
        raise InputError(
            "virtual time cannot begin on a running loop of uvloop, which keeps its timers in C; run on "
            "asyncio.SelectorEventLoop, or begin virtual time before the loop is made"
        )
