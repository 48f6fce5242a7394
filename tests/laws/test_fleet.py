"""Fleets of workers in virtual time: real lines on a modelled store keep the quota, and all are served alike."""

from __future__ import annotations

import pytest
from bench.fleet import Case, Found, simulate


def run(**facts: float) -> Found:
    """Twenty workers that always want, at 100 a second, for eight seconds after the warm-up."""
    return simulate(Case(20, 100, seconds=8.0, warm_up=4.0, **facts))  # type: ignore[arg-type]


@pytest.mark.parametrize("rtt", [0.0002, 0.08])
def test_a_fleet_shares_alike(rtt: float) -> None:
    """Never over the quota, the quota used, all served, Jain's index at least 0.99, whether the store is near or far."""
    found = run(rtt=rtt)
    assert found.most <= 100
    assert found.use >= 0.97
    assert found.jain >= 0.99
    assert found.unserved == 0


def test_deaths_do_not_break_the_quota() -> None:
    """Workers that are killed and replaced, one in ten a second: never over the quota, and hardly anything goes unused."""
    found = run(deaths=0.1)
    assert found.most <= 100
    assert found.use >= 0.85
    assert found.unserved == 0


def test_one_replay_for_all_is_the_same() -> None:
    """The simulation's shortcut, one replica for all, comes to what a replica for each worker does."""
    each, common = run(exact=True), run(exact=False)
    assert abs(each.permits - common.permits) <= 2
    assert each.most <= 100
    assert common.most <= 100
    assert common.calls == pytest.approx(each.calls, rel=0.2)
    assert common.jain == pytest.approx(each.jain, abs=0.02)


def test_parts_of_a_limit_keep_the_whole() -> None:
    """A scope split in two, each with half of the limit: together never over the quota."""
    found = run(parts=2)
    assert found.most <= 100
    assert found.use >= 0.97
