"""Measures what `paceline check` finds, and writes `docs/explanation/what-check-finds.md` from it.

    python docs/check.py            (about six minutes)
    python docs/check.py --only 'paceline fetch'
    python docs/check.py --page     (the page alone, from the figures that are kept beside it)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from paceline.testing import BATTERY

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "explanation" / "what-check-finds.md"
FIGURES: Final = PAGE.with_suffix(".json")
TIMEOUT: Final = 30

_FETCH: Final = "paceline fetch {list} -o {dir}/out.jsonl --progress none"
_STAGE: Final = "--url {url} --items {n} --limit {limit}"
PROGRAMS: Final[dict[str, str]] = {
    "paceline fetch --limit": f"{_FETCH} --limit {{limit}}",
    "paceline fetch": _FETCH,
    **{
        f"examples/{name}.py": f"python examples/{name}.py {_STAGE}"
        for name in (
            "decorator_limit", "session_reuse", "httpx_gather", "structlog_events", "pipeline", "redis_shared",
            "tenacity_alone",
        )
    },
    **{
        f"examples/plain/{name}.py": f"python examples/plain/{name}.py"
        for name in ("tenacity_alone", "ratelimit_tenacity", "httpx_aiolimiter", "requests_urllib3", "stamina_httpx")
    },
}  # fmt: skip

_HEAD: Final = """\
# What check finds

What [`paceline check`](../howto/check.md) says of paceline's own `fetch`, of the [examples](../../examples/README.md),
and of the recipes that the field uses, each written as its documentation does
([examples/plain](../../examples/plain/task.py)). This page is written by the program itself (`make check-table`),
measured on {date}: {cores} cores, Python {python}, seed {seed}, {timeout} s for each scenario, {jobs} programs at a time, one run.

The scenarios are the battery of `paceline check`; their abouts are [here](../reference/scenarios.md#the-battery-of-paceline-check).
All are told the limit at the beginning, but `paceline fetch` without `--limit`, which learns from the answers. Programs
without a limiter, `tenacity_alone`, `requests_urllib3` and `stamina_httpx`, cannot keep a limit by what they are: how they
take a refusal is what counts.

Of the examples, `decorator_limit` keeps a limit and hears nothing: one call's refusal slows no other, so a lock-out that
each new request renews wears its attempts out. `tenacity_alone` sends one request at a time and waits after each failure,
so what breaks often is not done within {timeout} s. Neither says that it went well.

## Grades

A: all good. B: some of it fair. C: one aspect bad. D: several. F: rows lost, not ended with status 0 in time.
"""
_SUMS: Final = """
## Counts, over all scenarios

*lost*: rows never served. *silently*: of them, those where the program ended with status 0. *early*: came again before the
time that the refusal told. *in a pause*: sent while a refusal had asked for patience. *twice*: served again.
*conn.*: connections for each request. *time*: of all runs together.
"""


def measure(names: list[str], jobs: int) -> dict[str, list[dict[str, Any]]]:
    """Checks programs, a few at a time, and returns the trials of each in short."""
    with ThreadPoolExecutor(jobs) as threads:
        return dict(zip(names, threads.map(_trials, [PROGRAMS[name] for name in names]), strict=True))


def _trials(command: str) -> list[dict[str, Any]]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            ["paceline", "check", "--timeout", str(TIMEOUT), "--report", str(report), command],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(done.stdout, done.stderr, flush=True)
        found = json.loads(report.read_text("utf-8"))
    return [_short(trial) for trial in found["trials"]]


def _short(trial: dict[str, Any]) -> dict[str, Any]:
    account = trial["account"]
    value = {aspect["name"]: aspect["value"] for aspect in trial["aspects"]}
    return {
        "scenario": trial["scenario"],
        "grade": trial["grade"],
        "status": trial["status"],
        "seconds": round(trial["seconds"], 1),
        "items": trial["items"],
        "lost": int(value["lost"]),
        "refused": account["refused"] + account["injected"],
        "early": account["early_retries"],
        "in_pause": account["in_pause"],
        "twice": account["duplicates"],
        "requests": account["arrived"],
        "connections": account["connections"],
        "bad": [aspect["name"] for aspect in trial["aspects"] if aspect["grade"] == "bad"],
    }


def page() -> str:
    """The whole page, as Markdown, from the figures that were kept."""
    kept = json.loads(FIGURES.read_text("utf-8"))
    lines = [_HEAD.format(**kept["how"])]
    programs: dict[str, list[dict[str, Any]]] = kept["programs"]
    lines += [f"| | {' | '.join(BATTERY)} |", f"| --- |{' --- |' * len(BATTERY)}"]
    for name, trials in programs.items():
        grades = {trial["scenario"]: trial["grade"] for trial in trials}
        lines.append(f"| {name.removeprefix('examples/')} | {' | '.join(grades.get(each, '–') for each in BATTERY)} |")
    lines += [_SUMS, "| | lost | silently | refused | early | in a pause | twice | conn. | time |", f"| --- |{' ---: |' * 8}"]
    for name, trials in programs.items():
        def total(what: str, trials: list[dict[str, Any]] = trials) -> int:
            return sum(trial[what] for trial in trials)

        silently = sum(trial["lost"] for trial in trials if trial["status"] == 0)
        cells = [
            f"{total('lost'):,} of {total('items'):,}",
            f"{silently:,}",
            *(f"{total(what):,}" for what in ("refused", "early", "in_pause", "twice")),
            f"{total('connections') / max(1, total('requests')):.2f}",
            f"{total('seconds'):.0f} s",
        ]
        lines.append(f"| {name.removeprefix('examples/')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, keeps the figures, writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--page", action="store_true", help="write the page alone, from the kept figures")
    parser.add_argument("--jobs", type=int, default=3, help="how many programs at a time (%(default)s)")
    parser.add_argument("--only", action="append", metavar="NAME", choices=PROGRAMS, help="measure this one anew")
    options = parser.parse_args()
    if not options.page:
        how = {
            "date": datetime.now(UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "seed": 0,
            "timeout": TIMEOUT,
            "jobs": options.jobs,
        }
        before = json.loads(FIGURES.read_text("utf-8"))["programs"] if options.only else {}
        kept = {"how": how, "programs": before | measure(options.only or list(PROGRAMS), options.jobs)}
        FIGURES.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
