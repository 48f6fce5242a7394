"""The exchange step by step: effects it yields for given replies, no driver, no clock."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tenacity import stop_after_attempt, wait_fixed

from paceline import events
from paceline.effects import (
    Acquire,
    Answer,
    Call,
    Discard,
    Emit,
    Fault,
    Learn,
    MayRetry,
    Refresh,
    Refreshed,
    Send,
    Sleep,
)
from paceline.errors import AcquireTimeout, CostAboveQuota, GaveUp, RetryLater, UnreplayableBody
from paceline.exchange import Rules, exchange
from paceline.outcome import Attempt, Outcome
from paceline.retry import Retry
from paceline.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Generator

URL = "https://api.example.com/items/1"
SERVED = Signal()
PERMIT = SimpleNamespace(waited=0.0, reason="")


class Taught(NamedTuple):
    """A scope's word."""

    wait: float = 0.0
    until: float = 0.0
    others_served: bool = False
    remaining: float | None = None


def rules_for(signal: Signal = SERVED, **changes: Any) -> Rules:
    """Rules that read every answer as `signal`, with fixed waits of 2 s and no events."""
    retry = changes.pop("retry", Retry(wait=wait_fixed(2)))
    return Rules(
        **{"retry": retry, "read": lambda *a, **k: signal, "scope": "api", "events": "none", **changes}
    )


def answer(status: int, now: float = 10.0, elapsed: float = 0.1) -> Answer:
    """An answer whose response is its status in words."""
    return Answer(status, {}, None, f"response {status}", elapsed, now)


def fault(kind: Any, sent: bool = True, error: BaseException | None = None) -> Fault:
    """A broken attempt."""
    return Fault(error or ConnectionResetError("peer is gone"), kind, 0.1, 10.0, sent)


def play(call: Call, rules: Rules, *replies: Any) -> tuple[list[Any], Outcome]:
    """Sends the replies in order (exceptions are thrown in); the effects, and the outcome at their end."""
    steps: Generator[Any, Any, Outcome] = exchange(call, rules, 0.0)
    effects = [next(steps)]
    waiting = list(replies)
    while True:
        if isinstance(effects[-1], Emit | Discard):
            reply = None
        else:
            reply = waiting.pop(0)
        try:
            effects.append(steps.throw(reply) if isinstance(reply, BaseException) else steps.send(reply))
        except StopIteration as end:
            assert not waiting, f"not asked for: {waiting}"
            return effects, end.value


GET, POST = Call("GET", URL), Call("POST", URL)


def test_a_request_served_at_once_takes_one_permit_and_is_over() -> None:
    """Permit, send, learn: nothing more, and one attempt stands in the history."""
    got = answer(200)
    effects, outcome = play(
        Call("GET", URL, cost=3, priority=2),
        rules_for(),
        SimpleNamespace(waited=0.5, reason="pace"),
        got,
        Taught(),
    )
    assert [type(effect) for effect in effects] == [Acquire, Send, Learn]
    assert effects[0] == (3, 2, None)
    assert effects[2] == Learn(effects[1].permit, SERVED, 200)
    assert outcome == Outcome(got, None, None, 1, 0, 0.5, None)
    assert outcome.history == (Attempt(1, 10.0, 0.5, 0.1, 200, None, False, None),)
    assert outcome.response() == outcome.unwrap() == "response 200"


@pytest.mark.parametrize("status", [201, 301, 400, 403, 404, 410, 501])
def test_an_answer_neither_refused_nor_transient_is_final(status: int) -> None:
    """A 404 is an answer like any other."""
    _, outcome = play(GET, rules_for(), PERMIT, answer(status), Taught())
    assert (outcome.error, outcome.attempts) == (None, 1)


