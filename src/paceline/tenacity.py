"""For those who keep tenacity's decorators: the server's word as a wait strategy, refusals as a retry strategy, events.

```
@retry(wait=wait_for_server(), retry=retry_if_refused, stop=stop_after_attempt(6), before_sleep=before_sleep_event)
```

All three work with tenacity's sync and async loops, on a response that is returned as on an exception that is raised,
of whatever client.
"""

from __future__ import annotations

import random
import time
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

from tenacity import RetryCallState, wait_exponential_jitter
from tenacity.retry import retry_base
from tenacity.wait import wait_base

from paceline._replies import broken_by, chain_of, reply_of, request_of
from paceline._strategies import text_of
from paceline.errors import InputError, RetryLater
from paceline.events import Retrying
from paceline.masking import mask_text, mask_url
from paceline.nested import attempts_of, warn_below
from paceline.policy import Policy
from paceline.retry import Retry
from paceline.signals import DIALECTS
from paceline.telemetry import all_of, log_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paceline._replies import Reply
    from paceline.events import Sink
    from paceline.signals import Signal

    WaitStrategy: TypeAlias = "Callable[[RetryCallState], float]"

__all__ = ["RetryIfRefused", "before_sleep_event", "retry_if_refused", "wait_for_server"]

_FLOOR: Final = Retry().zero_wait_floor
_LONGEST_FLOOR: Final = 60.0
_LONGEST_TEXT: Final = 300
_LONGEST_LOOK: Final = 3000


def _dialect(name: str | None) -> str | None:
    if name is not None and name not in DIALECTS:
        raise ValueError(f"there is no dialect {name!r}; the dialects are {', '.join(DIALECTS)}")
    return name


