"""Scenarios: a precise schema with errors that help, phases that begin when they should, and the least time they leave."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.cli.serve import command
from paceline.errors import InputError
from paceline.testing import Core, Request, Scenario, Server, scenarios
from paceline.testing.replay import replay
from paceline.testing.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

TWO = """
about = "Two phases."
calls = 40

[settings]
limit = ["10/s", "8 concurrent"]
enforce = "fixed"
latency = 0.25

[[phase]]
after_requests = 3
limit = "5/s"

[[phase]]
name = "open"
after_seconds = 10
limit = []
refuse_status = 503

[expect]
refused = 1
utilisation = 0.5
"""


def parse(text: str) -> Scenario:
    return Scenario.parse(text, "mine", where="mine.toml")


def ask(core: Core, now: float, target: str = "/items/1") -> int:
    verdict = core.decide(Request("GET", target), now)
    core.settle(verdict, now, True)
    return verdict.status


def test_a_file_says_it_all() -> None:
    """Settings, phases that add to what was before, what is expected; a new limit is enforced by its own shape."""
    scenario = parse(TWO)
    assert (scenario.about, scenario.bars.calls, scenario.bars.refused, scenario.bars.utilisation) == ("Two phases.", 40, 1, 0.5)
    assert scenario.settings.enforce == ("fixed", "concurrent")
    first, second = scenario.phases
    assert (first.name, first.trigger, first.count) == ("1", "after_requests", 3)
    assert (first.settings.limits[0].quota, first.settings.enforce, first.settings.latency) == (5, ("sliding",), 0.25)
    assert (second.name, second.settings.limits, second.settings.refuse_status) == ("open", (), 503)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("about = 3", 'mine.toml: about: a text, not 3, like about = "…"'),
        ("[settings", "mine.toml is no TOML: "),
        ("speed = 1", "mine.toml: has no key 'speed'; the keys are about, calls, settings, phase, expect"),
        ("settings = 3", "mine.toml: [settings] is a table of keys and values"),
        ("calls = 0.5", "mine.toml: calls: a whole number from 0 to 1,000,000, not 0.5, like calls = 1"),
        ("[settings]\nlimits = '3/s'", "mine.toml: [settings] has no key 'limits'; the keys are limit, enforce, "),
        ("[settings]\ntoken = 'x'", "mine.toml: [settings] has no key 'token'"),
        ("[settings]\nlimit = 3", """mine.toml: [settings] limit: a text or a list of texts, not 3, like limit = "100/2s" or"""),
        ("[settings]\nlimit = 'fast'", "mine.toml: [settings] cannot read the limit"),
        ("[settings]\nlatency = '1'", "mine.toml: [settings] latency: a number, not '1', like latency = 0.5"),
        ("[settings]\nlatency = -1", "mine.toml: [settings] latency is a number from 0 to 3600, not '-1'"),
        ("[settings]\ncharge_refused = 1", "charge_refused: true or false, not 1, like charge_refused = true"),
        ("[settings]\nrefuse_status = '429'", "refuse_status: a whole number, not '429', like refuse_status = 403"),
        ("[settings]\ndialect = 'githup'", "[settings] dialect is one of generic, ietf, "),
        ("[settings]\nheaders = true", '[settings] headers: a text, not True, like headers = "ietf"'),
        ("[phase]\nlatency = 1", "mine.toml: phase: up to 100 of them, each begun with [[phase]]"),
        ("[[phase]]\nlatency = 1", "mine.toml: [[phase]] 1 begins by exactly one of after_requests, after_refusals, after_seconds"),
        ("[[phase]]\nafter_requests = 1\nafter_seconds = 1\nlatency = 1", "exactly one of"),
        ("[[phase]]\nafter_requests = 0\nlatency = 1", "after_requests: a whole number from 1 to 1,000,000, not 0, like after_requests = 1"),
        ("[[phase]]\nafter_seconds = nan\nlatency = 1", "after_seconds: a number from 0 to"),
        ("[[phase]]\nafter_requests = true\nlatency = 1", "after_requests: a whole number"),
        ("[[phase]]\nafter_requests = 1", """[[phase]] 1 changes nothing; give it a setting, like limit = "50/2s\""""),
        ("[[phase]]\nafter_requests = 1\nlatencu = 1", "[[phase]] 1 has no key 'latencu'; the keys are limit, "),
        ("[expect]\nspeed = 1", "mine.toml: [expect] has no key 'speed'; the keys are refused, utilisation"),
        ("[expect]\nutilisation = 2", "[expect] utilisation: a number from 0 to 1, not 2, like utilisation = 0.5"),
    ],
)
def test_a_mistake_names_file_key_and_a_right_form(text: str, said: str) -> None:
    """Each is an InputError, and nothing was begun."""
    with pytest.raises(InputError) as caught:
        parse(text)
    assert said in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))))
