"""read_signal by its rules: which wait counts, which bucket, what is a refusal, and how times and counters are written."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

import paceline.signals as signals
from paceline.signals import DIALECTS, Quota, Signal, find_dialect, needs_body, read_signal

NOW = 1768478400.0  # Thu, 15 Jan 2026 12:00:00 GMT


def refusal(
    headers: dict[str, str], body: bytes | str | None = None, status: int = 429, **told: Any
) -> Signal:
    """A refusal with these headers, read at NOW."""
    return read_signal(status, headers, body, now=NOW, **told)


def test_the_order_of_waits() -> None:
    """retry-after-ms goes before Retry-After, that before the body, that before the reset of what is exhausted."""
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "40"}
    assert refusal(headers).retry_after == 40
    assert refusal(headers, b'{"retry_after": 30}').retry_after == 30
    headers["X-Retry-After"] = "25"
    assert refusal(headers, b'{"retry_after": 30}').retry_after == 25
    headers["Retry-After"] = "20"
    assert refusal(headers, b'{"retry_after": 30}').retry_after == 20
    headers["retry-after-ms"] = "1500"
    assert refusal(headers, b'{"retry_after": 30}').retry_after == 1.5


@pytest.mark.parametrize("junk", ["", " ", "-5", "soon", "NaN", "1_000", "0x1F", "3 0", "9" * 30])
def test_an_unusable_wait_hides_nothing(junk: str) -> None:
    """A blank, negative or malformed Retry-After does not hide the reset, and a note says that it was ignored."""
    signal = refusal({"Retry-After": junk, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"})
    assert signal.retry_after == 30
    assert any("retry-after" in note and "ignored" in note for note in signal.notes)


def test_notes_name_the_rule_and_what_was_ignored() -> None:
    """Notes say in plain words where the wait is from, and why something else was not used."""
    signal = refusal({"Retry-After": "soon", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"})
    assert signal.notes == (
        "retry-after says 'soon', which is no wait: ignored",
        "the wait is the reset of the exhausted quota",
    )
    assert refusal({"Retry-After": ""}).notes == ("retry-after is blank: ignored", "no wait was named")


def test_a_visible_reset_is_not_that_of_an_unseen_limit() -> None:
    """Refused with something left in all visible buckets: the wait is unknown, and a note says why."""
    signal = refusal({"X-RateLimit-Remaining": "14", "X-RateLimit-Reset": "60"})
    assert signal.retry_after is None
    assert signal.notes == (
        "all quotas shown have something left: an unseen limit refused, its wait is unknown",
    )


def test_served_with_nothing_left_is_no_refusal() -> None:
    """A 200 with remaining 0 is data; its Retry-After, its reset and a redirect's Retry-After are no waits."""
    for status in (200, 204, 301, 404):
        signal = read_signal(
            status, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9", "Retry-After": "5"}, b"", now=NOW
        )
        assert (signal.refused, signal.retry_after) == (False, None)
        assert signal.limits[0].remaining == 0


