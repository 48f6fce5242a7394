"""The clocks of `time` and `datetime`, as the threads of a block read them."""

from __future__ import annotations

import datetime as datetime_module
import time
from typing import TYPE_CHECKING, Any, Final

from . import real
from .exempt import exempt
from .world import here, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .swap import Swap

__all__ = ["Clocks", "Stand"]

_SECOND: Final = 1_000_000_000
_OF_THE_PROCESSOR: Final = frozenset(
    getattr(time, name) for name in ("CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID", "CLOCK_PROF") if hasattr(time, name)
)


class Stand:
    """A function in place of a built-in one; like that, and unlike a function, no method where a class holds it.

    act: called with the original and the arguments. No closure may hold an original: `swap` would find it there.
    """

    __slots__ = ("__name__", "__weakref__", "_act", "original")

    def __init__(self, original: Any, act: Callable[..., Any]) -> None:
        self.original = original
        self.__name__ = original.__name__
        self._act = act

    def __call__(self, *args: Any, **options: Any) -> Any:
        if exempt(2):
            return self.original(*args, **options)
        return self._act(self.original, *args, **options)

    def __repr__(self) -> str:
        return f"<virtual {self.__name__}>"


class Clocks:
    """Where the clocks of a block stand at its beginning, and the functions that read them.

    elapsed: nanoseconds since the beginning, for this thread; None where real time goes on.
    start: epoch nanoseconds. Clocks begin at a whole second, so that sums of seconds stay exact.
    """

    def __init__(self, elapsed: Callable[[], int | None], start: int | None) -> None:
        self._elapsed = elapsed
        self.epoch = _whole(real.time_ns()) if start is None else start
        self.steady = _whole(real.monotonic_ns())

    def _read(self, clock: int) -> int | None:
        """A clock's reading in nanoseconds; None: the real one."""
        now = self._elapsed()
        if now is None or clock in _OF_THE_PROCESSOR:
            return None
        if clock == time.CLOCK_REALTIME:
            return self.epoch + now
        if clock == time.CLOCK_MONOTONIC:
            return self.steady + now
        # Others stand where they really stand beside the monotonic one.
        return self.steady + now + real.clock_gettime_ns(clock) - real.monotonic_ns()

    def _seconds(self) -> float | None:
        now = self._elapsed()
        return None if now is None else (self.epoch + now) / _SECOND

    def stands(self) -> list[Swap]:
        """Each function of `time` that reads a clock, and what stands in for it."""
        pairs: list[Swap] = []

        def stand(name: str, read: Callable[[], int | None], unit: int) -> None:
            def act(original: Any) -> Any:
                now = read()
                return original() if now is None else now if unit == 1 else now / unit

            pairs.append((getattr(time, name), Stand(getattr(time, name), act)))

        def epoch() -> int | None:
            return self._read(time.CLOCK_REALTIME)

        def steady() -> int | None:
            return self._read(time.CLOCK_MONOTONIC)

        for clock, read in (("time", epoch), ("monotonic", steady), ("perf_counter", steady)):
            stand(clock, read, _SECOND)
            stand(clock + "_ns", read, 1)
        for name, unit in (("clock_gettime", _SECOND), ("clock_gettime_ns", 1)):
            pairs.append((getattr(time, name), Stand(getattr(time, name), self._gettime(unit))))
        for name in ("gmtime", "localtime", "ctime", "strftime", "asctime"):
            pairs.append((getattr(time, name), Stand(getattr(time, name), self._calendar(name))))
        pairs.append((real.datetime_, self._datetime()))
        pairs.append((real.date_, self._date()))
        return pairs

    def _gettime(self, unit: int) -> Callable[..., Any]:
        def act(original: Any, clock: int, /) -> Any:
            now = self._read(clock)
            return original(clock) if now is None else now if unit == 1 else now / unit

        return act

    def _calendar(self, name: str) -> Callable[..., Any]:
        # Those that mean "now" where no time is given.
        needs = 2 if name == "strftime" else 1
        broken_down = name in ("strftime", "asctime")

        def act(original: Any, *args: Any) -> Any:
            now = self._seconds()
            if now is None or (len(args) >= needs and args[-1] is not None):
                return original(*args)
            return original(*args[: needs - 1], real.localtime(now) if broken_down else now)

        return act

    def _datetime(self) -> type:
        seconds, of_class = self._seconds, real.datetime_

        class _Kind(type):
            def __instancecheck__(cls, instance: Any) -> bool:
                return isinstance(instance, of_class)

            def __subclasscheck__(cls, subclass: type) -> bool:
                return issubclass(subclass, of_class)

        class datetime(of_class, metaclass=_Kind):  # type: ignore[misc, valid-type]
            """Stands in for `datetime.datetime`; makes plain ones of that."""

            def __new__(cls, *args: Any, **options: Any) -> Any:
                return of_class.__new__(of_class if cls is datetime else cls, *args, **options)

            @classmethod
            def now(cls, tz: Any = None) -> Any:
                now = None if exempt(2) else seconds()
                return of_class.now(tz) if now is None else of_class.fromtimestamp(now, tz)

            @classmethod
            def utcnow(cls) -> Any:
                now = None if exempt(2) else seconds()
                at = real.time_ns() / _SECOND if now is None else now
                return of_class.fromtimestamp(at, datetime_module.UTC).replace(tzinfo=None)

            @classmethod
            def today(cls) -> Any:
                return cls.now()

        return datetime

    def _date(self) -> type:
        seconds, of_class = self._seconds, real.date_

        class _Kind(type):
            def __instancecheck__(cls, instance: Any) -> bool:
                return isinstance(instance, of_class)

            def __subclasscheck__(cls, subclass: type) -> bool:
                return issubclass(subclass, of_class)

        class date(of_class, metaclass=_Kind):  # type: ignore[misc, valid-type]
            """Stands in for `datetime.date`; makes plain ones of that."""

            def __new__(cls, *args: Any, **options: Any) -> Any:
                return of_class.__new__(of_class if cls is date else cls, *args, **options)

            @classmethod
            def today(cls) -> Any:
                now = None if exempt(2) else seconds()
                return of_class.today() if now is None else of_class.fromtimestamp(now)

        return date


def _whole(moment: int) -> int:
    """The next whole second, so that no clock ever goes back."""
    return -(-moment // _SECOND) * _SECOND


def sleep_stand() -> Swap:
    """`time.sleep`, and what stands in for it."""

    def act(_: Any, seconds: float, /) -> None:
        both = here()
        if both is None or not isinstance(seconds, int | float):
            real.sleep(seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        if seconds != seconds:
            raise ValueError("Invalid value NaN (not a number)")
        world, party = both
        duration = nanoseconds(seconds)
        world.sleep(party, duration)
        world.record(party, "sleep", duration)

    return (real.sleep, Stand(real.sleep, act))
