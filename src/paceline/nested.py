"""Retries inside retries, found when they happen: urllib3's Retry below, tenacity's above, a client of paceline between.

Two loops of retries multiply: six attempts above and five below are thirty requests for one call, at the very moment
at which the server has too many. Both are looked for only where an attempt has failed, never on the way of a call
that is served, and each place in a program is warned of once.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenacity import AttemptManager, BaseRetrying, stop_after_attempt, stop_all, stop_any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = [
    "Layer",
    "NestedRetryWarning",
    "attempts_of",
    "find_above",
    "find_below",
    "warn_above",
    "warn_below",
    "warn_mounted",
    "warn_nested",
]

_MOST_FRAMES: Final = 100
_MOST_PLACES: Final = 1000
# Whose frames are not the user's own: the place that a warning names is the first beyond them.
_PLUMBING: Final = frozenset(
    {
        "aiohttp", "anyio", "asyncio", "backoff", "concurrent", "contextlib", "functools", "httpcore", "httpx", "httpx2", "httpx_retries",
        "paceline", "requests", "stamina", "tenacity", "threading", "urllib3",
    }
)  # fmt: skip
# Where requests and httpx raise what broke; `self` is there what `find_below` knows.
_SENDERS: Final = frozenset({"requests.adapters", "httpx._transports.default", "httpx2._transports.default"})

_warned: set[tuple[str, int, str]] = set()


class NestedRetryWarning(UserWarning):
    """Two loops of retries stand inside each other, so that their attempts multiply.

    Silence it with `warnings.filterwarnings("ignore", category=paceline.NestedRetryWarning)`.
    """


class Layer(NamedTuple):
    """One loop of retries: whose it is, how many attempts it makes at most (None: not known), how to mend it."""

    name: str
    attempts: int | None
    mend: str


def attempts_of(stop: object) -> int | None:
    """How many attempts one of tenacity's stop strategies allows at most; None where it counts none.

    >>> from tenacity import stop_after_delay
    >>> attempts_of(stop_after_attempt(6) | stop_after_delay(300)), attempts_of(stop_after_delay(300))
    (6, None)
    """
    if isinstance(stop, stop_after_attempt):
        return int(stop.max_attempt_number)
    if isinstance(stop, stop_any):
        known = [each for each in map(attempts_of, stop.stops) if each is not None]
        return min(known, default=None)
    if isinstance(stop, stop_all):
        parts = [attempts_of(each) for each in stop.stops]
        return None if None in parts else max((each for each in parts if each is not None), default=None)
    return None


def find_below(value: Any) -> Layer | None:
    """The retries below a client, found on what it is built of or what it handed out.

    value: urllib3's Retry, or whatever has one: an adapter or a session of requests, a transport of httpx, a response,
    an exception that one of them raised. None where nothing below tries again.

    >>> import requests
    >>> find_below(requests.adapters.HTTPAdapter(max_retries=4)).attempts, find_below(requests.Session())
    (5, None)
    """
    if isinstance(value, BaseException):
        if (sdk := _of_botocore(_attribute(value, "response"))) is not None:
            return sdk
        return _in_traceback(value.__traceback__) or find_below(_attribute(value, "response"))
    retries = _retries_on(value)
    if retries is not None:
        return retries
    adapters = _attribute(value, "adapters")  # a session of requests
    if isinstance(adapters, dict):
        found = [layer for layer in map(_retries_on, adapters.values()) if layer is not None]
        return max(found, key=lambda layer: layer.attempts or 0, default=None)
    return None


def find_above(frame: FrameType | None = None) -> Layer | None:
    """The loop of tenacity, stamina, backoff or httpx-retries that the running call stands in.

    frame: from which on outwards the stack is looked through; None: the caller's.

    It walks the stack: for the moment of a retry, not for every call. A loop in another thread or task is not seen.

    >>> from tenacity import Retrying
    >>> Retrying(stop=stop_after_attempt(3))(find_above).attempts
    3
    """
    frame = frame if frame is not None else sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        found = _loop_in(frame)
        if found is not None and (found.attempts is None or found.attempts > 1):
            return found
        frame = frame.f_back
    return None


def warn_below(value: Any, above: str, attempts: int | None) -> bool:
    """Warns, once a place, where `find_below(value)` finds retries below `above`; says whether it found any.

    above: whose retries stand above, for the message; attempts: how many they make at most, None if not known.
    """
    below = find_below(value)
    if below is None:
        return False
    warn_nested(Layer(above, attempts, below.mend), below)
    return True


def warn_above(below: str, attempts: int | None) -> bool:
    """Warns, once a place, where the running call stands in another loop of retries; says whether it does.

    For a client of paceline, at the moment of its first retry. below: whose retries these are; attempts: how many
    it makes at most, None if not known.
    """
    above = find_above(sys._getframe(1))
    if above is None:
        return False
    warn_nested(above, Layer(below, attempts, above.mend))
    return True


def warn_mounted(adapter: Any, attempts: int | None) -> bool:
    """Warns where an adapter with retries of its own is put in the place of paceline's; says whether it was one.

    The policy does not hold for what goes through it: that, too, is said.
    """
    below = find_below(adapter)
    if below is None:
        return False
    mend = "mount paceline.requests.Adapter(policy) there, or nothing: an adapter of requests keeps to no policy"
    warn_nested(Layer("a client of paceline", attempts, mend), below)
    return True


def warn_nested(above: Layer, below: Layer, place: tuple[str, int] | None = None) -> None:
    """Warns of two loops, once for each place; place: file and line, by default the user's line that calls."""
    filename, line = place or _place(sys._getframe(1))
    key = filename, line, below.name
    if key in _warned:
        return
    if len(_warned) >= _MOST_PLACES:
        _warned.clear()
    _warned.add(key)
    if above.attempts is not None and below.attempts is not None:
        product = f"{above.attempts} x {below.attempts} = up to {above.attempts * below.attempts} requests for one call"
    else:
        product = "so that one call may send many times what either of them allows"
    warnings.warn_explicit(
        f"nested retries: {above.name} tries again around {below.name}, which tries again too: {product}. "
        f"Leave it to one of them: {above.mend}.",
        NestedRetryWarning,
        filename,
        line,
    )


