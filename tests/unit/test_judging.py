"""The report card: each aspect's grade follows from what the client did, and from nothing else."""

from __future__ import annotations

import json

import pytest

from paceline.testing import Bars, Core, ReportCard, Request, Scenario, Settings, judge
from paceline.testing.judging import Aspect


def card_of(core: Core, now: float = 1000.0, bars: Bars | None = None) -> ReportCard:
    return judge(core.account(now), bars)


def send(core: Core, now: float, target: str = "/items/1", method: str = "GET", **rest: object) -> int:
    verdict = core.decide(Request(method, target, **rest), now)  # type: ignore[arg-type]
    core.settle(verdict, now, verdict.fault is None)
    return verdict.status


def test_a_perfect_client_is_good_in_every_aspect_that_shows() -> None:
    """A burst of a quota each period, over one connection: nothing to complain about."""
    core = Core(Settings.of("10/s"))
    core.connected()
    for number in range(100):
        assert send(core, float(number // 10), f"/items/{number}") == 200
    card = card_of(core, bars=Bars(calls=100))
    assert card.grade == "good"
    seen = {aspect.name for aspect in card.aspects if aspect.grade != "unseen"}
    assert seen == {"limit", "pace", "lost", "again", "connections", "http"}
    assert card["pace"].value == 1.0


def test_refusals_are_graded_by_their_number() -> None:
    """None: good; up to one in a hundred: fair; more: bad; as many as the bars allow: good."""
    for refused, bars, grade in ((0, None, "good"), (1, None, "fair"), (30, None, "bad"), (30, Bars(refused=30), "good")):
        core = Core(Settings.of("200/min"))
        for number in range(200 + refused):
            send(core, number / 100, f"/items/{number}")
        assert card_of(core, bars=bars)["limit"].grade == grade


def test_coming_back_too_early_is_bad_and_in_time_is_good() -> None:
    """Judged by the wait that was told, and only where one was."""
    for moment, grade in ((5.0, "bad"), (10.1, "good")):
        core = Core(Settings.of("1/10s"))
        assert [send(core, now, "/items/2") for now in (0.0, 1.0)] == [200, 429]
        send(core, moment, "/items/2")
        assert card_of(core)["patience"].grade == grade
    silent = Core(Settings.of("1/10s", None, {"retry_after": "none"}))
    for now in (0.0, 1.0, 5.0):
        send(silent, now)
    assert card_of(silent)["patience"].grade == "unseen"


def test_a_pause_is_for_all() -> None:
    """Other requests while a refusal asks for patience: a few are fair, many are bad."""
    for others, grade in ((0, "good"), (2, "fair"), (20, "bad")):
        core = Core(Settings.of("1/10s"))
        for now in (0.0, 1.0):
            send(core, now)
        for number in range(others):
            send(core, 3.0 + number / 10, f"/items/{number + 5}")
        assert card_of(core)["pauses"].grade == grade


@pytest.mark.parametrize(
    ("arrivals", "enforce", "grade"),
    [
        ([0.0, 0.05, 0.3, 0.5], "sliding", "good"),
        ([n / 1000 for n in range(20)], "fixed", "fair"),
        ([n / 1000 for n in range(40)], "fixed", "bad"),
        ([0.5, 0.7, 0.9], "sliding", "good"),
    ],
)
def test_a_herd_is_what_comes_right_after_a_pause(arrivals: list[float], enforce: str, grade: str) -> None:
    """Twice the quota's pace in the first 100 ms is good, more is fair, and bad where it is refused again."""
    core = Core(Settings.of("20/10s", enforce))
    for number in range(21):
        send(core, 1.0 + number / 100, f"/items/{number}")
    end = 10.21 if enforce == "fixed" else 11.2
    assert core.account(2.0).pauses == 1
    for number, after in enumerate(arrivals):
        send(core, end + after, f"/items/{number + 100}")
    card = card_of(core)
    assert card["herd"].grade == grade
    assert card["herd"].value == sum(after < 0.1 for after in arrivals)


def test_a_herd_that_is_refused_counts_whole() -> None:
    """The refusal of its first members begins a new pause, and the rest of the herd is the herd all the same."""
    core = Core(Settings.of("1/10s"))
    for now in (0.0, 1.0):
        send(core, now)
    for number in range(50):
        send(core, 10.0 + number / 1000, f"/items/{number + 3}")
    account = core.account(11.0)
    assert (account.herd, account.herd_refused, account.in_pause) == (50, 49, 0)


def test_each_key_has_pauses_of_its_own() -> None:
    """A refusal of one key asks nothing of another, and the same path under two keys is two requests."""
    core = Core(Settings.of("1/10s", None, {"key": "header:k"}))

    def ask(key: bytes, now: float) -> int:
        return send(core, now, "/items/1", headers={b"k": key})

    assert [ask(b"a", 0.0), ask(b"a", 1.0), ask(b"b", 3.0), ask(b"b", 4.0)] == [200, 429, 200, 429]
    account = core.account(5.0)
    assert (account.pauses, account.in_pause, account.early_retries) == (2, 0, 0)
    ask(b"b", 6.0)
    account = core.account(7.0)
    assert (account.in_pause, account.early_retries) == (1, 1)


def test_without_a_pause_there_is_no_herd() -> None:
    """A client that was never refused may burst as the limit allows."""
    core = Core(Settings.of("100/10s"))
    for number in range(100):
        send(core, 0.0, f"/items/{number}")
    assert card_of(core)["herd"].grade == "unseen"


def test_pace_is_graded_against_the_bar() -> None:
    """97 % of the least time is good, 15 points less is fair, and a scenario may set another bar."""
    for seconds, bars, grade in ((9.0, None, "good"), (11.0, None, "fair"), (20.0, None, "bad"), (20.0, Bars(utilisation=0.4), "good")):
        core = Core(Settings.of("10/s", "fixed"))
        for number in range(100):
            send(core, seconds * number / 99 if number > 9 else 0.0, f"/items/{number}")
        assert card_of(core, bars=bars)["pace"].grade == grade, seconds


def test_lost_and_doubled_items_show() -> None:
    """What was never served is lost, what was served again is a duplicate; a refused item that came again is neither."""
    core = Core(Settings.of("1000/s"))
    for number in range(10):
        send(core, number / 10, f"/items/{number}")
    send(core, 2.0, "/items/3")
    card = card_of(core, bars=Bars(calls=12))
    assert (card["lost"].grade, card["lost"].value, card["again"].grade) == ("bad", 2.0, "bad")
    assert card_of(core)["lost"].grade == "unseen"


def test_a_write_done_twice_is_bad() -> None:
    """The same POST again, after its answer was lost, is a duplicate; another body, or a key, is not."""
    core = Core(Settings.of("1000/s", None, {"cut_rate": 1.0}))
    for now in (0.0, 1.0):
        send(core, now, "/items/1", "POST", digest=b"one")
    send(core, 2.0, "/items/1", "POST", digest=b"two")
    for now in (3.0, 4.0):
        send(core, now, "/items/1", "POST", headers={b"idempotency-key": b"k"}, digest=b"one")
        send(core, now, "/items/1", "PUT", digest=b"one")
    account = core.account(5.0)
    assert (account.unsafe, account.unsafe_duplicates) == (3, 1)
    assert judge(account)["unsafe"].grade == "bad"


def test_a_failed_write_may_come_again() -> None:
    """A POST that was answered 503 was not done, so trying it again is right."""
    core = Core(Settings.of("1000/s", None, {"fail_rate": 1.0}))
    send(core, 0.0, "/items/1", "POST")
    core.change(Settings.of("1000/s"))
    send(core, 1.0, "/items/1", "POST")
    assert core.account(2.0).unsafe_duplicates == 0


@pytest.mark.parametrize(("opened", "grade"), [(1, "good"), (10, "fair"), (100, "bad")])
def test_a_connection_for_each_request_is_bad(opened: int, grade: str) -> None:
    """Connections beyond those open at once are reopenings, which cost both sides."""
    core = Core(Settings.of("1000/s"))
    for number in range(100):
        if number % (100 // opened) == 0:
            core.connected()
            core.disconnected()
        send(core, number / 100, f"/items/{number}")
    assert card_of(core)["connections"].grade == grade


def test_a_card_is_json_and_lines() -> None:
    """As a dictionary it goes through JSON unchanged; in words, what is not good says what was wanted."""
    core = Core(Settings.of("1/s"))
    for now in (0.0, 0.1):
        send(core, now)
    core.malformed()
    card = core.report(1.0)
    assert json.loads(json.dumps(card.to_dict())) == card.to_dict()
    assert card.to_dict()["grade"] == "bad"
    lines = card.text().splitlines()
    assert lines[0] == "Verdict on the client: bad"
    assert "  bad   spoke HTTP            1 malformed request (wanted: none malformed)" in lines
    assert not any("unseen" in line for line in lines)
    with pytest.raises(KeyError):
        card["beauty"]
    assert isinstance(card["http"], Aspect)


def test_lost_is_judged_where_somebody_knows_what_was_wanted() -> None:
    """A scenario's calls are for those who play it as a check; by itself the server cannot know."""
    core = Core(Scenario.named("steady"))
    send(core, 0.0)
    assert core.report(1.0)["lost"].grade == "unseen"
    assert core.report(1.0, calls=1)["lost"].grade == "good"
    assert core.report(1.0, calls=600)["lost"].value == 599


def test_the_account_carries_the_report() -> None:
    """`/-/account` has the verdict beside the facts."""
    core = Core(Settings.of("1/s"))
    body = core.decide(Request("GET", "/-/account"), 0.0).body
    assert isinstance(body, bytes)
    assert json.loads(body)["report"]["grade"] == "unseen"
