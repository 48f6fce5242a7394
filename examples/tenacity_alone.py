"""tenacity alone: a decorator on a function that fetches, which waits for as long as the server asks.

There is no limiter: the server's refusals are the only brake, so that some requests are sent in vain. What is right
in it: every way of writing a wait is understood, none is undercut, a POST is never sent twice by mistake, an hour's
pause ends the program with the moment to come back at, and each retry is logged.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import requests
from stage import stage
from tenacity import retry, stop_after_attempt, stop_after_delay, wait_exponential_jitter

from paceline import RetryLater
from paceline.tenacity import before_sleep_event, retry_if_refused, wait_for_server

if TYPE_CHECKING:
    from collections.abc import Sequence


@retry(
    wait=wait_for_server(fallback=wait_exponential_jitter(initial=1, max=60), max_wait=900),
    # A body that breaks off is an exception of requests that does not say what was asked.
    retry=retry_if_refused(unknown_method="GET"),
    stop=stop_after_attempt(6) | stop_after_delay(300),
    before_sleep=before_sleep_event,
    reraise=True,
)
def get(session: requests.Session, url: str) -> requests.Response:
    response = session.get(url, timeout=30)
    response.raise_for_status()
    return response  # whole: a refusal that comes as 200 is seen, too


def fetch(session: requests.Session, url: str) -> Any:
    return get(session, url).json()


def main(argv: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)-7s %(message)s")
    with stage(__doc__, argv, limit="30/s", items=50) as here, requests.Session() as session:
        try:
            records = [fetch(session, url) for url in here.urls]
        except RetryLater as later:
            print(f"stopped: {later}", file=sys.stderr)
            return 75
        here.close([record["id"] for record in records])
        return here.status


if __name__ == "__main__":
    sys.exit(main())