@pytest.mark.parametrize(
    ("status", "headers", "body", "refused"),
    [
        (403, {}, b'{"message": "Forbidden"}', False),
        (403, {"Retry-After": "60"}, None, True),
        (403, {"Retry-After": ""}, None, False),
        (403, {"X-RateLimit-Remaining": "0"}, None, True),
        (403, {}, b'{"message": "API rate limit exceeded for user ID 1."}', True),
        (403, {}, b'{"error": {"errors": [{"reason": "storageQuotaExceeded"}]}}', False),
        (400, {}, b'{"error": {"code": "ThrottlingException"}}', True),
        (400, {}, b'{"error": {"code": "invalid_request"}}', False),
        (400, {}, b"<Error><Code>Throttling</Code></Error>", True),
        (400, {"Retry-After": "3"}, None, False),
        (404, {}, b'{"message": "rate limit exceeded"}', False),
        (418, {"Retry-After": "3"}, None, True),
        (418, {}, None, False),
        (420, {}, None, True),
        (429, {}, None, True),
        (500, {}, b"<faultcode>sf:REQUEST_LIMIT_EXCEEDED</faultcode>", True),
        (500, {}, b"Internal error, please try again in 5 seconds", False),
        (503, {"Retry-After": "5"}, None, True),
        (503, {"Retry-After": "junk"}, None, False),
        (503, {}, b"<h1>Service Unavailable</h1>", False),
        (503, {}, b"<Error><Code>SlowDown</Code></Error>", True),
        (529, {}, None, True),
        (999, {"Retry-After": "30"}, None, False),
        (200, {}, b'{"errors": [{"extensions": {"code": "THROTTLED"}}]}', True),
        (200, {}, b'{"ok": false, "error": "ratelimited"}', True),
        (200, {}, b'{"items": [{"status": "throttled", "error": "rate limit exceeded"}]}', False),
        (200, {}, b'{"message": "You have exceeded the rate limit."}', False),
        (200, {}, b"<p>rate limit exceeded</p>", False),
    ],
)
def test_what_is_a_refusal(status: int, headers: dict[str, str], body: bytes | None, refused: bool) -> None:
    """A status alone, a wait, an exhausted quota or an error's own words make a refusal; data and plain 403s do not."""
    assert read_signal(status, headers, body, now=NOW).refused is refused


def test_a_5xx_with_a_wait_is_no_refusal_but_its_wait_is_told() -> None:
    """500, 502 and 504 may have acted on the request: not refused, so no retry of any method, yet the wait counts."""
    signal = read_signal(502, {"Retry-After": "7"}, now=NOW)
    assert (signal.refused, signal.retry_after) == (False, 7)
    assert signal.notes == ("502 is no refusal; a retry should wait as retry-after says",)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30), ("2.0", 2), ("00030", 30), ("66975", 66975), ("259200", 259200), ("1500ms", 1.5), ("6m0s", 360),
        ("23h18m29.144s", 83909.144), ("1d2h", 93600), ("00:00:05", 5), ("PT1M30S", 90), ("26s", 26), ("373.801628ms", 0.373801628),
        ("5 minutes", 300), ("1768478460", 60), ("1768478460.5", 60.5), ("1768478460000", 60), ("1768478460000000", 60),
        ("1768478460000000000", 60), ("1768478340", 0), ("2026-01-15T12:01:00Z", 60), ("2026-01-15T12:01Z", 60),
        ("2026-01-15T14:00:30+02:00", 30), ("2026-01-15T12:00:30.1234567Z", 30.1234567), ("2026-01-15 12:00:30 UTC", 30),
        ("2026-01-15T12:00:30", 30), ("20260115T120030Z", 30), ("Thu, 15 Jan 2026 12:00:30 GMT", 30),
        ("Mon, 15 Jan 2026 12:00:30 GMT", 30), ("Thursday, 15-Jan-26 12:00:30 GMT", 30), ("Thu Jan 15 12:00:30 2026", 30),
        ("Thu, 15 Jan 2026 13:00:30 +0100", 30), ("Thu, 15 Jan 2026 12:00:30", 30), ("Sunday, 06-Nov-94 08:49:37 GMT", None),
        ("Thu Jan 15 2026 12:00:30 GMT+0000 (Coordinated Universal Time)", 30), ("30, 30", 30), ("30, 60", 60),
        ("2147483648", None), ("999999999999", None), ("1e3", None), ("²", None), ("２", None), ("Ⅴ", None), ("+5", None),
        ("inf", None), ("Fri, 31 Dec 9999 23:59:59 -1200", None), ("Thu, 15 Jan 2026 12:00:30 +9999", None),
        ("Mon, 30 Feb 2026 12:00:30 GMT", None), ("Thu, 15 Jan 2026 25:00:30 GMT", None), ("1, x", None), ("P", None), ("-x", None),
    ],
)  # fmt: skip
def test_encodings_of_time(text: str, seconds: float | None) -> None:
    """Spans and moments in every form seen, told apart by magnitude; what is neither is no wait."""
    told = refusal({"Retry-After": text}).retry_after
    assert told is None if seconds is None else told == pytest.approx(seconds, abs=1e-6)


