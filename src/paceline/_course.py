"""The books of one exchange: what was sent, waited and told so far, and the events that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import events
from .effects import Answer, Emit, Fault
from .errors import AcquireTimeout, GaveUp, PacelineError, RetryLater, UnreplayableBody
from .masking import mask_text, mask_url
from .outcome import Attempt, Outcome
from .retry import Failure, History, Refusal

if TYPE_CHECKING:
    from .effects import Call, Learned
    from .retry import Retry, Stop
    from .signals import Signal

__all__ = ["Course"]

_LONGEST_TEXT: Final = 300
# Masked before it is cut to size: half a token is not known for one any more.
_LONGEST_LOOK: Final = 3000
_USED_UP: Final = "the body is a stream that can be read only once: pass bytes, or a file that can seek"


class Course:
    """Counts, times and trail of one exchange.

    Time is the sum of what the replies say, not the difference of a clock: a stepped clock moves no deadline.
    """

    # Defaults stand on the class: most exchanges end with their first answer and change few of them.
    number: int = 0
    failures: int = 0
    refusals: int = 0
    row: int = 0
    tiny: int = 0
    spent: float = 0.0
    waited: float = 0.0
    slept: float = 0.0
    held_up: float = 0.0
    told: float = 0.0
    reply: Answer | Fault | None = None
    trail: list[Attempt] | None = None
    url: str | None = None

    def __init__(self, call: Call, retry: Retry, scope: str) -> None:
        self.call, self.retry, self.scope = call, retry, scope

    def wait(self, seconds: float) -> None:
        """Books a wait, of whatever kind."""
        self.waited += seconds
        self.spent += seconds

    def ended(self, reply: Answer | Fault, signal: Signal | None) -> None:
        """Books the end of an attempt."""
        self.reply = reply
        self.spent += reply.elapsed
        waited, self.told = self.waited - self.told, self.waited
        status, kind = (reply.status, None) if isinstance(reply, Answer) else (None, reply.kind)
        refused, asked = (False, None) if signal is None else (signal.refused, signal.retry_after)
        if self.trail is None:
            self.trail = []
        self.trail.append(
            Attempt(self.number, reply.now, waited, reply.elapsed, status, kind, refused, asked)
        )

    def refusal(self, answer: Answer, signal: Signal, learned: Learned) -> Refusal:
        """Books a refusal and says what there is to decide about it."""
        self.refusals += 1
        if learned.others_served:
            self.row, self.held_up = self.row + 1, 0.0
        asked = signal.retry_after
        self.tiny = self.tiny + 1 if asked is not None and asked < self.retry.zero_wait_floor else 0
        return Refusal(asked, signal.terminal, learned.wait, self.call.replayable, answer.response)

    def failure(self, reply: Answer | Fault, signal: Signal | None) -> Failure:
        """Books a failure, which ends a row of refusals, and says what there is to decide about it."""
        self.failures += 1
        self.row, self.tiny, self.held_up = 0, 0, 0.0
        call = self.call
        if isinstance(reply, Answer):
            asked = None if signal is None else signal.retry_after
            return Failure(asked, None, None, True, call.replayable, reply.response)
        repeatable = not reply.sent or self.retry.repeatable(call.method, call.keyed)
        return Failure(None, reply.kind, reply.error, repeatable, call.replayable)

    def history(self) -> History:
        """What the retry policy decides from."""
        return History(self.failures, self.row, self.tiny, self.held_up, self.spent, self.slept)

    def outcome(self, error: PacelineError | None = None) -> Outcome:
        """The end: with a final answer, or with the error that says why there is none."""
        answer = self.reply if isinstance(self.reply, Answer) else None
        fault = self.reply if isinstance(self.reply, Fault) else None
        return Outcome(answer, fault, error, self.number, self.refusals, self.waited, tuple(self.trail or ()))

    def not_granted(self, error: PacelineError) -> PacelineError:
        """The verdict where no permit came: of the deadline, where something was sent before."""
        if not (isinstance(error, AcquireTimeout) and self.number):
            return error
        status, text = _what_came(self.reply)
        why = f"no permit came before the deadline of {self.retry.deadline:g} s"
        end = GaveUp(why, self.number, status, text)
        end.__cause__ = error
        return end

    def stopped(self, verdict: Stop, reply: Answer | Fault) -> PacelineError:
        """The verdict of the retry policy as an error."""
        if verdict.kind == "later":
            return RetryLater(self.scope, reply.now + verdict.wait, verdict.wait, verdict.why)
        end = GaveUp(verdict.why, self.number, *_what_came(reply))
        if verdict.kind == "body":
            end.__cause__ = UnreplayableBody(_USED_UP)
        return end

    def tell_waited(self, at: float, seconds: float, reason: str) -> Emit:
        return Emit(events.Waited(at=at, scope=self.scope, seconds=seconds, reason=reason))

    def tell_attempted(self, reply: Answer | Fault) -> Emit:
        status, error = (reply.status, None) if isinstance(reply, Answer) else _what_came(reply)
        return Emit(
            events.Attempted(
                at=reply.now,
                scope=self.scope,
                method=self.call.method,
                url=self._masked(),
                attempt=self.number,
                status=status,
                error=error,
                elapsed=reply.elapsed,
            )
        )

    def tell_refused(self, answer: Answer, asked: float | None, remaining: float | None, wait: float) -> Emit:
        return Emit(
            events.Refused(
                at=answer.now,
                scope=self.scope,
                method=self.call.method,
                url=self._masked(),
                attempt=self.number,
                status=answer.status,
                retry_after=asked,
                remaining=remaining,
                wait=wait,
            )
        )

    def tell_retrying(
        self, reply: Answer | Fault, asked: float | None, remaining: float | None, wait: float
    ) -> Emit:
        status, error = _what_came(reply)
        return Emit(
            events.Retrying(
                at=reply.now,
                scope=self.scope,
                method=self.call.method,
                url=self._masked(),
                attempt=self.number,
                status=status,
                error=error,
                retry_after=asked,
                remaining=remaining,
                wait=wait,
            )
        )

    def tell_gave_up(self, at: float, error: PacelineError) -> Emit:
        status, text = _what_came(self.reply)
        return Emit(
            events.GaveUp(
                at=at,
                scope=self.scope,
                method=self.call.method,
                url=self._masked(),
                attempts=self.number,
                status=status,
                error=text,
                reason=error.reason if isinstance(error, GaveUp) else str(error),
            )
        )

    def _masked(self) -> str:
        """The URL as events show it, masked once."""
        if self.url is None:
            self.url = mask_url(self.call.url)
        return self.url


def _what_came(reply: Answer | Fault | None) -> tuple[int | None, str | None]:
    if reply is None:
        return None, None
    if isinstance(reply, Answer):
        return reply.status, None
    # Clients put URLs, and with them credentials, into their error texts.
    text = mask_text(str(reply.error)[:_LONGEST_LOOK])[:_LONGEST_TEXT]
    return None, f"{reply.kind}: {type(reply.error).__name__}{': ' if text else ''}{text}"
