"""Laws of the exchange, on virtual numbers: any script of answers and faults, both drivers, no clock."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import (
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_exponential_jitter,
    wait_fixed,
    wait_none,
)

from paceline import events
from paceline.drive import adrive, drive
from paceline.effects import Answer, Call, Fault, Send
from paceline.errors import AcquireTimeout, GaveUp, RetryLater
from paceline.exchange import Rules, exchange
from paceline.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paceline.outcome import Outcome

MOST_SENDS = 3000
# Every law runs whole exchanges: fewer examples than usual keep the file fast, on slow machines too.
law = settings(max_examples=150, deadline=None)
SECRET = "hunter2hunter2"


class Said(NamedTuple):
    """A signal, as much of it as the exchange looks at."""

    refused: bool
    retry_after: float | None
    terminal: bool


class Taught(NamedTuple):
    """A scope's word."""

    wait: float
    until: float
    others_served: bool
    remaining: float | None = None


class Step(NamedTuple):
    """What the server does with one send: an answer, or a fault where `kind` is given."""

    status: int
    retry_after: float | None
    terminal: bool
    kind: Any
    sent: bool
    elapsed: float
    others_served: bool
    pace: float
    budget: bool


@dataclass
class World:
    """A scope, a server and a clock made of numbers; keeps a trace of all that was done."""

    script: list[Step]
    lax: bool = False
    now: float = 1000.0
    pause_until: float = 0.0
    at: int = -1
    open_permits: int = 0
    trace: list[tuple[Any, ...]] = field(default_factory=list)
    told: list[events.Event] = field(default_factory=list)
    discarded: int = 0

    @property
    def step(self) -> Step:
        return self.script[min(max(self.at, 0), len(self.script) - 1)]

    def acquire(self, cost: Any, *, priority: int, timeout: float | None) -> Paper:
        wait = max(self.pause_until - self.now, self.step.pace)
        if timeout is not None and wait > timeout:
            self.now += timeout
            raise AcquireTimeout("api", timeout)
        self.now += wait
        self.open_permits += 1
        self.trace.append(("permit", self.now))
        return Paper(self, wait)

    def learn(self, permit: Any, signal: Any, status: int) -> Taught:
        self.trace.append(("learn", status))
        if signal.refused and not self.lax:
            self.pause_until = max(self.pause_until, self.now + (signal.retry_after or 0.0))
        wait = max(0.0, self.pause_until - self.now)
        return Taught(wait, self.now + wait, self.step.others_served)

    def may_retry(self) -> bool:
        return self.step.budget

    def send(self, effect: Send) -> Answer | Fault:
        self.at += 1
        assert self.at < MOST_SENDS, "the exchange does not end"
        step = self.step
        effect.permit.sent()
        self.trace.append(("send", self.now, effect.attempt, effect.left))
        self.now += step.elapsed
        if step.kind is not None:
            error = ConnectionError(f"https://api.example.com/?token={SECRET} is gone")
            return Fault(error, step.kind, step.elapsed, self.now, step.sent)
        return Answer(step.status, step, None, step, step.elapsed, self.now)

    def read(self, status: int, headers: Any, body: Any = None, *, now: float, method: Any, url: Any) -> Said:
        return Said(status == 429, headers.retry_after, headers.terminal and status == 429)

    def refresh(self, permit: Any) -> bool:
        self.now += 0.5
        self.trace.append(("refresh", self.now))
        return self.step.budget

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.trace.append(("sleep", seconds))

    def discard(self, answer: Answer) -> None:
        self.discarded += 1


@dataclass
class Paper:
    """A permit that notices when it is used twice or never given back."""

    world: World
    waited: float
    at: float = 0.0
    reason: str = "pace"
    stamps: int = 0
    closed: bool = False

    def sent(self) -> None:
        assert not self.closed
        self.stamps += 1
        assert self.stamps == 1, "two requests on one permit"

    def release(self) -> None:
        if not self.closed:
            self.closed = True
            self.world.open_permits -= 1

    def cancel(self) -> None:
        self.release()


class AsyncWorld(World):
    """The same for tasks."""

    async def acquire(self, cost: Any, *, priority: int, timeout: float | None) -> Paper:  # type: ignore[override]
        return World.acquire(self, cost, priority=priority, timeout=timeout)


def run(world: World, call: Call, rules: Rules) -> Outcome:
    """One exchange through the driver for threads."""
    random.seed(7)
    return drive(
        exchange(call, rules, world.now),
        world,
        world.send,
        emit=world.told.append,
        refresh=world.refresh,
        discard=world.discard,
        sleep=world.sleep,
        clock=lambda: world.now,
    )


def arun(world: AsyncWorld, call: Call, rules: Rules) -> Outcome:
    """One exchange through the driver for tasks, run by hand: nothing in it ever really waits."""

    def later(function: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*args: Any) -> Any:
            return function(*args)

        return called

    random.seed(7)
    task = adrive(
        exchange(call, rules, world.now),
        world,
        later(world.send),
        emit=world.told.append,
        refresh=later(world.refresh),
        discard=later(world.discard),
        sleep=later(world.sleep),
        clock=lambda: world.now,
    )
    with pytest.raises(StopIteration) as end:
        task.send(None)
    outcome: Outcome = end.value.value
    return outcome


