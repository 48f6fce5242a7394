"""Kill -9 of a job over lists at random moments: every page exactly once, by the server's own count."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.e2e.helpers import Desk, end_of, wait_for

from paceline.testing import Server

if TYPE_CHECKING:
    from pathlib import Path

CONCURRENCY = 8
LISTS = 60
KILLS = 8


def pages_of(number: int) -> int:
    """Lists differ: from one page to seventeen."""
    return (number * 7) % 17 + 1


def lines_in(desk: Desk) -> list[bytes]:
    return desk.out.read_bytes().split(b"\n")[:-1] if desk.out.exists() else []


@pytest.mark.parametrize(
    ("style", "how"),
    [
        ("link", "link items=data total=meta.total"),
        ("cursor", "cursor next=meta.next_cursor param=cursor more=has_more items=data"),
    ],
)
def test_kills_leave_every_page_once(tmp_path: Path, style: str, how: str) -> None:
    """Eight kills at random moments: each page has one record, and was served again only where a kill caught it."""
    desk = Desk(tmp_path)
    count = sum(pages_of(number) for number in range(1, LISTS + 1))
    draw = random.Random(style)
    with Server(latency=0.003, jitter=0.002) as server:
        source = desk.write(
            "lists.txt",
            [
                # A key in the URL comes back in every next link: it must not reach the state, and the way goes on.
                f"{server.url}/pages/{n}?style={style}&total={10 * pages_of(n)}&size=10&api_key=s3cret"
                for n in range(1, LISTS + 1)
            ],
        )
        options = ("--paginate", how, "--concurrency", str(CONCURRENCY))
        before: Counter[str] = Counter()
        recorded: set[str] = set()
        killed = 0
        for _ in range(KILLS):
            target = min(count - 20, len(lines_in(desk)) + draw.randrange(0, 2 * count // KILLS))
            process = desk.begin(source, *options)
            wait_for(lambda: process.poll() is not None or len(lines_in(desk)) >= target, f"{target} records")  # noqa: B023
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(draw.random() * 0.03)
            process.send_signal(signal.SIGKILL)
            ended = end_of(process)
            killed += ended.status == -signal.SIGKILL
            served = Counter(server.items())
            again = {name for name, times in served.items() if times > max(1, before[name])}
            assert not again & recorded, "a page with a record was asked for again"
            assert len(again) <= CONCURRENCY
            before = served
            records = [json.loads(line) for line in lines_in(desk)]
            recorded = {f"{record['id']}/{record['page']}" for record in records}
            assert len(recorded) == len(records)
            if (tmp_path / "out.jsonl.state").exists():
                assert b"s3cret" not in (tmp_path / "out.jsonl.state").read_bytes()
        assert killed > KILLS / 2
        last = desk.fetch(source, *options)
        assert last.status == 0, last.err
        found = desk.records()
        expected = {(n, page) for n in range(1, LISTS + 1) for page in range(1, pages_of(n) + 1)}
        assert Counter((record["id"], record["page"]) for record in found) == Counter(expected)
        for record in found:
            begin = 10 * (record["page"] - 1)
            assert [one["id"] for one in record["json"]["data"]] == [f"{record['id']}-{begin + n}" for n in range(1, 11)]
            assert (record["paging"]["next"] is None) == (record["page"] == pages_of(record["id"]))
            assert "s3cret" not in json.dumps([record["url"], record["paging"]])
        served = Counter(server.items())
        assert served.keys() == {f"{number}/{page}" for number, page in expected}
        assert served.total() - count <= CONCURRENCY * KILLS
        assert json.loads((tmp_path / "out.jsonl.state").read_text())["places"] == {}