def test_no_text_is_met_with_a_traceback(text: str) -> None:
    """A text is a scenario, or an InputError."""
    try:
        parse(text)
    except InputError as error:
        assert str(error).startswith("mine.toml")  # noqa: PT017 - most texts raise, not all


def test_files_that_cannot_be_read_are_said_plainly(tmp_path: Path) -> None:
    """No file, no text, too much of it: the path stands in the message."""
    for name, content, said in (("none", None, "cannot read"), ("latin", b"about='\xff'", "UTF-8"), ("large", b"#" * (1 << 21), "larger")):
        path = tmp_path / f"{name}.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=said) as caught:
            Scenario.of(path)
        assert str(path) in str(caught.value)


def test_every_shipped_scenario_is_whole() -> None:
    """Each says what it is about, is found by its name, survives pickling, and comes with calls to try it by."""
    shipped = scenarios()
    assert len(shipped) >= 15
    for scenario in shipped:
        assert scenario.about.endswith(".")
        assert Scenario.of(scenario.name) == scenario == pickle.loads(pickle.dumps(scenario))
        assert scenario.bars.calls
    with pytest.raises(InputError, match="cannot read the scenario"):
        Scenario.of("../secrets")
    for name in ("nothing", "", "..", "a.b", "a\\b"):
        with pytest.raises(InputError, match="there are breakage, buckets, charged"):
            Scenario.of(name)


def test_a_phase_begins_after_so_many_requests() -> None:
    """The request after the three-hundredth is under the next phase, and not the one before."""
    core = Core(parse("[settings]\nlimit = '1000/s'\n[[phase]]\nafter_requests = 300\nlimit = '10/s'"))
    statuses = [ask(core, 0.0) for _ in range(301)]
    assert statuses == [200] * 300 + [429]
    assert core.account(0.0).phase == "1"


def test_a_phase_begins_after_so_many_seconds_since_the_first_request() -> None:
    """Time counts from the first request, not from the start of the server; the next phase from this one's moment."""
    text = "[[phase]]\nafter_seconds = 2\nrefuse_rate = 1.0\n[[phase]]\nafter_seconds = 3\nrefuse_rate = 0.0"
    core = Core(parse(text))
    assert core.account(0.0).phase is None
    assert [ask(core, now) for now in (100.0, 101.999, 102.0, 104.999, 105.0)] == [200, 200, 429, 429, 200]


def test_several_phases_may_begin_at_once() -> None:
    """After a long silence the last of those whose time has come holds."""
    text = "[[phase]]\nafter_seconds = 2\nrefuse_rate = 1.0\n[[phase]]\nafter_seconds = 3\nrefuse_rate = 0.0"
    core = Core(parse(text))
    assert [ask(core, now) for now in (0.0, 50.0)] == [200, 200]


def test_a_lock_out_on_the_first_refusal_alone() -> None:
    """Thirty seconds for the first refusal, counted once; the next refusal is an ordinary one."""
    core = Core(
        parse("[settings]\nlimit = '2/10s'\nlockout = 30\n[[phase]]\nafter_refusals = 1\nlockout = 0")
    )
    moments = (0.0, 0.1, 0.2, 15.0, 30.1, 30.3, 30.4, 30.5, 40.35)
    assert [ask(core, now) for now in moments] == [200, 200, 429, 429, 429, 200, 200, 429, 200]


def test_a_reset_begins_the_scenario_anew() -> None:
    """After `/-/reset` the first phase is to come again."""
    core = Core(parse("[[phase]]\nafter_requests = 1\nrefuse_rate = 1.0"))
    assert [ask(core, 0.0), ask(core, 0.0)] == [200, 429]
    core.decide(Request("GET", "/-/reset"), 1.0)
    assert [ask(core, 1.0), ask(core, 1.0)] == [200, 429]


