"""httpx and stamina's decorator: five attempts, waits that double, with jitter; no limiter."""

from __future__ import annotations

import sys
from typing import Any

import httpx
import stamina
from task import in_threads

client = httpx.Client(timeout=30)


@stamina.retry(on=httpx.HTTPError, attempts=5)
def fetch(url: str) -> Any:
    response = client.get(url)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    sys.exit(in_threads(fetch))
