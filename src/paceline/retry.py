"""When another attempt follows and how long it waits: pure decisions from given numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from tenacity import stop_after_attempt, wait_exponential_jitter

from ._strategies import alike, call_state, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tenacity import RetryCallState

__all__ = [
    "Again",
    "Failure",
    "FaultKind",
    "History",
    "Refusal",
    "Retry",
    "Stop",
    "StopKind",
    "decide",
    "over_budget",
]

FaultKind = Literal[
    "resolve", "connect", "timeout", "reset", "protocol", "tls", "redirects", "too_large", "invalid", "other"
]
"""What broke: finding the host, connecting, a time limit, a cut connection, broken HTTP, TLS, too many
redirects, a body over the size limit, a request that cannot be sent at all, anything else."""

StopKind = Literal[
    "terminal",
    "later",
    "refused",
    "attempts",
    "deadline",
    "budget",
    "unrepeatable",
    "body",
    "fault",
    "interrupt",
]
"""Why there is no other attempt: waiting never helps; the pause is longer than `max_wait`; this request is
refused while others are served; the stop strategy; the deadline; the scope's retry budget; it may have
reached the server and its method is not idempotent; its body is used up; a kind of fault that does not heal;
a cancellation."""

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 500, 502, 503, 504})
_FAULTS: Final = frozenset(get_args(FaultKind))
_TRANSIENT_FAULTS: Final[frozenset[FaultKind]] = frozenset(
    {"resolve", "connect", "timeout", "reset", "protocol"}
)
_LONGEST_BACKOFF: Final = 60.0
# How much later a retry beyond the scope's budget comes, where it must come.
_SLOWDOWN: Final = 3.0


def _whole(value: object, least: int = 0, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: object, most: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


_RIGHT: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("statuses", lambda v: all(_whole(each, 100, 599) for each in v), "status codes, like {500, 503}"),
    ("faults", lambda v: v <= _FAULTS, f"some of {', '.join(sorted(_FAULTS))}"),
    (
        "methods",
        lambda v: all(isinstance(each, str) and each and each == each.upper() for each in v),
        "methods in capitals, like {'GET', 'PUT'}",
    ),
    (
        "idempotency_header",
        lambda v: isinstance(v, str) and v != "",
        "a header's name, like 'Idempotency-Key'",
    ),
    ("max_wait", _number, "a number of seconds of at least 0, like 900"),
    (
        "deadline",
        lambda v: v is None or (_number(v) and v > 0),
        "None or a number of seconds above 0, like 300",
    ),
    ("budget", lambda v: _number(v, 1), "a share from 0 to 1, like 0.2"),
    ("budget_floor", _whole, "a whole number of at least 0, like 3"),
    ("refusals_while_others_served", lambda v: _whole(v, 1), "a whole number of at least 1, like 6"),
    (
        "zero_wait_floor",
        lambda v: _number(v, _LONGEST_BACKOFF) and v > 0,
        "a number of seconds above 0, at most 60, like 0.25",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Retry:
    """When a request is sent again, in tenacity's words; the server's own word always comes first.

    stop: tenacity's stop strategy; its attempt number counts *failures*, refusals do not count.
    wait: tenacity's wait strategy, for when the server does not say how long.
    statuses: answers tried again on idempotent methods. faults: kinds of broken attempts tried again.
    methods: the idempotent ones (RFC 9110, section 9.2.2). idempotency_header: a request that carries it is
    repeatable whatever its method; the key stays the same over the attempts.
    max_wait: the longest pause in seconds, asked by the server, that is sat out; a longer one is `RetryLater`.
    deadline: seconds for the whole exchange, waits included; None: no bound.
    budget, budget_floor: retries of a scope may be this share of its calls, and this many in any case.
    refusals_while_others_served: refused so often in a row, while others of the scope were served between,
    a request is itself the problem.
    zero_wait_floor: seconds that stand for a wait of 0 asked by the server; doubled each time it repeats.

    Raises ValueError where an argument cannot be meant, TypeError where a strategy is none.

    >>> from tenacity import stop_after_attempt, stop_after_delay
    >>> Retry(stop=stop_after_attempt(3) | stop_after_delay(300)).stop_text
    'stop_after_attempt(3) | stop_after_delay(300.0)'
    >>> Retry(max_wait=-1)
    Traceback (most recent call last):
    ...
    ValueError: max_wait must be a number of seconds of at least 0, like 900, not -1
    """

    stop: Callable[[RetryCallState], bool] = field(default_factory=lambda: stop_after_attempt(6))
    wait: Callable[[RetryCallState], float] = field(
        default_factory=lambda: wait_exponential_jitter(initial=1, max=60)
    )
    statuses: frozenset[int] = _TRANSIENT_STATUSES
    faults: frozenset[FaultKind] = _TRANSIENT_FAULTS
    methods: frozenset[str] = _IDEMPOTENT
    idempotency_header: str = "Idempotency-Key"
    max_wait: float = 900.0
    deadline: float | None = None
    budget: float = 0.2
    budget_floor: int = 3
    refusals_while_others_served: int = 6
    zero_wait_floor: float = 0.25

    def __post_init__(self) -> None:
        for name, example in (("stop", "stop_after_attempt(6)"), ("wait", "wait_fixed(2)")):
            if not callable(given := getattr(self, name)):
                raise TypeError(f"{name} must be a strategy of tenacity, like {example}, not {given!r}")
        for name in ("statuses", "faults", "methods"):
            given = getattr(self, name)
            if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
                raise TypeError(f"{name} must be a set, like {{{given!r}}}, not {given!r}")
            object.__setattr__(self, name, frozenset(given))
        for name, right, form in _RIGHT:
            if not right(getattr(self, name)):
                raise ValueError(f"{name} must be {form}, not {text_of(getattr(self, name))}")

    @property
    def stop_text(self) -> str:
        """The stop strategy as one would write it."""
        return text_of(self.stop)

    def keyed(self, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> bool:
        """Whether a request with these headers carries an idempotency key.

        >>> Retry().keyed({"idempotency-key": "order-17"})
        True
        """
        name = self.idempotency_header.lower()
        names = headers if hasattr(headers, "keys") else (pair[0] for pair in headers)
        return any(str(one).lower() == name for one in names)

    def repeatable(self, method: str, keyed: bool = False) -> bool:
        """Whether a request that may have reached the server can be sent again (RFC 9110, section 9.2.2)."""
        return keyed or method.upper() in self.methods

    def __repr__(self) -> str:
        given = (
            f"{each.name}={text_of(value)}"
            for each in fields(self)
            if not alike(value := getattr(self, each.name), getattr(_DEFAULT, each.name))
        )
        return f"Retry({', '.join(given)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Retry):
            return NotImplemented
        return all(alike(getattr(self, each.name), getattr(other, each.name)) for each in fields(self))

    def __hash__(self) -> int:
        return hash((self.statuses, self.methods, self.max_wait, self.deadline, self.budget))


class History(NamedTuple):
    """Where an exchange stands when an attempt has ended badly, that attempt included.

    failures: failed attempts. refusals: refusals in a row with others of the scope served between.
    tiny: refusals in a row that asked for less than `zero_wait_floor`. held_up: seconds that the refusals
    since anything of the scope was last served made it wait. elapsed: seconds since the exchange began.
    idle: how many of them it slept.
    """

    failures: int = 0
    refusals: int = 0
    tiny: int = 0
    held_up: float = 0.0
    elapsed: float = 0.0
    idle: float = 0.0


class Refusal(NamedTuple):
    """The attempt was refused for a limit's sake.

    retry_after: seconds the server asked for, None where it said nothing. terminal: waiting never helps.
    pause: seconds until the scope's own pause is over.
    replayable: whether the body can be sent again. result: the response, for strategies that look at it.
    """

    retry_after: float | None
    terminal: bool = False
    pause: float = 0.0
    replayable: bool = True
    result: Any = None


class Failure(NamedTuple):
    """The attempt failed: a transient status, or a fault with its `error`.

    retry_after: seconds the server asked for. kind: of the fault, None for an answer.
    repeatable: it may go again although it may have reached the server, or it certainly did not.
    """

    retry_after: float | None = None
    kind: FaultKind | None = None
    error: BaseException | None = None
    repeatable: bool = True
    replayable: bool = True
    result: Any = None


class Again(NamedTuple):
    """Another attempt, not before `wait` seconds from now; `reason` is "cooldown" or "backoff"."""

    wait: float
    reason: str


class Stop(NamedTuple):
    """No other attempt: `kind` for programs, `why` for people; `wait`: seconds the server still asks for."""

    kind: StopKind
    why: str
    wait: float = 0.0


def decide(retry: Retry, history: History, outcome: Refusal | Failure) -> Again | Stop:
    """Whether and when an exchange goes on after an attempt that was refused or failed.

    The server's wait is never undercut; tenacity's wait strategy speaks where the server does not, and its
    stop strategy is asked last, with the coming wait as `upcoming_sleep`.

    >>> from tenacity import wait_fixed
    >>> retry = Retry(wait=wait_fixed(2))
    >>> decide(retry, History(failures=1), Failure())
    Again(wait=2.0, reason='backoff')
    >>> decide(retry, History(failures=1), Failure(retry_after=7.0))
    Again(wait=7.0, reason='backoff')
    >>> decide(retry, History(failures=6), Failure()).kind
    'attempts'
    """
    if isinstance(outcome, Refusal):
        return _after_refusal(retry, history, outcome)
    return _after_failure(retry, history, outcome)


def over_budget(retry: Retry, history: History, verdict: Again, *, slow: bool) -> Again | Stop:
    """What becomes of a retry that the scope's retry budget does not cover.

    With `slow` (the batch job, which drops no input for it) it comes later than decided, else not at all.

    >>> over_budget(Retry(), History(failures=1), Again(2.0, "backoff"), slow=True)
    Again(wait=6.0, reason='backoff')
    >>> over_budget(Retry(), History(failures=1), Again(2.0, "backoff"), slow=False).kind
    'budget'
    """
    if not slow:
        share = f"{retry.budget:.0%} of its calls, {retry.budget_floor} in any case"
        return Stop("budget", f"the retry budget of its scope is spent ({share})", verdict.wait)
    wait = max(verdict.wait, retry.zero_wait_floor) * _SLOWDOWN
    if _too_late(retry, history, wait):
        return _past_deadline(retry, wait)
    return Again(wait, verdict.reason)


def _after_refusal(retry: Retry, history: History, outcome: Refusal) -> Again | Stop:
    if outcome.terminal:
        return Stop("terminal", "the server says that waiting will not help: the quota is spent or missing")
    if not outcome.replayable:
        return Stop("body", "its body was used up by the first attempt")
    if history.refusals >= retry.refusals_while_others_served:
        why = f"refused {history.refusals} times in a row while others of its scope were served"
        return Stop("refused", why)
    asked, floor = outcome.retry_after, retry.zero_wait_floor
    if asked is None:
        wait = outcome.pause
        if wait < floor:
            wait = max(floor, _ask_wait(retry, history, outcome.result, None))
    elif asked == 0 or history.tiny > 1:
        wait = max(asked, _doubled(floor, history.tiny))
    else:
        wait = asked
    wait = max(wait, outcome.pause)
    if wait > retry.max_wait:
        return Stop("later", f"the server asks for a pause of {wait:.0f} s", wait)
    if history.held_up + wait > retry.max_wait:
        why = f"refused for {history.held_up:.0f} s on end while nothing of its scope was served"
        return Stop("later", why, wait)
    return _unless_over(retry, history, wait, "cooldown", outcome.result, None)


def _after_failure(retry: Retry, history: History, outcome: Failure) -> Again | Stop:
    error = outcome.error
    if error is not None and not isinstance(error, Exception):
        return Stop("interrupt", "cancelled")
    if outcome.kind is not None and outcome.kind not in retry.faults:
        return Stop("fault", f"a fault of the kind {outcome.kind} is not tried again")
    if not outcome.repeatable:
        why = (
            "it may have reached the server: only idempotent methods are sent again, "
            f"or a request with {retry.idempotency_header}"
        )
        return Stop("unrepeatable", why)
    if not outcome.replayable:
        return Stop("body", "its body was used up by the first attempt")
    if outcome.retry_after:
        wait = outcome.retry_after
        if wait > retry.max_wait:
            return Stop("later", f"the server asks for a pause of {wait:.0f} s", wait)
    else:
        wait = _ask_wait(retry, history, outcome.result, error)
    return _unless_over(retry, history, wait, "backoff", outcome.result, error)


def _unless_over(
    retry: Retry, history: History, wait: float, reason: str, result: Any, error: BaseException | None
) -> Again | Stop:
    if _too_late(retry, history, wait):
        return _past_deadline(retry, wait)
    state = call_state(history.failures, history.elapsed, history.idle, result, error)
    state.upcoming_sleep = wait
    if retry.stop(state):
        return Stop("attempts", f"as told by {retry.stop_text}", wait)
    return Again(wait, reason)


def _too_late(retry: Retry, history: History, wait: float) -> bool:
    return retry.deadline is not None and history.elapsed + wait >= retry.deadline


def _past_deadline(retry: Retry, wait: float) -> Stop:
    return Stop("deadline", f"a wait of {wait:.3g} s would pass the deadline of {retry.deadline:g} s", wait)


def _ask_wait(retry: Retry, history: History, result: Any, error: BaseException | None) -> float:
    number = max(1, history.failures, history.refusals)
    wait = float(retry.wait(call_state(number, history.elapsed, history.idle, result, error)))
    # A strategy is the user's own code: what is no wait at all must not become an endless or a negative one.
    if not 0 <= wait < math.inf:
        raise ValueError(
            f"the wait strategy {text_of(retry.wait)} returned {wait!r}, which is no number of seconds"
        )
    return wait


def _doubled(floor: float, times: int) -> float:
    return min(_LONGEST_BACKOFF, floor * 2.0 ** min(max(times - 1, 0), 30))


_DEFAULT: Final = Retry()
