"""Stores that move while workers send: a Sentinel failover, also to a replica that lags, and a slot of a cluster."""

from __future__ import annotations

import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.fleet import Arrivals, Fleet, Task
from tests.servers import ClusterSet, SentinelSet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("processes")  # many processes each: one after another, and what they share is started once

QUOTA, PACE, WORKERS = 100, 0.0102, 4


def sent_through(url: str, items: int, act: Callable[[Arrivals], None]) -> Arrivals:
    """Four workers send, and after a second and a half something is done to the store."""
    with Arrivals() as arrivals, Fleet() as fleet:
        workers = [
            fleet.start(
                Task(f"{url}?timeout=0.4", ("100/s",), tuple(range(n, items, WORKERS)), arrivals.port, n, tasks=4 * (n % 2))
            )
            for n in range(WORKERS)
        ]
        arrivals.wait_for(150)
        act(arrivals)
        assert [worker.wait() for worker in workers] == [0] * WORKERS
    assert sorted(item for _, _, item in arrivals.moments) == list(range(items))
    assert arrivals.most(1.0) <= QUOTA
    return arrivals


def failover(tmp_path: Path, lag: float = 0.0) -> None:
    """kill -9 of the primary: the replica takes over, and no period gets more than the quota."""
    servers = SentinelSet(tmp_path)

    def act(arrivals: Arrivals) -> None:
        if lag:
            servers.replica.process.send_signal(signal.SIGSTOP)
            time.sleep(lag)
        servers.primary.kill()
        if lag:
            servers.replica.process.send_signal(signal.SIGCONT)
        wait_until(lambda: servers.address() == servers.replica.port, "the replica is the primary")
        arrivals.wait_for_event("StoreReplaced")

    try:
        arrivals = sent_through(servers.url, 600, act)
    finally:
        servers.close()
    told = arrivals.kinds()
    assert told["StoreLost"]
    assert told["StoreReplaced"]
    # While nobody is primary each sends its part; then nothing goes for a moment.
    assert arrivals.spread() / PACE - 600 <= 350


def failover_to_a_lagging_replica(tmp_path: Path) -> None:
    """The replica is half a second behind, which is what the workers have booked since."""
    failover(tmp_path, lag=0.5)


def a_slot_moves_to_another_node(tmp_path: Path) -> None:
    """The scope's slot migrates to another node of the cluster, half-moved for a while: nothing is lost or above."""
    servers = ClusterSet(tmp_path)
    slot = servers.slot("paceline:{api}")
    source = servers.holder(slot)
    target = (source + 1) % 3

    def act(arrivals: Arrivals) -> None:
        old, new = servers.nodes[source], servers.nodes[target]
        new.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", servers.ids[source])
        old.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", servers.ids[target])
        seen = len(arrivals.moments)
        arrivals.wait_for(seen + 30)
        keys = old.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        assert keys
        old.client.execute_command("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *keys)
        # Half-moved: the old node answers ASK.
        arrivals.wait_for(seen + 80)
        for node in (new, old, servers.nodes[3 - source - target]):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", servers.ids[target])

    try:
        arrivals = sent_through(servers.url, 450, act)
        assert servers.holder(slot) == target
    finally:
        servers.close()
    # The new node has another run id: its log may be older than what was told, so it is begun anew.
    assert arrivals.kinds()["StoreReplaced"]
    assert arrivals.spread() / PACE - 450 <= 350


MOVES = {move.__name__: move for move in (failover, failover_to_a_lagging_replica, a_slot_moves_to_another_node)}


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """All of them, side by side: they mostly wait."""
    with ThreadPoolExecutor(len(MOVES)) as pool:
        yield {name: pool.submit(move, tmp_path_factory.mktemp(name)) for name, move in MOVES.items()}


@pytest.mark.parametrize("name", MOVES)
def test_the_quota_holds_and_all_is_sent_once(name: str, moves: dict[str, Future[None]]) -> None:
    """Each move, under an independent count of arrivals."""
    moves[name].result(120)
