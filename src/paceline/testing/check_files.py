"""A report card as files: JSON for programs, JUnit XML for continuous integration."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from .grading import LETTERS

if TYPE_CHECKING:
    from .checking import Checked, Trial
    from .grading import Letter

__all__ = ["as_json", "as_junit"]

# What XML 1.0 (section 2.2) cannot hold, not even escaped.
_NO_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(checked: Checked, wanted: Letter) -> str:
    """The report card as JSON, with the grade that was wanted and whether it is reached."""
    return json.dumps({**checked.to_dict(), "wanted": wanted, "passed": checked.reaches(wanted)}, indent=2) + "\n"


def as_junit(checked: Checked, wanted: Letter) -> str:
    """The report card as JUnit XML: a test case for each scenario, failed where it is below the grade wanted."""
    trials = checked.trials
    failed = [trial for trial in trials if _fails(trial, wanted)]
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name="paceline check",
        tests=str(len(trials) + len(checked.left_out)),
        failures=str(len(failed)),
        errors="0",
        skipped=str(len(checked.left_out)),
        time=f"{sum(trial.ending.seconds for trial in trials):.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("command", checked.command),
        ("seed", str(checked.seed)),
        ("grade", checked.grade),
        ("wanted", wanted),
    ):
        ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
    for trial in trials:
        case = _case(suite, trial.scenario.name, trial.ending.seconds)
        if _fails(trial, wanted):
            found = "\n".join(f"{each.title}: {each.found} (wanted: {each.wanted})" for each in trial.findings())
            failure = ElementTree.SubElement(case, "failure", type="grade", message=f"grade {trial.grade}, wanted {wanted}")
            failure.text = _xml(found)
        if trial.ending.tail:
            ElementTree.SubElement(case, "system-out").text = _xml("\n".join(trial.ending.tail))
    for name, reason in checked.left_out:
        ElementTree.SubElement(_case(suite, name, 0.0), "skipped", message=reason)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _fails(trial: Trial, wanted: Letter) -> bool:
    return LETTERS.index(trial.grade) > LETTERS.index(wanted)


def _case(suite: ElementTree.Element, name: str, seconds: float) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname="paceline.check", name=_xml(name), time=f"{seconds:.3f}")


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
