"""httpx, all at once with gather, paced by aiolimiter, tried again by tenacity."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
from aiolimiter import AsyncLimiter
from task import limit, save, urls
from tenacity import retry, stop_after_attempt, wait_exponential


async def main() -> int:
    calls, period = limit()
    limiter = AsyncLimiter(calls, period)
    async with httpx.AsyncClient(timeout=30) as client:

        @retry(stop=stop_after_attempt(5), wait=wait_exponential(multiplier=0.5, max=10), reraise=True)
        async def fetch(url: str) -> Any:
            async with limiter:
                response = await client.get(url)
            response.raise_for_status()
            return response.json()

        return save(await asyncio.gather(*map(fetch, urls()), return_exceptions=True))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
