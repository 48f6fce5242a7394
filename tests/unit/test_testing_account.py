"""The account: what the server saw, the verdict on the client, and the memory it takes."""

from __future__ import annotations

import json
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.limits import Limit
from paceline.testing import Core, Request, Settings
from paceline.testing import tally as tally_module
from paceline.testing.tally import Tally


def test_an_early_retry_is_one_of_the_same_request_before_its_time() -> None:
    """Retried before the told moment: early; after it, or another request: not."""
    core = Core(Settings.of("1/10s"))

    def ask(target: str, now: float) -> int:
        return core.decide(Request("GET", target), now).status

    assert [ask("/items/1", 0.0), ask("/items/2", 1.0)] == [200, 429]
    assert ask("/items/3", 1.01) == 429
    assert core.account(2.0).early_retries == 0
    assert ask("/items/2", 5.0) == 429
    assert core.account(5.0).early_retries == 1
    assert ask("/items/2", 10.0) == 200
    assert core.account(10.0).early_retries == 1


def test_requests_during_a_pause_are_counted_but_not_those_under_way() -> None:
    """What comes within 50 ms of the first refusal had left before it was known; what comes later had not."""
    core = Core(Settings.of("1/10s"))
    for now in (0.0, 1.0, 1.02, 1.04, 2.0, 3.0, 11.0):
        core.decide(Request("GET", f"/items/{now}"), now)
    assert core.account(12.0).in_pause == 2


def test_a_lie_about_the_wait_accuses_nobody() -> None:
    """Where the told wait is junk, zero or too short, no retry is early."""
    for style in ("zero", "short", "junk", "none"):
        core = Core(Settings.of("1/10s", None, {"retry_after": style}))
        for now in (0.0, 1.0, 1.5, 2.0):
            core.decide(Request("GET", "/items/1"), now)
        account = core.account(3.0)
        assert (account.refused, account.early_retries, account.in_pause) == (3, 0, 0), style


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(0, 50), min_size=1, max_size=200),
    period=st.sampled_from([0.5, 1.0, 2.0]),
    asked_at=st.sets(st.integers(0, 200), max_size=5),
)
def test_most_in_a_window_is_what_a_recount_finds(
    steps: list[int], period: float, asked_at: set[int]
) -> None:
    """The most in any window is the same as counted offline, however often it is asked for in between."""
    tally = Tally([Limit(1, period)], ["sliding"])
    moments: list[float] = []
    for number, step in enumerate(steps):
        moments.append((moments[-1] if moments else 0.0) + step / 64)
        tally.arrive(moments[-1], "/")
        tally.accept(moments[-1], 0.0)
        if number in asked_at:
            tally.account()
    most = max(sum(1 for each in moments if moment - period < each <= moment) for moment in moments)
    account = tally.account()
    assert account.most_in_window == account.most_sent_in_window == (most,)


@pytest.mark.parametrize(
    ("text", "kind", "moments", "utilisation", "idle"),
    [
        ("100/2s", "sliding", [n / 50 for n in range(600)], 10 / 11.98, 0),
        ("100/2s", "sliding", [n // 100 * 2.0 for n in range(600)], 1.0, 0),
        ("100/2s", "bucket", [n / 25 for n in range(600)], 10 / 23.96, 698),
        ("100/2s", "fixed", [n / 50 for n in range(600)], 10 / 11.98, 0),
    ],
)
def test_utilisation_is_the_least_possible_time_over_the_time_taken(
    text: str, kind: str, moments: list[float], utilisation: float, idle: int
) -> None:
    """600 requests at several paces, judged against what a perfect client would have needed."""
    tally = Tally([Limit.parse(text)], [kind])
    for moment in moments:
        tally.arrive(moment, "/")
        tally.accept(moment, moment)
    account = tally.account()
    assert account.utilisation == pytest.approx(utilisation, abs=1e-6)
    assert account.idle_quota == idle


def test_items_are_counted_by_number_and_by_name() -> None:
    """Plain numbers, odd numbers and names are each their own item; serving one again is a duplicate."""
    tally = Tally()
    for name in ("0", "7", "007", "7", "a", "9999999999", "7999999", "a", "٣", "-1"):
        tally.serve(name)
    assert tally.items() == {"0": 1, "7": 2, "7999999": 1, "007": 1, "a": 2, "9999999999": 1, "٣": 1, "-1": 1}
    assert (tally.distinct_items, tally.duplicates) == (8, 2)
    assert [tally.times_served(name) for name in ("7", "007", "8", "a", "b", "²", "9" * 5000, "")] == [
        2,
        1,
        0,
        2,
        0,
        0,
        0,
        0,
    ]


def test_memory_is_bounded_for_a_million_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times beyond the bound are forgotten, oldest first, after they were counted; names beyond theirs are not kept."""
    monkeypatch.setattr(tally_module, "_MOST_TIMES", 1000)
    monkeypatch.setattr(tally_module, "_MOST_NAMED", 100)
    tally = Tally([Limit(10, 1.0)], ["sliding"])
    for number in range(20_000):
        moment = number / 10 if number > 50 else number / 20
        tally.arrive(moment, f"/items/{number}")
        tally.accept(moment, 0.0)
        tally.refuse(moment, moment, f"/x/{number}", 5.0)
        tally.serve(f"n{number}")
    account = tally.account()
    assert account.most_in_window == (20,)
    assert (account.distinct_items, account.uncounted_items) == (100, 19_900)
    assert len(tally._sent._times) <= 1500
    assert sys.getsizeof(tally._awaited) < 20_000_000


def test_the_account_is_json_and_words() -> None:
    """As a dictionary it goes through JSON unchanged but for tuples; in words, each fact is a line."""
    core = Core(Settings.of(["2/s", "8 concurrent"], None, {"noise_rps": 1.0}))
    chance = random.Random(5)
    moment = 0.0
    for number in range(100):
        moment += chance.random() / 4
        verdict = core.decide(Request("GET", f"/items/{number % 30}"), moment)
        core.settle(verdict, moment, True)
    account = core.account(moment)
    assert json.loads(json.dumps(account.as_dict()))["duplicates"] == account.duplicates > 0
    rows = dict(account.rows())
    assert rows["refused for going over the limit"] == f"{account.refused:,}"
    assert rows["served again (duplicates)"] == f"{account.duplicates:,}"
    assert "used up by another consumer" in rows
    assert account.arrived == account.accepted + account.refused
