"""Every store obeys the same laws: memory, SQLite, real Redis and Valkey servers, alone, behind Sentinel and as a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.servers import ClusterSet, RedisServer, SentinelSet, binaries

from paceline.stores.memory import MemoryStore
from paceline.stores.redis import RedisStore
from paceline.stores.sqlite import SQLiteStore
from paceline.testing.conformance import STORE_LAWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paceline.stores.protocol import Store

KINDS = ["memory", "sqlite", "sentinel", "cluster", *(f"server {Path(binary).name}" for binary in binaries())]


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store of each kind, with its server where it needs one."""
    folder = tmp_path_factory.mktemp("store")
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "sqlite":
        made = SQLiteStore(str(folder / "scopes.db"))
        yield made
        made.close()
        return
    server: RedisServer | SentinelSet | ClusterSet
    if request.param == "sentinel":
        server = SentinelSet(folder)
    elif request.param == "cluster":
        server = ClusterSet(folder)
    else:
        binary = next(each for each in binaries() if Path(each).name == request.param.partition(" ")[2])
        server = RedisServer(folder, binary=binary)
    url = server.url
    reached = RedisStore(url)
    yield reached
    reached.close()
    server.close()


@pytest.mark.parametrize("law", STORE_LAWS, ids=lambda law: law.__name__)
def test_the_laws_of_stores(store: Store, law: Callable[[Store], None]) -> None:
    """Each law holds for each store."""
    law(store)
