"""`backoff` (on_exception, on_predicate, expo …) that hears the server: change the import, keep the code.

What is better than in backoff 2.2: where an exception or a result carries a response that names a wait, no retry comes
before it, whatever jitter and `max_time` say; a wait longer than what is left of `max_time` (without one: than 900 s)
gives up at once, instead of asking again too early. No credential is logged, and cancellation is never tried again.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import logging
import operator
import random
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar, cast

from .._replies import chain_of, reply_of
from ..errors import RetryLater
from ..masking import mask_text

__all__ = [
    "constant",
    "expo",
    "fibo",
    "full_jitter",
    "on_exception",
    "on_predicate",
    "random_jitter",
    "runtime",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Handlers: TypeAlias = "Callable[[Any], Any] | Iterable[Callable[[Any], Any]] | None"
_Waits: TypeAlias = "Callable[..., Generator[float, Any, None]]"
_Step: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]"

_LONGEST: Final = 900.0
_LONGEST_TEXT: Final = 300

_log = logging.getLogger("backoff")
_log.addHandler(logging.NullHandler())
_log.setLevel(logging.INFO)


# ---- waits ------------------------------------------------------------------------------------


def expo(base: float = 2, factor: float = 1, max_value: float | None = None) -> Generator[float, Any, None]:
    """Waits of factor * base ** n seconds, at most `max_value`.

    >>> list(itertools.islice(expo(max_value=5), 1, 6))
    [1, 2, 4, 5, 5]
    """
    yield  # type: ignore[misc]  # the first `send` begins
    for n in itertools.count():
        wait = factor * base**n
        if max_value is not None and wait >= max_value:
            break
        yield wait
    # No `yield from`: what is sent in would go to an iterator that takes nothing.
    while max_value is not None:
        yield max_value


def fibo(max_value: int | None = None) -> Generator[int, None, None]:
    """Waits of 1, 1, 2, 3, 5, 8 … seconds, at most `max_value`.

    >>> list(itertools.islice(fibo(max_value=4), 1, 7))
    [1, 1, 2, 3, 4, 4]
    """
    yield  # type: ignore[misc]
    wait, following = 1, 1
    while max_value is None or wait < max_value:
        yield wait
        wait, following = following, wait + following
    while max_value is not None:
        yield max_value


def constant(interval: float | Iterable[float] = 1) -> Generator[float, None, None]:
    """Waits of always `interval` seconds, or of each of several in turn; after the last there is no other attempt.

    >>> list(itertools.islice(constant(3), 1, 4)), list(constant([1, 5]))[1:]
    ([3, 3, 3], [1, 5])
    """
    yield  # type: ignore[misc]
    for each in interval if isinstance(interval, Iterable) else itertools.repeat(interval):  # noqa: UP028 - see `expo`
        yield each


def runtime(*, value: Callable[[Any], float]) -> Generator[float, Any, None]:
    """Waits that a function reads off what came: a result, or an exception.

    >>> waits = runtime(value=len)
    >>> next(waits)
    >>> waits.send("four")
    4
    """
    came = yield  # type: ignore[misc]
    while True:
        came = yield value(came)


def random_jitter(value: float) -> float:
    """Up to a second more.

    >>> 5 <= random_jitter(5) <= 6
    True
    """
    return value + random.random()


def full_jitter(value: float) -> float:
    """Anything from 0 to the whole wait.

    >>> 0 <= full_jitter(5) <= 5
    True
    """
    return random.uniform(0, value)


# ---- decorators -------------------------------------------------------------------------------


def on_exception(
    wait_gen: _Waits,
    exception: type[Exception] | Iterable[type[Exception]],
    *,
    max_tries: int | Callable[[], int] | None = None,
    max_time: float | Callable[[], float] | None = None,
    jitter: Callable[[float], float] | None = full_jitter,
    giveup: Callable[[Any], Any] = lambda error: False,  # noqa: ARG005
    on_success: _Handlers = None,
    on_backoff: _Handlers = None,
    on_giveup: _Handlers = None,
    raise_on_giveup: bool = True,
    logger: str | logging.Logger | None = "backoff",
    backoff_log_level: int = logging.INFO,
    giveup_log_level: int = logging.ERROR,
    **wait_gen_kwargs: Any,
) -> Callable[[_Function], _Function]:
    """Decorates a function, sync or async: while it raises `exception`, it is called again.

    wait_gen: makes the waits in seconds, with `wait_gen_kwargs`. max_tries: calls at most. max_time: seconds in which
    calls may begin. jitter: changes a wait; None: it is left. giveup: whether an exception ends it. on_success,
    on_backoff, on_giveup: called with a dictionary of what happened. raise_on_giveup: False returns None at the end.
    logger and levels: where it is written. What the server asks for, read off the exception, comes first.

    >>> @on_exception(constant, ConnectionError, interval=0, max_tries=3)
    ... def call(answers=[None, "served"]):
    ...     if (answer := answers.pop(0)) is None:
    ...         raise ConnectionError
    ...     return answer
    >>> call()
    'served'
    """
    kinds = exception if isinstance(exception, type) else tuple(exception)
    rules = _Rules(
        kinds, None, giveup, wait_gen, wait_gen_kwargs, max_tries, max_time, jitter, raise_on_giveup,
        _handlers(on_success),
        _handlers(on_backoff, _logging(logger, backoff_log_level, _tell_backoff)),
        _handlers(on_giveup, _logging(logger, giveup_log_level, _tell_giveup)),
    )  # fmt: skip
    return functools.partial(_decorate, rules)


def on_predicate(
    wait_gen: _Waits,
    predicate: Callable[[Any], Any] = operator.not_,
    *,
    max_tries: int | Callable[[], int] | None = None,
    max_time: float | Callable[[], float] | None = None,
    jitter: Callable[[float], float] | None = full_jitter,
    on_success: _Handlers = None,
    on_backoff: _Handlers = None,
    on_giveup: _Handlers = None,
    logger: str | logging.Logger | None = "backoff",
    backoff_log_level: int = logging.INFO,
    giveup_log_level: int = logging.ERROR,
    **wait_gen_kwargs: Any,
) -> Callable[[_Function], _Function]:
    """Decorates a function, sync or async: while `predicate` says so of its result, it is called again.

    Arguments as of `on_exception`; without a predicate, results that are not true are tried again. At the end the
    last result is returned. What the server asks for, read off a result that is a response, comes first.

    >>> @on_predicate(constant, interval=0, max_tries=3)
    ... def call(answers=[None, "", "served"]):
    ...     return answers.pop(0)
    >>> call()
    'served'
    """
    rules = _Rules(
        (), predicate, None, wait_gen, wait_gen_kwargs, max_tries, max_time, jitter, True,
        _handlers(on_success),
        _handlers(on_backoff, _logging(logger, backoff_log_level, _tell_backoff)),
        _handlers(on_giveup, _logging(logger, giveup_log_level, _tell_giveup)),
    )  # fmt: skip
    return functools.partial(_decorate, rules)


@dataclass(frozen=True, slots=True)
class _Rules:
    exception: type[Exception] | tuple[type[Exception], ...]
    predicate: Callable[[Any], Any] | None
    giveup: Callable[[Any], Any] | None
    wait_gen: _Waits
    wait_gen_kwargs: dict[str, Any]
    max_tries: Any
    max_time: Any
    jitter: Callable[[float], float] | None
    raises: bool
    on_success: tuple[Callable[[Any], Any], ...]
    on_backoff: tuple[Callable[[Any], Any], ...]
    on_giveup: tuple[Callable[[Any], Any], ...]


def _decorate(rules: _Rules, target: _Function) -> _Function:
    if inspect.iscoroutinefunction(target):

        @functools.wraps(target)
        async def retry_task(*args: Any, **kwargs: Any) -> Any:
            return await _arun(_course(rules, target, args, kwargs, asyncio.sleep))

        return cast("_Function", retry_task)

    @functools.wraps(target)
    def retry(*args: Any, **kwargs: Any) -> Any:
        return _run(_course(rules, target, args, kwargs, time.sleep))

    return cast("_Function", retry)


# ---- the loop ---------------------------------------------------------------------------------


def _course(
    rules: _Rules,
    target: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    sleep: Callable[[float], Any],
) -> Generator[_Step, Any, tuple[Any, BaseException | None]]:
    """All calls of one; yields what is to be called and is sent what came of it. Returns a result, or an error."""
    max_tries, max_time = _now(rules.max_tries), _now(rules.max_time)
    waits = rules.wait_gen(**{name: _now(value) for name, value in rules.wait_gen_kwargs.items()})
    waits.send(None)
    began = time.monotonic()
    for tries in itertools.count(1):
        elapsed = time.monotonic() - began
        details = {"target": target, "args": args, "kwargs": kwargs, "tries": tries, "elapsed": elapsed}
        came: Any
        facts: dict[str, Any]
        try:
            came = yield target, args, kwargs
        except Exception as error:  # noqa: BLE001 - whose kind is not asked for is given back
            if rules.predicate is not None or not isinstance(error, rules.exception):
                return None, error
            came, facts = error, {"exception": error}
            again = True
            ends = rules.giveup is not None and bool((yield rules.giveup, (error,), {}))
        else:
            facts = {} if rules.predicate is None else {"value": came}
            again = rules.predicate is not None and bool((yield rules.predicate, (came,), {}))
            ends = False
        if not again:
            for handler in rules.on_success:
                yield handler, ({**details, **facts},), {}
            return came, None
        wait: float | None = None
        if not ends and tries != max_tries and (max_time is None or elapsed < max_time):
            wait = _wait(rules, waits, came, None if max_time is None else max_time - elapsed)
        if wait is None:
            for handler in rules.on_giveup:
                yield handler, ({**details, **facts},), {}
            if isinstance(came, Exception) and rules.predicate is None:
                return None, came if rules.raises else None
            return came, None
        for handler in rules.on_backoff:
            yield handler, ({**details, **facts, "wait": wait},), {}
        yield sleep, (wait,), {}
    raise AssertionError("itertools.count ended")


def _wait(rules: _Rules, waits: Generator[float, Any, None], came: Any, left: float | None) -> float | None:
    """Seconds to the next call, None where there is none: no wait is left, or the server asks for too long a one."""
    try:
        wait = waits.send(came)
    except StopIteration:
        return None
    if rules.jitter is not None:
        wait = rules.jitter(wait)
    if left is not None:
        wait = min(wait, left)
    asked = _asked(came)
    if asked is None:
        return wait
    if asked > (_LONGEST if left is None else left):
        if isinstance(came, Exception):
            came.add_note(f"paceline: the server asks for a pause of {asked:.0f} s, which is longer than there is time for")
        return None
    # Those refused together do not come back together; what is added is never taken away from the server's word.
    return max(wait, asked + random.uniform(0, min(1.0, asked / 10)))


def _asked(came: Any) -> float | None:
    """Seconds that the server asks for, in a response or in what carries one; None where it asks for none."""
    moment = time.time()
    if isinstance(came, BaseException):
        for error in chain_of(came):
            if isinstance(error, RetryLater):
                return max(0.0, error.until - moment)
    reply = reply_of(came)
    return None if reply is None else reply.signal(moment).retry_after


def _now(value: Any) -> Any:
    """Settings may be functions, asked at run time."""
    if not callable(value):
        return value
    try:
        return value()
    except TypeError:
        return value  # `runtime(value=…)` wants the function itself


def _run(steps: Generator[_Step, Any, tuple[Any, BaseException | None]]) -> Any:
    try:
        function, args, kwargs = next(steps)
        while True:
            try:
                came = function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the loop decides
                function, args, kwargs = steps.throw(error)
            else:
                function, args, kwargs = steps.send(came)
    except StopIteration as end:
        result, failure = end.value
    if failure is not None:
        raise failure
    return result


async def _arun(steps: Generator[_Step, Any, tuple[Any, BaseException | None]]) -> Any:
    try:
        function, args, kwargs = next(steps)
        while True:
            try:
                came = function(*args, **kwargs)
                if inspect.isawaitable(came):
                    came = await came
            except Exception as error:  # noqa: BLE001 - the loop decides
                function, args, kwargs = steps.throw(error)
            else:
                function, args, kwargs = steps.send(came)
    except StopIteration as end:
        result, failure = end.value
    if failure is not None:
        raise failure
    return result


# ---- handlers ---------------------------------------------------------------------------------


def _handlers(given: _Handlers, *first: Callable[[Any], Any] | None) -> tuple[Callable[[Any], Any], ...]:
    own = () if given is None else tuple(given) if isinstance(given, Iterable) else (given,)
    return (*(each for each in first if each is not None), *own)


def _logging(
    logger: str | logging.Logger | None, level: int, tell: Callable[[dict[str, Any], logging.Logger, int], None]
) -> Callable[[Any], None] | None:
    if logger is None:
        return None
    target = logging.getLogger(logger) if isinstance(logger, str) else logger
    return lambda details: tell(details, target, level)


def _tell_backoff(details: dict[str, Any], logger: logging.Logger, level: int) -> None:
    logger.log(level, "Backing off %s(...) for %.1fs (%s)", details["target"].__name__, details["wait"], _came(details))


def _tell_giveup(details: dict[str, Any], logger: logging.Logger, level: int) -> None:
    logger.log(level, "Giving up %s(...) after %d tries (%s)", details["target"].__name__, details["tries"], _came(details))


def _came(details: dict[str, Any]) -> str:
    error = details.get("exception")
    if error is None:
        return mask_text(details.get("value"))[:_LONGEST_TEXT]
    # Only what it says itself: notes are for tracebacks.
    said = traceback.TracebackException.from_exception(error, compact=True)
    said.__notes__ = None
    return mask_text("".join(said.format_exception_only()).rstrip("\n"))[:_LONGEST_TEXT]