def test_a_refused_request_asks_for_a_permit_again_and_does_not_sleep_itself() -> None:
    """The pause is the scope's: any method goes again, through its queue."""
    refused = Signal(refused=True, retry_after=7.0)
    effects, outcome = play(
        POST,
        rules_for(refused, retry=Retry(stop=stop_after_attempt(1), refusals_while_others_served=2)),
        PERMIT,
        answer(429),
        Taught(wait=7.0, others_served=True),
        SimpleNamespace(waited=7.0, reason="cooldown"),
        answer(429),
        Taught(wait=7.0, others_served=True),
    )
    assert [type(effect) for effect in effects] == [Acquire, Send, Learn, Discard, Acquire, Send, Learn]
    assert isinstance(outcome.error, GaveUp)
    assert str(outcome.error) == (
        "gave up after 2 attempts: refused 2 times in a row while others of its scope were served; last: status 429"
    )
    assert (outcome.attempts, outcome.refusals, outcome.waited) == (2, 2, 7.0)
    assert outcome.response() == "response 429"


def test_what_the_scope_does_not_wait_the_request_sleeps() -> None:
    """Where the server asked for more than the scope's pause has left, the rest is slept."""
    effects, _ = play(
        GET,
        rules_for(Signal(refused=True, retry_after=7.0)),
        PERMIT,
        answer(429),
        Taught(wait=4.0),
        10.0,
        CostAboveQuota(5, "1/s"),
    )
    assert Sleep(3.0, "cooldown") in effects


def test_a_row_of_refusals_without_an_end_becomes_retry_later() -> None:
    """Where nobody is served at all, waits add up to `max_wait` and no further."""
    refused = Signal(refused=True, retry_after=10.0)
    replies: list[Any] = []
    for _ in range(4):
        replies += [PERMIT, answer(429, now=50.0), Taught(wait=10.0)]
    _, outcome = play(GET, rules_for(refused, retry=Retry(max_wait=30)), *replies)
    assert isinstance(outcome.error, RetryLater)
    assert (outcome.error.wait, outcome.error.until) == (10.0, 60.0)
    assert outcome.error.reason == "refused for 30 s on end while nothing of its scope was served"


def test_a_pause_longer_than_max_wait_is_retry_later_for_every_shell() -> None:
    """It is raised by drop-in clients as well: the response alone would hide when to come back."""
    _, outcome = play(
        GET, rules_for(Signal(refused=True, retry_after=3600.0)), PERMIT, answer(429), Taught(3600.0)
    )
    assert isinstance(outcome.error, RetryLater)
    assert (outcome.error.until, outcome.error.scope) == (3610.0, "api")
    with pytest.raises(RetryLater, match="api is paused for another 3600 s"):
        outcome.response()
    with pytest.raises(RetryLater):
        outcome.unwrap()


def test_a_terminal_refusal_ends_at_once() -> None:
    """Where waiting never helps nothing is waited for, and a drop-in client gets its response."""
    signal = Signal(refused=True, retry_after=1.0, terminal=True)
    _, outcome = play(GET, rules_for(signal), PERMIT, answer(429), Taught())
    assert str(outcome.error) == (
        "gave up after 1 attempt: the server says that waiting will not help: the quota is spent or missing; "
        "last: status 429"
    )
    assert outcome.response() == "response 429"


def test_a_transient_status_is_retried_after_a_backoff() -> None:
    """The budget is asked, the wait slept, a permit taken again."""
    effects, outcome = play(
        GET, rules_for(), PERMIT, answer(503), Taught(), True, 12.0, PERMIT, answer(404), Taught()
    )
    assert [type(effect) for effect in effects] == [
        Acquire, Send, Learn, MayRetry, Discard, Sleep, Acquire, Send, Learn,
    ]  # fmt: skip
    assert Sleep(2.0, "backoff") in effects
    assert (outcome.error, outcome.attempts, outcome.waited) == (None, 2, 2.0)
    assert [attempt.waited for attempt in outcome.history] == [0.0, 2.0]


def test_a_transient_status_of_a_method_that_is_not_idempotent_is_final() -> None:
    """A POST may have done its work: its 503 is the answer."""
    _, outcome = play(POST, rules_for(), PERMIT, answer(503), Taught())
    assert (outcome.error, outcome.response()) == (None, "response 503")