def _retries_on(value: Any) -> Layer | None:
    for retries in (
        value,
        _attribute(value, "max_retries"),  # an adapter of requests
        _attribute(_attribute(value, "raw"), "retries"),  # a response of requests
        _attribute(value, "retries"),  # a response of urllib3
        _extension(value),  # a response that came through httpx-retries
        _attribute(value, "retry"),  # a transport of httpx-retries
    ):
        packages = {kind.__module__.partition(".")[0] for kind in type(retries).__mro__}
        if "httpx_retries" in packages and _whole(_attribute(retries, "total")):
            return Layer("httpx-retries", _whole(retries.total) + 1, "use a transport without RetryTransport")
        if packages & {"urllib3", "urllib3_future"} and hasattr(retries, "total"):
            attempts = 1 + _made(retries) + _left(retries)
            if attempts > 1:
                mend = "mount requests.adapters.HTTPAdapter(max_retries=0), the default"
                return Layer("urllib3's Retry", attempts, mend)
    if type(value).__module__.partition(".")[0] in ("httpx", "httpx2"):
        retries = _whole(_attribute(_pool_behind(value), "_retries"))
        if retries:
            return Layer("httpx's transport", retries + 1, "use HTTPTransport(retries=0), the default")
    return None


def _of_botocore(value: Any) -> Layer | None:
    """What botocore says in a parsed answer, or in the one that its ClientError carries, of its own retries."""
    told = value.get("ResponseMetadata") if isinstance(value, dict) else None
    made = _whole(told.get("RetryAttempts")) if isinstance(told, dict) else 0
    mend = "make the client with botocore's Config(retries={'total_max_attempts': 1})"
    return Layer("botocore's own loop", made + 1, mend) if made else None


