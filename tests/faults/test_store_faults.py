"""A shared store that forgets, restarts, stalls or dies while workers send: never more than the quota in any period."""

from __future__ import annotations

import pickle
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.servers import RedisServer

from paceline import Policy
from paceline.events import Event, StoreBack, StoreLost, StoreReplaced
from paceline.limits import Limit
from paceline.stores.line import Line
from paceline.stores.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUOTA, PERIOD = 50, 0.5
LIMIT = f"{QUOTA}/500ms sliding"
WORKERS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey server."""
    made = RedisServer(tmp_path)
    yield made
    made.close()


def run(server: RedisServer, fault: Callable[[], None], *, seconds: float = 3.0, loss: str = "share") -> tuple[list[float], list[Event]]:
    """Three workers, each with its own line and connection, send for so long; after a second comes the fault."""
    moments: list[float] = []
    events: list[Event] = []
    ends = time.monotonic() + seconds
    failed: list[BaseException] = []

    def work() -> None:
        store = RedisStore(server.url + "?timeout=0.3")
        line = Line("api", [Limit.parse(LIMIT)], store=store, emit=events.append, on_store_loss=loss)  # type: ignore[arg-type]
        try:
            while time.monotonic() < ends:
                permit = line.acquire(1, 0, 30, True)
                permit.sent()
                moments.append(time.monotonic())  # the arrival: nothing lies between
                permit.release()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    fault()
    for thread in threads:
        thread.join(60)
    assert not failed
    return sorted(moments), events


def most(moments: list[float]) -> int:
    """The most that came within any period."""
    first = worst = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= PERIOD:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def test_scripts_forgotten(server: RedisServer) -> None:
    """SCRIPT FLUSH costs nothing: the script is sent again."""
    moments, events = run(server, lambda: server.client.execute_command("SCRIPT", "FLUSH"), seconds=2.0)
    assert most(moments) <= QUOTA
    assert not any(isinstance(event, StoreLost | StoreReplaced) for event in events)


def test_everything_forgotten(server: RedisServer) -> None:
    """FLUSHALL: the workers tell the store what they know, after a pause; the quota holds."""
    moments, events = run(server, lambda: server.client.flushall())
    assert most(moments) <= QUOTA
    assert any(isinstance(event, StoreReplaced) for event in events)
    assert moments[-1] - moments[0] > 2.5


def test_killed_and_started_empty(server: RedisServer) -> None:
    """kill -9 of a server without persistence, and a start: each goes on alone meanwhile, then together again."""

    def fault() -> None:
        server.kill()
        time.sleep(0.3)
        server.start()

    moments, events = run(server, fault, seconds=3.5)
    assert most(moments) <= QUOTA
    assert any(isinstance(event, StoreLost) for event in events)
    assert any(isinstance(event, StoreBack) for event in events)


def test_dead_store_shares(server: RedisServer) -> None:
    """A store that stays dead: each worker keeps to its part, and nobody stands still."""
    moments, events = run(server, server.kill)
    assert most(moments) <= QUOTA
    assert sum(isinstance(event, StoreLost) for event in events) == WORKERS
    assert moments[-1] - moments[0] > 2.5
    server.start()


def test_a_store_that_stalls(server: RedisServer) -> None:
    """A server that answers nothing for a while (CLIENT PAUSE) holds nobody up for good, and the quota holds."""
    moments, _ = run(server, lambda: server.client.execute_command("CLIENT", "PAUSE", 800), seconds=3.5)
    assert most(moments) <= QUOTA
    assert moments[-1] - moments[0] > 2.5


def test_a_policy_travels(server: RedisServer) -> None:
    """A pickled policy is small, names no password in its repr, and meets the other in the store."""
    policy = Policy(limits=[LIMIT], store=server.url.replace("redis://", "redis://:@"))
    text = pickle.dumps(policy)
    assert len(text) < 2500
    assert "redis" not in repr(policy)
    other = pickle.loads(text)
    scope = policy.scope_of("https://api.example.com/", "Bearer abc")
    assert other.scope_of("https://api.example.com/", "Bearer abc") == scope
    mine = sum(policy.line(scope).acquire(timeout=0.4) is not None for _ in range(30))
    theirs = 0
    while True:
        try:
            other.line(scope).acquire(timeout=0.2)
        except TimeoutError:
            break
        theirs += 1
    assert mine == 30
    assert 15 <= theirs <= 20
    for each in (policy, other):
        each._store.close()  # type: ignore[union-attr]