seconds = st.one_of(st.sampled_from([0.0, 0.001, 0.25, 1.0, 7.0, 30.0, 61.0]), st.floats(0, 100))
kinds = st.sampled_from([None, None, None, None, "connect", "timeout", "reset", "tls", "other"])
steps = st.builds(
    Step,
    status=st.sampled_from([200, 404, 401, 408, 429, 429, 429, 500, 503, 503]),
    retry_after=st.one_of(st.none(), seconds),
    terminal=st.sampled_from([False] * 9 + [True]),
    kind=kinds,
    sent=st.booleans(),
    elapsed=st.floats(0, 5),
    others_served=st.booleans(),
    pace=st.one_of(st.just(0.0), st.floats(0, 3)),
    budget=st.sampled_from([True, True, True, False]),
)
retries = st.builds(
    Retry,
    stop=st.sampled_from(
        [stop_after_attempt(1), stop_after_attempt(4), stop_after_attempt(6) | stop_after_delay(40)]
    ),
    wait=st.sampled_from(
        [wait_none(), wait_fixed(2), wait_exponential(max=30), wait_exponential_jitter(max=20)]
    ),
    max_wait=st.sampled_from([0.0, 5.0, 60.0]),
    deadline=st.one_of(st.none(), st.floats(0.1, 120)),
    refusals_while_others_served=st.integers(1, 6),
)
calls = st.builds(
    Call,
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH"]),
    url=st.just(f"https://api.example.com/items?api_key={SECRET}"),
    replayable=st.sampled_from([True, True, True, False]),
    keyed=st.booleans(),
)


class Plan(NamedTuple):
    """An exchange to be."""

    script: list[Step]
    lax: bool
    call: Call
    retry: Retry
    slow_budget: bool
    refreshable: bool

    def rules(self, world: World) -> Rules:
        return Rules(
            retry=self.retry,
            read=world.read,
            scope="api",
            slow_budget=self.slow_budget,
            refreshable=self.refreshable,
        )


class Case(NamedTuple):
    """An exchange that has run to its end."""

    world: World
    call: Call
    rules: Rules
    outcome: Outcome


plans = st.builds(
    Plan, st.lists(steps, min_size=1, max_size=8), st.booleans(), calls, retries, st.booleans(), st.booleans()
)


def ran(plan: Plan) -> Case:
    """The plan run by the driver for threads."""
    world = World(plan.script, lax=plan.lax)
    rules = plan.rules(world)
    return Case(world, plan.call, rules, run(world, plan.call, rules))


def attempts_but_last(case: Case) -> Iterator[Step]:
    """What came of every send that another one followed."""
    script = case.world.script
    for number in range(case.outcome.attempts - 1):
        yield script[min(number, len(script) - 1)]


@law
@given(plans)
def test_every_send_has_a_permit_of_its_own_and_every_permit_comes_back(plan: Plan) -> None:
    """No more is sent than permits were taken, and none is left open."""
    case = ran(plan)
    marks = [entry[0] for entry in case.world.trace if entry[0] in ("permit", "send")]
    assert marks == ["permit", "send"] * case.outcome.attempts
    assert case.world.open_permits == 0


@law
@given(plans)
def test_nothing_is_sent_after_a_final_answer(plan: Plan) -> None:
    """What another send followed was a refusal, a transient failure or the one 401 that was renewed."""
    case = ran(plan)
    renewals = 0
    for step in attempts_but_last(case):
        if step.kind is not None:
            assert step.kind in case.rules.retry.faults
        elif step.status == 401:
            renewals += 1
            assert case.rules.refreshable
        else:
            assert step.status in {429, *case.rules.retry.statuses}
            assert not (step.status == 429 and step.terminal)
    assert renewals <= 1


@law
@given(plans)
def test_what_is_not_idempotent_is_sent_twice_only_where_nothing_was_done(plan: Plan) -> None:
    """A second send without idempotency needs a refusal, a 401, a fault before the wire, or a key."""
    case = ran(plan)
    if case.call.keyed or case.call.method in case.rules.retry.methods:
        return
    for step in attempts_but_last(case):
        assert (step.kind is None and step.status in (401, 429)) or (step.kind is not None and not step.sent)


@law
@given(plans)
def test_a_body_that_is_used_up_is_sent_once(plan: Plan) -> None:
    """An exchange whose body cannot be replayed has one attempt."""
    case = ran(plan)
    assert case.call.replayable or case.outcome.attempts <= 1


@law
@given(plans)
def test_waits_respect_the_deadline(plan: Plan) -> None:
    """All waits together stay within the deadline, and nothing is sent once it is over."""
    case = ran(plan)
    deadline = case.rules.retry.deadline
    if deadline is None:
        return
    renewing = 0.5 * sum(entry[0] == "refresh" for entry in case.world.trace)
    assert case.outcome.waited <= deadline + renewing + 1e-6
    for entry in case.world.trace:
        if entry[0] == "send":
            assert entry[3] >= -1e-6