def test_a_number_that_could_be_either_is_flagged() -> None:
    """A reset of more than 45 days, read as seconds, could be milliseconds: a note says so."""
    signal = refusal({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "6000000"})
    assert signal.retry_after == 6000000
    assert signal.notes[0] == "x-ratelimit-reset: 6000000 was read as seconds; it could be milliseconds"


def test_a_span_goes_before_a_moment() -> None:
    """Of two resets of one bucket the span counts, since it needs no agreement of clocks."""
    signal = refusal(
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1768485600", "X-RateLimit-Reset-After": "2.5"}
    )
    assert signal.retry_after == 2.5


@pytest.mark.parametrize(
    ("date", "wait"),
    [
        ("Thu, 15 Jan 2026 11:00:00 GMT", 60),  # our clock is an hour fast
        ("Thu, 15 Jan 2026 12:00:01 GMT", 3600 + 60 - 3600),  # rounding and travel are no skew
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60),
        ("nonsense", 60),
    ],
)
def test_moments_are_corrected_by_a_plausible_date(date: str, wait: float) -> None:
    """A moment is read against the server's own clock where its Date is at most a day off, else against ours."""
    skew = -3600 if "11:00" in date else 0
    headers = {"Date": date, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 60 + skew)}
    assert refusal(headers).retry_after == wait
    assert read_signal(200, headers, now=NOW).limits[0].reset_after == wait


def test_a_cached_date_is_as_old_as_age_says() -> None:
    """Date is when the origin answered; with Age it still tells the server's clock."""
    headers = {
        "Date": "Thu, 15 Jan 2026 11:50:00 GMT",
        "Age": "600",
        "Retry-After": "Thu, 15 Jan 2026 12:00:30 GMT",
    }
    assert refusal(headers).retry_after == 30


@pytest.mark.parametrize(
    ("headers", "quotas"),
    [
        (
            {"X-RateLimit-Limit": "100", "X-RateLimit-Used": "30"},
            [Quota(None, 100, 70, None, None, "requests")],
        ),
        ({"X-RateLimit-Limit": "10", "X-RateLimit-Used": "12"}, [Quota(None, 10, 0, None, None, "requests")]),
        ({"X-RateLimit-Limit": "1,000"}, [Quota(None, 1000, None, None, None, "requests")]),
        ({"X-RateLimit-Limit": "100;w=60"}, [Quota(None, 100, None, None, 60, "requests")]),
        ({"X-RateLimit-Limit": "100;w=0"}, [Quota(None, 100, None, None, None, "requests")]),
        ({"X-RateLimit-Limit": "150/15m"}, [Quota(None, 150, None, None, 900, "requests")]),
        ({"X-RateLimit-Limit": "10 per 1 minute"}, [Quota(None, 10, None, None, 60, "requests")]),
        ({"X-RateLimit-Limit": "10 per fortnight"}, []),
        ({"X-RateLimit-Remaining": "32/40"}, [Quota(None, 40, 32, None, None, "requests")]),
        ({"X-RateLimit-Used": "32/40"}, [Quota(None, 40, 8, None, None, "requests")]),
        ({"X-Acme-Api-Call-Limit": "32/40"}, [Quota(None, 40, 8, None, None, "requests")]),
        (
            {"X-RateLimit-Limit": "50, 50", "X-RateLimit-Remaining": "7, 7"},
            [Quota(None, 50, 7, None, None, "requests")],
        ),
        ({"X-RateLimit-Remaining": "7, 3"}, [Quota(None, None, 3, None, None, "requests")]),
        (
            {"X-RateLimit-Limit": "200,2000", "X-RateLimit-Usage": "12,345"},
            [Quota(None, 200, 188, None, None, "requests"), Quota(None, 2000, 1655, None, None, "requests")],
        ),
        ({"X-RateLimit-Limit": "unlimited", "X-RateLimit-Remaining": "-1"}, []),
        ({"X-RateLimit-Limit": "9" * 400}, []),
        (
            {"X-RateLimit-Limit": "10", "X-RateLimit-Interval": "1s"},
            [Quota(None, 10, None, None, 1, "requests")],
        ),
        (
            {"X-RateLimit-Limit": "10", "X-RateLimit-Resource": "core"},
            [Quota("core", 10, None, None, None, "requests")],
        ),
        (
            {"X-RateLimit-Limit": "10", "X-RateLimit-Resource": "\x00"},
            [Quota(None, 10, None, None, None, "requests")],
        ),
        ({"X-RateLimit-Resource": "core"}, []),
        ({"X-Rate-Limit": "700"}, [Quota(None, 700, None, None, None, "requests")]),
        ({"X-RateLimit-Fillrate-Foo": "5"}, []),
    ],
)
def test_encodings_of_counters(headers: dict[str, str], quotas: list[Quota]) -> None:
    """Counters are read in every form seen; sentinels, words and windows of 0 are left out."""
    assert list(read_signal(200, headers, b"", now=NOW).limits) == quotas