def _pool_behind(value: Any) -> Any:
    """httpcore's pool of a transport of httpx, or the one that a response of httpx came from."""
    for _ in range(6):
        pool = _attribute(value, "_pool")
        if pool is not None or value is None:
            return pool
        value = next(
            (inner for name in ("stream", "_stream", "_httpcore_stream") if (inner := _attribute(value, name)) is not None),
            None,
        )
    return None


def _made(retries: Any) -> int:
    """How often urllib3 has tried again; its history has redirects too."""
    history = _attribute(retries, "history") or ()
    return sum(1 for each in history if each.error is not None or (each.status or 0) >= 400)


def _left(retries: Any) -> int:
    if retries.total is None:
        return sum(_whole(_attribute(retries, kind)) for kind in ("connect", "read", "status", "other"))
    return _whole(retries.total)


def _extension(value: Any) -> Any:
    extensions = _attribute(value, "extensions")
    return extensions.get("retry") if isinstance(extensions, dict) else None


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a property of somebody else's object
        return None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _in_traceback(trace: TracebackType | None) -> Layer | None:
    """What an exception leaves: the adapter or transport that raised it stands in its traceback."""
    for _ in range(_MOST_FRAMES):
        if trace is None:
            return None
        if trace.tb_frame.f_globals.get("__name__") in _SENDERS:
            found = find_below(trace.tb_frame.f_locals.get("self"))
            if found is not None:
                return found
        trace = trace.tb_next
    return None


def _loop_in(frame: FrameType) -> Layer | None:
    """The loop of retries that a frame runs, by the variables of the libraries' own loops."""
    name = str(frame.f_globals.get("__name__", ""))
    module = name.partition(".")[0]
    if module == "tenacity":
        return _of_tenacity(frame.f_locals.get("self"))
    if module == "backoff" and "max_tries_value" in frame.f_locals:
        return _of_backoff(frame.f_locals["max_tries_value"])
    if name == "paceline.compat.backoff" and (steps := frame.f_locals.get("steps")) is not None:
        loop = getattr(steps, "gi_frame", None)
        return None if loop is None else _of_backoff(loop.f_locals.get("max_tries"))
    if module == "httpx_retries" and (retries := frame.f_locals.get("retry")) is not None:
        return Layer("httpx-retries", _whole(_attribute(retries, "total")) + 1, "take RetryTransport away")
    if module in _PLUMBING and module != "stamina":
        return None
    # `for attempt in Retrying(…): with attempt:` leaves no frame of tenacity's on the stack, only the attempt.
    for value in list(frame.f_locals.values()):
        attempt = getattr(value, "_t_attempt", value) if type(value).__module__.startswith("stamina.") else value
        if isinstance(attempt, AttemptManager) and attempt.retry_state.outcome is None:
            return _of_tenacity(attempt.retry_state.retry_object)
    return None


def _of_backoff(most: Any) -> Layer:
    return Layer("backoff", _whole(most) or None, "remove the decorator around the call; its place is paceline.Retry")


def _of_tenacity(retrying: Any) -> Layer | None:
    if not isinstance(retrying, BaseRetrying) or not retrying.enabled:
        return None
    mend = "remove the decorator around the call, and give its stop and wait to paceline.Retry(stop=…, wait=…)"
    return Layer("tenacity", attempts_of(retrying.stop), mend)


def _place(frame: FrameType | None) -> tuple[str, int]:
    last = frame
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _PLUMBING:
            return frame.f_code.co_filename, frame.f_lineno
        last, frame = frame, frame.f_back
    return ("unknown", 1) if last is None else (last.f_code.co_filename, last.f_lineno)
