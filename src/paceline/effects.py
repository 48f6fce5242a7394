"""What passes between the exchange and the shells that act for it: effects out, replies in.

| effect | reply |
| --- | --- |
| `Acquire(cost, priority, timeout)` | a `Permit`, or an error of `paceline.errors` thrown in |
| `Send(permit, attempt, left)` | `Answer` or `Fault` |
| `Learn(permit, signal, status)` | `Learned` |
| `MayRetry()` | True where the scope's retry budget has one retry left, which is then spent |
| `Refresh(permit)` | `Refreshed` |
| `Discard(answer)` | None |
| `Sleep(seconds, reason)` | epoch seconds after the sleep |
| `Emit(event)` | None |

All are tuples by name: a request that is served at once makes five of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .events import Event
    from .ledger import Cost
    from .retry import FaultKind
    from .signals import Signal

__all__ = [
    "Acquire",
    "Answer",
    "Call",
    "Discard",
    "Effect",
    "Emit",
    "Fault",
    "Headers",
    "Learn",
    "Learned",
    "MayRetry",
    "Permit",
    "Refresh",
    "Refreshed",
    "Send",
    "Sleep",
]

Headers: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"


class Permit(Protocol):
    """The right to send one request, as a scope gives it.

    `at`: the moment of its slot, in the scope's own clock. `waited`: seconds the caller waited for it.
    `reason`: what held it up longest (pace, cooldown, quota, concurrency), any text where nothing did.
    `wrote`: the moment at which its request went on the wire; None before.
    """

    @property
    def at(self) -> float: ...
    @property
    def waited(self) -> float: ...
    @property
    def reason(self) -> str: ...
    @property
    def wrote(self) -> float | None: ...

    def sent(self) -> None:
        """Stamps the moment: the request goes on the wire now. Called by the shell, at most once counts."""

    def release(self) -> None:
        """The attempt is over; what it took stays charged, what it held (concurrency) is free again."""

    def settle(self, actual: Cost) -> None:
        """The cost is known now: the difference to what was reserved is charged or given back."""

    def cancel(self) -> None:
        """The attempt was broken off: unless it was stamped by `sent`, the slot goes to the next, or back.

        Of `release` and `cancel` the first call counts, any further one does nothing.
        """


class Call(NamedTuple):
    """What the loop must know of a request; the request itself stays with the shell that sends it.

    cost: what one attempt takes of the limits. priority: the class in the scope's queue.
    replayable: whether its body can be sent again. keyed: whether it carries an idempotency key
    (see `Retry.keyed`), which makes it repeatable whatever the method.
    """

    method: str
    url: str
    cost: Cost = 1
    priority: int = 0
    replayable: bool = True
    keyed: bool = False


class Acquire(NamedTuple):
    """Effect: a permit is wanted, within `timeout` seconds (None: however long it takes)."""

    cost: Cost
    priority: int
    timeout: float | None


class Send(NamedTuple):
    """Effect: the request is to be sent, as its attempt number `attempt` (from 1).

    left: seconds to the deadline, None without one; the shell bounds its own timeout by it.
    """

    permit: Permit
    attempt: int
    left: float | None


class Learn(NamedTuple):
    """Effect: the scope is told what a response says about its limits, before the permit is released."""

    permit: Permit
    signal: Signal
    status: int


class MayRetry(NamedTuple):
    """Effect: one retry is asked of the scope's retry budget."""


class Refresh(NamedTuple):
    """Effect: the credential was refused (401); the hook is to run, once for all who wait for it."""

    permit: Permit


class Discard(NamedTuple):
    """Effect: another attempt is to replace this answer; its connection can go back."""

    answer: Answer


class Sleep(NamedTuple):
    """Effect: this request alone waits; `reason` is "backoff" or "cooldown"."""

    seconds: float
    reason: str


class Emit(NamedTuple):
    """Effect: a fact for the sink."""

    event: Event


class Answer(NamedTuple):
    """Reply to `Send`: a response arrived.

    headers: whatever `read_signal` takes. body: bytes the shell had at hand, or None.
    response: the client's own object, never looked into. elapsed: seconds the attempt took.
    now: epoch seconds of its arrival. held: its body is still to be read, so if it is the final answer, the
    shell releases the permit itself when that is done. silent: served, and the shell saw that it says nothing of limits.
    """

    status: int
    headers: Headers
    body: bytes | None
    response: Any
    elapsed: float
    now: float
    held: bool = False
    silent: bool = False


class Fault(NamedTuple):
    """Reply to `Send`: no response arrived; `error` is the client's own exception.

    sent: False only where the request certainly never reached the server, so that any method may go again.
    """

    error: BaseException
    kind: FaultKind
    elapsed: float
    now: float
    sent: bool = True


class Learned(Protocol):
    """Reply to `Learn`: the scope's word on the pause now in force (`paceline.ledger.Learned` is one).

    wait: seconds until it is over, 0 where there is none. until: the same as epoch seconds.
    others_served: another request of the scope was served since this one departed.
    remaining: what the server says is left, None where it does not.
    """

    @property
    def wait(self) -> float: ...
    @property
    def until(self) -> float: ...
    @property
    def others_served(self) -> bool: ...
    @property
    def remaining(self) -> float | None: ...


class Refreshed(NamedTuple):
    """Reply to `Refresh`: whether a fresher credential is at hand now, and the seconds it took."""

    fresh: bool
    seconds: float = 0.0


Effect: TypeAlias = Acquire | Send | Learn | MayRetry | Refresh | Discard | Sleep | Emit
