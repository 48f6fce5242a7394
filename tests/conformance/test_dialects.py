"""Real responses of every provider, and hostile ones, against what they are known to mean.

`tests/data/signals/dialects/NAME.json` holds the cases of the dialect NAME, each with its source.
`expect`: whether the response refused, the wait in seconds, the quotas as a set (names compare where both sides have one);
`also_accept_*`: other right answers. `hostile.json`: `retry_after_s_in` are the acceptable waits, `or_any_over_cap` accepts
any finite wait of more than a day, `preferred` is the best answer.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import paceline.signals.dialects
from paceline.signals import DIALECTS, Quota, Signal, read_signal

DATA = Path(__file__).parent.parent / "data" / "signals"
CASES: dict[str, list[dict[str, Any]]] = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((DATA / "dialects").glob("*.json"))
}
HOSTILE: list[dict[str, Any]] = json.loads((DATA / "hostile.json").read_text("utf-8"))


def moment(text: str) -> float:
    """Epoch seconds of a case's time of arrival."""
    return datetime.fromisoformat(text).timestamp()


def near(one: float | None, two: float | None) -> bool:
    """Equal within a hundredth, or both unknown."""
    return one is two if one is None or two is None else abs(one - two) <= 0.01


def alike(expected: dict[str, Any], quota: Quota) -> bool:
    """Whether a quota says what the case says."""
    return (
        (expected["name"] is None or quota.name is None or expected["name"] == quota.name)
        and near(expected["limit"], quota.limit)
        and near(expected["remaining"], quota.remaining)
        and near(expected["reset_after_s"], quota.reset_after)
        and near(expected["window_s"], quota.window)
        and expected["unit"] == quota.unit
    )


def same_set(expected: list[dict[str, Any]], quotas: tuple[Quota, ...]) -> bool:
    """Whether two sets of quotas are equal."""
    left = list(quotas)
    for one in expected:
        found = next((quota for quota in left if alike(one, quota)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def faults(case: dict[str, Any], signal: Signal) -> list[str]:
    """What a signal gets wrong of a case, in words."""
    expect, found = case["expect"], []
    if signal.refused not in [expect["limited"], *case.get("also_accept_limited", [])]:
        found.append(f"refused is {signal.refused}")
    waits = [expect["retry_after_s"], *case.get("also_accept_retry_after_s", [])]
    if not any(near(wait, signal.retry_after) for wait in waits):
        found.append(f"retry_after is {signal.retry_after}, not one of {waits}")
    if not any(
        same_set(limits, signal.limits) for limits in [expect["limits"], *case.get("also_accept_limits", [])]
    ):
        found.append(f"limits are {signal.limits}")
    if signal.terminal is not case.get("terminal", False):
        found.append(f"terminal is {signal.terminal}")
    return found


def read(case: dict[str, Any], **told: Any) -> Signal:
    """The case's response, read."""
    body = None if case["body"] is None else case["body"].encode("utf-8", "surrogatepass")
    headers = (
        case["headers"] if isinstance(case["headers"], dict) else [tuple(pair) for pair in case["headers"]]
    )
    return read_signal(case["status"], headers, body, now=moment(case["received_at"]), **told)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_general_rules_and_marks_read_a_provider_right(name: str) -> None:
    """Every case is read right with nothing said about the provider."""
    wrong = {case["id"]: found for case in CASES[name] if (found := faults(case, read(case)))}
    assert not wrong


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_named_dialect_reads_its_provider_right(name: str) -> None:
    """Every case is read right when the dialect is named, and the signal says so."""
    for case in CASES[name]:
        signal = read(case, dialect=name)
        assert (case["id"], faults(case, signal)) == (case["id"], [])
        assert signal.dialect == name


@pytest.mark.parametrize("name", sorted(name for name, dialect in DIALECTS.items() if dialect.hosts))
def test_a_host_tells_its_dialect(name: str) -> None:
    """Every case is read right when only the URL tells the provider, under each of its hosts."""
    for host in DIALECTS[name].hosts:
        for case in CASES[name]:
            signal = read(case, url=f"https://{host}/path")
            assert (case["id"], host, faults(case, signal)) == (case["id"], host, [])
            if signal.limits or case["status"] >= 400 or case["body"] is not None:
                assert signal.dialect == name


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case["id"])
def test_a_hostile_response_is_read_soundly(case: dict[str, Any]) -> None:
    """No hostile response raises, hides what is usable beside it, or gives a wait that is no number at or above 0."""
    signal, expect = read(case), case["expect"]
    wait = signal.retry_after
    assert wait is None or (math.isfinite(wait) and wait >= 0)
    if "preferred" in expect:
        assert near(expect["preferred"], wait)
    else:
        over = expect.get("or_any_over_cap", False) and wait is not None and wait > 86400
        assert over or any(near(one, wait) for one in expect["retry_after_s_in"])
    for quota in signal.limits:
        for number in (quota.limit, quota.remaining, quota.reset_after, quota.window):
            assert number is None or (math.isfinite(number) and number >= 0)


def test_each_file_of_the_folder_is_a_row_of_the_table_and_has_cases() -> None:
    """Files in `dialects/`, rows of DIALECTS and files of cases are the same set."""
    folder = Path(paceline.signals.dialects.__file__).parent
    files = {path.stem[1:] for path in folder.glob("_*.py") if path.stem != "__init__"}
    assert files == set(DIALECTS) == set(CASES)
    assert all(name == dialect.name for name, dialect in DIALECTS.items())


def test_what_identifies_a_dialect_identifies_no_other() -> None:
    """Hosts, header names and marks in bodies are lower case where case does not count, and belong to one dialect each."""
    for kind in ("hosts", "headers", "bodies"):
        marks = [mark for dialect in DIALECTS.values() for mark in getattr(dialect, kind)]
        assert len(marks) == len(set(marks))
        if kind != "bodies":
            assert all(mark == mark.lower() for mark in marks)


def test_every_dialect_names_the_provider_s_own_pages() -> None:
    """Each dialect has at least one page of documentation, reached by https."""
    for dialect in DIALECTS.values():
        assert dialect.docs
        assert all(page.startswith("https://") for page in dialect.docs)


def test_every_case_has_a_source() -> None:
    """Each case says where it is from, and ids are unique."""
    cases = [case for group in CASES.values() for case in group]
    assert all(case["source"] for case in cases)
    assert len({case["id"] for case in cases}) == len(cases)
