"""`paceline check` without sockets: grades, commands and their placeholders, lists, files, wrong usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from paceline.cli import main
from paceline.cli.check import command
from paceline.testing import (
    BATTERY,
    Aspect,
    Checked,
    Core,
    Ending,
    Program,
    ReportCard,
    Scenario,
    Target,
    Trial,
    as_json,
    as_junit,
)
from paceline.testing.grading import LETTERS, letter, worst

if TYPE_CHECKING:
    from paceline.testing.judging import Grade

GRADES = st.sampled_from(["good", "fair", "bad", "unseen"])
NAMES = ["called", "survived", "lost", "unsafe", "limit", "patience", "pauses", "herd", "pace", "again", "connections"]


def card(**grades: Grade) -> ReportCard:
    return ReportCard(tuple(Aspect(name, name, grade, "found", "wanted", 1.0) for name, grade in grades.items()))


def trial(name: str = "window", tail: tuple[str, ...] = (), **grades: Grade) -> Trial:
    return Trial(Scenario.named(name), 200, Ending(0, 1.0, tail), card(**grades), Core().account(0.0))


@given(st.dictionaries(st.sampled_from(NAMES), GRADES), st.sampled_from(NAMES))
def test_a_worse_aspect_never_makes_a_better_grade(grades: dict[str, Grade], name: str) -> None:
    """The grade of a verdict does not rise where an aspect becomes bad, and falls to F where it is one that is fatal."""
    before, after = letter(card(**grades)), letter(card(**{**grades, name: "bad"}))
    assert LETTERS.index(after) >= LETTERS.index(before)
    assert (after == "F") == any({**grades, name: "bad"}.get(each) == "bad" for each in NAMES[:4])


@given(st.lists(st.sampled_from(LETTERS), min_size=1))
def test_the_whole_is_as_bad_as_its_worst_part(letters: list[str]) -> None:
    """The grade of several is one of them, and none is below it."""
    assert worst(letters) == max(letters)  # type: ignore[type-var]


def test_the_battery_is_there_and_known_by_its_names() -> None:
    """Every scenario of the battery comes with paceline, says how many items it has, and is in the reference."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "scenarios.md").read_text("utf-8")
    for name in BATTERY:
        scenario = Scenario.named(name)
        assert scenario.bars.calls is not None
        assert f"| `{name}` | {scenario.about} |" in page


def test_a_command_is_split_as_a_shell_would_but_only_once() -> None:
    """One text is split at its blanks, quotes kept; words that came apart are left alone; what is put in is one word."""
    values = {"url": "http://h:1", "dir": "/a b", "limit": "50/s bucket burst 2"}
    assert Program.of("job 'a b' {url} {} {dir}/x").filled(values) == ["job", "a b", "http://h:1", "{}", "/a b/x"]
    assert Program.of(["job", "a b", "{limit}"]).filled(values) == ["job", "a b", "50/s bucket burst 2"]
    assert Program.of("job {limit} | sort", shell=True).filled(values) == ["/bin/sh", "-c", "job '50/s bucket burst 2' | sort"]


def test_a_command_is_shown_without_its_credentials() -> None:
    """Reports name the command as one would type it, with tokens masked."""
    assert Program.of(["job", "--header", "a b", "api_key=hunter2"]).text == "job --header 'a b' api_key=***"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pyhton job.py"], "there is no program 'pyhton' here; a command begins with one, like 'python my_job.py {url}'"),
        (["a=1 job"], "no program 'a=1' here (no shell reads it; --shell lets one)"),
        (["'job"], "cannot read the command \"'job\": no closing quotation"),
        ([" "], "name a command to check"),
        (["--scenario", "lockd", "true"], "there is no scenario 'lockd'; did you mean locked? There are breakage, "),
        (["--timeout", "0", "true"], "timeout is a number of seconds above 0, like 60, not 0.0"),
        (["--items", "0", "true"], "items is a number from 1 to 1,000,000, not 0"),
        (["--source", "none.txt", "true"], "cannot read the list none.txt: No such file or directory"),
        (["--source", "urls.txt", "true"], "the list needs {url} where the server's address goes"),
        (["--source", "right.txt", "--items", "3", "true"], "leave out either source or items"),
        (["./job.py {url}"], "./job.py cannot be run as it is: name what runs it, like 'python ./job.py {url}'"),
        (["--proxy-to", "http://127.0.0.1:1", "--scenario", "locked", "true"], "none of these scenarios can be played"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be run is status 2 and one line that names it, and shows a right form."""
    monkeypatch.chdir(tmp_path)
    Path("urls.txt").write_text("http://elsewhere/items/1\n", "utf-8")
    Path("right.txt").write_text("{url}/items/1\n", "utf-8")
    Path("job.py").write_text("print(1)\n", "utf-8")
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_list_of_ones_own_says_what_there_is_to_fetch() -> None:
    """The items of a list are the names behind {url}/items/, each once; without any, nobody knows."""
    scenario = Scenario.named("window")
    text = '{"url": "{url}/items/a%20b?x=1", "method": "POST"}\n\n{"url": "{url}/items/7"}\n{"url": "{url}/items/7"}\n'
    assert Target(source=text).wanted(scenario) == (text, frozenset({"a b", "7"}), 3)
    assert Target(source="{url}/pages/x\n").wanted(scenario)[1] is None
    assert Target(items=3).wanted(scenario) == ("{url}/items/1\n{url}/items/2\n{url}/items/3\n", frozenset("123"), 3)
    assert Target(items=3, proxy_to="http://127.0.0.1:1").wanted(scenario)[1] is None


def test_json_and_junit_say_what_the_card_says() -> None:
    """Both files have every trial, its grade and findings; a trial below the grade wanted is a failure, one left out skipped."""
    trials = (trial(limit="good"), trial("locked", tail=("a \x1b[2J < tail",), lost="bad", pace="fair"))
    checked = Checked("job {url}", 3, trials, (("halving", "it has phases"),))
    found = json.loads(as_json(checked, "B"))
    assert (found["grade"], found["wanted"], found["passed"], found["seed"]) == ("F", "B", False, 3)
    assert [(each["scenario"], each["grade"]) for each in found["trials"]] == [("window", "A"), ("locked", "F")]
    assert found["left_out"] == [{"scenario": "halving", "reason": "it has phases"}]
    [suite] = ElementTree.fromstring(as_junit(checked, "B"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    good, bad, skipped = suite.findall("testcase")
    assert good.find("failure") is None
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "grade F, wanted B"
    assert failure.text == "lost: found (wanted: wanted)\npace: found (wanted: wanted)"
    assert bad.findtext("system-out") == "a \ufffd[2J < tail"
    assert skipped.find("skipped") is not None
    assert ElementTree.fromstring(as_junit(checked, "F"))[0].get("failures") == "0"


def test_help_names_every_placeholder() -> None:
    """All that a command may hold stands in the help."""
    said = CliRunner().invoke(command, ["--help"]).output
    for name, variable in (("{url}", "PACELINE_URL"), ("{n}", "PACELINE_ITEMS"), ("{list}", "PACELINE_LIST"), ("{limit}", "PACELINE_LIMIT"), ("{dir}", "PACELINE_DIR")):
        assert f"{name} " in said
        assert variable in said
