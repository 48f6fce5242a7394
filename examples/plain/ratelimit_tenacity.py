"""requests, paced by the decorators of ratelimit, tried again by tenacity's."""

from __future__ import annotations

import sys
from typing import Any

import requests
from ratelimit import limits, sleep_and_retry
from task import in_threads, limit
from tenacity import retry, stop_after_attempt, wait_exponential

CALLS, PERIOD = limit()
session = requests.Session()


@retry(stop=stop_after_attempt(5), wait=wait_exponential(multiplier=0.5, max=10), reraise=True)
@sleep_and_retry
@limits(calls=CALLS, period=PERIOD)
def fetch(url: str) -> Any:
    response = session.get(url, timeout=30)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    sys.exit(in_threads(fetch))
