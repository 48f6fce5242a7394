"""The public names as a type checker sees them: read by `make types`, never run.

Every `type: ignore` here stands for a use that has to be refused: mypy complains of one that is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, assert_type

from tenacity import (
    retry as tenacity_retry,
)
from tenacity import (
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential_jitter,
    wait_fixed,
)

import paceline
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
    apages,
    cursor,
    fetch,
    link,
    pages,
    read_signal,
)
from paceline.compat import backoff as compat_backoff
from paceline.compat.aiolimiter import AsyncLimiter as CompatAsyncLimiter
from paceline.compat.ratelimit import RateLimitException, limits, sleep_and_retry
from paceline.compat.requests_ratelimiter import LimiterSession
from paceline.tenacity import RetryIfRefused, before_sleep_event, retry_if_refused, wait_for_server

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from paceline.events import Event

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
preset = paceline.policies.github(token="t", tier="authenticated", limits=["10/s"], buckets={"search": "1/s"})
assert_type(preset, Policy)
assert_type(preset.bucket_of("GET", "https://api.github.com/search/code"), str | None)
assert_type(preset.headers_for("https://api.github.com/user", {"Accept": "*/*"}), Mapping[str, str])
assert_type(paceline.policies.find_preset("github"), paceline.policies.Preset)
paceline.policies.github(token=1)  # type: ignore[arg-type]
paceline.policies.nobody()  # type: ignore[attr-defined]


def cost_of(method: str, url: str, body: bytes | None) -> float | Mapping[str, float] | None:
    return None


Policy(limits="10 tokens/s", cost_of=cost_of, settle_of=lambda reserved, status, body: {"tokens": 3})
Policy(cost_of=len)  # type: ignore[arg-type]

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
fetch(urls, policy, paginate="link")
fetch(urls, policy, paginate=cursor(next="meta.next", param="cursor", allow=["empty"]))
fetch(urls, policy, paginate=7)  # type: ignore[arg-type]
cursor(next="meta.next", param="cursor", allow=["everything"])  # type: ignore[list-item]
link("next")  # type: ignore[call-arg]


def get(url: str) -> bytes:
    return url.encode()


async def aget(url: str) -> bytes:
    return url.encode()


for one_page in pages(get, urls[0], "link"):
    assert_type(one_page, bytes)
fetch(urls, policy, concurrency="8")  # type: ignore[arg-type]


async def records() -> None:
    async for one in afetch([{"url": url} for url in urls], policy):
        assert_type(one.item, dict[str, str])
    async for another in apages(aget, urls[0], paginate=link(items="data")):
        assert_type(another, bytes)


@tenacity_retry(
    wait=wait_for_server(wait_exponential_jitter(initial=1, max=60), max_wait=900) + wait_fixed(1),
    retry=retry_if_refused | retry_if_exception_type(OSError),
    stop=stop_after_attempt(6),
    before_sleep=before_sleep_event,
)
def decorated(number: int) -> str:
    return str(number)


@tenacity_retry(wait=wait_for_server(), retry=retry_if_refused, before_sleep=before_sleep_event())
async def decorated_task(number: int) -> str:
    return str(number)


def take_event(event: Event) -> None: ...


assert_type(decorated(1), str)
decorated("1")  # type: ignore[arg-type]
assert_type(retry_if_refused(statuses={503}), RetryIfRefused)
Retry(wait=wait_for_server(wait_fixed(2)))
tenacity_retry(before_sleep=before_sleep_event(take_event), retry=retry_if_refused(unknown_method="GET"))
wait_for_server(2)  # type: ignore[arg-type]
retry_if_refused(status={503})  # type: ignore[call-overload]


@sleep_and_retry
@limits(calls=15, period=900)
def limited(number: int) -> str:
    return str(number)


assert_type(limited(1), str)
limited("1")  # type: ignore[arg-type]
assert_type(RateLimitException("too many calls", 0.5).period_remaining, float)


async def compat() -> None:
    bucket = CompatAsyncLimiter(100, 1)
    async with bucket:
        await bucket.acquire(2.5)
    assert_type(bucket.has_capacity(), bool)
    assert_type(await decorated_task(1), str)


@compat_backoff.on_exception(compat_backoff.expo, (ValueError, OSError), max_tries=5, on_giveup=print)
def backed_off(number: int) -> str:
    return str(number)


assert_type(backed_off(1), str)
assert_type(LimiterSession(per_second=5).get("https://api.example.com/").status_code, int)
