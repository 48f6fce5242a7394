"""A policy goes to other processes, forked, spawned or by joblib: they meet in the store and are workers of their own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.servers import RedisServer

import paceline.policies
from paceline import Policy
from paceline.requests import Session
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MOST_BYTES = 4096
WORKERS, ITEMS = 3, 90
SCOPE = "fleet"


def fetch(policy: Policy, urls: Sequence[str]) -> tuple[int, str, list[str]]:
    """What one worker does: its process, its identity in the store, and the items it got."""
    with Session(policy) as session:
        got = [session.get(url, timeout=30).json()["id"] for url in urls]
    shared = policy.line(SCOPE).shared
    assert shared is not None
    return os.getpid(), shared.worker, got


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store for several processes."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/scopes.db"
        return
    server = RedisServer(tmp_path)
    yield server.url
    server.close()


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver", "loky"])
def test_workers_that_were_handed_a_policy_in_use_share_its_limit(way: str, store: str) -> None:
    """The parent has sent with it already; a strict server refuses nobody, each item comes once, nobody shares an identity.

    Told a little less than the server allows, so that a busy machine's lateness is none of its concern."""
    with Server("40/500ms", "sliding", charge_refused=True, headers="none") as server:
        policy = Policy(limits="30/500ms sliding", store=store, scope=SCOPE)
        urls = [f"{server.url}/items/{n}" for n in range(ITEMS)]
        mine = fetch(policy, urls[:6])
        parts = [urls[6 + n :: WORKERS] for n in range(WORKERS)]
        if way == "loky":
            from joblib import Parallel, delayed

            came = Parallel(n_jobs=WORKERS)(delayed(fetch)(policy, part) for part in parts)
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True)
        else:
            with ProcessPoolExecutor(WORKERS, multiprocessing.get_context(way)) as pool:
                came = list(pool.map(partial(fetch, policy), parts))
        assert sorted(item for _, _, got in (mine, *came) for item in got) == sorted(str(n) for n in range(ITEMS))
        account = server.account()
        assert (account.refused, account.duplicates) == (0, 0)
        assert account.most_in_window[0] <= 40
        identities = {(pid, worker) for pid, worker, _ in (mine, *came)}
        assert len({worker for _, worker in identities}) == len({pid for pid, _ in identities}) >= 2


def test_a_forked_child_of_a_policy_with_open_connections_is_another_worker(store: str) -> None:
    """Fork alone, without any pickle: the child has a name of its own in the store, and the parent keeps its."""
    policy = Policy(limits="1000/s", store=store, scope=SCOPE)
    line = policy.line(SCOPE)
    assert line.shared is not None
    line.acquire().release()
    before = line.shared.worker
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            line.acquire().release()
            os.write(write, line.shared.worker.encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    told = os.read(read, 100).decode()
    os.close(read)
    line.acquire().release()
    assert line.shared.worker == before != told


@pytest.mark.parametrize("name", sorted(paceline.policies.PRESETS))
def test_every_preset_pickles_small_and_shows_no_secret(name: str) -> None:
    """With a token and a store's password, in less than 4 KiB; what was in use stays behind."""
    preset = paceline.policies.PRESETS[name]
    token = None if preset.credential is None else "a-secret-token"
    site = None if preset.site is None else "shop.example.com"
    policy = preset(token, site=site, store="redis://user:a-secret-password@db.example.com:6379/0")
    policy.line("somewhere")
    text = pickle.dumps(policy)
    assert len(text) < MOST_BYTES
    again = pickle.loads(text)
    assert "secret" not in repr(policy) + repr(again) + repr(again._store)
    assert not again.lines
    assert (again.limits, again.store, again.headers) == (policy.limits, policy.store, policy.headers)
