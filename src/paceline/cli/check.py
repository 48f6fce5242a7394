"""`paceline check`: runs any program against a battery of scenarios and prints its report card."""

from __future__ import annotations

import signal
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from ..testing import Checked, Letter, Scenario, Trial

__all__ = ["command"]

_EXAMPLES: Final = """
\b
Examples:
  paceline check 'python my_job.py {url}'
  paceline check --scenario locked --scenario short-waits -- python my_job.py --base-url {url} --items {n}
  paceline check --grade C --junit report.xml 'node job.js --list {list}'
  paceline check 'xargs -n 1 -P 8 curl -fsS --retry 5 -o /dev/null'
  paceline check --shell 'node job.js {url} | tee {dir}/out'
  paceline check 'paceline fetch {list} -o {dir}/out.jsonl --limit {limit}'
  paceline check --source writes.jsonl 'paceline fetch {list} -o {dir}/out.jsonl'
  paceline check --proxy-to http://127.0.0.1:8000 'python my_job.py {url}'
\b
What the command may hold, and the environment says too:
  {url}    PACELINE_URL    the server's address, without a slash at the end
  {n}      PACELINE_ITEMS  how many items there are to fetch: {url}/items/1 to {url}/items/{n}
  {list}   PACELINE_LIST   a file with their URLs, one a line; it is standard input, too
  {limit}  PACELINE_LIMIT  the limit that the API documents, like 50/s
  {dir}    PACELINE_DIR    an empty folder, for this run alone
\b
Grades: A all that was seen is good · B some of it is fair · C one aspect is bad · D several are ·
F rows were lost, writes were done twice, the program did not end well in time, or never called.
The whole has the grade of its worst scenario. Exit status: 0 --grade is reached, 1 it is not.
"""
_WIDTH: Final = 80
_COLOURS: Final = {"A": "green", "B": "green", "C": "yellow", "D": "red", "F": "red"}
_COLUMNS: Final = ("scenario", "grade", "lost", "refused", "early", "pause", "herd", "used", "twice", "conn.", "time")
# Eighty columns with what stands between them; names and counts that are longer are cut.
_WIDTHS: Final = (11, 5, 4, 7, 5, 5, 4, 4, 5, 5, 6)
_UNSEEN: Final = "–"
_TAIL: Final = 6


@click.command(
    name="check",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("words", metavar="COMMAND", nargs=-1, required=True)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="NAME|FILE",
    help="Instead of the battery: a scenario of `paceline serve --list-scenarios`, or a TOML file. May be repeated.",
)
@click.option(
    "--grade",
    "wanted",
    type=click.Choice(("A", "B", "C", "D", "F")),
    default="B",
    show_default=True,
    help="Exit with 1 where a scenario's grade is below this one.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all chance: the same faults each time.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds for each scenario.")
@click.option("--items", type=int, metavar="N", help="Fetch so many items, instead of as many as each scenario says.")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make {list} of this file, with {url} in it where the server's address goes: "
    "for requests of another kind, a POST for one.",
)
@click.option(
    "--proxy-to", metavar="URL", help="Let this service answer, behind the proxy, instead of the test server."
)
@click.option(
    "--when",
    type=click.Choice(("before", "after")),
    default="before",
    show_default=True,
    help="With --proxy-to: faults strike before the service acts, or after, so that its answer is lost.",
)
@click.option("--shell", is_flag=True, help="Let /bin/sh read the command, for pipes and redirections.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the report card as JUnit XML.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report card as JSON.")
@click.option("--json", "to_json", is_flag=True, help="Print the report card as JSON.")
def command(
    words: tuple[str, ...],
    scenarios: tuple[str, ...],
    wanted: Letter,
    seed: int,
    timeout: float,
    items: int | None,
    source: Path | None,
    proxy_to: str | None,
    when: str,
    shell: bool,
    junit: Path | None,
    report: Path | None,
    to_json: bool,
) -> int:
    """Run a program against a server that limits, refuses and breaks, scenario by scenario, and grade it.

    COMMAND is any program, in any language: one text in quotes, or words behind --. It is run once for each scenario,
    without a shell, against a fresh server on this machine, and must fetch all items and end with status 0.
    """
    from ..testing import BATTERY, Program, Scenario, Target, as_json, as_junit, check

    program = Program.of(words, shell=shell)
    chosen = [Scenario.of(name) for name in scenarios or BATTERY]
    target = Target(
        seed=seed,
        timeout=timeout,
        items=items,
        source=None if source is None else Target.source_of(source),
        proxy_to=proxy_to,
        when=when,
    )
    printer = _Printer(len(chosen), quiet=to_json)
    with _ended_by_sigterm():
        checked = check(program, chosen, target, begun=printer.begun, ended=printer.ended)
    for path, text in ((report, as_json), (junit, as_junit)):
        if path is not None:
            _write(path, text(checked, wanted))
    if to_json:
        click.echo(as_json(checked, wanted), nl=False)
    else:
        _print_findings(checked, wanted)
    return 0 if checked.reaches(wanted) else 1


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM is as Ctrl-C: the program that is being checked, in a group of its own, would stay behind otherwise."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread, where nobody can be interrupted
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


