"""Laws of the schedules: never over the quota, never idle, nothing charged for nothing."""

from __future__ import annotations

import copy
import random
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulate import random_demand, run

from paceline.ledger import Ledger
from paceline.limits import Limit
from paceline.schedules import SCHEDULES, base_guard, schedule_for

QUOTAS = st.sampled_from([1, 2, 3, 5, 10, 17, 50, 100])
PERIODS = st.sampled_from([0.5, 1, 2, 5, 10, 60])
SEEDS = st.integers(0, 2**32)

# Each shape against every enforcer that it is meant for.
MEANT = [
    ("steady", "sliding"),
    ("steady", "fixed"),
    ("steady", "bucket"),
    ("steady", "counter-lenient"),
    ("sliding", "sliding"),
    ("sliding", "bucket"),
    ("fixed", "fixed"),
    ("bucket", "bucket"),
]


@pytest.mark.parametrize(("shape", "enforced"), MEANT)
@settings(max_examples=40, deadline=None)
@given(quota=QUOTAS, period=PERIODS, seed=SEEDS)
def test_never_over(shape: str, enforced: str, quota: int, period: float, seed: int) -> None:
    """No request is refused by an enforcer that charges refusals, under delays of up to half the guard."""
    rng = random.Random(seed)
    spread = min(base_guard(period), 0.02) / 4
    if shape == "fixed":
        spread = min(spread, 0.002)
    demand = random_demand(rng, 200, quota / period, period)
    offset = rng.uniform(0, 10 * period)
    result = run(
        Limit(quota, period, shape), enforced, demand, late=spread, delay=spread, tick=0.002, seed=seed, offset=offset
    )
    assert result.refused == 0


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, quotas=st.tuples(QUOTAS, QUOTAS))
def test_several_limits_hold_together(seed: int, quotas: tuple[int, int]) -> None:
    """Two limits at once are both kept."""
    rng = random.Random(seed)
    limits = [Limit(quotas[0], 1, "sliding"), Limit(4 * quotas[1], 10, "sliding")]
    demand = random_demand(rng, 150, quotas[0], 1)
    assert run(limits, "sliding", demand, late=0.004, delay=0.004, seed=seed).refused == 0


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, shape=st.sampled_from(["steady", "sliding", "bucket"]), every=st.integers(2, 7))
def test_cancelled_permits_do_no_harm(seed: int, shape: str, every: int) -> None:
    """Permits given back are not spent twice: the quota holds all the same."""
    rng = random.Random(seed)
    quota, period = rng.choice([3, 10, 50]), rng.choice([1.0, 2.0])
    demand = random_demand(rng, 200, quota / period, period)
    result = run(Limit(quota, period, shape), "sliding" if shape != "bucket" else "bucket", demand, seed=seed, cancel_every=every)
    assert result.refused == 0


@pytest.mark.parametrize("shape", ["steady", "sliding", "fixed", "bucket"])
@settings(max_examples=20, deadline=None)
@given(quota=QUOTAS, period=PERIODS)
def test_backlogged_uses_the_quota(shape: str, quota: int, period: float) -> None:
    """With work always waiting, departures keep the pace quota/(period + guard), to a thousandth and one window."""
    count = max(10 * quota, 40)
    result = run(Limit(quota, period, shape), None, [0.0] * count)
    guard = base_guard(period)
    rate = quota / period if shape in ("fixed", "bucket") else quota / (period + guard)
    if shape == "bucket" and quota <= 2:
        rate /= 1.1  # a bucket without room for jitter gives up to a tenth of its interval to it
    ideal = (count - quota) / rate
    assert result.ended <= ideal / 0.999 + period + guard + 0.05


def test_no_drift_over_a_million_permits() -> None:
    """A million permits at a steady pace end when they should."""
    schedule = schedule_for(Limit(1000, 1))
    state = schedule.start(0.0, 0.0)
    now = 5.0
    for _ in range(1_000_000):
        now = max(now, schedule.earliest(state, now, 1))
        schedule.commit(state, now, 1)
    assert now - 5.0 == pytest.approx(1_000_000 * 1.02 / 1000, abs=1.1)