class wait_for_server(wait_base):
    """Waits for as long as the server asks, and by `fallback` where it says nothing.

    Its word is read by `paceline.read_signal`, from a response that the function returned or from an exception that
    carries one: of requests, httpx, aiohttp, urllib, boto3, a `GaveUp` of paceline's own. It is never undercut; a
    little random time is added, so that all those refused at once do not come back at once.

    fallback: one of tenacity's wait strategies. max_wait: the longest wait in seconds that is sat out: for a longer
    one `RetryLater` is raised out of the decorated function, with the moment to come back at, instead of sleeping on
    it or trying too early. jitter: at most so many seconds are added to the server's word, and at most a tenth of it
    or one floor. floor: seconds that stand for a wait of 0, doubled with each attempt. dialect: how the provider
    writes its signals; None: told from the response. scope: the name that `RetryLater` bears; None: the host.

    Raises TypeError or ValueError for arguments that cannot be meant.

    >>> from types import SimpleNamespace
    >>> from tenacity import Retrying, stop_after_attempt
    >>> answers = [SimpleNamespace(status_code=429, headers={"Retry-After": "7"}), "served"]
    >>> slept = []
    >>> Retrying(wait=wait_for_server(jitter=0), retry=retry_if_refused, sleep=slept.append)(answers.pop, 0)
    'served'
    >>> slept
    [7.0]
    """

    def __init__(
        self,
        fallback: WaitStrategy | None = None,
        *,
        max_wait: float = 900.0,
        jitter: float = 1.0,
        floor: float = _FLOOR,
        dialect: str | None = None,
        scope: str | None = None,
    ) -> None:
        if isinstance(fallback, RetryCallState):
            raise TypeError("wait_for_server is a class: write wait=wait_for_server()")
        if fallback is None:
            fallback = wait_exponential_jitter(initial=1, max=60)
        if not callable(fallback):
            raise TypeError(
                f"fallback must be a wait strategy of tenacity, like wait_fixed(2), not {fallback!r}"
            )
        for name, value, most in (("max_wait", max_wait, inf), ("jitter", jitter, inf), ("floor", floor, _LONGEST_FLOOR)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise ValueError(f"{name} must be a number of seconds of at least 0, like 1.5, not {value!r}")
        self.fallback = fallback
        self.max_wait = float(max_wait)
        self.jitter = float(jitter)
        self.floor = float(floor)
        self.dialect = _dialect(dialect)
        self.scope = scope

    def __call__(self, retry_state: RetryCallState) -> float:
        """Seconds to wait after this outcome; raises RetryLater for more than `max_wait`."""
        came = _what_came(retry_state)
        now = time.time()
        _look_below(retry_state, came)
        if isinstance(came, BaseException):
            for error in chain_of(came):
                if isinstance(error, RetryLater):
                    wait = max(0.0, error.until - now)
                    if wait > self.max_wait:
                        raise error
                    return wait + self._jitter(wait)
        reply = reply_of(came)
        signal = None if reply is None else reply.signal(now, self.dialect)
        if reply is None or signal is None or signal.retry_after is None:
            wait = self._by_fallback(retry_state)
            return max(wait, self.floor) if signal is not None and signal.refused else wait
        wait = float(signal.retry_after)
        number = retry_state.attempt_number
        if wait < self.floor and (wait == 0 or number > 1):
            wait = max(wait, min(self.floor * 2.0 ** min(number - 1, 30), _LONGEST_FLOOR))
        if wait > self.max_wait:
            cause = came if isinstance(came, BaseException) else None
            reason = "asked by the server" if not signal.terminal else "the quota is spent"
            raise RetryLater(self.scope or _scope_of(reply), now + wait, wait, reason) from cause
        return wait + self._jitter(wait)

    def _by_fallback(self, retry_state: RetryCallState) -> float:
        wait = float(self.fallback(retry_state))
        # A strategy is the user's own code: what is no wait at all must not become an endless or a negative one.
        if not 0 <= wait < inf:
            raise ValueError(
                f"the wait strategy {text_of(self.fallback)} returned {wait!r}, which is no number of seconds"
            )
        return wait

    def _jitter(self, wait: float) -> float:
        return random.uniform(0.0, min(self.jitter, max(self.floor, wait / 10)))

    def __repr__(self) -> str:
        return f"wait_for_server({text_of(self.fallback)}, max_wait={self.max_wait:g})"


class RetryIfRefused(retry_base):
    """The strategy `retry_if_refused`: use that name, bare or called with what should be otherwise.

    A refusal for a limit's sake, as `paceline.read_signal` tells it, is tried again whatever the method: it was not
    acted upon. An answer with one of `statuses` and a broken connection are tried again where the method is
    idempotent (RFC 9110, section 9.2.2), the request carries an idempotency key, or it certainly never left.
    A refusal for which waiting never helps is not tried again. The method is read off the response or the exception.

    statuses: answers, other than refusals, that are tried again. methods: the idempotent ones. idempotency_header:
    what makes any request repeatable. unknown_method: taken for the method where nothing says it (aiohttp's
    connection errors, urllib's, boto3's); None: then only refusals are tried again, and what never left.
    dialect: how the provider writes its signals; None: told from the response.

    >>> from types import SimpleNamespace
    >>> def tried_again(status, method):
    ...     request = SimpleNamespace(method=method, url="https://api.example.com/items/1", headers={})
    ...     state = RetryCallState(None, None, (), {})
    ...     state.set_result(SimpleNamespace(status_code=status, headers={}, request=request))
    ...     return retry_if_refused(state)
    >>> tried_again(429, "POST"), tried_again(503, "POST"), tried_again(503, "GET"), tried_again(404, "GET")
    (True, False, True, False)
    """

    def __init__(
        self,
        *,
        statuses: Iterable[int] | None = None,
        methods: Iterable[str] | None = None,
        idempotency_header: str = "Idempotency-Key",
        unknown_method: str | None = None,
        dialect: str | None = None,
    ) -> None:
        given: dict[str, Any] = {"statuses": statuses, "methods": methods}
        self._rules = Retry(
            idempotency_header=idempotency_header,
            **{name: value for name, value in given.items() if value is not None},
        )
        self._unknown_method = unknown_method
        self._dialect = _dialect(dialect)

    @overload
    def __call__(self, retry_state: RetryCallState) -> bool: ...

    @overload
    def __call__(
        self,
        *,
        statuses: Iterable[int] | None = None,
        methods: Iterable[str] | None = None,
        idempotency_header: str = "Idempotency-Key",
        unknown_method: str | None = None,
        dialect: str | None = None,
    ) -> RetryIfRefused: ...

    def __call__(self, retry_state: RetryCallState | None = None, **options: Any) -> bool | RetryIfRefused:
        """Whether this outcome is tried again; without one, a strategy with other `options`."""
        if retry_state is None or options:
            if retry_state is not None:
                raise TypeError("retry_if_refused takes its options by name, like retry_if_refused(statuses={503})")
            return RetryIfRefused(**options)
        came = _what_came(retry_state)
        if isinstance(came, BaseException):
            if not isinstance(came, Exception):
                return False  # cancelled: never tried again
            if any(isinstance(error, RetryLater) for error in chain_of(came)):
                return True
        reply = reply_of(came)
        if reply is not None:
            return self._after_reply(reply)
        return isinstance(came, BaseException) and self._after_fault(came)

    def _after_reply(self, reply: Reply) -> bool:
        signal = reply.signal(time.time(), self._dialect)
        if signal.refused:
            return not signal.terminal
        if reply.status not in self._rules.statuses:
            return False
        return self._repeatable(reply.method, reply.sent_headers)

    def _after_fault(self, error: BaseException) -> bool:
        broken = broken_by(error)
        if broken is None or broken.kind not in self._rules.faults:
            return False
        if not broken.sent:
            return True
        method, _, headers = request_of(error)
        return self._repeatable(method, headers)

    def _repeatable(self, method: str | None, headers: Any) -> bool:
        method = method or self._unknown_method
        keyed = headers is not None and hasattr(headers, "keys") and self._rules.keyed(headers)
        return keyed or (method is not None and self._rules.repeatable(method))

    def __repr__(self) -> str:
        return "retry_if_refused" if self is retry_if_refused else f"retry_if_refused(statuses={text_of(self._rules.statuses)})"


retry_if_refused: Final = RetryIfRefused()
"""tenacity's `retry=`: tries refusals again whatever the method, failures where that does no harm.

Bare, or called: `retry_if_refused(statuses={503})`. Its options are those of `RetryIfRefused`.
"""


class _BeforeSleepEvent:
    def __init__(self, sink: Sink | None) -> None:
        self._sink = sink
        self._safe: Sink | None = None

    def __call__(self, retry_state: RetryCallState) -> None:
        if self._safe is None:
            # A sink that raises is reported once and dropped: telemetry must not end the work it tells of.
            self._safe = all_of(self._sink if self._sink is not None else log_sink())
        self._safe(_retrying(retry_state))

    def __getstate__(self) -> dict[str, Any]:
        return {"_sink": self._sink, "_safe": None}


@overload
def before_sleep_event(sink: RetryCallState) -> None: ...


@overload
def before_sleep_event(sink: Sink | None = None) -> Callable[[RetryCallState], None]: ...


def before_sleep_event(sink: Sink | RetryCallState | None = None) -> Callable[[RetryCallState], None] | None:
    """tenacity's `before_sleep=`: emits a `paceline.events.Retrying`, masked, for each attempt that follows.

    sink: a function of one event; None writes to structlog where the application has configured it, else to
    `logging` under the name `paceline` (see `paceline.telemetry.log_sink`). May be given bare, too:
    `before_sleep=before_sleep_event`.

    >>> from tenacity import Retrying, stop_after_attempt, wait_fixed
    >>> seen = []
    >>> flaky = iter([None, 17])
    >>> def call():
    ...     if (value := next(flaky)) is None:
    ...         raise ConnectionResetError("https://ann:secret@api.example.com/ cut the line")
    ...     return value
    >>> Retrying(wait=wait_fixed(2), sleep=bool, before_sleep=before_sleep_event(seen.append))(call)
    17
    >>> seen[0].wait, seen[0].error
    (2.0, 'reset: ConnectionResetError: https://***@api.example.com/ cut the line')
    """
    if isinstance(sink, RetryCallState):
        _to_log(sink)
        return None
    if sink is not None and not callable(sink):
        raise TypeError(f"sink must be a function of one event, like paceline.telemetry.log_sink(), not {sink!r}")
    return _BeforeSleepEvent(sink)


_to_log: Final = _BeforeSleepEvent(None)


def _what_came(retry_state: RetryCallState) -> Any:
    """The result, or the exception, of the attempt that has just ended."""
    outcome = retry_state.outcome
    if outcome is None:
        return None
    return outcome.exception() if outcome.failed else outcome.result()


def _look_below(retry_state: RetryCallState, came: Any) -> None:
    stop = getattr(retry_state.retry_object, "stop", None)
    carried = came
    if isinstance(came, BaseException):
        carried = next((error for error in chain_of(came) if error.__traceback__ is not None), came)
    warn_below(carried, "tenacity", attempts_of(stop))


def _retrying(retry_state: RetryCallState) -> Retrying:
    came = _what_came(retry_state)
    now = time.time()
    reply = reply_of(came)
    method, url, _ = request_of(came) if reply is None else (reply.method, reply.url, None)
    signal: Signal | None = None if reply is None else reply.signal(now)
    left = [] if signal is None else [quota.remaining for quota in signal.limits if quota.remaining is not None]
    name = getattr(retry_state.fn, "__qualname__", None) or "a block of code"
    return Retrying(
        at=now,
        scope=_scope(url) or name,
        method=method or "call",
        url=mask_url(url) if url else name,
        attempt=retry_state.attempt_number,
        status=None if reply is None else reply.status,
        error=_error_text(came) if reply is None and isinstance(came, BaseException) else None,
        retry_after=None if signal is None else signal.retry_after,
        remaining=min(left, default=None),
        wait=float(retry_state.upcoming_sleep),
    )


def _error_text(error: BaseException) -> str:
    broken = broken_by(error)
    # Clients put URLs, and with them credentials, into their error texts; masked before it is cut to size.
    text = mask_text(str(error)[:_LONGEST_LOOK])[:_LONGEST_TEXT]
    kind = "other" if broken is None else broken.kind
    return f"{kind}: {type(error).__name__}{': ' if text else ''}{text}"


def _scope_of(reply: Reply) -> str:
    return _scope(reply.url) or "the server"


def _scope(url: str | None) -> str | None:
    if not url or "://" not in url:
        return None
    try:
        return Policy().scope_of(url)
    except InputError:
        return None
