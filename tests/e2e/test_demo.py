"""`paceline demo` as a user runs it: agreement, Ctrl-C, what it prints, and that it can disagree."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paceline.cli.demo import Row, _judge, _read
from paceline.testing import Core, Settings

if TYPE_CHECKING:
    from pathlib import Path

ROW = re.compile(r"^ *(.+?) {2,}([0-9,]+) +([0-9,]+) +(agree|disagree)$", re.MULTILINE)


def demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paceline", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )


def test_both_accounts_agree(tmp_path: Path) -> None:
    """With refusals, failures and cuts on the way both sides count the same, and nothing is lost or doubled."""
    done = demo(tmp_path, "--items", "150", "--limit", "100/s", "--seed", "7", "--progress", "none")
    rows = {what: (client, server, verdict) for what, client, server, verdict in ROW.findall(done.stdout)}
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows["different items"] == rows["served (200)"] == ("150", "150", "agree")
    assert rows["items again"] == ("0", "0", "agree")
    assert all(int(rows[what][0]) > 0 for what in ("refused (429)", "failed (503)", "connections cut"))
    assert {verdict for _, _, verdict in rows.values()} == {"agree"}
    assert int(rows["requests"][0]) == 150 + sum(
        int(rows[what][0]) for what in ("refused (429)", "failed (503)", "connections cut")
    )
    assert done.stdout.endswith("Both accounts agree: 150 items, each exactly once, and none over the limit.\n")
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_clean(tmp_path: Path) -> None:
    """Ctrl-C ends the client and the server with it, and leaves no file behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", "paceline", "demo", "--progress", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:([0-9]+)", first)
    assert found is not None, first
    while "Fetching" not in process.stdout.readline():
        pass
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the server's process too
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "nterrupted" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(found[1])), timeout=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--limit", "100/fortnight"], "there is no period 'fortnight'"), (["--items", "0"], "--items")],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    """What cannot be meant is told before anything is begun."""
    done = demo(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("rows", "lost", "again", "says"),
    [
        ([Row("requests", 3, 4), Row("served (200)", 3, 3)], 0, 0, "The accounts disagree on requests."),
        ([], 2, 0, "2 of 3 items were not fetched."),
        ([], 0, 1, "1 record stands there twice."),
    ],
)
def test_it_can_disagree(
    capsys: pytest.CaptureFixture[str], rows: list[Row], lost: int, again: int, says: str
) -> None:
    """Where a count differs, an item is missing or stands there twice, the verdict says so and the exit status is 1."""
    account = Core(Settings()).account(0.0)
    assert _judge(rows, lost, again, 3, account) == 1
    assert says in capsys.readouterr().out


def test_records_are_looked_at_themselves(tmp_path: Path) -> None:
    """An item counts only with its own body, and a second record of it is seen."""
    out = tmp_path / "out.jsonl"
    out.write_text(
        '{"id":1,"json":{"id":"1"}}\n{"id":1,"json":{"id":"1"}}\n{"id":2,"json":{"id":"7"}}\n{"id":3,"error":"x"}\n'
    )
    assert _read(out, 3) == (1, 1)
