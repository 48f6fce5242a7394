"""Measures what sharing a limit costs, simulates fleets of workers, and writes `docs/explanation/fleets.md` from it.

    python docs/fleets.py            (about half an hour; most of it the largest fleets)
    python docs/fleets.py --only 0 3 (cases by their place in CASES; the others keep their figures)
    python docs/fleets.py --store    (bench/store.py alone; its peers are in bench/requirements.txt)
    python docs/fleets.py --page     (the page alone, from the figures that are kept beside it)
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.fleet import Case, Service, simulate  # noqa: E402 - the path is set above

PAGE: Final = ROOT / "docs" / "explanation" / "fleets.md"
FIGURES: Final = PAGE.with_suffix(".json")
BUSY: Final = 0.7  # share of a store's core up to which waits stay short
LINE: Final = 125e6  # bytes a second of a gigabit network

CASES: Final[dict[str, list[Case]]] = {
    "One permit a second for each worker": [
        Case(10, 10), Case(30, 30), Case(100, 100), Case(300, 300), Case(1000, 1000), Case(3000, 3000, seconds=8),
    ],
    "One limit, more and more workers": [
        Case(10, 1000), Case(100, 1000), Case(300, 1000), Case(10_000, 1000, seconds=10, warm_up=12, tasks=2),
    ],
    "The way to the store": [
        Case(50, 500, 0.0002), Case(50, 500, 0.001), Case(50, 500, 0.01), Case(50, 500, 0.08),
    ],
    "Deaths and a failover": [
        Case(50, 500, deaths=0.01), Case(1000, 1000, deaths=0.01), Case(50, 500, failover=True), Case(20, 100, failover=True),
    ],
    "The same limit in parts": [
        Case(1000, 1000, parts=10), Case(1000, 1000, parts=20), Case(10_000, 1000, parts=100, seconds=10, warm_up=12, tasks=2),
    ],
}  # fmt: skip

_HEAD: Final = """\
# How large a fleet one store carries

What workers that [share one limit](many-workers.md) cost the store, and each other, up to 10,000 of them. This page is written by
the program itself (`python docs/fleets.py`), on {date}: {cores} cores, Python {python}.
"""
_STORE: Final = """
## Measured: processes on one machine

