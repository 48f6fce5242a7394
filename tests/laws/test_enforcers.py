"""Laws of the enforcers, against models that keep every arrival and count anew each time.

Times are whole 64ths of a second and periods powers of two, so that floats are exact and ties are real ties.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exact_model import KINDS, compare

from paceline.limits import Limit
from paceline.testing.enforcers import Concurrency, Enforcer, build
from paceline.testing.gate import Gate
from paceline.testing.least import allowed_by, least_time
from paceline.testing.windows import window_end

TICK = 1 / 64
TIMED = ["sliding", "fixed", "anchored", "counter", "counter-lenient", "bucket"]

quotas = st.integers(1, 12)
periods = st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0])
origins = st.integers(0, 2_000_000_000).map(float)
gaps = st.lists(st.one_of(st.integers(0, 8), st.integers(0, 400)), min_size=1, max_size=150)


def arrivals(steps: list[int]) -> list[float]:
    """Moments in order, from the gaps between them in ticks."""
    moments, now = [], 0
    for step in steps:
        now += step
        moments.append(now * TICK)
    return moments


def model(kind: str, quota: int, period: float, origin: float, charged: list[float], now: float) -> bool:
    """Whether a request at `now` fits, counted anew from every charged arrival before it."""
    if kind == "sliding":
        return sum(1 for moment in charged if now - period < moment <= now) < quota
    window = math.floor((now + origin) / period)
    if kind == "fixed":
        return sum(1 for moment in charged if math.floor((moment + origin) / period) == window) < quota
    if kind == "anchored":
        begins, count = -math.inf, 0
        for moment in charged:
            if moment >= begins + period:
                begins, count = moment, 0
            count += 1
        return now >= begins + period or count < quota
    if kind.startswith("counter"):
        windows = [math.floor((moment + origin) / period) for moment in charged]
        share = 1 - (Fraction(now + origin) / Fraction(period) - window)
        estimate = windows.count(window - 1) * share + windows.count(window)
        return estimate + 1 <= quota if kind == "counter" else estimate < quota
    tokens, at, before = Fraction(quota), Fraction(0), Fraction(0)
    for until in map(Fraction, [*charged, now]):
        before = min(Fraction(quota), tokens + (until - at) * quota / Fraction(period))
        tokens, at = max(Fraction(0), before - 1), until
    return before >= 1


@settings(max_examples=35, deadline=None)
@pytest.mark.parametrize("charge_refused", [False, True])
@pytest.mark.parametrize("kind", TIMED)
@given(quota=quotas, period=periods, origin=origins, steps=gaps)
def test_accepts_what_a_recount_accepts(
    kind: str, charge_refused: bool, quota: int, period: float, origin: float, steps: list[int]
) -> None:
    """Every enforcer accepts exactly the arrivals that a count of all charged ones before them allows."""
    gate = Gate([build(Limit(quota, period), kind, origin)], charge_refused=charge_refused)
    charged: list[float] = []
    for now in arrivals(steps):
        expected = model(kind, quota, period, origin, charged, now)
        assert (gate.admit(now) is None) == expected, now
        if expected or charge_refused:
            charged.append(now)


@settings(max_examples=25, deadline=None)
@given(
    limits=st.lists(st.tuples(st.sampled_from(TIMED), quotas, periods), min_size=2, max_size=4),
    origin=origins,
    steps=gaps,
)
def test_several_limits_hold_all_or_nothing(
    limits: list[tuple[str, int, float]], origin: float, steps: list[int]
) -> None:
    """Under several limits a request is charged to each, or, refused by one, to none."""
    gate = Gate([build(Limit(quota, period), kind, origin) for kind, quota, period in limits])
    charged: list[float] = []
    for now in arrivals(steps):
        expected = all(model(kind, quota, period, origin, charged, now) for kind, quota, period in limits)
        assert (gate.admit(now) is None) == expected
        if expected:
            charged.append(now)


@settings(max_examples=35, deadline=None)
@pytest.mark.parametrize("charge_refused", [False, True])
@pytest.mark.parametrize("kind", TIMED)
@given(quota=quotas, period=periods, origin=origins, steps=gaps)
def test_the_wait_told_is_the_wait_needed(
    kind: str, charge_refused: bool, quota: int, period: float, origin: float, steps: list[int]
) -> None:
    """A refusal's wait is exact: a microsecond sooner is refused, a microsecond later is accepted."""
    gate = Gate([build(Limit(quota, period), kind, origin)], charge_refused=charge_refused)
    for now in arrivals(steps):
        wait = gate.admit(now)
        if wait is None:
            continue
        assert 0 <= wait <= 2 * period
        enforcer = gate.enforcers[0]
        before = max(now, now + wait - 1e-6)
        assert wait < 1e-6 or not enforcer.allows(before)
        assert enforcer.allows(now + wait + 1e-6)
        break