@settings(max_examples=100, deadline=None)
@given(
    shape=st.sampled_from(sorted(set(SCHEDULES) - {"concurrent"})),
    costs=st.lists(st.one_of(st.integers(0, 12), st.floats(0, 10)), min_size=5, max_size=60),
    seed=SEEDS,
)
def test_costs_count(shape: str, costs: list[float], seed: int) -> None:
    """Whatever the costs, no stretch of one period holds more than the quota (a bucket: more than twice)."""
    rng = random.Random(seed)
    quota, period = 12.0, 2.0
    ledger = Ledger([Limit(quota, period, shape)], now=0.0, offset=0.0)
    now, log = 0.0, []
    for cost in costs:
        now += rng.choice([0.0, 0.0, rng.uniform(0, 1), rng.uniform(0, 5)])
        while (at := ledger.take(now, cost)) > now:
            assert at < inf
            now = at
        log.append((now, cost))
    for begin, _ in log:
        if shape == "fixed":
            begin -= begin % period
        total = sum(cost for at, cost in log if begin <= at < begin + period)
        assert total <= (2 * quota if shape == "bucket" else quota) + 1e-6


@settings(max_examples=60, deadline=None)
@given(shape=st.sampled_from(sorted(SCHEDULES)), seed=SEEDS)
def test_asking_changes_nothing(shape: str, seed: int) -> None:
    """`earliest` asked again, any number of times, gives the same answer and books nothing."""
    rng = random.Random(seed)
    limit = Limit(5, shape="concurrent") if shape == "concurrent" else Limit(5, 1, shape)
    schedule = schedule_for(limit)
    state = schedule.start(0.0, 0.0)
    now = 0.0
    for _ in range(50):
        now += rng.uniform(0, 0.4)
        at = schedule.earliest(state, now, 1)
        before = copy.deepcopy(_fields(state))
        assert schedule.earliest(state, now, 1) == at
        assert _fields(state) == before
        if at <= now:
            schedule.commit(state, now, 1)
        if shape == "concurrent" and rng.random() < 0.5:
            schedule.release(state, 1)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, quota=QUOTAS)
def test_take_is_earliest_and_commit(seed: int, quota: int) -> None:
    """steady's short way comes to the same departures and the same state as the long way."""
    rng = random.Random(seed)
    schedule = schedule_for(Limit(quota, 1))
    short, long = schedule.start(0.0, 0.0), schedule.start(0.0, 0.0)
    now = 0.0
    for _ in range(200):
        now += rng.choice([0.0, rng.uniform(0, 0.02), rng.uniform(0, 3)])
        at = schedule.earliest(long, now, 1)
        assert schedule.take(short, now) == at
        if at <= now:
            schedule.commit(long, now, 1)
            if rng.random() < 0.3:
                late = now + rng.uniform(0, 0.05)
                schedule.written(short, now, late, 1)
                schedule.written(long, now, late, 1)
        assert _fields(short) == _fields(long)


@settings(max_examples=60, deadline=None)
@given(shape=st.sampled_from(["steady", "sliding", "fixed", "bucket"]), seed=SEEDS)
def test_a_resumed_run_has_no_credit_that_is_spent(shape: str, seed: int) -> None:
    """A ledger restored from another's export lets nothing go earlier than the other would have."""
    rng = random.Random(seed)
    limit = Limit(rng.choice([2, 10, 30]), 2, shape)
    first = Ledger([limit], now=0.0, offset=100.0)
    now = 0.0
    for _ in range(rng.randint(1, 60)):
        now = max(now + rng.choice([0.0, rng.uniform(0, 1)]), first.take(now, 1))
        if first.take(now, 1) > now:
            continue
    saved = first.export(now)
    # Another process, with another monotonic clock.
    second = Ledger([limit], now=now + 5000.0, offset=100.0 - 5000.0)
    second.restore(saved, now + 5000.0)
    mine, its = first.take(now, 1), second.take(now + 5000.0, 1) - 5000.0
    assert its >= mine - 1e-6


def _fields(state: object) -> dict[str, object]:
    names = type(state).__slots__
    values = {name: getattr(state, name) for name in names}
    return {name: _fields(value) if hasattr(type(value), "__slots__") and "runs" in type(value).__slots__ else value for name, value in values.items()}
