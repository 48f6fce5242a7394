"""Two processes at work while a third one pauses, resumes, sets and resets: the test server counts what arrives."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers import RedisServer

from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORKER = """
import sys, threading
from paceline import Policy
from paceline.events import Steered
from paceline.requests import Session

url, store, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
stop, lock, done = threading.Event(), threading.Lock(), 0

def hear(event):
    if isinstance(event, Steered):
        print(event.action, flush=True)

policy = Policy(limits="60/s sliding", scope="crm", store=store, events=hear)

def work(number):
    global done
    with Session(policy) as session:
        while not stop.is_set():
            assert session.get(f"{url}/items/{number}").status_code == 200
            number += 4
            with lock:
                done += 1

threads = [threading.Thread(target=work, args=(first + each,)) for each in range(4)]
for thread in threads:
    thread.start()
sys.stdin.readline()
stop.set()
for thread in threads:
    thread.join()
print(done, flush=True)
"""


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits for it, however busy the machine is."""
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
def test_a_third_process_steers_two(kind: str, tmp_path: Path) -> None:
    """No arrival in a pause, none above the limits that were set, lower or higher, and every call is answered once."""
    with ExitStack() as stack:
        store = f"sqlite:///{tmp_path}/scopes.db"
        if kind == "valkey":
            redis = RedisServer(tmp_path)
            stack.callback(redis.close)
            store = redis.url
        server = stack.enter_context(Server("60/s", enforce="sliding"))
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, server.url, store, str(first)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for first in (0, 1_000_000)
        ]

        def steer(*arguments: str) -> dict[str, Any]:
            """The third process; returns when both workers have said that they heard of it."""
            done = subprocess.run(
                [sys.executable, "-m", "paceline", "limits", *arguments, "--store", store, "--json"],
                capture_output=True, text=True, check=True, timeout=30,
            )  # fmt: skip
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == f"{arguments[0]}\n"
            told: dict[str, Any] = json.loads(done.stdout)
            return told

        until(lambda: server.account().arrived >= 40, "the workers did not begin")
        assert steer("pause", "crm", "--reason", "tests")["paused"] == {
            "until": None, "reason": "paused by hand: tests", "by_hand": True,
        }  # fmt: skip
        time.sleep(0.1)  # what was on its way when it was heard
        arrived = server.account().arrived
        time.sleep(0.8)
        assert server.account().arrived == arrived
        assert steer("resume", "crm")["paused"] is None
        until(lambda: server.account().arrived >= arrived + 20, "nobody went on")
        assert server.account().refused == 0

        steer("set", "crm", "20/s sliding")
        time.sleep(1.1)  # what went before is no part of any window under the lower limit
        server.change(limit="20/s", enforce="sliding")
        arrived = server.account().arrived
        until(lambda: server.account().arrived >= arrived + 35, "nobody goes under the lower limit")
        assert server.account().refused == 0

        server.change(limit="90/s", enforce="sliding")
        steer("set", "crm", "90/s sliding")
        until(lambda: server.account().most_sent_in_window[0] > 65, "the higher limit is not used")
        assert server.account().refused == 0
        server.change(limit="200/s", enforce="sliding")  # as `reset` says: what has gone counts no more
        assert [each["limit"] for each in steer("reset", "crm")["limits"]] == ["60/s sliding"]
        time.sleep(0.1)

        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        done = 0
        for worker in workers:
            assert worker.stdout is not None
            done += int(worker.stdout.readline())
            assert worker.wait(30) == 0
        account = server.account()
        assert (account.refused, account.duplicates) == (0, 0)
        assert account.served == account.distinct_items == done