class _Printer:
    """Prints the table as it comes, a row when a scenario is over; meanwhile, on a terminal, which one is under way."""

    def __init__(self, count: int, *, quiet: bool) -> None:
        self._count = count
        self._number = 0
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()

    def begun(self, scenario: Scenario) -> None:
        self._number += 1
        if not self._quiet and self._number == 1:
            click.secho(_line(_COLUMNS), bold=True)
        if self._terminal:
            click.echo(f"{scenario.name} … ({self._number} of {self._count})", nl=False, err=True)

    def ended(self, trial: Trial) -> None:
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
        if not self._quiet:
            cells = list(_row(trial))
            start, grade = f"{_cut(cells[0], _WIDTHS[0]):{_WIDTHS[0]}}  ", f"{cells[1]:<{_WIDTHS[1]}}"
            rest = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells[2:], _WIDTHS[2:], strict=True))
            click.echo(start + click.style(grade, fg=_COLOURS[trial.grade], bold=True) + " " + rest)


def _line(cells: tuple[str, ...]) -> str:
    left = f"{cells[0]:{_WIDTHS[0]}}  {cells[1]:<{_WIDTHS[1]}}"
    return left + " " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells[2:], _WIDTHS[2:], strict=True))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _row(trial: Trial) -> tuple[str, ...]:
    """A scenario's line: counts, and a dash for what was not seen."""
    if not trial.called:
        return (trial.scenario.name, trial.grade, *[_UNSEEN] * 8, f"{trial.ending.seconds:.1f} s")
    card, account = trial.card, trial.account

    def count(name: str, found: int | None = None) -> str:
        aspect = next((each for each in card.aspects if each.name == name), None)
        if aspect is None or aspect.grade == "unseen" or aspect.value is None:
            return _UNSEEN
        return _short(aspect.value if found is None else found)

    pace = card["pace"].value
    return (
        trial.scenario.name,
        trial.grade,
        count("lost"),
        _short(account.refused + account.injected),
        count("patience"),
        count("pauses"),
        count("herd"),
        _UNSEEN if pace is None else f"{pace:.0%}",
        count("again", account.duplicates + account.unsafe_duplicates),
        _short(account.connections),
        f"{trial.ending.seconds:.1f} s",
    )


def _short(count: float) -> str:
    """A count that fits its column.

    >>> _short(812), _short(12_345), _short(4_000_000)
    ('812', '12k', '4000k')
    """
    return f"{count:.0f}" if count < 10_000 else f"{count / 1000:.0f}k"


def _print_findings(checked: Checked, wanted: Letter) -> None:
    width = max(60, min(_columns(), 120))
    for trial in checked.trials:
        if findings := trial.findings():
            click.echo()
            click.echo(click.style(f"{trial.scenario.name}: {trial.grade}", fg=_COLOURS[trial.grade], bold=True))
            if trial.scenario.about:
                click.echo(_wrapped(trial.scenario.about, "  ", "  ", width))
            for each in findings:
                start = f"  {each.grade:5} {each.title}: "
                click.echo(_wrapped(f"{each.found} (wanted: {each.wanted})", start, " " * 8, width))
        if not trial.ending.well or not trial.called:
            for line in trial.ending.tail[-_TAIL:]:
                click.echo(f"  | {_cut(line, width - 4)}")
    reasons: dict[str, list[str]] = {}
    for name, reason in checked.left_out:
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        click.echo()
        click.echo(_wrapped(f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} left out: {reason}.", "", "  ", width))
    click.echo()
    count = len(checked.trials)
    grade = click.style(f"Grade {checked.grade}", fg=_COLOURS[checked.grade], bold=True)
    of = f", the worst of {count} scenarios" if count > 1 else ""
    reached = "reached" if checked.reaches(wanted) else "not reached"
    click.echo(f"{grade}{of}; --grade {wanted} is {reached}. Seed {checked.seed}.")


def _columns() -> int:
    from shutil import get_terminal_size

    return get_terminal_size((_WIDTH, 24)).columns


def _wrapped(text: str, start: str, indent: str, width: int) -> str:
    return textwrap.fill(text, width, initial_indent=start, subsequent_indent=indent, break_long_words=False)
