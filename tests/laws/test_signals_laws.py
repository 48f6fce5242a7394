"""Laws of read_signal: whatever a server sends, the signal is sound, and it does not depend on how it was handed over."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.signals import DIALECTS, Signal, needs_body, read_signal, silent

NOW = 1768478400.0

names = st.sampled_from(
    [
        "Retry-After", "retry-after-ms", "x-ms-retry-after-ms", "X-Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining",
        "X-RateLimit-Reset", "X-RateLimit-Used", "X-RateLimit-Reset-After", "X-RateLimit-Resource", "X-RateLimit-Policy",
        "X-Rate-Limit", "x-rate-limit-limit", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "RateLimit",
        "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Beta-Ratelimit", "Date", "Age",
        "X-Shopify-Shop-Api-Call-Limit", "Sforce-Limit-Info", "x-ms-ratelimit-remaining-resource", "X-App-Usage",
        "X-Business-Use-Case-Usage", "X-Sentry-Rate-Limits", "X-MBX-USED-WEIGHT-1M", "x-amzn-errortype", "x-amzn-RateLimit-Limit",
        "X-App-Rate-Limit", "X-App-Rate-Limit-Count", "anthropic-ratelimit-unified-5h-status", "x-daylimit-remaining",
        "X-Rate-Limit-Problem", "Content-Type",
    ]
) | st.text(max_size=12)  # fmt: skip

values = (
    st.sampled_from(
        [
            "", " ", "0", "-1", "30", "2.0", "1e999", "NaN", "1768478460", "1768478460000", "9" * 5000, "1_000", "２", "²", "6m0s",
            "20ms", "00:00:05", "2026-01-15T12:01Z", "Thu, 15 Jan 2026 12:00:30 GMT", "Sun Nov  6 08:49:37 1994", "32/40",
            "Fri, 31 Dec 9999 23:59:59 -1200", "100;w=60", "10, 10;w=1, 50;w=60", '"default";r=50;t=30', '"a";q=1;w=0', "50, 50",
            "limit=100, remaining=0, reset=5", "api-usage=18/0", "A;46,B;0", "100:120,20:1", "60:error:key, 5::org", '{"a":', "[]",
            '{"call_count":100,"total_time":1e999}', '{"1":[{"type":"x","call_count":9,"estimated_time_to_regain_access":"9"}]}',
            "rejected", "concurrent", "\udcff", "\x00",
        ]
    )
    | st.integers(-(10**20), 10**20).map(str)
    | st.floats().map(str)
    | st.text(max_size=30)
    | st.text(alphabet='0123456789,;=:"/.smhdT-Zwqrt ', max_size=40)
)  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | values
keys = st.sampled_from(
    [
        "error", "errors", "code", "type", "message", "retry_after", "retryDelay", "details", "extensions", "cost", "reset",
        "throttleStatus", "currentlyAvailable", "maximumAvailable", "restoreRate", "requestedQueryCost", "backoff", "quota_max",
        "quota_remaining", "parameters", "metadata", "fbtrace_id", "error_subcode",
    ]
) | st.text(max_size=8)  # fmt: skip
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)


def as_json(document: Any) -> bytes:
    """The document as a server that knows no shame would write it: NaN, infinity and lone surrogates included."""
    import json

    return json.dumps(document).encode("utf-8", "replace")


bodies = (
    st.none()
    | st.binary(max_size=60)
    | documents.map(as_json)
    | st.text(alphabet='{}[]":,0123456789 retry after in seconds<>/Code', max_size=80).map(str.encode)
)
statuses = st.sampled_from(
    [200, 201, 204, 301, 304, 400, 401, 403, 404, 418, 420, 429, 430, 500, 502, 503, 529]
) | st.integers(100, 999)
dialects = st.none() | st.sampled_from(sorted(DIALECTS))


def assert_sound(signal: Signal) -> None:
    """What holds for every signal."""
    numbers = [signal.retry_after]
    for quota in signal.limits:
        numbers += [quota.limit, quota.remaining, quota.reset_after, quota.window]
        assert quota.name is None or 0 < len(quota.name) <= 128
        assert quota.window is None or quota.window > 0
    for number in numbers:
        assert number is None or (not isinstance(number, bool) and math.isfinite(number) and number >= 0)
    assert signal.dialect in DIALECTS
    assert len(signal.limits) <= 200
    assert all(isinstance(note, str) and len(note) < 400 and note.isprintable() for note in signal.notes)


@settings(max_examples=400, deadline=None)
@given(statuses, st.lists(st.tuples(names, values), max_size=8), bodies, dialects)
def test_any_response_gives_a_sound_signal(
    status: int, headers: list[tuple[str, str]], body: bytes | None, dialect: str | None
) -> None:
    """Nothing that a server sends makes read_signal raise, nor gives it a wait or a limit that is no number at or above 0."""
    assert_sound(read_signal(status, headers, body, now=NOW, dialect=dialect))
    assert needs_body(status, headers, dialect=dialect) in (True, False)


@settings(max_examples=150, deadline=None)
@given(
    statuses,
    st.lists(
        st.tuples(names.filter(str.isascii), values), max_size=5, unique_by=lambda pair: pair[0].lower()
    ),
)
def test_the_form_of_the_headers_does_not_matter(status: int, headers: list[tuple[str, str]]) -> None:
    """Pairs, a mapping, upper case and bytes say the same."""
    plain = [(name, value) for name, value in headers if value.isascii()]
    told = read_signal(status, plain, now=NOW)
    assert read_signal(status, dict(plain), now=NOW) == told
    assert read_signal(status, [(name.upper(), value) for name, value in plain], now=NOW) == told
    assert read_signal(status, [(name.encode(), value.encode()) for name, value in plain], now=NOW) == told


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 4_000_000))
def test_the_short_way_says_what_the_long_way_says(limit: int, remaining: int, reset: int) -> None:
    """The fast reading of plain numbers equals the careful one (which an empty body asks for)."""
    for moment in (reset, int(NOW) + reset % 100_000 - 50_000):
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(moment),
        }
        assert read_signal(200, headers, now=NOW) == read_signal(200, headers, b"", now=NOW)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**8), st.integers(-86_000, 86_000))
def test_a_span_is_immune_to_skewed_clocks(wait: int, skew: int) -> None:
    """A Retry-After in seconds means the same whatever Date says; a moment is corrected by a plausible Date."""
    from email.utils import formatdate

    date = formatdate(NOW + skew, usegmt=True)
    assert read_signal(429, {"Date": date, "Retry-After": str(wait)}, now=NOW).retry_after == wait
    moment = formatdate(NOW + skew + wait % 10**6, usegmt=True)
    told = read_signal(429, {"Date": date, "Retry-After": moment}, now=NOW).retry_after
    assert told is not None
    assert abs(told - wait % 10**6) <= 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6)), min_size=1, max_size=6))
def test_of_several_buckets_the_longest_exhausted_one_is_waited_for(buckets: list[tuple[int, int]]) -> None:
    """A refusal waits for the exhausted buckets alone, and for the longest of them; for none where none is exhausted."""
    headers = {}
    for i, (remaining, reset) in enumerate(buckets):
        headers[f"X-RateLimit-Remaining-Bucket{i}"] = str(remaining)
        headers[f"X-RateLimit-Reset-Bucket{i}"] = str(reset)
    empty = [reset for remaining, reset in buckets if remaining == 0]
    assert read_signal(429, headers, now=NOW).retry_after == (max(empty) if empty else None)
    assert read_signal(200, headers, now=NOW).retry_after is None


@given(status=st.sampled_from([200, 204, 301, 399]), headers=st.lists(st.tuples(names, values), max_size=6), bytes_too=st.booleans())
def test_silent_headers_say_nothing(status: int, headers: list[tuple[str, str]], bytes_too: bool) -> None:
    """Where the names alone are silent, a served answer has no signal, whatever the values; in any form of the names."""
    asked = [name.encode("utf-8", "surrogateescape") if bytes_too else name for name, _ in headers]
    if silent(asked):
        assert read_signal(status, headers, now=NOW) == Signal()
        assert not needs_body(status, headers, url="https://api.example.com/items")