@settings(max_examples=35, deadline=None)
@pytest.mark.parametrize("kind", TIMED)
@given(quota=quotas, period=periods, origin=origins, steps=gaps)
def test_remaining_is_what_would_be_accepted_at_once(
    kind: str, quota: int, period: float, origin: float, steps: list[int]
) -> None:
    """As many requests as `remaining` says are accepted at this moment, and not one more."""
    gate = Gate([build(Limit(quota, period), kind, origin)])
    moments = arrivals(steps)
    for now in moments:
        gate.admit(now)
    enforcer, now = gate.enforcers[0], moments[-1]
    for left in range(enforcer.remaining(now), 0, -1):
        assert enforcer.remaining(now) == left
        assert gate.admit(now) is None
    assert gate.admit(now) is not None
    assert enforcer.reset_after(now) >= 0


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("kind", TIMED)
@given(quota=quotas, period=periods, origin=origins, phase=st.integers(0, 500), count=st.integers(1, 80))
def test_no_client_beats_the_least_time_and_a_perfect_one_takes_it(
    kind: str, quota: int, period: float, origin: float, phase: int, count: int
) -> None:
    """A client that knows each next moment needs the least time, but for the counters, which it cannot beat."""
    limit = Limit(quota, period)
    enforcer: Enforcer = build(limit, kind, origin)
    first = now = phase * TICK
    for _ in range(count):
        wait = enforcer.wait(now)
        # The crumb of a microsecond, for moments that lie between two floats.
        now += wait + (1e-6 if wait and not enforcer.allows(now + wait) else 0)
        assert enforcer.allows(now)
        enforcer.charge(now)
    took = now - first
    least = least_time(limit, kind, count, origin + first)
    if kind.startswith("counter"):
        # Integers at the window's edge cost the formula up to one request's share of the period.
        assert took >= least - period / quota - 1e-3
    else:
        assert took == pytest.approx(least, abs=1e-3)
    assert allowed_by(limit, kind, least + 1e-6, origin + first) >= count or kind.startswith("counter")


@settings(max_examples=60, deadline=None)
@given(quota=quotas, begins=st.lists(st.booleans(), max_size=100))
def test_concurrency_counts_what_is_in_flight(quota: int, begins: list[bool]) -> None:
    """No more than the quota is ever in flight, refusals are not, and what ends makes room."""
    gate = Gate([build(Limit(quota, shape="concurrent"))], charge_refused=True)
    in_flight = 0
    for begin in begins:
        if begin:
            accepted = gate.admit(0.0) is None
            assert accepted == (in_flight < quota)
            in_flight += accepted
        elif in_flight:
            gate.release()
            in_flight -= 1
    enforcer = gate.enforcers[0]
    assert isinstance(enforcer, Concurrency)
    assert (enforcer.in_flight, enforcer.remaining(0.0)) == (in_flight, quota - in_flight)


@settings(max_examples=35, deadline=None)
@given(lockout=st.integers(1, 300), steps=gaps)
def test_a_lockout_refuses_all_until_it_was_quiet(lockout: int, steps: list[int]) -> None:
    """Behind a refusal nothing is accepted until the lock-out has passed without a request."""
    gate = Gate([build(Limit(2, 1.0), "sliding")], lockout=lockout * TICK)
    refused_at = -math.inf
    for now in arrivals(steps):
        wait = gate.admit(now)
        if now < refused_at + lockout * TICK:
            assert wait == lockout * TICK
        if wait is not None:
            refused_at = now


@settings(max_examples=60, deadline=None)
@given(
    epoch=st.floats(0, 2e9),
    text=st.sampled_from(
        ["1/day fixed@Europe/Berlin", "1/w fixed@America/New_York", "1/6h fixed@Asia/Kolkata"]
    ),
)
def test_windows_of_a_calendar_follow_one_another(epoch: float, text: str) -> None:
    """A calendar window ends behind its moment, no later than a period and the clocks' hour after it."""
    limit = Limit.parse(text)
    end = window_end(limit, epoch)
    assert epoch < end <= epoch + limit.period + 3600
    assert window_end(limit, end - 1e-3) == end
    assert window_end(limit, end) > end


@pytest.mark.parametrize("charge_refused", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_arrivals_get_the_verdicts_of_an_exact_model(kind: str, charge_refused: bool) -> None:
    """84,000 random arrivals for each of the twelve, in whole numbers; `bench/enforcers.py` sends a million each."""
    assert compare(kind, charge_refused, 84_000, seed=0) > 5_000
