"""The retry policy: its arguments, its text, and its decisions as tables."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import pytest
from tenacity import (
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    stop_never,
    wait_chain,
    wait_exception,
    wait_exponential_jitter,
    wait_fixed,
    wait_none,
    wait_random,
)

from paceline.retry import Again, Failure, History, Refusal, Retry, Stop, decide, over_budget

FIXED = Retry(wait=wait_fixed(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_wait": -1}, "max_wait must be a number of seconds of at least 0, like 900, not -1"),
        ({"max_wait": math.nan}, "max_wait must be a number of seconds of at least 0, like 900, not nan"),
        ({"max_wait": "900"}, "max_wait must be a number of seconds of at least 0, like 900, not '900'"),
        ({"deadline": 0}, "deadline must be None or a number of seconds above 0, like 300, not 0"),
        ({"budget": 1.5}, "budget must be a share from 0 to 1, like 0.2, not 1.5"),
        ({"budget_floor": 2.5}, "budget_floor must be a whole number of at least 0, like 3, not 2.5"),
        ({"statuses": {503, 99}}, "statuses must be status codes, like {500, 503}, not {99, 503}"),
        ({"methods": {"get"}}, "methods must be methods in capitals, like {'GET', 'PUT'}, not {'get'}"),
        (
            {"idempotency_header": ""},
            "idempotency_header must be a header's name, like 'Idempotency-Key', not ''",
        ),
        (
            {"refusals_while_others_served": 0},
            "refusals_while_others_served must be a whole number of at least 1, like 6, not 0",
        ),
        (
            {"zero_wait_floor": 0},
            "zero_wait_floor must be a number of seconds above 0, at most 60, like 0.25, not 0",
        ),
        (
            {"faults": {"fire"}},
            "faults must be some of connect, invalid, other, protocol, redirects, reset, resolve, timeout, tls, "
            "too_large, not {'fire'}",
        ),
    ],
)
def test_a_wrong_value_is_named_with_a_right_one(arguments: dict[str, Any], message: str) -> None:
    """An argument that cannot be meant is refused with its name and a right form."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Retry(**arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stop": 6}, "stop must be a strategy of tenacity, like stop_after_attempt(6), not 6"),
        ({"wait": 2.0}, "wait must be a strategy of tenacity, like wait_fixed(2), not 2.0"),
        ({"methods": "GET"}, "methods must be a set, like {'GET'}, not 'GET'"),
        ({"statuses": 503}, "statuses must be a set, like {503}, not 503"),
    ],
)
def test_a_wrong_type_is_named_with_a_right_one(arguments: dict[str, Any], message: str) -> None:
    """A number is no strategy, and one member is no set."""
    with pytest.raises(TypeError) as error:
        Retry(**arguments)
    assert str(error.value) == message


def test_it_prints_as_it_was_written() -> None:
    """The text names what differs from the defaults, strategies as one would write them."""
    retry = Retry(
        stop=stop_after_attempt(3) | stop_after_delay(300) & stop_never,
        wait=wait_fixed(1) + wait_chain(wait_none(), wait_fixed(2)),
        methods={"PUT", "GET"},  # type: ignore[arg-type]
        deadline=5,
    )
    assert repr(retry) == (
        "Retry(stop=stop_after_attempt(3) | stop_after_delay(300.0) & _stop_never(), "
        "wait=wait_fixed(1.0) + wait_chain(wait_none(0.0), wait_fixed(2.0)), methods={'GET', 'PUT'}, deadline=5)"
    )
    assert repr(Retry()) == "Retry()"


def test_it_crosses_processes() -> None:
    """A pickled policy comes back equal, hash included, and differs from another."""
    retry = Retry(
        stop=stop_after_attempt(3) | stop_after_delay(9), wait=wait_random(1, 2), statuses=frozenset({500})
    )
    back = pickle.loads(pickle.dumps(retry))
    assert back == retry
    assert hash(back) == hash(retry)
    assert back != Retry()
    assert back != Retry(stop=stop_after_attempt(3) | stop_after_delay(8), wait=wait_random(1, 2))
    assert retry != "Retry()"


def test_a_function_is_a_strategy_and_prints_by_its_name() -> None:
    """Tenacity takes plain functions too."""

    def patient(state: Any) -> float:
        return 3.0 * state.attempt_number

    retry = Retry(wait=patient)
    assert "patient" in repr(retry)
    assert decide(retry, History(failures=2), Failure()) == Again(6.0, "backoff")


