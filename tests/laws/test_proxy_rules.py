"""Laws of the proxy's rules: whom they strike depends on the seed and on the count alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import InputError
from paceline.testing.proxy_core import ProxyCore
from paceline.testing.proxy_rules import Rule, Rules
from paceline.testing.proxy_settings import ProxySettings
from paceline.testing.verdict import Request

counts = st.integers(1, 50).flatmap(lambda n: st.sampled_from([Rule("first", n), Rule("every", n)]))
shares = st.floats(0, 1).map(lambda p: Rule("share", p))
rules = counts | shares
faults = st.dictionaries(st.sampled_from(["refuse", "fail", "cut", "slow"]), st.lists(rules, max_size=3), max_size=4)
keys = st.lists(st.sampled_from("abc"), max_size=120)


@given(st.integers(1, 30), keys)
def test_first_strikes_the_first_of_each_key_and_no_others(count: int, sent: list[str]) -> None:
    """`first:N` strikes a request exactly when fewer than N of its key came before it."""
    judge = Rules({"cut": [Rule("first", count)]})
    for place, key in enumerate(sent):
        assert judge.befall(key) == (("cut",) if sent[:place].count(key) < count else ())


@given(st.integers(1, 30), keys)
def test_every_strikes_each_nth_of_a_key(count: int, sent: list[str]) -> None:
    """Of n requests of a key, `every:N` strikes n // N, however the keys are mixed."""
    judge = Rules({"cut": [Rule("every", count)]})
    struck = [key for key in sent if judge.befall(key)]
    assert all(struck.count(key) == sent.count(key) // count for key in "abc")


@given(st.floats(0, 1), st.integers(0, 5))
def test_a_share_is_met(share: float, seed: int) -> None:
    """Of two thousand requests, the share told is struck, give or take five standard deviations."""
    judge = Rules({"cut": [Rule("share", share)]}, seed)
    struck = sum(bool(judge.befall("")) for _ in range(2000))
    assert abs(struck - 2000 * share) <= 5 * (2000 * share * (1 - share)) ** 0.5 + 1e-9


@given(faults, keys, st.integers(0, 3))
def test_a_fault_strikes_the_same_requests_whatever_stands_beside_it(
    told: dict[str, list[Rule]], sent: list[str], seed: int
) -> None:
    """Each fault alone strikes just the requests that it strikes among the others."""
    together = Rules(told, seed)
    struck = [together.befall(key) for key in sent]
    for name, own in told.items():
        alone = Rules({name: own}, seed)
        assert [name in each for each in struck] == [bool(alone.befall(key)) for key in sent]


@given(faults, keys, st.integers(0, 3))
def test_a_reset_begins_anew(told: dict[str, list[Rule]], sent: list[str], seed: int) -> None:
    """After a reset, the same requests meet the same fates."""
    judge = Rules(told, seed)
    before = [judge.befall(key) for key in sent]
    judge.reset()
    assert [judge.befall(key) for key in sent] == before


@given(rules)
def test_a_rule_reads_back_what_it_writes(rule: Rule) -> None:
    """The text of a rule is read as the same rule."""
    read = Rule.parse(str(rule))
    assert read.kind == rule.kind
    assert read.number == pytest.approx(rule.number, rel=1e-5)


@given(st.text())
def test_any_other_text_is_refused_in_words(text: str) -> None:
    """What is no rule fails in no other way than by saying what is right."""
    kind, _, number = text.partition(":")
    if kind in ("first", "every", "share") and number.isdecimal():
        return
    with pytest.raises(InputError, match="first:3"):
        Rule.parse(text)


@given(faults, st.sampled_from(["before", "after"]), st.lists(st.sampled_from(["/a", "/b"]), max_size=60))
def test_the_account_adds_up(told: dict[str, list[Rule]], when: str, sent: list[str]) -> None:
    """Whatever the rules, every request is counted once: refused by limits, struck, or passed back whole."""
    options = {name: [str(rule) for rule in own] for name, own in told.items()}
    core = ProxyCore(ProxySettings.of("http://127.0.0.1:1", "5/min", options={**options, "when": when}))
    limited = struck = whole = 0
    for now, path in enumerate(sent):
        plan = core.plan(Request("GET", path), float(now))
        if plan.fault is None and plan.answer is not None:
            limited += 1
        elif plan.fault is not None:
            struck += 1
            if plan.after:
                core.acted(plan, None, 200)
                core.strike(plan, float(now))
        else:
            whole += 1
        core.over(plan, float(now), 200, plan.fault is None and plan.answer is None)
    account = core.account(float(len(sent)))
    assert account.client.arrived == len(sent) == limited + struck + whole
    assert account.client.refused == limited
    assert account.answered == account.client.served == whole
    assert account.refused + account.failed + account.cut + account.reset + account.truncated == struck
    assert account.lost_replies == (struck if when == "after" else 0)
    assert core.limits.tally.in_flight == 0