@pytest.mark.parametrize(
    ("headers", "quotas"),
    [
        ({"RateLimit": '"a";r=5;t=9'}, [Quota("a", None, 5, 9, None, "requests")]),
        ({"RateLimit": '"a"; r=5'}, [Quota("a", None, 5, None, None, "requests")]),
        ({"RateLimit": '"a";t=9'}, []),
        ({"RateLimit": "a;r=5;t=9"}, []),
        ({"RateLimit": '"a";r=-5'}, []),
        ({"RateLimit": '"a";r=5,'}, []),
        ({"RateLimit": '("a" "b");r=5'}, []),
        ({"RateLimit": "100"}, []),
        (
            {"RateLimit": '"a";r=5', "RateLimit-Policy": '"a";q=9;w=60;qu="content-bytes", "b";q=1;w=1'},
            [Quota("a", 9, 5, None, 60, "bytes"), Quota("b", 1, None, None, 1, "requests")],
        ),
        ({"RateLimit-Policy": '"a";q=9;w=60'}, [Quota("a", 9, None, None, 60, "requests")]),
        ({"RateLimit-Policy": "junk"}, []),
        ({"RateLimit": "limit=10, remaining=5, reset=9"}, [Quota(None, 10, 5, 9, None, "requests")]),
        ({"RateLimit-Limit": '10, 10;w=1;comment="a, b;c=1"'}, [Quota(None, 10, None, None, 1, "requests")]),
        (
            {"RateLimit-Limit": "10", "RateLimit-Policy": "10;w=1, 10;w=60"},
            [
                Quota(None, 10, None, None, None, "requests"),
                Quota(None, 10, None, None, 1, "requests"),
                Quota(None, 10, None, None, 60, "requests"),
            ],
        ),
    ],
)
def test_the_ietf_drafts(headers: dict[str, str], quotas: list[Quota]) -> None:
    """All drafts are read by their own rules; what these call malformed is ignored."""
    signal = read_signal(200, headers, now=NOW)
    assert (list(signal.limits), signal.dialect) == (quotas, "ietf")


def test_one_bucket_told_twice_is_one() -> None:
    """The same numbers under two spellings are one quota; other numbers are another one."""
    headers = {
        "X-RateLimit-Limit": "10",
        "X-RateLimit-Remaining": "5",
        "RateLimit-Limit": "10",
        "RateLimit-Remaining": "5",
    }
    headers["RateLimit-Reset"] = "30"
    assert read_signal(200, headers, now=NOW).limits == (Quota(None, 10, 5, 30, None, "requests"),)
    headers["RateLimit-Remaining"] = "4"
    assert len(read_signal(200, headers, now=NOW).limits) == 2


