"""The examples do what they say, as programs of their own, and the server's account agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "stage")
PATIENCE = 60.0


def begin(name: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(FOLDER / f"{name}.py"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, f"{out}\n{err}"
    return out, err


def run(name: str, server: Server, items: int, *options: str) -> tuple[str, str]:
    """Runs an example against `server`; nothing may be lost, and nothing be served twice."""
    out, err = end(begin(name, "--url", server.url, "--items", str(items), *options))
    assert f"{items} of {items}, 0 lost, 0 twice" in out
    account = server.account()
    assert (account.distinct_items, account.duplicates, account.uncounted_items) == (items, 0, 0)
    assert account.early_retries == 0
    return out, err


@pytest.fixture(scope="module")
def alone() -> Iterator[dict[str, tuple[str, str]]]:
    """What each example says where it is run without any argument, all at once."""
    processes = {name: begin(name) for name in PROGRAMS}
    try:
        yield {name: end(process) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()
            process.wait()


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_runs_without_arguments(name: str, alone: dict[str, tuple[str, str]]) -> None:
    """It starts a server of its own, loses nothing, and prints the account."""
    out, err = alone[name]
    assert ", 0 lost, 0 twice" in out
    assert "duplicates    0" in out
    assert "started a server with the limit" in err
    assert "Traceback" not in out + err


def test_every_example_is_in_the_list() -> None:
    """examples/README.md names all of them."""
    text = (FOLDER / "README.md").read_text("utf-8")
    assert [name for name in PROGRAMS if f"({name}.py)" not in text] == []


def test_tenacity_alone_waits_as_told() -> None:
    """The server's refusals are the only brake; each costs one request, and none comes back early."""
    with Server("20/700ms") as server:
        _, err = run("tenacity_alone", server, 41)
        account = server.account()
        assert account.refused == err.count("retrying GET") >= 2
        assert account.in_pause == 0


def test_a_limit_as_a_decorator_is_never_exceeded() -> None:
    """Told 40/s, it sends no more than that in any stretch, over all its threads, and eight at once."""
    with Server("40/700ms") as server:
        run("decorator_limit", server, 60, "--limit", "40/s")
        account = server.account()
        assert account.refused == 0
        assert account.most_in_flight <= 8


def test_a_decorated_function_that_is_refused_goes_through_the_limiter_again() -> None:
    """The server allows half of what the program was told: retries wait as asked, nothing is lost."""
    with Server("20/s") as server:
        run("decorator_limit", server, 30, "--limit", "40/s")
        assert server.account().refused > 0


def test_events_are_lines_of_json_without_secrets() -> None:
    """Each failure is one line; no credential is in any."""
    with Server("60/s", fail_rate=0.1, seed=3) as server:
        _, err = run("structlog_events", server, 40, "--limit", "50/s")
        lines: list[dict[str, Any]] = [json.loads(line) for line in err.splitlines()]
        retries = [line for line in lines if line["event"] == "retry"]
        assert len(retries) == server.account().failed > 0
        assert {line["status"] for line in retries} == {503}
        assert "a-secret" not in err


def test_a_session_keeps_its_connections_and_its_limit() -> None:
    """Eight threads, one limit, nine connections at most (one reads the account)."""
    with Server("60/900ms", latency=0.005) as server:
        run("session_reuse", server, 80, "--limit", "60/s")
        account = server.account()
        assert account.refused == 0
        assert account.most_in_flight <= 8
        assert account.connections <= 9


def test_a_batch_with_gather_loses_nothing() -> None:
    """All tasks at once, in slices; the client decides when each goes."""
    with Server("100/900ms", refuse_rate=0.02, refuse_wait=0.1, retry_after="float", latency=0.005, seed=2) as server:
        run("httpx_gather", server, 110, "--limit", "100/s")
        account = server.account()
        assert account.refused == 0
        assert account.most_in_flight <= 20


def test_a_pipeline_goes_through_faults_and_on_where_it_was(tmp_path: Path) -> None:
    """Failures, cut connections and refusals lose nothing; a second run fetches what is missing, a torn line too."""
    out = tmp_path / "items.jsonl"
    with Server("100/900ms", fail_rate=0.04, cut_rate=0.03, refuse_rate=0.02, refuse_wait=0.1, retry_after="float", seed=1) as server:
        run("pipeline", server, 60, "--limit", "100/s", "--out", str(out))
        whole = out.read_bytes()
        records = [json.loads(line) for line in whole.splitlines()]
        assert all(record["data"] == {"id": str(record["id"])} for record in records)
        *_, last = whole.splitlines(keepends=True)
        out.write_bytes(whole[:-5])
        server.reset()
        printed, _ = end(begin("pipeline", "--url", server.url, "--items", "80", "--limit", "100/s", "--out", str(out)))
        assert "to fetch      21, done before: 59" in printed
        assert "80 of 80, 0 lost, 0 twice" in printed
        assert set(server.items()) == {str(json.loads(last)["id"]), *map(str, range(61, 81))}


def test_a_pause_too_long_ends_a_program_with_the_moment_to_come_back_at(tmp_path: Path) -> None:
    """Status 75 (EX_TEMPFAIL), and nothing of what was fetched is lost."""
    out = tmp_path / "items.jsonl"
    with Server("5/h") as server:
        for name, more in (("tenacity_alone", []), ("pipeline", ["--out", str(out)])):
            server.reset()
            process = begin(name, "--url", server.url, "--items", "8", "--limit", "100/s", *more)
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 75, err
            assert "run again then" in err
            assert server.account().refused <= 8
    assert len(out.read_text("utf-8").splitlines()) == 5
