"""Pipelines as people write them, unmodified, through limits of an hour in virtual time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.pipelines import PIPELINES

import paceline
from paceline.requests import Session
from paceline.testing import Server, virtual_time

if TYPE_CHECKING:
    from paceline.testing import EventLog

HOUR = 3600.0
THEIRS = [name for name in PIPELINES if not name.startswith("paceline")]
OURS = [name for name in PIPELINES if name.startswith("paceline")]
# Each round takes about 50 ms; the whole two hundred of each are for bench/virtual_time.py.
ROUNDS = 20


@pytest.mark.parametrize("name", THEIRS)
def test_a_pipeline_passes_a_limit_of_an_hour(name: str) -> None:
    """Each refused call sleeps for exactly the hour that it was told, and the next one is served."""
    began = time.process_time()
    with virtual_time() as clock, Server("2/h", enforce="anchored") as server:
        assert PIPELINES[name](server.url, 5) == [200] * 5
        account = server.account()
        if name == "httpx_async":
            # All at once: three are refused, sleep alike, and one of them is refused once more.
            assert clock.slept == (HOUR, HOUR, HOUR, HOUR)
        else:
            assert clock.slept == (HOUR, HOUR)
        assert clock.now == 2 * HOUR
        assert (account.accepted, account.refused, account.early_retries) == (5, len(clock.slept), 0)
        assert [wait.kind for wait in clock.waits] == ["sleep"] * len(clock.slept)
    # Of this process, not of the machine: two hours of waiting cost less than two seconds.
    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", OURS)
def test_paceline_passes_a_limit_of_an_hour(name: str, events: EventLog) -> None:
    """Paceline waits for the hour that the server tells, in its queue and not in a sleep, and is refused once at most."""
    began = time.process_time()
    with virtual_time() as clock, Server("2/h", headers="none") as server:
        assert PIPELINES[name](server.url, 3) == [200] * 3
        account = server.account()
        assert (account.accepted, account.refused, account.early_retries) == (3, 1, 0)
        assert clock.slept == ()
        # The hour, and at most the jitter and the ramp after a pause.
        assert HOUR <= clock.now < HOUR * 1.05
        assert HOUR <= events.waited < HOUR * 1.05
        assert (events.refusals, events.retries, events.gave_up) == (1, 1, 0)
    assert time.process_time() - began < 2


def test_paceline_told_a_limit_waits_exactly_for_it() -> None:
    """The third of two an hour leaves an hour and the guard (a quarter of a second) after the first; none is refused."""
    for many in (lambda urls: [record.status for record in paceline.fetch(urls, "2/h sliding")], _with_session):
        with virtual_time() as clock, Server("2/h", enforce="sliding", headers="none") as server:
            assert many([f"{server.url}/items/{number}" for number in range(3)]) == [200] * 3
            # An event loop's timer that fires too early is set again to its shortest, a millisecond.
            assert clock.now == pytest.approx(HOUR + 0.25, abs=0.002)
            assert server.account().refused == 0


def _with_session(urls: list[str]) -> list[int]:
    with Session("2/h sliding") as session:
        return [session.get(url).status_code for url in urls]


@pytest.mark.parametrize("name", PIPELINES)
def test_no_timeout_comes_by_itself(name: str) -> None:
    """Again and again, with answers that take nine seconds and a timeout of ten: nothing is lost, nothing is early."""
    for _ in range(ROUNDS):
        with virtual_time() as clock, Server("2/min", latency=9, enforce="anchored") as server:
            assert PIPELINES[name](server.url, 3) == [200] * 3
            account = server.account()
            assert (account.accepted, account.distinct_items, account.early_retries) == (3, 3, 0)
            # A network takes no time here: paceline, which turns epoch seconds into its own clock's and back, may come
            # some hundred nanoseconds before the very edge, be refused, and begin anew at its slowest.
            assert 60 <= clock.now < (600 if name in OURS else 120)
