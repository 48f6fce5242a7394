"""Kill -9 of `paceline fetch` at random moments: nothing lost, nothing twice, and no quota spent twice."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.e2e.helpers import Desk, Ran, end_of, once_each, urls, wait_for

from paceline.jobs.departures import Departures, Spent
from paceline.testing import Server

if TYPE_CHECKING:
    from pathlib import Path

CONCURRENCY = 16
KILLS = 20


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder to run jobs in."""
    return Desk(tmp_path)


def whole_lines(desk: Desk) -> int:
    return desk.out.read_bytes().count(b"\n") if desk.out.exists() else 0


def ids_in(desk: Desk) -> set[str]:
    """The ids of the whole lines of OUT."""
    whole = desk.out.read_bytes().split(b"\n")[:-1] if desk.out.exists() else []
    return {str(json.loads(line)["id"]) for line in whole}


def kill_when(desk: Desk, process: subprocess.Popen[bytes], lines: int, seconds: float) -> Ran:
    """Kills once OUT has so many lines, and then so many seconds later, or finds the process ended."""
    wait_for(lambda: process.poll() is not None or whole_lines(desk) >= lines, f"{lines} records")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(signal.SIGKILL)
    return end_of(process)


def test_twenty_kills_fetch_everything_once(desk: Desk) -> None:
    """5,000 items, twenty kills: 5,000 records, none doubled; served again only what a kill caught in flight."""
    count = 5000
    draw = random.Random(9)
    with Server(latency=0.004, jitter=0.003) as server:
        source = desk.write("urls.txt", urls(server.url, count))
        options = ("--limit", "2000/s bucket", "--concurrency", str(CONCURRENCY))
        before: dict[str, int] = {}
        recorded: set[str] = set()
        for kill in range(1, KILLS + 1):
            # Each moment drawn within its part of the run; a fifth of the kills fall into the start-up.
            begun = whole_lines(desk)
            target = 0 if draw.random() < 0.2 else min(count - 50, begun + draw.randrange(1, 2 * count // KILLS))
            ended = kill_when(desk, desk.begin(source, *options), target, draw.random() * 0.03)
            assert ended.status == -signal.SIGKILL, ended.err
            served = server.items()
            again = {item for item, times in served.items() if times > max(1, before.get(item, 0))}
            assert not again & recorded, f"kill {kill}"
            assert len(again) <= CONCURRENCY, f"kill {kill}"
            before, recorded = served, ids_in(desk)
        assert 0 < whole_lines(desk) < count
        last = desk.fetch(source, *options)
        assert last.status == 0, last.err
        once_each(desk.records(), range(1, count + 1))
        assert all(record["status"] == 200 and record["json"] == {"id": str(record["id"])} for record in desk.records())
        served = server.items()
        assert served.keys() == {str(number) for number in range(1, count + 1)}
        assert sum(served.values()) - count <= CONCURRENCY * KILLS
        assert server.account().refused == 0


def test_the_count_of_departures_goes_on(tmp_path: Path) -> None:
    """A run killed before its first checkpoint leaves the count that the checkpoint before it speaks of."""
    path = str(tmp_path / "departures")
    first = Departures(path)
    count = first.counter(0)
    count(3, 10.0)
    count(2, 11.0)
    second = Departures(path)
    second.counter(0)
    third = Departures(path)
    assert third.spent(0) == Spent(5.0, 11.0)
    third.counter(0)(1, 12.0)
    assert third.spent(0) == Spent(6.0, 12.0)
    for each in (first, second, third):
        each.close(remove=True)


@pytest.mark.parametrize("limit", ["100/2s", "100/2s sliding"])
def test_kills_spend_no_quota_twice(desk: Desk, limit: str) -> None:
    """Killed late in a burst, and again and again, what was sent counts on: a strict server refuses nothing."""
    count = 260
    with Server("100/2s", "sliding", latency=0.003, charge_refused=True, headers="none") as server:
        source = desk.write("urls.txt", urls(server.url, count))
        options = ("--limit", limit, "--concurrency", str(CONCURRENCY))
        for more in (80, 1, 40, 1):
            # A run that began with a whole quota of its own would send too much in its first tenth of a second.
            ended = kill_when(desk, desk.begin(source, *options), whole_lines(desk) + more, 0.005)
            assert ended.status == -signal.SIGKILL, ended.err
        last = desk.fetch(source, *options)
        assert last.status == 0, last.err
        once_each(desk.records(), range(1, count + 1))
        account = server.account()
        assert account.refused == 0
        assert account.most_in_window[0] <= 100
