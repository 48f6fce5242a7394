"""Single schedules: cases with known numbers that the laws do not pin down."""

from __future__ import annotations

import pytest

from paceline.limits import Limit
from paceline.schedules import schedule_for
from paceline.schedules.sliding import RUNS

PACED = ["steady", "sliding", "bucket", "fixed"]


@pytest.mark.parametrize("shape", PACED)
def test_permits_known_to_have_gone_leave_the_rest(shape: str) -> None:
    """After `spend` of most of a quota, only the rest goes at once."""
    schedule = schedule_for(Limit(50, 20, shape))
    state = schedule.start(0.0, 0.0)
    schedule.spend(state, 1.0, 40)
    gone = 0
    while schedule.take(state, 1.0) <= 1.0:
        gone += 1
    assert 8 <= gone <= 10


@pytest.mark.parametrize("shape", PACED)
@pytest.mark.parametrize("pending", [False, True])
def test_a_refund_is_what_was_not_booked(shape: str, pending: bool) -> None:
    """A cost of 30 booked, 20 of it refunded, leaves what a cost of 10 leaves, also while it is yet to be written."""
    schedule = schedule_for(Limit(50, 10, shape))
    one, two = schedule.start(0.0, 0.0), schedule.start(0.0, 0.0)
    schedule.commit(one, 1.0, 30, pending)
    schedule.refund(one, 1.0, 20, pending)
    schedule.commit(two, 1.0, 10, pending)
    if pending:
        schedule.written(one, 1.0, 1.0, 10)
        schedule.written(two, 1.0, 1.0, 10)
    assert schedule.left(one, 1.0) == schedule.left(two, 1.0)
    assert schedule.earliest(one, 1.0, 45) == pytest.approx(schedule.earliest(two, 1.0, 45))


def test_idle_credit_is_in_proportion_to_the_idle_spell() -> None:
    """Steady: all of the quota at first use, half of it after one and a half periods, none after one."""
    schedule = schedule_for(Limit(10, 1))
    for idle, burst in ((1.02, 1), (1.52, 5), (2.02, 10)):
        state = schedule.start(0.0, 0.0)
        last = 0.0
        for _ in range(30):
            last = max(last, schedule.earliest(state, last, 1))
            schedule.commit(state, last, 1)
        now, gone = last + idle + 1e-9, 0
        while schedule.take(state, now) <= now:
            gone += 1
        assert gone == burst


def test_a_log_stays_small() -> None:
    """Sliding: a quota of a hundred thousand is kept in at most 256 runs, and never over the quota."""
    schedule = schedule_for(Limit(100_000, 10, "sliding"))
    state = schedule.start(0.0, 0.0)
    now = 0.0
    for _ in range(150_000):
        now += 0.0001
        schedule.take(state, now)
    assert len(state.runs) <= RUNS
    assert state.used <= 100_000


@pytest.mark.parametrize("shape", PACED)
def test_less_than_one_a_period_is_one_in_more(shape: str) -> None:
    """A quota of half a request a second lets one go in two seconds."""
    schedule = schedule_for(Limit(0.5, 1, shape))
    state = schedule.start(0.0, 0.0)
    assert schedule.take(state, 0.5) <= 0.5
    assert 1.5 <= schedule.earliest(state, 0.5, 1) - 0.5 <= 2.3


@pytest.mark.parametrize("shape", [*PACED, "concurrent"])
def test_tightened_to_the_least_still_goes(shape: str) -> None:
    """However much refusals took, one permit goes in the end."""
    limit = Limit(2, shape="concurrent") if shape == "concurrent" else Limit(2, 1, shape)
    schedule = schedule_for(limit, scale=0.02, credit=False)
    state = schedule.start(0.0, 0.0)
    assert schedule.take(state, 0.1) <= 0.1
    if shape != "concurrent":
        at = schedule.earliest(state, 0.1, 1)
        assert schedule.take(state, at) <= at <= 120


@pytest.mark.parametrize("shape", PACED)
def test_what_was_never_used_is_nothing_to_export(shape: str) -> None:
    """A state that was only looked at exports nothing, and nothing restores to one never used."""
    schedule = schedule_for(Limit(5, 1, shape))
    state, fresh = schedule.start(0.0, 0.0), schedule.start(0.0, 0.0)
    schedule.restore(state, {}, 0.0)
    assert schedule.left(state, 0.0) == schedule.left(fresh, 0.0)
    assert schedule.export(state, 0.0) == {}
