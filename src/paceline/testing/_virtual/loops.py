"""asyncio in virtual time: its timers are told to whoever asks what was waited; uvloop's loops are replaced."""

from __future__ import annotations

import asyncio
import functools
from asyncio import base_events
from typing import TYPE_CHECKING, Any

from .world import here

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call_at", "new_loop", "run"]


def call_at(original: Callable[..., Any]) -> Callable[..., Any]:
    """Stands in for `BaseEventLoop.call_at`: a timer that comes due is a wait of whoever set it."""

    def stand(self: base_events.BaseEventLoop, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        both = here()
        if both is None or both[1].backstage:
            return original(self, when, callback, *args, context=context)
        world, party = both
        began = world.now
        try:
            task = asyncio.current_task(self)
        except RuntimeError:
            task = None
        name = None if task is None else task.get_name()
        kind: Any = "sleep" if getattr(callback, "__module__", "") == "asyncio.futures" else "timer"

        @functools.wraps(callback)
        def due(*given: Any) -> Any:
            world.record(party, kind, world.now - began, name)
            return callback(*given)

        return original(self, when, due, *args, context=context)

    return stand


def new_loop(original: Any) -> Any:
    """Stands in for `uvloop.new_event_loop`: uvloop keeps its timers in C, out of reach."""
    return original() if here() is None else asyncio.SelectorEventLoop()


def run(original: Any, main: Any, **options: Any) -> Any:
    """Stands in for `uvloop.run`."""
    if here() is None:
        return original(main, **options)
    with asyncio.Runner(debug=options.get("debug"), loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main)