def test_an_unnamed_reset_belongs_to_the_only_bucket_it_can() -> None:
    """A reset beside one named bucket is that bucket's; beside several, the exhausted one's, else its own."""
    one = {"X-RateLimit-Remaining-Day": "0", "X-RateLimit-Reset": "60"}
    assert refusal(one).limits == (Quota("day", None, 0, 60, 86400, "requests"),)
    two = {**one, "X-RateLimit-Remaining-Minute": "7"}
    assert refusal(two).limits[0].reset_after == 60
    two["X-RateLimit-Remaining-Day"] = "3"
    assert len(refusal(two).limits) == 3


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("Please try again in 11.75s.", 11.75), ("Please try again in 1m30.5s. Visit us", 90.5), ("try again in 6ms", 0.006),
        ("Please retry after 45 seconds.", 45), ("more requests available in 36263 seconds", 36263),
        ("Expected available in 86 seconds.", 86), ("Too Many Requests: retry after 34", 34), ("Wait 5 minutes and 3 seconds", 303),
        ("IP banned until 1768478460000.", 60), ("Quota will be replenished in 02:57:55.", 10675),
        ("Please wait a few minutes before you try again.", None), ("not more than 350 requests per hour", None),
        ("Retry later. Limit: 100 requests per 60 seconds", None),
    ],
)  # fmt: skip
def test_waits_in_prose(sentence: str, seconds: float | None) -> None:
    """A sentence's wait is read where it names one; the numbers of a limit are none."""
    told = refusal({}, ('{"error": {"message": "' + sentence + '"}}').encode()).retry_after
    assert told is None if seconds is None else told == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"retryAfter": "1500ms"}', 1.5), (b'{"retry_after_ms": 1500}', 1.5), (b'{"retry_after_minutes": 2}', 120),
        (b'{"error": {"details": [{"retryDelay": "26s"}]}}', 26), (b'{"retry_after": true}', None), (b'{"retry_after": -5}', None),
        (b'{"retry_after": 1e999}', None), (b'{"retry_after": NaN}', None), (b'{"resetAt": "2026-01-15T12:01:00Z"}', 60),
        (b'{"retry_after": ' + b"9" * 5000 + b"}", None), (b'\xef\xbb\xbf{"retry_after": 5}', 5), (b"[" * 3000, None),
        (b'{"retry_after": 5', None), (b'"retry_after"', None), (b"\xff\xfe", None), (b'{"a": ' * 9 + b'{"retry_after": 5}' + b"}" * 9, None),
        (b'{"pad": "' + b"x" * 70000 + b'", "retry_after": 5}', None),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_waits_in_json(body: bytes, seconds: float | None) -> None:
    """A refusal's body names its wait under many keys; booleans, infinities, depth and size are no waits."""
    assert refusal({}, body).retry_after == seconds


def test_waiting_will_not_help() -> None:
    """A spent balance or a query dearer than any budget is terminal."""
    assert refusal({}, b'{"error": {"code": "insufficient_quota"}}').terminal
    assert read_signal(400, {}, b'{"error": {"message": "Your credit balance is too low"}}', now=NOW).terminal
    body = b'{"errors": [{"extensions": {"code": "THROTTLED"}}], "extensions": {"cost": {"requestedQueryCost": 9,'
    body += b' "throttleStatus": {"maximumAvailable": 5, "currentlyAvailable": 5, "restoreRate": 1}}}}'
    signal = read_signal(200, {}, body, now=NOW)
    assert (signal.refused, signal.terminal, signal.retry_after) == (True, True, None)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Stripe-Rate-Limited-Reason": "endpoint-concurrency"}, None),
        ({"X-Rate-Limit-Problem": "concurrent"}, None),
        ({"Concurrency-Limit-Limit": "40", "Concurrency-Limit-Remaining": "0"}, None),
        ({}, b'{"detail": "You have exceeded the limit of 10 simultaneous connections."}'),
        ({}, b'{"code": 20429, "moreInfo": "https://www.twilio.com/docs/errors/20429"}'),
        ({"X-Rate-Limit-Limit": "0", "X-Rate-Limit-Remaining": "0", "X-Okta-Request-Id": "a"}, None),
    ],
)
def test_fewer_at_once_rather_than_later(headers: dict[str, str], body: bytes | None) -> None:
    """A refusal for too much at once is told from one for a spent quota."""
    assert refusal(headers, body).concurrency
    assert not refusal({"X-RateLimit-Remaining": "0"}).concurrency


