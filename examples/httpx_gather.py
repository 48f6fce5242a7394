"""A batch of httpx with `asyncio.gather`: hundreds of tasks, one client, one limit, and nothing lost.

`gather` starts everything at once; the policy of the client decides when each request goes, how many are in flight,
and which are tried again. What ends without an answer is a record too, instead of an exception that hides the others.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import httpx
from stage import stage

from paceline import PacelineError, Policy
from paceline.httpx import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Sequence

# A task for each of a million URLs would fill the memory: go through a long list in slices.
SLICE = 100


async def fetch(client: AsyncClient, url: str) -> dict[str, Any]:
    try:
        response = await client.get(url)
        response.raise_for_status()
    except (httpx.HTTPError, PacelineError) as error:
        return {"url": url, "error": f"{type(error).__name__}: {error}"}
    return {"url": url, **response.json()}


async def fetch_all(urls: Sequence[str], policy: Policy) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    async with AsyncClient(policy, timeout=30) as client:
        for start in range(0, len(urls), SLICE):
            records += await asyncio.gather(*(fetch(client, url) for url in urls[start : start + SLICE]))
    return records


def main(argv: Sequence[str] | None = None) -> int:
    with stage(__doc__, argv, limit="100/s", items=150, latency=0.03, jitter=0.02) as here:
        policy = Policy(limits=[here.limit, "20 concurrent"])
        records = asyncio.run(fetch_all(here.urls, policy))
        for record in records:
            if "error" in record:
                print(record["error"], file=sys.stderr)
        here.close([record["id"] for record in records if "id" in record])
        return here.status


if __name__ == "__main__":
    sys.exit(main())
