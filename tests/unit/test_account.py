"""The account counts what happened, in bounded memory, and says what to do next."""

from __future__ import annotations

import json
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline import events
from paceline.jobs.account import Account
from paceline.jobs.timeline import MOST_SPANS, Timeline
from paceline.jobs.utilisation import least_time, utilisation
from paceline.limits import Limit

T0 = 1700000000.0
LIMIT = Limit.parse("100/2s")


def attempted(
    at: float, status: int | None = 200, error: str | None = None, scope: str = "api"
) -> events.Attempted:
    return events.Attempted(
        at=at, scope=scope, method="GET", url="u", attempt=1, status=status, error=error, elapsed=0.05
    )


def refused(at: float, status: int = 429, scope: str = "api") -> events.Refused:
    return events.Refused(
        at=at,
        scope=scope,
        method="GET",
        url="u",
        attempt=1,
        status=status,
        retry_after=7.0,
        remaining=0.0,
        wait=7.0,
    )


def retrying(at: float, status: int | None, error: str | None = None) -> events.Retrying:
    return events.Retrying(
        at=at, scope="api", method="GET", url="u", attempt=1, status=status, error=error, retry_after=None,
        remaining=None, wait=1.0,
    )  # fmt: skip


def a_run() -> Account:
    """600 inputs at 100/2s: one refusal with a pause of 7 s, two transient failures, one input failed, one unusable."""
    account = Account(started=T0, limits=[LIMIT], total=600)
    for n in range(600):
        account(attempted(T0 + n * 0.02 + 0.05))
    account(attempted(T0 + 1, status=503))
    account(attempted(T0 + 2, status=None, error="timeout: TimeoutError"))
    account(attempted(T0 + 3, status=429))
    account(refused(T0 + 3))
    account(retrying(T0 + 1, 503))
    account(retrying(T0 + 2, None, "timeout: TimeoutError"))
    account(events.CooldownBegan(at=T0 + 3, scope="api", until=T0 + 10, seconds=7.0, reason="Retry-After"))
    account(events.CooldownEnded(at=T0 + 10, scope="api", lasted=7.0))
    account(events.Waited(at=T0, scope="api", seconds=65.0, reason="pace"))
    account(events.Waited(at=T0, scope="api", seconds=7.5, reason="cooldown"))
    account(events.CredentialRefreshed(at=T0, scope="api", seconds=0.1))
    for _ in range(597):
        account.fetched(200)
    account.fetched(404)
    account.failed("attempts used up")
    account.failed()
    account.ended(T0 + 12.5, "done")
    return account


def test_the_whole_account() -> None:
    """Every figure of a run is told, under one name, and the whole is JSON."""
    account = a_run().as_dict()
    account = json.loads(json.dumps(account, allow_nan=False))
    timeline = account.pop("timeline")
    (scope,) = account.pop("scopes")
    quota = account["quota"]
    assert scope == {
        "scope": "api", "attempts": 603, "refused": 1, "broken": 1, "waited_s": 72.5, "limits": ["100/2s"], "quota": quota,
    }  # fmt: skip
    assert account == {
        "version": 1,
        "started": "2023-11-14T22:13:20.000Z",
        "ended": "2023-11-14T22:13:32.500Z",
        "elapsed_s": 12.5,
        "how": "done",
        "until": None,
        "inputs": {
            "total": 600, "done_before": 0, "fetched": 598, "fetched_status_400_or_more": 1, "failed": 2, "left": 0,
        },
        "pages": 0,
            "fetched_by_status": {"200": 597, "404": 1},
        "failed_by_reason": {"attempts used up": 1, "unusable input": 1},
        "attempts": 603,
        "broken_by_kind": {"timeout": 1},
        "refused": 1,
        "refused_by_status": {"429": 1},
        "retries": 2,
        "retries_by_cause": {"status 503": 1, "timeout": 1},
        "waited_s": 72.5,
        "waited_s_by_reason": {"pace": 65.0, "cooldown": 7.5},
        "cooldowns": 1,
        "paused_s": 7.0,
        "credential_refreshes": 1,
        "limits": ["100/2s"],
        "limits_by_host": {},
        "limits_learned": {},
        "limit_mismatches": {},
        "quota": {
            "limit": "100/2s", "requests": 602, "least_time_s": 12.0, "taken_s": 11.98, "utilisation": 1.0017,
            "explained": "100.2% of 100/2s: 602 requests took 12 s from first to last, the least possible is 12 s",
        },
        "first_send": "2023-11-14T22:13:20.000Z",
        "last_send": "2023-11-14T22:13:31.980Z",
        "scopes_rest": None,
        "next": [
            "1 input failed: run the same command again to try only that one",
            "1 input could not be used: mend it, then run again",
        ],
    }  # fmt: skip
    assert (sum(timeline["sent"]), sum(timeline["refused"]), sum(timeline["broken"])) == (603, 1, 2)
    assert sum(timeline["paused_s"]) == pytest.approx(7.0, abs=0.01)