@law
@given(plans)
def test_the_wait_that_the_server_asked_for_is_never_undercut(plan: Plan) -> None:
    """The next send comes no sooner after a refusal or a failure than the server said."""
    case = ran(plan)
    sends = [entry[1] for entry in case.world.trace if entry[0] == "send"]
    for number, step in enumerate(attempts_but_last(case)):
        if step.kind is None and step.status != 401:
            assert sends[number + 1] >= sends[number] + step.elapsed + (step.retry_after or 0.0) - 1e-6


@law
@given(plans)
def test_a_pause_longer_than_max_wait_is_not_sat_out(plan: Plan) -> None:
    """No single wait that the server asked for and that was waited for exceeds `max_wait`."""
    case = ran(plan)
    for step in attempts_but_last(case):
        if step.kind is None and step.status != 401:
            assert (step.retry_after or 0.0) <= case.rules.retry.max_wait


@law
@given(plans)
def test_an_outcome_says_what_happened(plan: Plan) -> None:
    """Its counts, its history and its verdict agree with what was sent, and with each other."""
    case = ran(plan)
    outcome = case.outcome
    history = outcome.history
    assert [attempt.number for attempt in history] == list(range(1, outcome.attempts + 1))
    assert sum(attempt.refused for attempt in history) == outcome.refusals
    assert sum(attempt.waited for attempt in history) <= outcome.waited + 1e-6
    assert (outcome.answer is None) or (outcome.fault is None)
    if outcome.error is None:
        assert outcome.answer is not None
    if outcome.attempts:
        last = history[-1]
        assert (last.status is None) == (outcome.answer is None)
        assert (last.kind is None) == (outcome.fault is None)
    if isinstance(outcome.error, RetryLater):
        assert outcome.error.until == pytest.approx(history[-1].at + outcome.error.wait)


@law
@given(plans)
def test_events_agree_with_the_history(plan: Plan) -> None:
    """Each attempt, refusal, retry, wait and give-up is told once, and no event carries a secret."""
    case = ran(plan)
    outcome, told = case.outcome, case.world.told

    def of(kind: type[Any]) -> list[Any]:
        return [event for event in told if type(event) is kind]

    assert [(e.attempt, e.status) for e in of(events.Attempted)] == [
        (a.number, a.status) for a in outcome.history
    ]
    assert len(of(events.Refused)) == outcome.refusals
    assert len(of(events.GaveUp)) == (outcome.error is not None)
    renewals = sum(a.status == 401 for a in outcome.history[:-1])
    unanswered = isinstance(outcome.error, AcquireTimeout) or (
        isinstance(outcome.error, GaveUp) and isinstance(outcome.error.__cause__, AcquireTimeout)
    )
    assert len(of(events.Retrying)) == max(outcome.attempts - 1, 0) - renewals + (
        unanswered and outcome.attempts > 0
    ) - (unanswered and outcome.attempts > 0 and outcome.history[-1].status == 401)
    assert sum(e.seconds for e in of(events.Waited)) == pytest.approx(outcome.waited)
    assert SECRET not in repr(told)
    assert SECRET not in str(outcome.error)


@law
@given(plans)
def test_an_answer_that_is_replaced_is_discarded(plan: Plan) -> None:
    """Every answer that another attempt follows, or was to follow, gives its connection back."""
    case = ran(plan)
    replaced = sum(step.kind is None for step in attempts_but_last(case))
    assert replaced <= case.world.discarded <= replaced + 1


@law
@given(plans)
def test_threads_and_tasks_do_the_same(plan: Plan) -> None:
    """On one script both drivers leave the same trace, events and outcome."""
    case = ran(plan)
    world = AsyncWorld(plan.script, lax=plan.lax)
    outcome = arun(world, plan.call, plan.rules(world))
    assert world.trace == case.world.trace
    assert [e.facts() for e in world.told] == [e.facts() for e in case.world.told]
    assert outcome.history == case.outcome.history
    assert (str(outcome.error), outcome.waited) == (str(case.outcome.error), case.outcome.waited)
    assert world.open_permits == 0
    assert world.discarded == case.world.discarded


@law
@given(
    plans,
    st.sampled_from([KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit]),
    st.integers(0, 6),
)
def test_cancellation_passes_through_at_once(plan: Plan, kind: type[BaseException], when: int) -> None:
    """Whatever is under way, a cancellation is raised again, nothing more is sent, no permit stays open."""
    world = World(plan.script, lax=plan.lax)
    left = when

    def cancelling(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                world.trace.append(("cancelled",))
                raise kind
            return function(*args, **kwargs)

        return called

    for name in ("acquire", "learn", "send", "sleep", "refresh", "may_retry"):
        setattr(world, name, cancelling(getattr(world, name)))
    try:
        run(world, plan.call, plan.rules(world))
    except kind:
        assert world.trace[-1] == ("cancelled",)
    else:
        assert ("cancelled",) not in world.trace
    assert world.open_permits == 0