def test_some_served_answers_bind() -> None:
    """Stack Exchange's backoff, Sentry's categories and Overpass's slots ask for a wait on an answer that was served."""
    told = read_signal(
        200, {}, b'{"items": [], "backoff": 10, "quota_max": 300, "quota_remaining": 250}', now=NOW
    )
    assert (told.refused, told.retry_after, told.dialect) == (False, 10, "stackexchange")
    told = read_signal(200, {"X-Sentry-Rate-Limits": "60:error:key, x:y, 5::org"}, now=NOW)
    assert (told.refused, told.retry_after) == (False, 60)
    assert [quota.name for quota in told.limits] == ["error", None]
    told = read_signal(200, {}, b"Rate limit: 2\n2 slots available now.\n", now=NOW)
    assert (told.retry_after, told.limits) == (None, (Quota(None, 2, 2, None, None, "requests"),))


def test_an_account_behind_much_data_is_found() -> None:
    """In a served body of up to 64 KiB, what stands at its end counts; of a larger one nothing does."""
    account = b'", "quota_max": 300, "quota_remaining": 250, "backoff": 10}'
    for size, wait in ((60_000, 10), (70_000, None)):
        assert read_signal(200, {}, b'{"items": "' + b"x" * size + account, now=NOW).retry_after == wait


def test_headers_come_in_any_form() -> None:
    """Pairs, mappings, case-insensitive proxies, bytes, lists of values and iterators are all read."""
    expected = refusal({"Retry-After": "30"})
    forms: list[Any] = [
        [("Retry-After", "30")],
        CIMultiDictProxy(CIMultiDict({"Retry-After": "30"})),
        {b"retry-after": b"30"},
        {"RETRY-AFTER": ["30"]},
        {"retry_after": "30"},
        {"Retry-After": 30},
        iter([("Retry-After", "30")]),
    ]
    for form in forms:
        assert read_signal(429, form, now=NOW).retry_after == expected.retry_after


def test_a_body_may_be_text() -> None:
    """A body that a client has decoded already is read like its bytes, lone surrogates and all."""
    assert refusal({}, '{"retry_after": 5, "x": "\udcff"}').retry_after == 5


def test_a_nameless_or_endless_header_is_no_signal() -> None:
    """Empty, foreign and overlong names say nothing about limits."""
    for name in (
        "",
        "Retry\u2011After",
        "x-ratelimit-" + "a" * 200,
        "Content-Length",
        "X-Page-Limit",
        "x-ratelimit-remaining" * 9,
    ):
        assert read_signal(429, {name: "30"}, now=NOW).limits == ()
        assert read_signal(429, {name: "30"}, now=NOW).retry_after is None


def test_memory_is_bounded() -> None:
    """A server that invents names, fields and hosts fills no memory: caches are emptied, fields and quotas are counted off."""
    for i in range(9000):
        read_signal(200, {f"X-Invented-{i}": "1"}, now=NOW)
        find_dialect(f"https://{i}.example.com/")
    assert len(signals._read._names) <= 4096
    assert len(signals._read._hosts) <= 4096
    many = {f"X-RateLimit-Remaining-{i}": "1" for i in range(500)}
    assert len(read_signal(200, many, now=NOW).limits) <= 64


def test_an_unknown_dialect_is_the_caller_s_mistake() -> None:
    """A dialect that does not exist raises ValueError, which names those that do."""
    with pytest.raises(ValueError, match="there is no dialect 'acme'; the dialects are generic, ietf, "):
        read_signal(200, {}, now=NOW, dialect="acme")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.github.com/user", "github"),
        ("https://shop.myshopify.com/admin", "shopify"),
        ("https://user:secret@API.GitHub.com:443/user", "github"),
        ("https://api.github.com.evil.example/user", None),
        ("https://notgithub.com/", None),
        ("https://[::1]:80/", None),
        ("http://[", None),
        ("", None),
        ("https://" + "a" * 500, None),
    ],
)
def test_a_host_tells_the_dialect(url: str, name: str | None) -> None:
    """The host's own name or a domain above it identifies a dialect, in whole labels only."""
    found = find_dialect(url)
    assert (found.name if found is not None else None) == name