def test_an_idempotency_key_makes_a_post_repeatable() -> None:
    """With the key the server knows the second for the first."""
    _, outcome = play(
        POST._replace(keyed=True),
        rules_for(),
        PERMIT,
        answer(503),
        Taught(),
        True,
        12.0,
        PERMIT,
        answer(200),
        Taught(),
    )
    assert outcome.attempts == 2


def test_a_post_that_never_reached_the_server_goes_again() -> None:
    """A refused connection is safe to repeat for any method, a reset one is not."""
    _, outcome = play(
        POST, rules_for(), PERMIT, fault("connect", sent=False), True, 12.0, PERMIT, answer(200), Taught()
    )
    assert outcome.attempts == 2
    _, outcome = play(POST, rules_for(), PERMIT, fault("reset"))
    assert str(outcome.error) == (
        "gave up after 1 attempt: it may have reached the server: only idempotent methods are sent again, or a request "
        "with Idempotency-Key; last: reset: ConnectionResetError: peer is gone"
    )


def test_a_drop_in_client_raises_the_exception_of_its_own_client() -> None:
    """The last exception is raised as it was, once noted why it was not tried again."""
    error = ConnectionResetError("peer is gone")
    _, outcome = play(POST, rules_for(), PERMIT, fault("reset", error=error))
    for _ in range(2):
        with pytest.raises(ConnectionResetError) as raised:
            outcome.response()
    assert raised.value is error
    assert error.__notes__ == [f"paceline: {outcome.error}"]


def test_a_body_that_is_used_up_makes_the_first_failure_final() -> None:
    """The error says so, with the reason as its cause."""
    call = Call("PUT", URL, replayable=False)
    for reply, signal in ((answer(503), SERVED), (answer(429), Signal(refused=True, retry_after=1.0))):
        _, outcome = play(call, rules_for(signal), PERMIT, reply, Taught())
        assert isinstance(outcome.error, GaveUp)
        assert outcome.error.reason == "its body was used up by the first attempt"
        assert isinstance(outcome.error.__cause__, UnreplayableBody)


def test_attempts_end_and_the_last_answer_stays() -> None:
    """After the last failure the outcome holds its answer, and `unwrap` puts it on the error."""
    rules = rules_for(retry=Retry(stop=stop_after_attempt(1)))
    _, outcome = play(GET, rules, PERMIT, answer(502), Taught())
    assert str(outcome.error) == "gave up after 1 attempt: as told by stop_after_attempt(1); last: status 502"
    with pytest.raises(GaveUp) as raised:
        outcome.unwrap()
    assert raised.value.last_response == "response 502"
    assert outcome.response() == "response 502"
    assert pickle.loads(pickle.dumps(outcome)).answer == outcome.answer


def test_an_exhausted_budget_ends_a_clients_retries_and_slows_a_jobs() -> None:
    """The batch job drops no input for its budget."""
    _, outcome = play(GET, rules_for(), PERMIT, answer(503), Taught(), False)
    assert isinstance(outcome.error, GaveUp)
    assert outcome.error.reason == "the retry budget of its scope is spent (20% of its calls, 3 in any case)"
    effects, outcome = play(
        GET,
        rules_for(slow_budget=True),
        PERMIT,
        answer(503),
        Taught(),
        False,
        16.0,
        PERMIT,
        answer(200),
        Taught(),
    )
    assert Sleep(6.0, "backoff") in effects
    assert outcome.error is None


def test_a_401_is_answered_once_with_a_fresh_credential() -> None:
    """It counts as an attempt, not as a failure; a second one is final."""
    rules = rules_for(refreshable=True, retry=Retry(stop=stop_after_attempt(1)))
    effects, outcome = play(
        POST, rules, PERMIT, answer(401), Taught(), Refreshed(True, 0.5), PERMIT, answer(401), Taught()
    )
    assert [type(effect) for effect in effects] == [
        Acquire,
        Send,
        Learn,
        Refresh,
        Discard,
        Acquire,
        Send,
        Learn,
    ]
    assert (outcome.error, outcome.attempts, outcome.waited) == (None, 2, 0.5)
    assert outcome.response() == "response 401"


