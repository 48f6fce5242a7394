"""One session for all threads: connections are kept, the limit is shared, a refusal slows everybody.

`paceline.requests.Session` is a `requests.Session`: headers, cookies, auth, hooks and streaming are as they were. It
waits for permits, reads what every answer says about limits, and tries again by itself, so there is no decorator.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from stage import stage

from paceline import Policy
from paceline.requests import Session
from paceline.telemetry import console

if TYPE_CHECKING:
    from collections.abc import Sequence

THREADS = 8


def main(argv: Sequence[str] | None = None) -> int:
    with stage(__doc__, argv, limit="60/s", items=90, latency=0.02, refuse_rate=0.02, refuse_wait=0.2, retry_after="float") as here:
        policy = Policy(limits=[here.limit, f"{THREADS} concurrent"], events=console())
        with Session(policy) as session, ThreadPoolExecutor(THREADS) as threads:
            session.headers["Accept"] = "application/json"

            def fetch(url: str) -> Any:
                response = session.get(url, timeout=30)
                response.raise_for_status()
                return response.json()

            records = list(threads.map(fetch, here.urls))
        here.close([record["id"] for record in records])
        return here.status


if __name__ == "__main__":
    sys.exit(main())
