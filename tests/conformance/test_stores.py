"""Every store obeys the same laws: memory, SQLite, and real Redis and Valkey servers, alone and as a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.servers import RedisServer, binaries

from paceline.stores.memory import MemoryStore
from paceline.stores.redis import RedisStore
from paceline.stores.sqlite import SQLiteStore
from paceline.testing.conformance import STORE_LAWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paceline.stores.protocol import Store

KINDS = ["memory", "sqlite", "cluster", *(f"server {Path(binary).name}" for binary in binaries())]


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
    if request.param == "cluster":
        server = RedisServer(folder, "--cluster-enabled", "yes")
        server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in server.client.execute_command("CLUSTER", "INFO"):
            pass
        url = f"redis+cluster://127.0.0.1:{server.port}"
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