@pytest.mark.parametrize(
    ("call", "changes", "replies"),
    [
        (GET, {"refreshable": False}, []),
        (GET, {"refreshable": True}, [Refreshed(False, 0.5)]),
        (Call("POST", URL, replayable=False), {"refreshable": True}, []),
        (GET, {"refreshable": True, "retry": Retry(deadline=5)}, [Refreshed(True, 5.0)]),
    ],
)
def test_a_401_is_final_where_nothing_can_be_renewed(call: Call, changes: Any, replies: list[Any]) -> None:
    """No hook, nothing fresher, a body that is gone, or no time left: the 401 is the answer."""
    _, outcome = play(call, rules_for(**changes), PERMIT, answer(401), Taught(), *replies)
    assert (outcome.error, outcome.attempts) == (None, 1)
    assert [attempt.status for attempt in outcome.history] == [401]


def test_the_deadline_bounds_permits_and_sends() -> None:
    """What is left of it stands in each effect; a permit that does not come in time ends the exchange."""
    rules = rules_for(retry=Retry(wait=wait_fixed(2), deadline=10))
    effects, outcome = play(
        GET,
        rules,
        SimpleNamespace(waited=1.0, reason="pace"),
        answer(503, elapsed=3.0),
        Taught(),
        True,
        12.0,
        AcquireTimeout("api", 4.0),
    )
    assert [effect.timeout for effect in effects if isinstance(effect, Acquire)] == [10, 4.0]
    assert [effect.left for effect in effects if isinstance(effect, Send)] == [9.0]
    assert str(outcome.error) == (
        "gave up after 1 attempt: no permit came before the deadline of 10 s; last: status 503"
    )
    assert isinstance(outcome.error.__cause__, AcquireTimeout)
    assert outcome.response() == "response 503"


@pytest.mark.parametrize(
    "error", [AcquireTimeout("api", 4.0), CostAboveQuota(5, "1/s"), RetryLater("api", 99.0, 9.0)]
)
def test_what_keeps_the_permit_from_coming_is_the_outcomes_error(error: Exception) -> None:
    """Nothing was sent: there is no answer, no fault and no history, and every shell raises it."""
    _, outcome = play(GET, rules_for(), error)
    assert outcome == Outcome(None, None, error, 0, 0, 0.0, ())  # type: ignore[arg-type]
    assert outcome.history == ()
    with pytest.raises(type(error)):
        outcome.response()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), RuntimeError("a bug")])
def test_whatever_else_is_thrown_in_passes_through(error: BaseException) -> None:
    """Cancellation and bugs are nobody's retry."""
    for replies in ([error], [PERMIT, error], [PERMIT, answer(200), error]):
        with pytest.raises(type(error)):
            play(GET, rules_for(), *replies)


def test_a_fault_that_is_a_cancellation_is_raised_again() -> None:
    """Even where a shell caught it."""
    with pytest.raises(KeyboardInterrupt):
        play(GET, rules_for(), PERMIT, fault("other", error=KeyboardInterrupt()))