`bench/store.py`: {processes} processes that always want more than the limit gives, Valkey on loopback, or a SQLite file; {seconds:g} s after
the warm-up. *trips*: round trips a permit, counted at the client (the server's own count of scripts agrees, or the table says otherwise).
*most*: departures in any one second. *CPU*: of the store, milliseconds for 1,000 permits. *beyond*: how long after its slot's moment
a permit was handed out (peers have no slots: since it was asked for). One call costs the server {call:.0f} µs when calls come one by one,
{entry:.2f} µs more for each entry and {byte:.2f} µs for each kilobyte of books that it brings back.

| | limit | used | most | Jain | trips | (scripts) | CPU | bytes | beyond, p50 | p99 |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
_FLEET: Final = """
## Simulated: up to 10,000 workers

`bench/fleet.py`: the real code of every worker in virtual time; a store that is modelled: {call:.0f} µs of its core for a call, {entry:.2f} µs for each
entry, {byte:.2f} µs for each kilobyte of books (what was measured differs from run to run), {rtt:g} ms there and back where nothing else is
said. A store above 100 % is one that does not keep up: such a row tells only that. Every worker always wants more than it is given; an answer takes 50 ms.
*used*: of the limit. *most*: in any period, which is a second, from the very first request on. *Jain*: 1 where all workers were given the same.
*longest*: the longest that a request waited; *fair*: what it would wait if all were served in turn. *KB*: of a call, both ways. *store*: share of
one core of the store. *replay*: share of a core that each worker spends on what the others did.
"""
_COLUMNS: Final = (
    "| workers | limit | {what} | used | most | Jain | longest | fair | calls/s | trips | KB | store | replay |\n"
    "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
_ADVICE: Final = """
## What to do when

- **A call brings back what all others did since the last one**, or the whole books where that is shorter. So bytes, and each worker's
  replays, grow with the number of workers that ask; calls do not grow with the rate, but each worker that wants makes at least one for each of
  its turns. {limit}
- **Up to a few hundred workers: one scope.** Nothing to do. How far the store is away hardly matters: slots are booked ahead.
- **More: split the scope into parts.** Give each worker one of k scopes, `api-0` to `api-9`, each with a k-th of the limit (`100/s` of
  `1000/s`), by its number modulo k, so that each part has about 100 workers. All parts together keep the limit, since each keeps its own; the table
  above shows what it saves. Slots are booked 5 s ahead at most: a part needs a permit a second for every five workers, else those who come too late
  are not served in turn (the last line of the table above). What it costs: a part whose workers want nothing leaves its share unused, so split only where all have work.
  Windows of a calendar (`fixed`) and quotas that do not divide stay whole.
- **Do not start thousands at once, and leave room for a failover.** The tables have rows where *most* is above the limit: 10,000 workers that all
  come within one second, and a small limit over many workers while the store is lost, when each goes on alone. Until that is mended, tell
  a limit that is lower by as much where a refusal is dear.
- **Or let fewer ask.** One process with many tasks is one worker, whatever number of requests it has under way: ten processes of a hundred tasks
  cost the store what ten workers cost.
- **Different scopes need no plan**: each has a key of its own, and a Redis Cluster spreads them over its nodes by itself. SQLite serves one
  machine; here it was measured with four processes.
"""


def measure_store(seconds: float) -> dict[str, Any]:
    """Runs bench/store.py, peers and all, and returns its figures."""
    file = FIGURES.with_suffix(".tmp")
    subprocess.run(
        [sys.executable, "bench/store.py", "--seconds", str(seconds), "--json", str(file)], cwd=ROOT, check=False,
    )  # fmt: skip
    kept: dict[str, Any] = json.loads(file.read_text("utf-8"))
    file.unlink()
    return {**kept, "seconds": seconds}


def _row(one: dict[str, Any], what: str) -> str:
    cells = {
        "round trip": f"{one['rtt'] * 1e3:g} ms",
        "parts": f"{one['parts']}",
        "fault": "failover" if one["failover"] else f"{one['deaths']:.0%}/s die",
        "each": f"{one['rate'] / one['workers']:g}/s",
    }
    longest = f"{one['longest']:.1f} s" + (f" ({one['unserved']} none)" if one["unserved"] else "")
    fair = one["tasks"] * one["workers"] / one["rate"] if "tasks" in one else math.nan
    return (
        f"| {one['workers']:,} | {one['rate']:g}/s | {cells[what]} | {one['use']:.1%} | {one['most']:,} | {one['jain']:.4f} | "
        f"{longest} | {fair:.1f} s | {one['calls']:,.0f} | {one['trips']:.2f} | {one['bytes'] / 1e3:.1f} | {one['busy']:.1%} | "
        f"{one['replaying']:.1%} |"
    )


def largest(rows: list[dict[str, Any]]) -> str:
    """The fleet at which one core, or one gigabit, is used up, from the neighbours on either side of it."""
    found = []
    for name, of, most in (
        (f"one core of the store is {BUSY:.0%} busy", lambda one: one["busy"], BUSY),
        ("a gigabit network is full", lambda one: one["bytes"] * one["calls"], LINE),
        ("each worker spends a tenth of a core on replays", lambda one: one["replaying"], 0.1),
    ):
        for low, high in pairwise(rows):
            if of(low) < most <= of(high):
                slope = math.log(high["workers"] / low["workers"]) / math.log(of(high) / of(low))
                count = low["workers"] * (most / of(low)) ** slope
                found.append((count, f"{name} at about {float(f'{count:.1g}' if count > 999 else f'{count:.2g}'):,.0f} workers"))
                break
        else:
            found.append((math.inf, f"{name} beyond {rows[-1]['workers']:,} workers"))
    return "With one permit a second for each worker, " + "; ".join(text for _, text in sorted(found)) + "."


def page() -> str:
    """The whole page, as Markdown, from the figures that were kept."""
    kept = json.loads(FIGURES.read_text("utf-8"))
    service = kept["service"]
    text = _HEAD.format(**kept["how"])
    if "store" in kept:
        store = kept["store"]
        text += _STORE.format(
            processes=4, seconds=store["seconds"], call=service["call"] * 1e6, entry=service["entry"] * 1e6, byte=service["byte"] * 1e9
        )
        for one in store["found"]:
            scripts = "" if math.isnan(one["scripts"]) else f"{one['scripts']:.3f}"
            size = "" if math.isnan(one["bytes"]) else f"{one['bytes']:,.0f}"
            text += (
                f"| {one['name']} | {one['rate']:g}/s | {one['use']:.1%} | {one['most']:,} | {one['jain']:.4f} | {one['trips']:.3f} | {scripts} | "
                f"{one['cpu']:.1f} | {size} | {one['p50'] * 1e3:.1f} ms | {one['p99'] * 1e3:.1f} ms |\n"
            )
    assumed = Service()
    text += _FLEET.format(rtt=1, call=assumed.call * 1e6, entry=assumed.entry * 1e6, byte=assumed.byte * 1e9)
    columns = ["each", "each", "round trip", "fault", "parts"]
    found = kept["fleets"]
    for (name, cases), what in zip(CASES.items(), columns, strict=True):
        text += f"\n**{name}**\n\n{_COLUMNS.format(what=what)}\n"
        text += "".join(f"{_row(found[key(case)], what)}\n" for case in cases if key(case) in found)
    rows = [found[key(case)] for case in next(iter(CASES.values())) if key(case) in found]
    return text + _ADVICE.format(limit=largest(rows))


def key(case: Case) -> str:
    """What a case is kept under."""
    return json.dumps({name: value for name, value in asdict(case).items() if name != "service"})


def main() -> None:
    """Measures, keeps the figures, writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--page", action="store_true", help="write the page alone, from the kept figures")
    parser.add_argument("--store", action="store_true", help="measure the store alone, with bench/store.py")
    parser.add_argument("--only", nargs="*", type=int, metavar="N", help="simulate these cases anew")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement of the store (%(default)s)")
    options = parser.parse_args()
    kept = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {"fleets": {}, "service": asdict(Service())}

    def keep() -> None:
        kept["how"] = {
            "date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count(),
            "python": ".".join(map(str, sys.version_info[:3])),
        }  # fmt: skip
        FIGURES.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")

    if options.store or not (options.page or options.only):
        store = measure_store(options.seconds)
        kept["service"] = store.pop("service")
        kept["store"] = store
        keep()
    if not options.page and not options.store:
        cases = [case for group in CASES.values() for case in group]
        wanted = range(len(cases)) if options.only is None else options.only
        kept["fleets"] = {key(case): kept["fleets"][key(case)] for case in cases if key(case) in kept["fleets"]}
        for number in wanted:
            case = cases[number]
            kept["fleets"][key(case)] = {**asdict(simulate(case)), "tasks": case.tasks}
            print(number, case.workers, case.rate, flush=True)
            keep()
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