def test_the_summary() -> None:
    """The account in lines, as a terminal shows it."""
    assert a_run().summary_lines() == [
        "fetched     598  (1 with status >= 400: 404 × 1)",
        "failed        2  (attempts used up × 1, unusable input × 1)",
        "attempts    603  (2 retries: status 503 × 1, timeout × 1)",
        "refused       1  (429 × 1)",
        "quota       100.2% of 100/2s: 602 requests took 12 s from first to last, the least possible is 12 s",
        "waited      1 min 5 s for the limit's own pace, 7.5 s for a pause asked by the server (summed over all requests)",
        "paused      once by the server, 7 s in all",
        "took        12 s, 48/s",
        "next        1 input failed: run the same command again to try only that one",
        "            1 input could not be used: mend it, then run again",
    ]


def test_an_account_of_nothing() -> None:
    """No input, no request: the account still stands, and asks for nothing."""
    account = Account(started=T0, total=0)
    account.ended(T0, "done")
    assert account.summary_lines() == [
        "fetched     0",
        "failed      0",
        "attempts    0",
        "refused     0",
        "took        0 s",
    ]
    assert account.as_dict()["first_send"] is None


@pytest.mark.parametrize(
    ("how", "until", "step"),
    [
        ("paused", T0 + 3602, "paused by the server until 23:13 UTC: run the same command again then, it goes on where it stopped"),
        ("paused", None, "paused by the server: run the same command again then, it goes on where it stopped"),
        ("interrupted", None, "interrupted with 3 inputs to go: run the same command again to go on"),
        ("deadline", None, "the deadline has come with 3 inputs to go: run the same command again to go on"),
        ("broken", None, "stopped by an error with 3 inputs to go: run the same command again to go on"),
    ],
)  # fmt: skip
def test_what_to_do_after_a_stop(how: str, until: float | None, step: str) -> None:
    """Each way to stop has its next step, with the moment to come back where there is one."""
    account = Account(started=T0, total=10, before=5)
    account.fetched(200)
    account.failed("x")
    account.ended(T0 + 1, how, until)  # type: ignore[arg-type]
    assert account.next_steps() == [step, "1 input failed: run the same command again to try only that one"]
    assert account.summary_lines()[1:4] == [
        "done before 5  (by an earlier run)",
        "failed      1  (x × 1)",
        "left        3  (not tried in this run)",
    ]


def test_advice_on_limits() -> None:
    """A limit that the server taught, contradicted or only hinted at comes with advice."""
    learned = Account(started=T0)
    learned(events.LimitLearned(at=T0, scope="api", limit="5000/hour", before=None))
    assert learned.next_steps() == [
        "the server names a limit: say --limit '5000/hour' to keep to it from the first request"
    ]
    mismatch = Account(started=T0, limits=[LIMIT])
    mismatch(events.LimitMismatch(at=T0, scope="api", limit="100/2s", action="slower"))
    assert mismatch.next_steps() == [
        "the server allows less than 100/2s, or shares it with others: tell a lower limit"
    ]
    hinted = Account(started=T0)
    hinted(refused(T0))
    assert hinted.next_steps() == [
        "the server refused requests: tell its limit with --limit, and none will be refused"
    ]


def test_scopes_are_bounded_and_none_is_lost() -> None:
    """Of 5,000 scopes the 50 busiest are told, the rest is summed, and the sums agree."""
    account = Account(started=T0)
    for n in range(5000):
        account(attempted(T0 + n / 100, scope=f"host{n}"))
    for n in range(3):
        account(attempted(T0 + n, scope="busy"))
        account(refused(T0 + n, scope="busy"))
    told = account.as_dict()
    assert len(told["scopes"]) == 50
    assert told["scopes"][0]["scope"] == "busy"
    assert told["scopes"][0]["refused"] == 3
    assert told["attempts"] == 5003
    assert sum(scope["attempts"] for scope in told["scopes"]) + told["scopes_rest"]["attempts"] == 5003
    assert told["first_send"] == "2023-11-14T22:13:19.950Z"


def test_reasons_are_bounded() -> None:
    """A thousand different reasons become fifty and a rest, each of bounded length and without controls."""
    account = Account(started=T0)
    for n in range(1000):
        account.failed(f"reason {n} \x1b" + "x" * 1000)
    assert account.failed_count == 1000
    assert len(account.failed_by_reason) == 51
    assert account.failed_by_reason["other"] == 950
    assert all(len(reason) < 110 and reason.isprintable() for reason in account.failed_by_reason)


