"""requests with urllib3's Retry in its adapter, which heeds Retry-After; no limiter."""

from __future__ import annotations

import sys
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from task import in_threads
from urllib3.util import Retry

session = requests.Session()
session.mount("http://", HTTPAdapter(max_retries=Retry(total=5, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504])))


def fetch(url: str) -> Any:
    response = session.get(url, timeout=30)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    sys.exit(in_threads(fetch))