def test_events_tell_the_story_in_order() -> None:
    """Wait, attempt, refusal, retry, then the wait for the pause and the last attempt."""
    signals = iter([Signal(refused=True, retry_after=7.0), SERVED, SERVED])
    rules = rules_for(events="all", read=lambda *a, **k: next(signals))
    effects, _ = play(
        Call("GET", URL + "?api_key=abcdefghijklmnopqrstuv"),
        rules,
        SimpleNamespace(waited=0.5, reason="pace"),
        answer(429, now=10.0),
        Taught(wait=7.0, remaining=0.0),
        SimpleNamespace(waited=7.0, reason="cooldown"),
        answer(503, now=20.0),
        Taught(),
        True,
        22.0,
        PERMIT,
        fault("tls", error=OSError("https://user:hunter2@api.example.com/ " + "x" * 900)),
    )
    told = [effect.event for effect in effects if isinstance(effect, Emit)]
    url = "https://api.example.com/items/1?api_key=***"
    where = {"scope": "api", "method": "GET", "url": url}
    assert told[:-2] == [
        events.Waited(at=9.9, scope="api", seconds=0.5, reason="pace"),
        events.Attempted(at=10.0, attempt=1, status=429, error=None, elapsed=0.1, **where),
        events.Refused(at=10.0, attempt=1, status=429, retry_after=7.0, remaining=0.0, wait=7.0, **where),
        events.Retrying(
            at=10.0, attempt=1, status=429, error=None, retry_after=7.0, remaining=0.0, wait=7.0, **where
        ),
        events.Waited(at=19.9, scope="api", seconds=7.0, reason="cooldown"),
        events.Attempted(at=20.0, attempt=2, status=503, error=None, elapsed=0.1, **where),
        events.Retrying(
            at=20.0, attempt=2, status=503, error=None, retry_after=None, remaining=None, wait=2.0, **where
        ),
        events.Waited(at=22.0, scope="api", seconds=2.0, reason="backoff"),
    ]
    attempted, gave_up = told[-2:]
    assert (gave_up.name, gave_up.attempts, gave_up.error) == ("gave_up", 3, attempted.error)
    assert gave_up.reason == "a fault of the kind tls is not tried again"
    assert attempted.error.startswith("tls: OSError: https://***@api.example.com/ xxx")
    assert len(attempted.error) < 350


@pytest.mark.parametrize(("wanted", "names"), [("notable", ["retry"]), ("none", [])])
def test_events_that_nobody_wants_are_not_made(wanted: Any, names: list[str]) -> None:
    """Below "all" nothing of the level debug is yielded."""
    effects, _ = play(
        GET,
        rules_for(events=wanted),
        SimpleNamespace(waited=0.5, reason="pace"),
        answer(503),
        Taught(),
        True,
        12.0,
        PERMIT,
        answer(200),
        Taught(),
    )
    assert [effect.event.name for effect in effects if isinstance(effect, Emit)] == names


def refusal(others_served: bool = False) -> list[Any]:
    """The replies of one attempt that is refused for ten seconds, which the scope waits."""
    return [PERMIT, answer(429), Taught(wait=10.0, others_served=others_served)]


def signal_by_status(status: int, *rest: Any, **more: Any) -> Signal:
    """A 429 is refused for ten seconds, everything else is served."""
    return Signal(refused=True, retry_after=10.0) if status == 429 else SERVED


def test_a_scope_that_serves_others_is_not_down() -> None:
    """Once others were served, the time that refusals held a request up is counted anew."""
    rules = rules_for(read=signal_by_status, retry=Retry(max_wait=20))
    replies = [*refusal(), *refusal(), *refusal(others_served=True), PERMIT, answer(200), Taught()]
    _, outcome = play(GET, rules, *replies)
    assert (outcome.error, outcome.refusals) == (None, 3)


def test_a_failure_ends_a_row_of_refusals() -> None:
    """Only refusals in a row make a request the problem itself."""
    rules = rules_for(read=signal_by_status, retry=Retry(wait=wait_fixed(2), refusals_while_others_served=2))
    row = refusal(others_served=True)
    _, outcome = play(
        GET, rules, *row, PERMIT, answer(503), Taught(), True, 12.0, *row, PERMIT, answer(200), Taught()
    )
    assert (outcome.error, outcome.refusals) == (None, 2)


def test_strategies_are_told_what_was_slept_and_how_long_all_took() -> None:
    """Permits, sends and sleeps make the time; sleeps alone the idle share of it."""
    seen: list[tuple[float, float]] = []

    def stop(state: Any) -> bool:
        seen.append((state.seconds_since_start, state.idle_for))
        return len(seen) == 2

    waited = SimpleNamespace(waited=1.0, reason="pace")
    failed = [waited, answer(503, elapsed=0.5), Taught()]
    play(GET, rules_for(retry=Retry(stop=stop, wait=wait_fixed(2))), *failed, True, 12.0, *failed)
    assert seen == [(1.5, 0.0), (5.0, 2.0)]
