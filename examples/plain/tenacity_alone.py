"""requests and tenacity's decorator: five attempts, waits that double."""

from __future__ import annotations

import sys
from typing import Any

import requests
from task import in_threads
from tenacity import retry, stop_after_attempt, wait_exponential


@retry(stop=stop_after_attempt(5), wait=wait_exponential(multiplier=0.5, max=10), reraise=True)
def fetch(url: str) -> Any:
    response = requests.get(url, timeout=30)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    sys.exit(in_threads(fetch))
