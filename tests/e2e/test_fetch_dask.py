"""`paceline fetch --engine dask`: real Dask workers, killed and stopped; what arrived is counted at the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.e2e.helpers import Desk, end_of, once_each, urls, wait_for
from tests.servers import RedisServer, free_port

from paceline.cli._engines import crew_of, shared_store
from paceline.errors import InputError
from paceline.jobs import dask_crew
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("processes")  # many processes each: one after another, and what they share is started once

CONCURRENCY = 12


def whole_lines(desk: Desk) -> int:
    return desk.out.read_bytes().count(b"\n") if desk.out.exists() else 0


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The Dask workers that a command has started: its children that multiprocessing has spawned."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def test_a_killed_worker_loses_nothing_and_no_limit_is_exceeded(desk: Desk) -> None:
    """Two workers share a strict limit; one is killed: one record an input, asked again only what was in flight."""
    count = 500
    with Server("90/500ms", "sliding", latency=0.02, charge_refused=True, headers="none") as server:
        source = desk.write("urls.txt", urls(server.url, count))
        job = desk.begin(
            source, "--engine", "dask", "--store", "sqlite:///scopes.db", "--limit", "90/500ms sliding", "--concurrency", str(CONCURRENCY)
        )
        wait_for(lambda: whole_lines(desk) >= 150 or job.poll() is not None, "150 records")
        [first, *_] = workers_of(job)
        first.kill()
        ended = end_of(job)
        assert ended.status == 0, ended.err
        once_each(desk.records(), range(1, count + 1))
        account = server.account()
        assert account.refused == 0
        assert account.most_in_window[0] <= 90
        assert account.most_in_flight <= CONCURRENCY
        assert sum(server.items().values()) - count <= CONCURRENCY


def test_stopped_and_killed_the_same_command_goes_on(desk: Desk) -> None:
    """Ctrl-C in a terminal reaches the workers too: drained and saved, 130; kill -9: at most what was in flight twice."""
    count = 400
    with Server(latency=0.02) as server:
        source = desk.write("urls.txt", urls(server.url, count))
        options = ("--engine", "dask", "--limit", "200/s", "--concurrency", str(CONCURRENCY), "--store", "sqlite:///scopes.db")
        job = desk.begin(source, *options, start_new_session=True)
        wait_for(lambda: whole_lines(desk) >= 50 or job.poll() is not None, "50 records")
        os.killpg(job.pid, signal.SIGINT)
        ended = end_of(job)
        assert ended.status == 130, ended.err
        assert "Traceback" not in ended.err
        drained = whole_lines(desk)
        assert 50 <= drained < count
        assert sum(server.items().values()) == drained

        job = desk.begin(source, *options)
        wait_for(lambda: whole_lines(desk) >= drained + 80 or job.poll() is not None, "80 records more")
        workers = workers_of(job)
        job.kill()
        end_of(job)
        assert len(workers) >= 2
        assert not psutil.wait_procs(workers, timeout=30)[1]

        last = desk.fetch(source, *options)
        assert last.status == 0, last.err
        once_each(desk.records(), range(1, count + 1))
        assert server.account().distinct_items == count
        assert sum(server.items().values()) - count <= CONCURRENCY


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A scheduler and two workers, each a process; what they log is in files there."""
    folder = tmp_path_factory.mktemp("dask")
    address = f"tcp://127.0.0.1:{free_port()}"
    common = [sys.executable, "-m"]
    commands = [[*common, "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]]
    commands += 2 * [[*common, "distributed.cli.dask_worker", address, "--no-dashboard", "--no-nanny", "--nthreads", "1"]]
    processes = []
    try:
        for number, command in enumerate(commands):
            with open(folder / f"{number}.log", "wb") as log:
                processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        yield address, folder
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_workers_of_a_scheduler_send_with_a_token_that_no_log_shows(desk: Desk, cluster: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Their limit is in a Redis server; the token reaches the API, and neither a task's name nor a log."""
    address, folder = cluster
    store = RedisServer(tmp_path_factory.mktemp("valkey"))
    try:
        with Server("300/s", token="a-secret-token") as server:
            source = desk.write("urls.txt", [*urls(server.url, 150), "no url"])
            ended = desk.fetch(
                source, "--engine", f"dask={address}", "--store", store.url, "--limit", "300/s", "--bearer-env", "TOKEN", "--failed", "failed.txt",
                "--report", "report.json", env={"TOKEN": "a-secret-token"},
            )  # fmt: skip
            assert ended.status == 1, ended.err
            records = desk.by_id(151)
            assert {record["status"] for record in records.values()} == {200, None}
            assert (desk.folder / "failed.txt").read_text() == "no url\n"
            account = json.loads((desk.folder / "report.json").read_text())
            assert account["attempts"] == server.account().distinct_items == 150
            assert account["refused"] == 0
    finally:
        store.close()
    told = "".join(path.read_text() for path in folder.glob("*.log"))
    assert "secret" not in told + ended.err
    assert "Run out-of-band function 'tell_seat'" not in told


def test_a_pause_that_is_not_sat_out_ends_with_75(desk: Desk, cluster: tuple[str, Path]) -> None:
    """As without workers: what is left is left for later."""
    address, _ = cluster
    with Server("20/h") as server:
        source = desk.write("urls.txt", urls(server.url, 60))
        ended = desk.fetch(source, "--engine", f"dask={address}", "--store", "sqlite:///scopes.db", "--max-wait", "5", "--concurrency", "4")
        assert ended.status == 75, ended.err
        once_each(desk.records(), {record["id"] for record in desk.records()})
        assert whole_lines(desk) == 20
        assert "40" in ended.err


def test_lists_and_a_token_from_a_command(desk: Desk, cluster: tuple[str, Path]) -> None:
    """Pages are records in order, each once; the command runs here, and not at the workers."""
    address, _ = cluster
    runs = desk.folder / "runs"
    command = f"{sys.executable} -c \"open('{runs}','a').write('x'); print('a-secret-token')\""
    with Server(token="a-secret-token") as server:
        source = desk.write("lists.txt", [f"{server.url}/pages/{n}?total=35&size=10&style=link" for n in range(6)])
        ended = desk.fetch(source, "--engine", f"dask={address}", "--store", "sqlite:///scopes.db", "--paginate", "link items=data total=meta.total", "--bearer-command", command)
        assert ended.status == 0, ended.err
        assert sorted((record["id"], record["page"]) for record in desk.records()) == [(n, page) for n in range(1, 7) for page in range(1, 5)]
    assert runs.read_text() == "x"


def test_a_scheduler_that_cannot_be_reached_is_told_before_anything_begins(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the address, and how to start one."""
    monkeypatch.setattr(dask_crew, "_REACH", 0.2)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=rf"cannot reach a Dask scheduler at {address}: .*dask scheduler"):
        crew_of(f"dask={address}")


@pytest.mark.parametrize(
    ("engine", "store", "why"),
    [
        ("ray", "sqlite:", "there is no engine 'ray'; write --engine dask"),
        ("dask=", "sqlite:", "names no scheduler's address"),
        ("dask=here", "sqlite:", "names no scheduler's address"),
        ("dask=http://127.0.0.1:1", "sqlite:", "names no scheduler's address"),
        ("dask", "memory:", "memory: is one process's own"),
        ("dask=tcp://127.0.0.1:8786", "memory:", "memory: is one process's own"),
        ("dask=tcp://10.0.0.5:8786", "memory:", "other machines"),
        ("dask=tcp://10.0.0.5:8786", "sqlite:///scopes.db", "other machines"),
        ("dask=tcp://10.0.0.5:8786", "redis://localhost:6379/0", "cannot share redis://localhost:6379/0"),
        ("dask=tcp://10.0.0.5:8786", "redis://:hush@127.0.0.1/0", "cannot share redis://127.0.0.1/0"),
    ],
)
def test_a_store_that_the_workers_do_not_share_is_refused(engine: str, store: str, why: str) -> None:
    """Each message says what to write."""
    with pytest.raises(InputError) as caught:
        shared_store(engine, store, given=True)
    assert why in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "store", "given", "shared"),
    [
        ("dask", "memory:", False, "sqlite:"),
        ("dask", "sqlite:", True, "sqlite:"),
        ("dask=tcp://localhost:8786", "redis://localhost:6379/0", True, "redis://localhost:6379/0"),
        ("dask=tcp://[::1]:8786", "sqlite:", True, "sqlite:"),
        ("dask=tls://dask.example.com:8786", "redis://db.example.com/0", True, "redis://db.example.com/0"),
    ],
)
def test_a_store_that_they_share_is_taken(engine: str, store: str, given: bool, shared: str) -> None:
    """Without one, the file in the user's state folder is."""
    assert shared_store(engine, store, given=given) == shared


def test_a_relative_store_is_the_same_file_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers may run in another folder."""
    monkeypatch.chdir(tmp_path)
    assert shared_store("dask", "sqlite:///scopes.db", given=True) == f"sqlite:///{tmp_path}/scopes.db"