@pytest.mark.parametrize(
    ("headers", "keyed"),
    [
        ({"Idempotency-Key": "1"}, True),
        ([("accept", "*/*"), ("IDEMPOTENCY-KEY", "1")], True),
        ({"accept": "*/*"}, False),
        ([], False),
    ],
)
def test_an_idempotency_key_is_found_in_any_case(headers: Any, keyed: bool) -> None:
    """Headers are looked through by name, whatever form they have."""
    assert Retry().keyed(headers) is keyed


@pytest.mark.parametrize(
    ("method", "keyed", "repeatable"),
    [
        ("GET", False, True),
        ("get", False, True),
        ("DELETE", False, True),
        ("POST", False, False),
        ("POST", True, True),
    ],
)
def test_idempotent_methods_and_keyed_requests_are_repeatable(
    method: str, keyed: bool, repeatable: bool
) -> None:
    """RFC 9110, section 9.2.2, and the idempotency key."""
    assert Retry().repeatable(method, keyed) is repeatable


@pytest.mark.parametrize(
    ("history", "failure", "verdict"),
    [
        (History(failures=1), Failure(), Again(2.0, "backoff")),
        (History(failures=5), Failure(), Again(2.0, "backoff")),
        (History(failures=6), Failure(), "attempts"),
        (History(failures=1), Failure(retry_after=7.0), Again(7.0, "backoff")),
        (History(failures=1), Failure(retry_after=0.0), Again(2.0, "backoff")),
        (History(failures=1), Failure(retry_after=900.0), Again(900.0, "backoff")),
        (History(failures=1), Failure(retry_after=900.1), "later"),
        (History(failures=1), Failure(kind="reset", error=OSError()), Again(2.0, "backoff")),
        (History(failures=1), Failure(kind="tls", error=OSError()), "fault"),
        (History(failures=1), Failure(kind="reset", error=OSError(), repeatable=False), "unrepeatable"),
        (History(failures=1), Failure(replayable=False), "body"),
        (History(failures=1), Failure(kind="other", error=KeyboardInterrupt()), "interrupt"),
        (History(failures=1), Failure(kind="timeout", error=GeneratorExit()), "interrupt"),
    ],
)
def test_failures(history: History, failure: Failure, verdict: Again | str) -> None:
    """What follows on a failed attempt, by what is known of it."""
    decision = decide(FIXED, history, failure)
    assert (decision.kind if isinstance(decision, Stop) else decision) == verdict


@pytest.mark.parametrize(
    ("history", "refusal", "verdict"),
    [
        (History(), Refusal(7.0), Again(7.0, "cooldown")),
        (History(), Refusal(7.0, pause=9.0), Again(9.0, "cooldown")),
        (History(), Refusal(7.0, pause=3.0), Again(7.0, "cooldown")),
        (History(), Refusal(None, pause=3.0), Again(3.0, "cooldown")),
        (History(), Refusal(None), Again(2.0, "cooldown")),
        (History(tiny=1), Refusal(0.0), Again(0.25, "cooldown")),
        (History(tiny=3), Refusal(0.0), Again(1.0, "cooldown")),
        (History(tiny=99), Refusal(0.0), Again(60.0, "cooldown")),
        (History(tiny=1), Refusal(0.02), Again(0.02, "cooldown")),
        (History(tiny=2), Refusal(0.02), Again(0.5, "cooldown")),
        (History(), Refusal(7.0, terminal=True), "terminal"),
        (History(), Refusal(7.0, replayable=False), "body"),
        (History(), Refusal(901.0), "later"),
        (History(), Refusal(1.0, pause=901.0), "later"),
        (History(held_up=900.0), Refusal(1.0), "later"),
        (History(refusals=5), Refusal(1.0), Again(1.0, "cooldown")),
        (History(refusals=6), Refusal(1.0), "refused"),
        (History(failures=5), Refusal(1.0), Again(1.0, "cooldown")),
    ],
)
def test_refusals(history: History, refusal: Refusal, verdict: Again | str) -> None:
    """What follows on a refusal: the server's word, a floor where it says 0, the strategy where nothing speaks."""
    decision = decide(FIXED, history, refusal)
    assert (decision.kind if isinstance(decision, Stop) else decision) == verdict


def test_refusals_never_use_up_the_attempts() -> None:
    """The stop strategy counts failures: with none, any number of attempts is left."""
    once = Retry(stop=stop_after_attempt(1), wait=wait_fixed(2))
    assert decide(once, History(failures=0, refusals=5), Refusal(1.0)) == Again(1.0, "cooldown")
    assert isinstance(decide(once, History(failures=1), Failure()), Stop)


