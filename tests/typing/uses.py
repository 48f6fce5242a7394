"""The public names as a type checker sees them: read by `make types`, never run.

Every `type: ignore` here stands for a use that has to be refused: mypy complains of one that is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

from tenacity import stop_after_attempt, stop_after_delay, wait_exponential_jitter

import paceline

limit = paceline.Limit.parse("100/2s")
assert_type(limit, paceline.Limit)
assert_type(limit.rate, float)
limit.quota = 5  # type: ignore[misc]
paceline.Limit.parse(100)  # type: ignore[arg-type]

limiter = paceline.Limiter(["100/2s", limit])
assert_type(limiter.acquire(cost=3, timeout=5), paceline.Permit)
assert_type(limiter.try_acquire(), paceline.Permit | None)
assert_type(limiter.state(), paceline.ScopeState)
assert_type(limiter.state().limits, tuple[paceline.LimitState, ...])
limiter.try_acquire().release()  # type: ignore[union-attr]
with limiter as permit:
    assert_type(permit, paceline.Permit)


@limiter
def paced(number: int) -> str:
    return str(number)


assert_type(paced(1), str)
paced("1")  # type: ignore[arg-type]


async def tasks() -> None:
    alimiter = paceline.AsyncLimiter("10/s")
    assert_type(await alimiter.acquire(), paceline.Permit)
    async with alimiter as held:
        assert_type(held, paceline.Permit)
    with alimiter:  # type: ignore[attr-defined]
        pass

    @alimiter
    async def paced_task(number: int) -> str:
        return str(number)

    assert_type(await paced_task(1), str)
    typed: Callable[[int], Coroutine[Any, Any, str]] = paced_task
    await typed(1)


retry = paceline.Retry(
    stop=stop_after_attempt(6) | stop_after_delay(300), wait=wait_exponential_jitter(initial=1, max=60)
)
policy = paceline.Policy(limits=["100/2s", limit], hosts={"api.example.com": "10/s"}, retry=retry)
assert_type(policy.scope_of("https://api.example.com/"), str)
paceline.Retry(attempts=6)  # type: ignore[call-arg]

signal = paceline.read_signal(429, {"Retry-After": "7"}, now=0.0)
assert_type(signal, paceline.Signal)
assert_type(signal.retry_after, float | None)
assert_type(signal.limits, tuple[paceline.Quota, ...])
paceline.read_signal(429, {})  # type: ignore[call-arg]
