"""Families of header names and bodies that no dialect knows: the general rules read them by their words.

The responses are composed after the pages named; they are no captures.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from paceline.signals import Quota, Signal, read_signal
from paceline.signals._names import read_name

NOW = 1768478400.0  # Thu, 15 Jan 2026 12:00:00 GMT

FAMILIES: list[tuple[str, dict[str, str], list[Quota]]] = [
    (
        "https://developer.bigcommerce.com/docs/start/best-practices",
        {
            "X-Rate-Limit-Time-Reset-Ms": "15000",
            "X-Rate-Limit-Time-Window-Ms": "30000",
            "X-Rate-Limit-Requests-Left": "149",
            "X-Rate-Limit-Requests-Quota": "150",
        },
        [Quota("requests", 150, 149, 15, 30, "requests")],
    ),
    (
        "https://developer.atlassian.com/cloud/trello/guides/rest-api/rate-limits/",
        {
            "X-RATE-LIMIT-API-TOKEN-INTERVAL-MS": "10000",
            "X-RATE-LIMIT-API-TOKEN-MAX": "100",
            "X-RATE-LIMIT-API-TOKEN-REMAINING": "99",
            "X-RATE-LIMIT-API-KEY-INTERVAL-MS": "10000",
            "X-RATE-LIMIT-API-KEY-MAX": "300",
            "X-RATE-LIMIT-API-KEY-REMAINING": "298",
        },
        [Quota("api-token", 100, 99, None, 10, "requests"), Quota("api-key", 300, 298, None, 10, "requests")],
    ),
    (
        "https://apidocs.imgur.com/",
        {
            "X-RateLimit-UserLimit": "500",
            "X-RateLimit-UserRemaining": "499",
            "X-RateLimit-UserReset": "1768482000",
            "X-Post-Rate-Limit-Limit": "1250",
            "X-Post-Rate-Limit-Remaining": "1249",
            "X-Post-Rate-Limit-Reset": "3600",
        },
        [Quota("user", 500, 499, 3600, None, "requests"), Quota("post", 1250, 1249, 3600, None, "requests")],
    ),
    (
        "https://developer.riotgames.com/docs/portal",
        {
            "X-App-Rate-Limit": "100:120,20:1",
            "X-App-Rate-Limit-Count": "5:120,20:1",
            "X-Method-Rate-Limit": "2000:60",
            "X-Method-Rate-Limit-Count": "1:60",
        },
        [
            Quota("app", 100, 95, None, 120, "requests"),
            Quota("app", 20, 0, None, 1, "requests"),
            Quota("method", 2000, 1999, None, 60, "requests"),
        ],
    ),
    (
        "https://developers.eveonline.com/docs/services/esi/rate-limiting/",
        {
            "X-Ratelimit-Group": "alliance",
            "X-Ratelimit-Limit": "150/15m",
            "X-Ratelimit-Remaining": "148",
            "X-Ratelimit-Used": "2",
        },
        [Quota("alliance", 150, 148, None, 900, "requests")],
    ),
    (
        "https://developers.eveonline.com/docs/services/esi/best-practices/",
        {"X-Esi-Error-Limit-Remain": "7", "X-Esi-Error-Limit-Reset": "42"},
        [Quota("esi-error", None, 7, 42, None, "requests")],
    ),
    (
        "https://docs.developer.yelp.com/docs/fusion-rate-limiting",
        {
            "RateLimit-DailyLimit": "5000",
            "RateLimit-Remaining": "4990",
            "RateLimit-ResetTime": "2026-01-16T00:00:00+00:00",
        },
        [Quota("daily", 5000, 4990, 43200, 86400, "requests")],
    ),
    (
        "https://docs.datadoghq.com/api/latest/rate-limits/",
        {
            "X-RateLimit-Limit": "100",
            "X-RateLimit-Period": "60",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "12",
            "X-RateLimit-Name": "events",
        },
        [Quota("events", 100, 0, 12, 60, "requests")],
    ),
    (
        "https://developers.etsy.com/documentation/essentials/rate-limits",
        {
            "X-Limit-Per-Second": "10",
            "X-Remaining-This-Second": "9",
            "X-Limit-Per-Day": "10000",
            "X-Remaining-Today": "9999",
        },
        [Quota("second", 10, 9, None, 1, "requests"), Quota("day", 10000, 9999, None, 86400, "requests")],
    ),
    (
        "https://developer.zendesk.com/api-reference/introduction/rate-limits/",
        {"Zendesk-RateLimit-tickets-index": "total=100; remaining=99; resets=42"},
        [Quota("tickets-index", 100, 99, 42, None, "requests")],
    ),
    (
        "https://docs.spring.io/spring-cloud-gateway/reference/",
        {
            "X-RateLimit-Remaining": "3",
            "X-RateLimit-Burst-Capacity": "20",
            "X-RateLimit-Replenish-Rate": "10",
        },
        [Quota(None, 20, 3, None, None, "requests")],
    ),
    (
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter",
        {
            "x-ratelimit-limit": '10, 10;w=1;name="foo", 300;w=60;name="bar"',
            "x-ratelimit-remaining": "9",
            "x-ratelimit-reset": "1",
        },
        [Quota("foo", 10, 9, 1, 1, "requests"), Quota("bar", 300, None, None, 60, "requests")],
    ),
    (
        "https://inference-docs.cerebras.ai/support/rate-limits",
        {
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-remaining-requests-day": "14399",
            "x-ratelimit-reset-requests-day": "33011.5",
            "x-ratelimit-limit-tokens-minute": "60000",
            "x-ratelimit-remaining-tokens-minute": "59000",
            "x-ratelimit-reset-tokens-minute": "11.5",
        },
        [
            Quota("requests-day", 14400, 14399, 33011.5, 86400, "requests"),
            Quota("tokens-minute", 60000, 59000, 11.5, 60, "tokens"),
        ],
    ),
    (
        "https://developer.ticketmaster.com/products-and-docs/apis/getting-started/",
        {
            "Rate-Limit": "5000",
            "Rate-Limit-Available": "4978",
            "Rate-Limit-Over": "0",
            "Rate-Limit-Reset": "1768478460500",
        },
        [Quota(None, 5000, 4978, 60.5, None, "requests")],
    ),
    (
        "https://www.tumblr.com/docs/en/api/v2",
        {
            "X-Ratelimit-Perday-Limit": "5000",
            "X-Ratelimit-Perday-Remaining": "4999",
            "X-Ratelimit-Perday-Reset": "80000",
        },
        [Quota("perday", 5000, 4999, 80000, 86400, "requests")],
    ),
    (
        "https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting",
        {
            "x-daily-requests-left": "9999",
            "x-daily-ratelimit-token-limit": "30000",
            "x-daily-ratelimit-token-remaining": "29000",
        },
        [
            Quota("daily-requests", None, 9999, None, 86400, "requests"),
            Quota("daily-token", 30000, 29000, None, 86400, "tokens"),
        ],
    ),
    (
        "https://www.zuora.com/developer/rest-api/general-concepts/rate-concurrency-limits/",
        {
            "Concurrency-Limit-Type": "Default",
            "Concurrency-Limit-Limit": "40",
            "Concurrency-Limit-Remaining": "39",
        },
        [Quota("concurrency", 40, 39, None, None, None)],
    ),
    (
        "https://docs.sentry.io/api/ratelimits/",
        {
            "X-Sentry-Rate-Limit-Limit": "40",
            "X-Sentry-Rate-Limit-ConcurrentLimit": "25",
            "X-Sentry-Rate-Limit-ConcurrentRemaining": "24",
        },
        [Quota(None, 40, None, None, None, "requests"), Quota("concurrent", 25, 24, None, None, None)],
    ),
    (
        "https://twelvedata.com/docs",
        {"api-credits-used": "2", "api-credits-left": "6"},
        [Quota("credits", 8, 6, None, None, "points")],
    ),
    (
        "https://docs.together.ai/docs/rate-limits",
        {
            "x-ratelimit-limit": "60",
            "x-ratelimit-remaining": "59",
            "x-tokenlimit-limit": "60000",
            "x-tokenlimit-remaining": "59000",
        },
        [Quota(None, 60, 59, None, None, "requests"), Quota("token", 60000, 59000, None, None, "tokens")],
    ),
    (
        "https://learn.microsoft.com/power-apps/developer/data-platform/api-limits",
        {
            "x-ms-ratelimit-burst-remaining-xrm-requests": "5999",
            "x-ms-ratelimit-time-remaining-xrm-requests": "1,198.43",
        },
        [
            Quota("burst-xrm-requests", None, 5999, None, None, "requests"),
            Quota("time-xrm-requests", None, 1198.43, None, None, "seconds"),
        ],
    ),
    (
        "https://docs.discogs.com/",
        {"X-Discogs-Ratelimit": "60", "X-Discogs-Ratelimit-Used": "2", "X-Discogs-Ratelimit-Remaining": "58"},
        [Quota(None, 60, 58, None, None, "requests")],
    ),
]


@pytest.mark.parametrize(
    ("page", "headers", "quotas"),
    FAMILIES,
    ids=[page.split("/")[2] + str(i) for i, (page, *_) in enumerate(FAMILIES)],
)
def test_families_of_names(page: str, headers: dict[str, str], quotas: list[Quota]) -> None:
    """The words of the names tell bucket, role, window and unit, wherever they stand."""
    told = read_signal(200, headers, b"", now=NOW)
    assert list(told.limits) == quotas
    assert (told.refused, told.retry_after) == (False, None)


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (
            403,
            {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS", "Retry-After": "1"},
            "<h1>Developer Over Qps</h1>",
            1,
        ),
        (
            403,
            {},
            '{"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 02:57:55."}',
            10675,
        ),
        (403, {}, '{"error": "Quota exceeded"}', None),
        (401, {}, '{"Response": "False", "Error": "Request limit reached!"}', None),
        (429, {"X-Retry-In": "1.5s"}, None, 1.5),
        (429, {"Retry-After": "2026-01-16T00:00:00Z"}, None, 43200),
        (429, {"x-ms-ratelimit-microsoft.costmanagement-entity-retry-after": "30"}, None, 30),
        (
            200,
            {},
            '{"ErrorCode": 35, "ThrottleSeconds": 10, "ErrorStatus": "ThrottleLimitExceededMomentarily"}',
            10,
        ),
        (
            200,
            {},
            '{"errors": [{"extensions": {"code": "COMPLEXITY_BUDGET_EXHAUSTED", "retry_in_seconds": 12}}]}',
            12,
        ),
        (
            200,
            {},
            '{"status": {"message": "the hourly limit of 1000 credits has been exceeded", "value": 19}}',
            None,
        ),
        (200, {}, '{"status": "error", "error": {"code": 407, "message": "REQUEST_LIMIT_EXCEEDED"}}', None),
        (200, {}, '{"error": 29, "message": "Rate limit exceeded"}', None),
        (200, {}, '{"code": 40100, "message": "Too many requests, please try again later"}', None),
        (200, {}, '{"Note": "Our standard API call frequency is 5 calls per minute."}', None),
        (200, {}, '{"results": [], "status": "OVER_QUERY_LIMIT"}', None),
        (500, {}, '{"fault": {"detail": {"errorcode": "policies.ratelimit.SpikeArrestViolation"}}}', None),
    ],
)
def test_families_of_refusals(
    status: int, headers: dict[str, str], body: str | None, wait: float | None
) -> None:
    """Refusals are told by codes and sentences that many servers share, under whatever status."""
    told = read_signal(status, headers, body.encode() if body else None, now=NOW)
    assert (told.refused, told.retry_after) == (True, wait)


@pytest.mark.parametrize(
    "name",
    [
        "", "Date", "Content-Type", "X-Request-Id", "X-Total-Count", "X-Page-Limit", "X-Pagination-Limit", "Access-Control-Max-Age",
        "Content-Length-Limit", "X-Upload-Limit-Remaining", "X-Memory-Used", "X-Complexity-Score", "X-Remaining", "Remaining",
        "X-Reset-Requests", "Retry-After-Whatever", "ETag", "Age",
    ],
)  # fmt: skip
def test_names_that_say_nothing_about_limits(name: str) -> None:
    """Pages, sizes, lengths and plain words are no limits."""
    assert read_name(name) is None


def read(**told: Any) -> Signal:
    """A response read at NOW."""
    return read_signal(
        told.pop("status", 429), told.pop("headers", {}), told.pop("body", None), now=NOW, **told
    )


def test_notes_of_dialects() -> None:
    """Dialects tell in their notes what the values alone do not say."""
    body = b'{"error": {"code": "lock_timeout", "doc_url": "https://stripe.com/docs"}}'
    assert any("no quota" in note for note in read(body=body).notes)
    assert any(
        "midnight Pacific" in note
        for note in read(body=b'{"error": {"status": "RESOURCE_EXHAUSTED", "x": "PerDay"}}').notes
    )
    total = b'[{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]'
    assert any(
        "rolling 24 hours" in note for note in read(status=403, body=total, dialect="salesforce").notes
    )
    told = read(headers={"X-RateLimit-Global": "true", "Retry-After": "65"}, body=b'{"global": true}')
    assert (told.dialect, told.notes[0]) == (
        "discord",
        "the global limit: it holds for every route of this credential",
    )
    assert any("banned" in note for note in read(status=418, dialect="binance").notes)


def test_a_firewall_s_403_is_a_refusal_where_its_owner_says_so() -> None:
    """Binance documents 403 as a violated limit of its firewall; elsewhere a bare 403 is forbidden."""
    assert read(status=403, url="https://api.binance.com/api/v3/time").refused
    assert not read(status=403, url="https://example.com/").refused
    assert not read(status=403, dialect="binance").refused


def test_mediawiki_s_header_alone_is_enough() -> None:
    """A MediaWiki-API-Error header tells a refusal under 200 even where the body was not read."""
    told = read(status=200, headers={"MediaWiki-API-Error": "maxlag", "Retry-After": "5"})
    assert (told.refused, told.retry_after) == (True, 5)
    assert not read(status=200, headers={"MediaWiki-API-Error": "badtoken"}).refused


def test_a_subscription_s_rejected_bucket_is_waited_for() -> None:
    """Anthropic's subscriptions tell a status for each bucket: the wait is the rejected one's reset."""
    headers = {
        "anthropic-ratelimit-unified-5h-status": "rejected",
        "anthropic-ratelimit-unified-5h-reset": "1768482000",
        "anthropic-ratelimit-unified-7d-status": "allowed",
        "anthropic-ratelimit-unified-7d-reset": "1768900000",
    }
    assert read(headers=headers).retry_after == 3600


def test_meta_s_usage_headers() -> None:
    """Percentages are quotas of 100, with the reset where it is told; what is no JSON object is ignored."""
    told = read(
        status=200, headers={"X-Ad-Account-Usage": '{"acc_id_util_pct": 9.67, "reset_time_duration": 300}'}
    )
    assert told.limits == (Quota("acc_id_util_pct", 100, 100 - 9.67, 300, None, None),)
    for junk in ("[]", "{", '{"1": {}}', '{"1": [1]}', '{"1": [{"call_count": "x"}]}'):
        assert read(status=400, headers={"X-Business-Use-Case-Usage": junk}).limits == ()


LONG = 65536


@pytest.mark.parametrize(
    "body",
    [
        b"[" * LONG, b'{"a":' * (LONG // 5), b"<a" * (LONG // 2), b"<" * LONG, b"retry " * (LONG // 6), b"again 1 day and " * (LONG // 16),
        b"exceeded " * (LONG // 9), b'{"message":"' + b"too many " * (LONG // 10) + b'"}', b"[" + b"1," * (LONG // 2 - 2) + b"1]",
        b'{"retry_after":' + b"1" * (LONG - 20) + b"}", b"%20+" * (LONG // 4), b'"' * LONG, b"\x00" * LONG,
    ],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_a_hostile_body_costs_little(body: bytes) -> None:
    """No body makes the reading take more than linear time: 64 KiB within a small part of a second on any machine."""
    for status in (200, 400, 429):
        began = time.process_time()
        read(status=status, body=body)
        assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    "name",
    [
        "Retry-After",
        "X-RateLimit-Limit",
        "X-RateLimit-Reset",
        "RateLimit",
        "RateLimit-Policy",
        "Sforce-Limit-Info",
    ],
)
@pytest.mark.parametrize(
    "unit", ["1,", "1m", '"', '\\"', '"a";r=1;t=1,', "a=1,", ";", "1 day and ", "(", "1:"]
)
def test_a_hostile_header_costs_little(name: str, unit: str) -> None:
    """No header value makes the reading take more than linear time."""
    began = time.process_time()
    read(headers={name: unit * (LONG // len(unit))})
    read(headers={name: (unit * LONG)[:2000]})
    read(headers=[(name, unit * 20)] * 2000)
    assert time.process_time() - began < 0.2
