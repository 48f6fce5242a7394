"""Five data pipelines as people write them, and none of them knows of virtual time; each kind in one function of a URL."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import requests
import stamina
import tenacity
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import paceline
from paceline.requests import Session

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PIPELINES"]


def requests_and_urllib3(url: str, calls: int) -> list[int]:
    """requests, with urllib3's Retry, which heeds Retry-After."""
    retry = Retry(total=5, status_forcelist=[429, 503], backoff_factor=0)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        return [session.get(f"{url}/items/{number}", timeout=10).status_code for number in range(calls)]


def told_by_the_server(state: tenacity.RetryCallState) -> float:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, httpx.HTTPStatusError)
    return float(error.response.headers["Retry-After"])


def with_tenacity(url: str, calls: int) -> list[int]:
    """tenacity around a function that uses httpx."""
    with httpx.Client(timeout=10) as client:

        @tenacity.retry(
            retry=tenacity.retry_if_exception_type(httpx.HTTPStatusError),
            wait=told_by_the_server,
            stop=tenacity.stop_after_attempt(5),
        )
        def fetch(number: int) -> int:
            response = client.get(f"{url}/items/{number}")
            response.raise_for_status()
            return response.status_code

        return [fetch(number) for number in range(calls)]


def patience(error: Exception) -> float | bool:
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 429:
        return float(error.response.headers["Retry-After"])
    return False


def with_stamina(url: str, calls: int) -> list[int]:
    """stamina, with a back-off hook that heeds Retry-After."""
    with httpx.Client(timeout=10) as client:

        @stamina.retry(on=patience, attempts=5, timeout=None)
        def fetch(number: int) -> int:
            response = client.get(f"{url}/items/{number}")
            response.raise_for_status()
            return response.status_code

        return [fetch(number) for number in range(calls)]


def httpx_async(url: str, calls: int) -> list[int]:
    """An AsyncClient of httpx, all calls at once, each sleeping for itself."""

    async def fetch(client: httpx.AsyncClient, number: int) -> int:
        while True:
            response = await client.get(f"{url}/items/{number}")
            if response.status_code != 429:
                return response.status_code
            await asyncio.sleep(float(response.headers["Retry-After"]))

    async def main() -> list[int]:
        async with httpx.AsyncClient(timeout=10) as client:
            return list(await asyncio.gather(*(fetch(client, number) for number in range(calls))))

    return asyncio.run(main())


def paceline_fetch(url: str, calls: int) -> list[int | None]:
    """paceline's own batch job, told nothing of the limit."""
    policy = paceline.Policy(retry=paceline.Retry(max_wait=7200))
    with closing(paceline.fetch((f"{url}/items/{number}" for number in range(calls)), policy, timeout=10)) as records:
        return [record.status for record in records]


def paceline_session(url: str, calls: int) -> list[int]:
    """paceline's requests.Session, told the limit."""
    policy = paceline.Policy(retry=paceline.Retry(max_wait=7200))
    with Session(policy) as session:
        return [session.get(f"{url}/items/{number}", timeout=10).status_code for number in range(calls)]


PIPELINES: dict[str, Callable[[str, int], list[int] | list[int | None]]] = {
    "requests_and_urllib3": requests_and_urllib3,
    "with_tenacity": with_tenacity,
    "with_stamina": with_stamina,
    "httpx_async": httpx_async,
    "paceline_fetch": paceline_fetch,
    "paceline_session": paceline_session,
}