def test_memory_does_not_grow_with_the_run() -> None:
    """A million requests over a day take no more memory than a thousand."""

    def size(account: Account) -> int:
        return sum(
            sys.getsizeof(counts) for counts in (account.timeline.sent, account.timeline.paused)
        ) + sys.getsizeof(account._scopes)

    account = Account(started=T0, limits=[LIMIT])
    for n in range(1000):
        account.sent("api", at=T0 + n - 0.1, status=200)
    before = size(account)
    for n in range(100_000):
        account.sent("api", at=T0 + n * 0.864 - 0.1, status=200)
    assert size(account) <= before
    assert account.timeline.used <= MOST_SPANS


def test_hosts_have_their_own_limits() -> None:
    """A scope's use is told by its host's limits, with or without port and credential."""
    account = Account(
        started=T0, limits=[LIMIT], hosts={"a.example": [Limit.parse("1/s")], "b.example:80": []}
    )
    assert [str(limit) for limit in account.limits_of("a.example:443#0a1b")] == ["1/s"]
    assert [str(limit) for limit in account.limits_of("c.example:443")] == ["100/2s"]


def test_one_pause_per_scope_at_a_time() -> None:
    """A pause made longer is one pause, and one that never ended counts to the run's end."""
    account = Account(started=T0)
    for until in (5, 9):
        account(events.CooldownBegan(at=T0 + 1, scope="api", until=T0 + until, seconds=4.0, reason="r"))
    account.ended(T0 + 4, "interrupted")
    assert account.cooldowns == 1
    assert account.as_dict()["paused_s"] == pytest.approx(3.0)


@given(
    st.lists(st.floats(min_value=-10.0, max_value=1e7), max_size=200),
    st.lists(
        st.tuples(st.floats(min_value=0, max_value=1e5), st.floats(min_value=0, max_value=1e4)), max_size=20
    ),
)
def test_the_timeline_loses_nothing(moments: list[float], pauses: list[tuple[float, float]]) -> None:
    """Whatever order and distance: every send is in a span, no span is paused longer than it is wide."""
    line = Timeline(T0)
    for at in moments:
        line.sent[line.index(T0 + at)] += 1
    for begin, length in pauses:
        line.pause(T0 + begin, T0 + begin + length)
    told = line.as_dict()
    assert sum(told["sent"]) == len(moments)
    assert len(told["sent"]) <= MOST_SPANS
    assert all(0 <= seconds <= line.width + 1e-6 for seconds in told["paused_s"])
    assert sum(told["paused_s"]) <= sum(length for _, length in pauses) + 0.01 * (1 + len(pauses) + line.used)


@pytest.mark.parametrize("at", [float("inf"), 1e300, 1e18])
def test_absurd_moments_end(at: float) -> None:
    """A moment beyond all reason is booked into the last span, at once."""
    line = Timeline(0.0)
    line.sent[line.index(at)] += 1
    line.pause(0.0, at)
    assert sum(line.sent) == 1


@given(
    st.integers(1, 500),
    st.sampled_from(
        ["100/2s", "7/s fixed", "50/s bucket burst 20", "3/min sliding", "5/day fixed@Asia/Tokyo"]
    ),
)
def test_least_time_is_least(count: int, text: str) -> None:
    """More requests never take less, one takes nothing, and from a spent quota none is faster than from idle."""
    limit = Limit.parse(text)
    first = T0 + random.Random(count).random() * 1000
    least = least_time(limit, count, first=first)
    assert 0 <= least <= least_time(limit, count + 1, first=first)
    assert least_time(limit, 1) == 0
    if limit.shape != "fixed":
        assert least <= least_time(limit, count, from_idle=False) + 1e-9


def test_least_time_of_fixed_windows_counts_the_first_windows_rest() -> None:
    """A job begun a quarter into its window has three quarters of it and then whole ones; a zone moves the window."""
    day = 86400.0
    assert least_time(Limit.parse("10/2s fixed"), 35, first=0.5) == pytest.approx(1.5 + 2 * 2)
    assert least_time(Limit.parse("10/day fixed@Asia/Tokyo"), 11, first=day - 9 * 3600 - 60) == pytest.approx(
        60
    )


def test_utilisation_without_a_rate() -> None:
    """Nothing is told where no limit bounds a rate, and no share where the limit held nothing back."""
    assert utilisation([], 10, first=0, last=1) is None
    assert utilisation([Limit.parse("8 concurrent"), Limit.parse("9 tokens/s")], 10, first=0, last=1) is None
    free = utilisation([LIMIT], 100, first=0, last=1)
    assert free is not None
    assert free.sentence() == "100 requests are within one quota of 100/2s: the limit held nothing back"
    instant = utilisation([LIMIT], 1000, first=5, last=5)
    assert instant is not None
    assert instant.share is None
    assert instant.sentence() == "1,000 requests took no measurable time, against 100/2s"


def test_the_tightest_limit_is_the_one_told() -> None:
    """Of several limits the use is told of the one that needed the most time."""
    use = utilisation([LIMIT, Limit.parse("600/min")], 1200, first=0, last=60)
    assert use is not None
    assert (use.limit, use.least, use.share) == ("600/min", 60.0, 1.0)
