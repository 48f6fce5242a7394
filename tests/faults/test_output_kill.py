"""Kill -9 of a process that writes OUT, at random moments and at each step of taking OUT up again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from paceline.jobs.output import Output
from paceline.jobs.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 20_000
KILLS = 20

# Writes what is left, eight records a flush and a tick on standard output, a checkpoint every 32 ticks.
# Input n fails in run r where (n + r) % 9 == 0; in the last run (r = -1) where n % 50 == 0.
WRITER = """
import os
import sys
from paceline.jobs.output import Output
from paceline.jobs.source import Source
folder, run = sys.argv[1], int(sys.argv[2])
source = Source.open(folder + "/in.jsonl")
tick = lambda: os.write(1, b".")
tick()
output = Output.open(folder + "/out", source=source, request={}, failed_path=folder + "/failed")
ticks = 0
for item in source.items(output.done):
    n = item.number
    fail = n % 50 == 0 if run < 0 else (n + run) % 9 == 0
    error = b',"error":"x"' if fail else b""
    output.write(n, b'{"id":"%s","pad":"%s"%s}\\n' % (item.id.encode(), b"y" * (n % 300), error), item.raw if fail else None)
    if n % 8 == 0:
        output.flush()
        tick()
        ticks += 1
        if ticks % 32 == 0:
            output.checkpoint({"run": run})
output.close({"run": run})
"""


def write_source(folder: Path) -> list[str]:
    lines = [f'{{"url": "https://a.example/{n}", "id": "k{n}"}}' for n in range(1, COUNT + 1)]
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    return lines


def begin(folder: Path, run: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(run)], stdout=subprocess.PIPE)


def kill_at(process: subprocess.Popen[bytes], ticks: int, seconds: float) -> int:
    """Kills after so many ticks, then so many seconds, or when the process has ended before."""
    assert process.stdout is not None
    with process:
        seen = 0
        while seen < ticks and (read := os.read(process.stdout.fileno(), ticks - seen)):
            seen += len(read)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(signal.SIGKILL)
        return process.wait(10)


def records(out: Path) -> list[dict[str, Any]]:
    *lines, rest = out.read_bytes().split(b"\n")
    assert rest == b""
    return [json.loads(line) for line in lines]


def test_twenty_kills_leave_one_record_an_input(tmp_path: Path) -> None:
    """Killed twenty times at random moments and begun again each time, every input ends as one record."""
    lines = write_source(tmp_path)
    draw = random.Random(20)
    kept: set[str] = set()
    ended: list[int] = []
    for run in range(KILLS):
        # The first tick is the moment before OUT is opened: about a third of the kills fall into its opening.
        ticks = 1 if draw.random() < 0.35 else draw.randrange(2, 60)
        ended.append(kill_at(begin(tmp_path, run), ticks, draw.random() * 0.02))
        out = tmp_path / "out"
        if not out.exists():
            continue
        whole = [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]]
        assert max(Counter(record["id"] for record in whole).values(), default=1) == 1
        good = {record["id"] for record in whole if "error" not in record}
        assert kept <= good
        kept = good
    assert set(ended) <= {0, -signal.SIGKILL}
    assert ended.count(-signal.SIGKILL) > KILLS / 2
    last = begin(tmp_path, -1)
    last.communicate(timeout=60)
    assert last.returncode == 0
    found = records(tmp_path / "out")
    assert Counter(record["id"] for record in found) == Counter(f"k{n}" for n in range(1, COUNT + 1))
    failed = sorted(int(record["id"][1:]) for record in found if "error" in record)
    assert set(failed) <= set(range(50, COUNT + 1, 50))
    assert sorted((tmp_path / "failed").read_text().splitlines()) == sorted(lines[n - 1] for n in failed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failed", "in.jsonl", "out", "out.state"]


class Killed(BaseException):
    """The process ended here."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    """The job's inputs."""
    write_source(tmp_path)
    with contextlib.closing(Source.open(str(tmp_path / "in.jsonl"))) as source:
        yield source


@pytest.mark.parametrize("noted", [True, False])
def test_a_kill_at_any_step_of_going_on_loses_nothing(tmp_path: Path, source: Source, noted: bool) -> None:
    """Ended before each single system call that changes a file while OUT is taken up, the next run finds it whole."""
    out, state, failed = tmp_path / "out", tmp_path / "out.state", tmp_path / "failed"

    def open_output() -> Output:
        return Output.open(str(out), source=source, request={}, failed_path=str(failed))

    first = open_output()
    for number in range(1, 9):
        error = b',"error":"x"' if number % 3 == 0 else b""
        first.write(number, b'{"id":"k%d"%s}\n' % (number, error), b"raw" if error else None)
        if noted and number == 6:
            first.checkpoint({})
    first.flush()
    first.abandon()
    with out.open("ab") as file:
        file.write(b'{"id":"k9"')
    before = out.read_bytes(), state.read_bytes(), failed.read_bytes()

    calls = ("write", "fsync", "fdatasync", "replace", "ftruncate", "unlink", "fchmod")
    survived = False
    for fatal in range(1, 60):
        left = fatal
        out.write_bytes(before[0])
        state.write_bytes(before[1])
        failed.write_bytes(before[2])
        with pytest.MonkeyPatch.context() as patch:

            def deadly(real: Any) -> Any:
                def call(*args: Any, **options: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        raise Killed
                    return real(*args, **options)

                return call

            for name in calls:
                patch.setattr(os, name, deadly(getattr(os, name)))
            try:
                open_output().abandon()
                survived = True
            except Killed:
                pass
        again = open_output()
        assert list(again.done) == [1, 2, 4, 5, 7, 8], fatal
        assert [record["id"] for record in records(out)] == ["k1", "k2", "k4", "k5", "k7", "k8"]
        assert failed.read_bytes() == b""
        again.abandon()
        if survived:
            break
    assert survived
    assert fatal > 8