def test_what_is_changed_from_outside_holds_in_every_phase() -> None:
    """Options beside a scenario hold throughout, but where a phase says otherwise."""
    changed = parse(TWO).changed({"limit": "7/s", "jitter": 0.01, "refuse_status": 403})
    assert changed.settings.limits[0].quota == 7
    assert changed.settings.enforce == ("sliding",)
    assert [phase.settings.jitter for phase in changed.phases] == [0.01, 0.01]
    assert [phase.settings.refuse_status for phase in changed.phases] == [403, 503]
    assert changed.phases[0].settings.limits[0].quota == 5
    with pytest.raises(InputError, match="no setting 'speed'"):
        parse(TWO).changed({"speed": 1})


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [
        ("[settings]\nlimit='100/2s'\n[[phase]]\nafter_requests=500\nlimit='50/2s'", 800, 20.0),
        ("[settings]\nlimit='10/s'\n[[phase]]\nafter_seconds=2\nlimit='20/s'", 100, 5.0),
        ("[settings]\nlimit='1/h'\n[[phase]]\nafter_seconds=2\nlimit='10/s'", 11, 2.0),
        ("[settings]\nlimit='10/s bucket'\nlatency=3\nfail_rate=1.0\n[[phase]]\nafter_refusals=1\nlimit='1/s'", 30, 2.0),
    ],
)
def test_the_least_time_goes_through_the_phases(text: str, count: int, seconds: float) -> None:
    """A client that knows each next moment needs so long, whatever faults the scenario has."""
    least, paced = replay(parse(text), 0.0, count)
    assert least == pytest.approx(seconds, abs=0.01)
    assert paced >= least


@settings(max_examples=40, deadline=None)
@given(
    quotas=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    kinds=st.sampled_from(["sliding", "fixed", "bucket", "counter"]),
    gaps=st.lists(st.integers(0, 40), min_size=5, max_size=120),
)
def test_no_client_is_faster_than_the_replay(quotas: list[int], kinds: str, gaps: list[int]) -> None:
    """Whatever a client does, its accepted requests took at least the least time; so utilisation is at most 1."""
    first, *rest = quotas
    text = f"[settings]\nlimit = '{first}/s'\nenforce = '{kinds}'\n" + "".join(
        f"[[phase]]\nafter_requests = 7\nlimit = '{quota}/s'\nenforce = '{kinds}'\n" for quota in rest
    )
    core = Core(parse(text), origin=1e9)
    now = 0.0
    for gap in gaps:
        now += gap / 64
        ask(core, now)
    account = core.account(now)
    if kinds != "counter" and account.refused == 0 and account.makespan:
        least = replay(parse(text), core.origin + (core.tally.first or 0.0), account.accepted).least
        assert least <= account.makespan + 0.001
    assert account.utilisation is None or account.utilisation <= 1


def test_a_server_plays_a_scenario(tmp_path: Path) -> None:
    """By name, from a file, and with other settings beside; the account names it."""
    path = tmp_path / "mine.toml"
    path.write_text(TWO, "utf-8")
    with Server(scenario=path, latency=0.0) as server:
        assert server.settings == Settings.of(["10/s", "8 concurrent"], "fixed")
        assert server.account().scenario == "mine"
    with Server(scenario="halved") as server:
        assert server.settings.limits[0].quota == 100


def test_the_command_takes_scenarios_and_lists_them(tmp_path: Path) -> None:
    """A list of names and sentences; a wrong name or file is wrong usage, said in one line."""
    runner = CliRunner()
    listed = runner.invoke(command, ["--list-scenarios"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == [each.name for each in scenarios()]
    bad = tmp_path / "bad.toml"
    bad.write_text("[settings]\nlatency = 'x'", "utf-8")
    for given_name, said in (("nope", "there is no scenario 'nope'"), (str(bad), f"{bad}: [settings] latency: a number")):
        done = runner.invoke(command, ["--scenario", given_name, "--port", "0"])
        assert isinstance(done.exception, InputError)
        assert said in str(done.exception)