def test_time_stops_refusals_too() -> None:
    """A strategy that looks at the time ends an exchange that is only ever refused."""
    retry = Retry(stop=stop_after_attempt(6) | stop_after_delay(300))
    decision = decide(retry, History(elapsed=300.0), Refusal(1.0))
    assert decision == Stop("attempts", "as told by stop_after_attempt(6) | stop_after_delay(300.0)", 1.0)


@pytest.mark.parametrize("outcome", [Refusal(7.0), Failure(retry_after=7.0)])
def test_a_wait_that_would_pass_the_deadline_stops_at_once(outcome: Refusal | Failure) -> None:
    """Nothing is waited for that would come too late."""
    retry = Retry(deadline=10)
    assert decide(retry, History(failures=1, elapsed=2.9), outcome).wait == 7.0
    assert decide(retry, History(failures=1, elapsed=3.0), outcome) == Stop(
        "deadline", "a wait of 7 s would pass the deadline of 10 s", 7.0
    )


def test_strategies_see_what_tenacity_would_show_them() -> None:
    """Numbers, time, sleep, coming wait and outcome stand in the state that a strategy gets."""
    seen: list[Any] = []

    def stop(state: Any) -> bool:
        seen.append((state.attempt_number, state.seconds_since_start, state.idle_for, state.upcoming_sleep))
        seen.append((state.outcome.failed, state.outcome.result()))
        return False

    decide(
        Retry(stop=stop, wait=wait_fixed(2)),
        History(failures=3, elapsed=12.5, idle=4.5),
        Failure(result="response"),
    )
    assert seen == [(3, 12.5, 4.5, 2.0), (False, "response")]


def test_strategies_that_look_at_the_exception_get_it() -> None:
    """A fault's own exception is the outcome that strategies see."""
    retry = Retry(wait=wait_exception(lambda error: 5.0 if isinstance(error, TimeoutError) else 1.0))
    assert decide(retry, History(failures=1), Failure(kind="timeout", error=TimeoutError())).wait == 5.0
    assert decide(retry, History(failures=1), Failure(kind="reset", error=OSError())).wait == 1.0


def test_stop_before_delay_counts_the_coming_wait() -> None:
    """The wait is known before the stop strategy is asked, as in tenacity."""
    retry = Retry(stop=stop_before_delay(10), wait=wait_fixed(4))
    assert decide(retry, History(failures=1, elapsed=5.9), Failure()) == Again(4.0, "backoff")
    assert isinstance(decide(retry, History(failures=1, elapsed=6.0), Failure()), Stop)


def test_the_default_backs_off_with_jitter() -> None:
    """One to two seconds first, doubling, never above a minute."""
    random.seed(1)
    waits = [decide(Retry(stop=stop_never), History(failures=n), Failure()).wait for n in range(1, 12)]
    for number, wait in enumerate(waits):
        assert min(60.0, 2.0**number) <= wait <= min(60.0, 2.0**number + 1)


@pytest.mark.parametrize("wait", [-1.0, math.inf, math.nan])
def test_a_strategy_that_returns_no_wait_is_named(wait: float) -> None:
    """A wait below 0 or without end is an error of the strategy, said so."""
    with pytest.raises(
        ValueError, match=r"^the wait strategy .*<lambda> returned -?\w+.*, which is no number of seconds$"
    ):
        decide(Retry(wait=lambda state: wait), History(failures=1), Failure())


def test_beyond_the_budget_a_job_slows_down_and_a_client_stops() -> None:
    """With `slow` a retry comes later, within the deadline; without it there is none."""
    retry = Retry(deadline=20)
    assert over_budget(retry, History(), Again(0.0, "backoff"), slow=True) == Again(0.75, "backoff")
    assert over_budget(retry, History(elapsed=14.1), Again(2.0, "backoff"), slow=True).wait == 6.0
    late = over_budget(retry, History(elapsed=14.1), Again(2.0, "backoff"), slow=True)
    assert isinstance(late, Stop)
    assert late.kind == "deadline"
    assert over_budget(retry, History(), Again(2.0, "backoff"), slow=False) == Stop(
        "budget", "the retry budget of its scope is spent (20% of its calls, 3 in any case)", 2.0
    )


def test_the_default_strategies_are_the_documented_ones() -> None:
    """Six failures, and exponential waits with jitter from one second to a minute."""
    assert Retry() == Retry(stop=stop_after_attempt(6), wait=wait_exponential_jitter(initial=1, max=60))
