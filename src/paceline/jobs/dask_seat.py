"""A seat on a Dask worker: the long-running task that holds it, and the calls that carry its turns.

The task shows on Dask's dashboard under a random name. All that is secret travels pickled inside a `Parcel`, which
prints as nothing but its size: Dask writes the arguments of what failed into its logs.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, Final

from .. import __version__
from .flow import _new_loop
from .seat import Order, Seat

__all__ = ["Parcel", "dask_setup", "hello", "hold_seat", "tell_seat"]

_TO_COME: Final = 60.0  # seconds within which the task of a seat must have begun
_seats: dict[str, Future[Seat]] = {}
_ended: deque[str] = deque(maxlen=256)
_lock = threading.Lock()


class Parcel:
    """A value on its way, pickled; its repr tells nothing of it.

    >>> Parcel.of({"token": "secret"})
    <Parcel of ... bytes>
    >>> Parcel.of([1]).open()
    [1]
    """

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    @classmethod
    def of(cls, value: Any) -> Parcel:
        return cls(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))

    def open(self) -> Any:
        # It comes over Dask's own connection, which carries pickled code anyhow.
        return pickle.loads(self._content)  # noqa: S301

    def __len__(self) -> int:
        return len(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        return Parcel, (self._content,)

    def __repr__(self) -> str:
        return f"<Parcel of {len(self._content)} bytes>"


def hello() -> str:
    """The version of paceline on this worker, which from here on writes no line for each turn into its log."""
    logging.getLogger("distributed.worker").addFilter(_is_no_turn)  # once: the same filter is not added twice
    return __version__


def hold_seat(token: str, parcel: Parcel) -> None:
    """The task: runs a seat in this thread until it is closed, or nobody takes turns with it any more."""
    from distributed import secede

    seat_of = _slot(token)
    loop = _new_loop()
    try:
        secede()  # type: ignore[no-untyped-call]  # it runs for as long as the job: the thread is not missing where others share these workers
        loop.run_until_complete(_serve(seat_of, parcel.open()))
    except BaseException as error:
        if not seat_of.done():
            seat_of.set_exception(error)
        raise
    finally:
        with _lock:
            _ended.append(token)
            _seats.pop(token, None)
        loop.close()


async def _serve(seat_of: Future[Seat], order: Order) -> None:
    seat = Seat(order, order.make_sender(order.headers))
    seat_of.set_result(seat)
    await seat.serve()


async def tell_seat(token: str, what: str, parcel: Parcel | None = None) -> Parcel | None:
    """One call to a seat of this worker, on the worker's own event loop: turn, drain, lend or close."""
    if what != "turn" and token not in _seats:
        return None  # it has ended
    with _lock:
        if token in _ended:
            raise LookupError("the seat has ended")
        slot = _seats.setdefault(token, Future())
    try:
        seat = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(slot)), _TO_COME)
    except TimeoutError:
        with _lock:
            _seats.pop(token, None)
        raise
    loop = seat._loop
    assert loop is not None
    if what == "turn":
        assert parcel is not None
        turn = parcel.open()
        came = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(seat.turn(turn), loop))
        return Parcel.of(came)
    if what == "lend":
        assert parcel is not None
        loop.call_soon_threadsafe(seat.lend, parcel.open())
    else:
        loop.call_soon_threadsafe(seat.drain if what == "drain" else seat.close)
    return None


def _slot(token: str) -> Future[Seat]:
    with _lock:
        return _seats.setdefault(token, Future())


def _is_no_turn(record: logging.LogRecord) -> bool:
    return not (str(record.msg).startswith("Run out-of-band function") and "tell_seat" in str(record.args))


def dask_setup(_worker: Any) -> None:
    """Preloaded by workers that the command started itself: Ctrl-C is the command's to handle, who drains first."""
    import signal

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