@pytest.mark.parametrize(
    ("status", "headers", "told", "wanted"),
    [
        (429, {}, {}, True),
        (403, {}, {}, True),
        (404, {}, {}, False),
        (200, {}, {}, False),
        (301, {}, {"url": "https://example.com/"}, False),
        (200, {}, {"url": "https://example.com/data.json"}, False),
        (200, {}, {"url": "https://example.com/graphql"}, True),
        (200, {"Content-Type": "image/png"}, {"url": "https://example.com/graphql"}, False),
        (
            200,
            {"Content-Type": "application/json; charset=utf-8"},
            {"url": "https://example.com/graphql"},
            True,
        ),
        (200, {"X-RateLimit-Resource": "graphql"}, {}, True),
        (200, {"X-RateLimit-Resource": "core"}, {}, False),
        (200, {"MediaWiki-API-Error": "maxlag"}, {}, True),
        (200, {}, {"url": "https://en.wikipedia.org/w/api.php?action=query"}, True),
        (200, {}, {"url": "https://en.wikipedia.org/wiki/Main_Page"}, False),
        (200, {}, {"url": "https://api.stackexchange.com/2.3/questions"}, True),
        (200, {}, {"url": "https://shop.myshopify.com/admin/api/2026-01/graphql.json"}, True),
        (200, {}, {"url": "https://shop.myshopify.com/admin/api/2026-01/orders.json"}, False),
        (200, {}, {"dialect": "stackexchange"}, True),
        (200, {}, {"dialect": "asana"}, False),
    ],
)
def test_which_bodies_are_needed(
    status: int, headers: dict[str, str], told: dict[str, str], wanted: bool
) -> None:
    """Bodies are asked for with refusals and doubtful statuses, and where a provider hides signals in served ones."""
    assert needs_body(status, headers, **told) is wanted


@pytest.mark.parametrize(
    ("name", "method", "url", "key"),
    [
        ("github", "GET", "https://api.github.com/user", "core"),
        ("github", "POST", "https://api.github.com/graphql", "graphql"),
        ("github", "GET", "https://ghe.example.com/api/v3/search/code?q=a", "code_search"),
        ("shopify", "POST", "https://a.myshopify.com/admin/api/2026-01/graphql.json", "graphql"),
        ("shopify", "GET", "https://a.myshopify.com/admin/api/2026-01/orders.json", "rest"),
        ("slack", "POST", "https://slack.com/api/chat.postMessage", "chat.postMessage"),
        ("slack", "POST", "https://hooks.slack.com/services/T0/B0/secret", None),
        ("airtable", "GET", "https://api.airtable.com/v0/app123/Table", "app123"),
        ("airtable", "GET", "https://api.airtable.com/v0/meta/bases", None),
        ("zendesk", "GET", "https://a.zendesk.com/api/v2/incremental/tickets.json", "incremental"),
        ("zendesk", "GET", "https://a.zendesk.com/api/v2/tickets.json", None),
        ("azure", "get", "https://management.azure.com/subscriptions/ABC/providers", "abc reads"),
        ("azure", "PUT", "https://management.azure.com/subscriptions/abc/x", "abc writes"),
        ("azure", "GET", "https://management.azure.com/tenants", None),
        ("amazon_sp", "GET", "https://sellingpartnerapi-eu.amazon.com/orders/v0/orders/902-1845936-5435065/items", "GET /orders/v0/orders/*/items"),
        ("amazon_sp", "GET", "https://sellingpartnerapi-eu.amazon.com/reports/2021-06-30/reports", "GET /reports/2021-06-30/reports"),
        ("discord", "GET", "https://discord.com/api/v10/channels/12/messages/34", "GET /channels/12/messages/*"),
        ("discord", "POST", "https://discord.com/api/webhooks/12/Secret1", "POST /webhooks/12/*"),
        ("discord", "PUT", "https://discord.com/api/v10/channels/1/messages/2/reactions/%F0%9F%94%A5/@me", "PUT /channels/1/messages/*/reactions/*/@me"),
        ("amazon_sp", "GET", "https://sellingpartnerapi-eu.amazon.com/listings/2021-08-01/items/A1/MY-SKU", "GET /listings/2021-08-01/items/*/*"),
        ("x", "GET", "https://api.x.com/2/users/by/username/jack", "GET /2/users/by/username/*"),
        ("x", "GET", "https://api.x.com/2/tweets/123", "GET /2/tweets/*"),
        ("telegram", "POST", "https://api.telegram.org/bot12:secret/sendMessage", "sendMessage"),
        ("stackexchange", "GET", "https://api.stackexchange.com/2.3/questions/12/answers", "questions/*/answers"),
        ("hubspot", "POST", "https://api.hubapi.com/crm/v3/objects/contacts/search", "search"),
        ("hubspot", "GET", "https://api.hubapi.com/crm/v3/objects/contacts", None),
        ("asana", "GET", "https://app.asana.com/api/1.0/tasks", None),
    ],
)  # fmt: skip
def test_scope_keys(name: str, method: str, url: str, key: str | None) -> None:
    """A dialect names the bucket that a request counts in, and never puts a secret of the URL into the name."""
    assert DIALECTS[name].scope_key(method, url) == key


