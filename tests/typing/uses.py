"""The public names as a type checker sees them: read by `make types`, never run.

Every `type: ignore` here stands for a use that has to be refused: mypy complains of one that is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from tenacity import stop_after_attempt, stop_after_delay, wait_exponential_jitter

from paceline import (
    AsyncLimiter,
    Limit,
    Limiter,
    LimitState,
    Permit,
    Policy,
    Quota,
    Record,
    Retry,
    ScopeState,
    Signal,
    afetch,
    fetch,
    read_signal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

limit = Limit.parse("100/2s")
assert_type(limit, Limit)
assert_type(limit.rate, float)
limit.quota = 5  # type: ignore[misc]
Limit.parse(100)  # type: ignore[arg-type]

limiter = Limiter(["100/2s", limit])
assert_type(limiter.acquire(cost=3, timeout=5), Permit)
assert_type(limiter.try_acquire(), Permit | None)
assert_type(limiter.state(), ScopeState)
assert_type(limiter.state().limits, tuple[LimitState, ...])
limiter.try_acquire().release()  # type: ignore[union-attr]
with limiter as permit:
    assert_type(permit, Permit)


@limiter
def paced(number: int) -> str:
    return str(number)


assert_type(paced(1), str)
paced("1")  # type: ignore[arg-type]


async def tasks() -> None:
    alimiter = AsyncLimiter("10/s")
    assert_type(await alimiter.acquire(), Permit)
    async with alimiter as held:
        assert_type(held, Permit)
    with alimiter:  # type: ignore[attr-defined]
        pass

    @alimiter
    async def paced_task(number: int) -> str:
        return str(number)

    assert_type(await paced_task(1), str)
    typed: Callable[[int], Coroutine[Any, Any, str]] = paced_task
    await typed(1)


retry = Retry(
    stop=stop_after_attempt(6) | stop_after_delay(300), wait=wait_exponential_jitter(initial=1, max=60)
)
policy = Policy(limits=["100/2s", limit], hosts={"api.example.com": "10/s"}, retry=retry)
assert_type(policy.scope_of("https://api.example.com/"), str)
Retry(attempts=6)  # type: ignore[call-arg]

signal = read_signal(429, {"Retry-After": "7"}, now=0.0)
assert_type(signal, Signal)
assert_type(signal.retry_after, float | None)
assert_type(signal.limits, tuple[Quota, ...])
read_signal(429, {})  # type: ignore[call-arg]

urls = ["https://api.example.com/items/1"]
for record in fetch(urls, "100/2s"):
    assert_type(record, Record[str])
    assert_type(record.status, int | None)
    assert_type(record.body, bytes)
    record.status = 200  # type: ignore[misc]
fetch(urls, policy, concurrency="8")  # type: ignore[arg-type]


async def records() -> None:
    async for one in afetch([{"url": url} for url in urls], policy):
        assert_type(one.item, dict[str, str])
