"""A limit as a decorator: threads share it, and retries go through it.

The order matters: `@retry` outside, `@limiter` inside, so that every attempt takes a permit of its own. The other way
round, retries would go around the limit.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import requests
from stage import stage
from tenacity import retry, stop_after_attempt

from paceline import Limiter
from paceline.tenacity import before_sleep_event, retry_if_refused, wait_for_server

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    with stage(__doc__, argv, limit="40/s", items=60) as here, requests.Session() as session:
        limiter = Limiter([here.limit, "8 concurrent"])

        @retry(
            wait=wait_for_server(),
            # A body that breaks off is an exception of requests that does not say what was asked.
            retry=retry_if_refused(unknown_method="GET"),
            stop=stop_after_attempt(6),
            before_sleep=before_sleep_event,
            reraise=True,
        )
        @limiter
        def get(url: str) -> requests.Response:
            response = session.get(url, timeout=30)
            response.raise_for_status()
            return response  # whole: a refusal that comes as 200 is seen, too

        def fetch(url: str) -> Any:
            return get(url).json()

        with ThreadPoolExecutor(16) as threads:
            records = list(threads.map(fetch, here.urls))
        here.close([record["id"] for record in records])
        return here.status


if __name__ == "__main__":
    sys.exit(main())