def test_signals_are_values() -> None:
    """Signals and quotas are frozen, compare by value, and pickle."""
    signal = refusal({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"})
    assert pickle.loads(pickle.dumps(signal)) == signal
    assert hash(signal.limits[0]) == hash(Quota(None, None, 0, 30, None, "requests"))
    assert Quota() == Quota(None, None, None, None, None, None)
    with pytest.raises(AttributeError):
        signal.refused = False  # type: ignore[misc]


def test_the_public_names_are_all_there_is() -> None:
    """`__all__` and the names without underscore are the same, but for the submodules."""
    # A pytest plugin of this package has its assertions rewritten, which adds names with an at sign.
    public = {name for name in vars(signals) if not name.startswith(("_", "@"))} - {"annotations", "dialects"}
    assert public == set(signals.__all__)


def test_the_work_on_a_body_is_bounded() -> None:
    """However much a body says, few codes, messages and nodes of it are looked at."""
    from paceline.signals._bodies import load, survey
    from paceline.signals._times import Clock

    rows = [{"code": f"limit_{n}", "message": f"number {n} " * 9, "retry_after": n} for n in range(700)]
    for body in (json.dumps({"errors": rows}), json.dumps({"errors": [f"code_{n}" for n in range(5000)]})):
        facts = survey(body.encode(), load(body.encode()), Clock(NOW))
        assert len(facts.codes) <= 64
        assert sum(map(len, facts.messages)) <= 900
        assert len(facts.waits) <= 400
    assert load(b'{"a": "' + b"x" * 65536 + b'"}') is None


def test_a_wait_of_more_than_a_day_is_marked() -> None:
    """It is told however long it is (some are genuine), with a note that it is unusual; a shorter one has none."""
    for wait, marked in ((66_975, False), (86_400, False), (259_200, True), (10**14, True)):
        signal = read_signal(429, {"Retry-After": str(wait)}, now=0.0)
        assert any("unusual" in note for note in signal.notes) is (marked and signal.retry_after is not None)
    assert "a wait of 3 days is unusual; it is told as it stands" in read_signal(429, {"Retry-After": "259200"}, now=0.0).notes


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (403, "Disk quota exceeded"), (400, "The user's storage quota has been exceeded."), (504, "Query exceeded the 30 second limit"),
        (400, "You have exceeded your mailbox storage quota"), (400, "Request body exceeds the 10 MB size limit"),
        (400, "page size exceeds limit of 100"), (500, "memory limit exceeded"), (400, "Too many files uploaded"),
        (400, "The number of items exceeds the limit of 50 per request"), (400, "Time limit exceeded"),
        (400, "Cannot exceed 1000 rows per request limit"), (400, "credit limit exceeded for card"), (400, "Recursion limit reached"),
        (403, "You've reached the maximum number of projects for your plan"), (400, "Daily withdrawal limit exceeded"),
        (401, "token expired, retry after login"), (400, "System.LimitException: Too many SOQL queries: 101"),
    ],
)  # fmt: skip
def test_limits_that_are_none_of_a_rate(status: int, sentence: str) -> None:
    """Room, size, time and money have limits, too; no pause frees them, so they are no refusals."""
    for body in ({"error": sentence}, {"message": sentence}, {"error": {"code": "x", "message": sentence}}):
        assert not read_signal(status, {}, json.dumps(body).encode(), now=NOW).refused
