"""What came of one exchange: the last answer or fault, the verdict, and every attempt on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import GaveUp, PacelineError, RetryLater

if TYPE_CHECKING:
    from .effects import Answer, Fault
    from .retry import FaultKind

__all__ = ["Attempt", "Outcome"]


class Attempt(NamedTuple):
    """One send of an exchange.

    at: epoch seconds when it ended. waited: seconds from the end of the attempt before (or the exchange's
    beginning) that it waited. elapsed: seconds the send took. status, or the kind of fault.
    retry_after: seconds the server asked for.
    """

    number: int
    at: float
    waited: float
    elapsed: float
    status: int | None
    kind: FaultKind | None
    refused: bool
    retry_after: float | None


class Outcome(NamedTuple):
    """How an exchange ended; the shell decides what to make of it.

    answer, fault: what the last attempt came to, one of them; both None where nothing was sent.
    error: why there is no final answer: `GaveUp`, `RetryLater`, or what kept the permit from coming;
    None where `answer` is final. attempts: requests sent. refusals: how many of them were refused.
    waited: seconds, for permits and between attempts. trail: all attempts; None stands for the one of an
    exchange that was served at once (`history` makes it).
    """

    answer: Answer | None
    fault: Fault | None
    error: PacelineError | None
    attempts: int
    refusals: int
    waited: float
    trail: tuple[Attempt, ...] | None

    @property
    def history(self) -> tuple[Attempt, ...]:
        """Every attempt, in order."""
        if self.trail is not None:
            return self.trail
        # Only an exchange served at once has no trail, and hardly anyone reads its one line: made when read.
        answer = self.answer
        if answer is None:
            return ()
        return (Attempt(1, answer.now, self.waited, answer.elapsed, answer.status, None, False, None),)

    def response(self) -> Any:
        """What a drop-in client hands out: the last response, or the last exception as the client raised it.

        Raises `RetryLater` where the server's pause is not sat out, whatever came last; the exception of the
        last attempt where that broke (with a note on why it was not tried again); the error that kept
        anything from being sent.

        >>> Outcome(None, None, RetryLater("api", 7200.0, 3600.0), 0, 0, 0.0, ()).response()
        Traceback (most recent call last):
        ...
        paceline.errors.RetryLater: api is paused for another 3600 s, until 1970-01-01T02:00:00+00:00 (cooldown): \
run again then
        """
        error = self.error
        if error is not None and (isinstance(error, RetryLater) or not self.attempts):
            raise error
        if self.fault is not None:
            note = f"paceline: {error}"
            if note not in getattr(self.fault.error, "__notes__", ()):
                self.fault.error.add_note(note)
            raise self.fault.error
        return None if self.answer is None else self.answer.response

    def unwrap(self) -> Any:
        """The final response; raises `error` where there is none, with the last response on a `GaveUp`."""
        if self.error is None:
            return None if self.answer is None else self.answer.response
        if isinstance(self.error, GaveUp) and self.answer is not None:
            self.error.last_response = self.answer.response
        raise self.error
