"""How each provider writes its quotas and refuses: status, headers and body, a row each; read back by `read_signal`.

A text in a row may hold facts in braces. Of the limit that it speaks of: {limit}, {remaining}, {used}, {share}
(percent used), {rate} (a second), {period} (whole seconds), {span} (like 1m), {per} (second, minute, hour, day), {name};
{reset_FORM} for the time to more, {wait_FORM} for the wait of a refusal, in a form of `times.FORMS`.
Sources are the pages that the dialect of the same name lists (`paceline.signals.dialects`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from .times import FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .wording import Headers

__all__ = ["STYLES", "State", "Style", "Told", "Words", "write"]


class State(NamedTuple):
    """One limit at one moment: `reset` is the seconds until there is more; `period` 0 for a number in flight."""

    limit: int
    remaining: int
    reset: float
    period: float
    rate: float = 0.0


class Words(NamedTuple):
    """What a style says of one answer, and what it truly told: the wait in seconds, and which facts of the limits."""

    headers: Headers
    body: bytes
    told: Told


class Told(NamedTuple):
    """The wait told (None: none that is true), and the facts told of the nearest limit, or of each (`every`)."""

    wait: float | None
    facts: frozenset[str]
    every: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One provider's way. quotas: on every answer, of the limit nearest to its end; each: the same of every limit,
    values of one name joined by `join` (None: a header field for each, since its name holds a fact).
    refusal: headers of a refusal besides; status, body, content_type of a refusal; alone: quotas are told by
    refusals only.
    """

    quotas: Headers = ()
    each: Headers = ()
    join: str | None = None
    refusal: Headers = ()
    status: int = 429
    body: str = '{"error":"rate_limited","message":"API rate limit exceeded"}'
    content_type: str = "application/json"


_AFTER: Final = (("Retry-After", "{wait_delta}"),)


def _three(prefix: str, reset: str = "epoch") -> Headers:
    return (
        (f"{prefix}Limit", "{limit}"),
        (f"{prefix}Remaining", "{remaining}"),
        (f"{prefix}Reset", "{reset_" + reset + "}"),
    )


_IETF: Final = (
    ("RateLimit-Policy", '"{name}";q={limit};w={period}'),
    ("RateLimit", '"{name}";r={remaining};t={reset_delta}'),
)

STYLES: Final[Mapping[str, Style]] = {
    "generic": Style(quotas=_three("X-RateLimit-"), refusal=_AFTER),
    "ietf": Style(each=_IETF, join=", ", refusal=_AFTER),
    "airtable": Style(
        body='{"errors":[{"error":"RATE_LIMIT_REACHED","message":"Rate limit exceeded. Please try again later"}]}'
    ),
    "akamai": Style(quotas=(*_three("X-RateLimit-")[:2], ("X-RateLimit-Next", "{reset_iso_ms}"))),
    "amazon_sp": Style(
        quotas=(("x-amzn-RateLimit-Limit", "{rate}"),),
        refusal=(("x-amzn-ErrorType", "TooManyRequestsException"),),
        body='{"errors":[{"code":"QuotaExceeded","message":"You exceeded your quota for the requested resource."}]}',
    ),
    "anthropic": Style(
        quotas=tuple(
            (f"anthropic-ratelimit-requests-{name}", text)
            for name, text in (("limit", "{limit}"), ("remaining", "{remaining}"), ("reset", "{reset_iso}"))
        ),
        refusal=(("retry-after", "{wait_delta}"), ("x-should-retry", "true")),
        body='{"type":"error","error":{"type":"rate_limit_error","message":"Number of requests has exceeded your rate limit"}}',
    ),
    "asaas": Style(quotas=_three("RateLimit-", "delta")),
    "asana": Style(
        refusal=_AFTER,
        body='{"errors":[{"message":"You\'ve made too many requests and hit a rate limit. Please retry after the given amount of time."}]}',
    ),
    "atlassian": Style(
        quotas=_three("X-RateLimit-", "iso_minute"),
        refusal=(*_AFTER, ("RateLimit-Reason", "jira-burst-based")),
        body='{"errorMessages":["Rate limit exceeded."]}',
    ),
    "aws": Style(
        refusal=(("x-amzn-errortype", "ThrottlingException:"),),
        status=400,
        body='{"__type":"ThrottlingException","message":"Rate exceeded"}',
        content_type="application/x-amz-json-1.1",
    ),
    "azure": Style(
        quotas=(("x-ms-ratelimit-remaining-subscription-reads", "{remaining}"),),
        refusal=_AFTER,
        body='{"error":{"code":"OperationNotAllowed","message":"The server rejected the request because too many requests have been received for this subscription."}}',
    ),
    "binance": Style(
        quotas=(("X-MBX-USED-WEIGHT-{span}", "{used}"),),
        refusal=_AFTER,
        body='{"code":-1003,"msg":"Too many requests; current limit is {limit} request weight per {span}."}',
    ),
    "bluesky": Style(
        quotas=(*_three("RateLimit-"), ("RateLimit-Policy", "{limit};w={period}")),
        body='{"error":"RateLimitExceeded","message":"Rate Limit Exceeded"}',
    ),
    "brave": Style(
        each=(
            ("X-RateLimit-Limit", "{limit}"),
            ("X-RateLimit-Policy", "{limit};w={period}"),
            ("X-RateLimit-Remaining", "{remaining}"),
            ("X-RateLimit-Reset", "{reset_delta}"),
        ),
        join=", ",
        body='{"type":"ErrorResponse","error":{"code":"RATE_LIMITED","status":429,"detail":"Request rate limit exceeded for plan."}}',
    ),
    "brevo": Style(
        quotas=tuple((name.lower(), text) for name, text in _three("x-sib-ratelimit-", "delta")),
        body='{"code":"too_many_requests","message":"Rate limit exceeded"}',
    ),
    "bybit": Style(
        quotas=(
            ("X-Bapi-Limit", "{limit}"),
            ("X-Bapi-Limit-Status", "{remaining}"),
            ("X-Bapi-Limit-Reset-Timestamp", "{reset_epoch_ms}"),
        ),
        status=200,
        body='{"retCode":10006,"retMsg":"Too many visits. Exceeded the API Rate Limit.","result":{}}',
    ),
    "cloudflare": Style(
        each=(("Ratelimit", _IETF[1][1]), ("Ratelimit-Policy", _IETF[0][1])),
        join=", ",
        refusal=(("retry-after", "{wait_delta}"),),
        body='{"success":false,"errors":[{"code":971,"message":"Please wait and consider throttling your request speed"}],"messages":[],"result":null}',
    ),
    "contentful": Style(
        each=(
            ("X-Contentful-RateLimit-{Per}-Limit", "{limit}"),
            ("X-Contentful-RateLimit-{Per}-Remaining", "{remaining}"),
        ),
        quotas=(("X-Contentful-RateLimit-Reset", "{reset_delta}"),),
        body='{"sys":{"type":"Error","id":"RateLimitExceeded"},"message":"You have exceeded the rate limit of the Organization this Space belongs to by making too many API requests within a short timespan."}',
    ),
    "crossref": Style(
        quotas=(("X-Rate-Limit-Limit", "{limit}"), ("X-Rate-Limit-Interval", "{period}s")),
        body="Too many requests",
        content_type="text/plain",
    ),
    "digitalocean": Style(
        quotas=_three("ratelimit-"),
        body='{"id":"too_many_requests","message":"API Rate limit exceeded."}',
    ),
    "discord": Style(
        quotas=(
            *_three("X-RateLimit-", "epoch_float"),
            ("X-RateLimit-Reset-After", "{reset_float}"),
            ("X-RateLimit-Bucket", "abcd1234"),
        ),
        refusal=(*_AFTER, ("X-RateLimit-Scope", "user")),
        body='{"message":"You are being rate limited.","retry_after":{wait_float},"global":false}',
    ),
    "dockerhub": Style(
        quotas=(
            ("ratelimit-limit", "{limit};w={period}"),
            ("ratelimit-remaining", "{remaining};w={period}"),
            ("docker-ratelimit-source", "192.0.2.1"),
        ),
        refusal=_AFTER,
        body="Too Many Requests (HAP429).\n",
        content_type="text/plain",
    ),
    "feedly": Style(
        quotas=(("X-Ratelimit-Count", "{used}"), ("X-Ratelimit-Reset", "{reset_delta}")),
        body='{"errorCode":429,"errorMessage":"API rate limit reached"}',
    ),
    "github": Style(
        quotas=(
            *((name.lower(), text) for name, text in _three("X-RateLimit-")),
            ("x-ratelimit-used", "{used}"),
            ("x-ratelimit-resource", "core"),
        ),
        status=403,
        body='{"message":"API rate limit exceeded for user ID 1.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"}',
    ),
    "gitlab": Style(
        quotas=(
            *_three("RateLimit-"),
            ("RateLimit-Observed", "{used}"),
            ("RateLimit-ResetTime", "{reset_date}"),
        ),
        refusal=_AFTER,
        body="Retry later\n",
        content_type="text/plain",
    ),
    "google": Style(
        body='{"error":{"code":429,"message":"You exceeded your current quota. Please retry in {wait_float}s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{wait_float}s"}]}}'
    ),
    "gorgias": Style(quotas=(("X-Gorgias-Account-Api-Call-Limit", "{used}/{limit}"),), refusal=_AFTER),
    "groq": Style(
        quotas=(
            ("x-ratelimit-limit-requests", "{limit}"),
            ("x-ratelimit-remaining-requests", "{remaining}"),
            ("x-ratelimit-reset-requests", "{reset_go}"),
        ),
        refusal=(("retry-after", "{wait_delta}"),),
        body='{"error":{"message":"Rate limit reached. Please try again in {wait_go}.","type":"requests","code":"rate_limit_exceeded"}}',
    ),
    "hubspot": Style(
        quotas=(
            ("X-HubSpot-RateLimit-Max", "{limit}"),
            ("X-HubSpot-RateLimit-Remaining", "{remaining}"),
            ("X-HubSpot-RateLimit-Interval-Milliseconds", "{period}000"),
        ),
        body='{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","policyName":"SECONDLY"}',
    ),
    "intercom": Style(
        quotas=_three("X-RateLimit-"),
        body='{"type":"error.list","errors":[{"code":"rate_limit_exceeded","message":"Exceeded rate limit"}]}',
    ),
    "linear": Style(
        quotas=(
            ("x-ratelimit-requests-limit", "{limit}"),
            ("x-ratelimit-requests-remaining", "{remaining}"),
            ("x-ratelimit-requests-reset", "{reset_epoch_ms}"),
        ),
        status=400,
        body='{"errors":[{"message":"Rate limit exceeded","extensions":{"code":"RATELIMITED","type":"ratelimited"}}]}',
    ),
    "mailerlite": Style(quotas=_three("X-RateLimit-")[:2], refusal=_AFTER, body='{"message":"Too Many Attempts."}'),
    "marketingcloud": Style(body='{"message":"Your requests are temporarily blocked.","errorcode":50200}'),
    "meta": Style(
        quotas=(
            (
                "X-Business-Use-Case-Usage",
                '{"123456":[{"type":"ads_insights","call_count":{share},"total_cputime":25,"total_time":25,"estimated_time_to_regain_access":{wait_minutes}}]}',
            ),
        ),
        status=400,
        body='{"error":{"message":"There have been too many calls from this ad-account. Wait a bit and try again.","type":"OAuthException","code":80000,"error_subcode":2446079,"fbtrace_id":"x"}}',
    ),
    "ncbi": Style(
        body='{"error":"API rate limit exceeded","api-key":"192.0.2.1","count":"{used}","limit":"{limit}"}'
    ),
    "notion": Style(
        refusal=_AFTER,
        body='{"object":"error","status":429,"code":"rate_limited","message":"You have been rate limited. Please try again in a few minutes."}',
    ),
    "okta": Style(
        quotas=_three("X-Rate-Limit-"),
        body='{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit due to too many requests."}',
    ),
    "openai": Style(
        quotas=(
            ("x-ratelimit-limit-requests", "{limit}"),
            ("x-ratelimit-remaining-requests", "{remaining}"),
            ("x-ratelimit-reset-requests", "{reset_go}"),
        ),
        body='{"error":{"message":"Rate limit reached for requests. Please try again in {wait_go}.","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
    ),
    "overpass": Style(
        body="Connected as: 1234\nRate limit: {limit}\nSlot available after: {wait_iso}, in {wait_delta} seconds.\n",
        content_type="text/plain",
    ),
    "persona": Style(quotas=_three("ratelimit-", "delta")),
    "pipedrive": Style(
        quotas=_three("x-ratelimit-", "delta"),
        body='{"success":false,"error":"request over limit","errorCode":429}',
    ),
    "reddit": Style(
        quotas=(
            ("x-ratelimit-remaining", "{remaining}.0"),
            ("x-ratelimit-used", "{used}"),
            ("x-ratelimit-reset", "{reset_delta}"),
        ),
        body='{"message":"Too Many Requests","error":429}',
    ),
    "rocketlane": Style(refusal=(("X-Retry-After", "{wait_epoch_ms}"),)),
    "salesforce": Style(
        quotas=(("Sforce-Limit-Info", "api-usage={used}/{limit}"),),
        status=403,
        body='[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]',
    ),
    "sec": Style(
        status=403,
        body="<html><title>SEC.gov | Request Rate Threshold Exceeded</title></html>",
        content_type="text/html",
    ),
    "sellercloud": Style(body='{"Error":"Too many requests.","RateLimitResetTime":"{wait_iso_ms}"}'),
    "sentry": Style(
        refusal=(("Retry-After", "{wait_delta}"), ("X-Sentry-Rate-Limits", "{wait_delta}:error:organization")),
        body='{"detail":"Creation of this event was denied due to rate limiting."}',
    ),
    "shopify": Style(
        quotas=(("X-Shopify-Shop-Api-Call-Limit", "{used}/{limit}"),),
        refusal=(("Retry-After", "{wait_float}"),),
        body='{"errors":"Exceeded the call limit for api client. Reduce request rates to resume uninterrupted service."}',
    ),
    "slack": Style(refusal=_AFTER, body='{"ok":false,"error":"ratelimited"}'),
    "spotify": Style(refusal=_AFTER, body='{"error":{"status":429,"message":"API rate limit exceeded"}}'),
    "stackexchange": Style(
        status=400,
        body='{"error_id":502,"error_message":"too many requests from this IP, more requests available in {wait_delta} seconds","error_name":"throttle_violation"}',
    ),
    "strava": Style(
        each=(("X-RateLimit-Limit", "{limit}"), ("X-RateLimit-Usage", "{used}")),
        join=",",
        body='{"message":"Rate Limit Exceeded","errors":[{"resource":"Application","field":"rate limit","code":"exceeded"}]}',
    ),
    "stripe": Style(
        refusal=(("Stripe-Rate-Limited-Reason", "global-rate"),),
        body='{"error":{"type":"invalid_request_error","code":"rate_limit","message":"Request rate limit exceeded."}}',
    ),
    "syntage": Style(quotas=_three("X-RateLimit-")),
    "telegram": Style(
        body='{"ok":false,"error_code":429,"description":"Too Many Requests: retry after {wait_delta}","parameters":{"retry_after":{wait_delta}}}'
    ),
    "tomorrowio": Style(
        each=(("X-RateLimit-Limit-{per}", "{limit}"), ("X-RateLimit-Remaining-{per}", "{remaining}")),
        body='{"code":429001,"type":"Too Many Calls","message":"The request limit for this resource has been reached for the current rate limit window."}',
    ),
    "twilio": Style(
        body='{"status":429,"message":"Too many requests","code":20429,"moreInfo":"https://www.twilio.com/docs/errors/20429"}'
    ),
    "twitch": Style(
        quotas=_three("Ratelimit-"), body='{"error":"Too Many Requests","status":429,"message":"Too Many Requests"}'
    ),
    "vercel": Style(
        quotas=_three("X-RateLimit-"),
        body='{"error":{"code":"rate_limited","message":"Too many requests","limit":{"total":{limit},"remaining":{remaining},"reset":{reset_epoch}}}}',
    ),
    "whoop": Style(
        quotas=(
            ("X-RateLimit-Limit", "{limit}, {limit};window={period}"),
            ("X-RateLimit-Remaining", "{remaining}"),
            ("X-RateLimit-Reset", "{reset_delta}"),
        )
    ),
    "wikimedia": Style(
        refusal=(*_AFTER, ("MediaWiki-API-Error", "ratelimited")),
        status=200,
        body='{"error":{"code":"ratelimited","info":"You\'ve exceeded your rate limit. Please wait some time and try again."}}',
    ),
    "x": Style(
        quotas=tuple((name.lower(), text) for name, text in _three("X-Rate-Limit-")),
        body='{"errors":[{"code":88,"message":"Rate limit exceeded"}]}',
    ),
    "xero": Style(
        each=(("X-{Xero}Limit-Remaining", "{remaining}"),),
        refusal=(*_AFTER, ("X-Rate-Limit-Problem", "{per}")),
        body="oauth_problem=rate%20limit%20exceeded",
        content_type="text/plain",
    ),
    "zendesk": Style(
        quotas=(("X-Rate-Limit", "{limit}"), ("X-Rate-Limit-Remaining", "{remaining}")),
        refusal=_AFTER,
        body='{"error":"APIRateLimitExceeded","description":"Number of allowed API requests per minute exceeded"}',
    ),
}


# JSON has no word in braces, so its own braces stand as they are.
_FACT: Final = re.compile(r"\{([A-Za-z_]+)\}")
_SPANS: Final = ((86400, "d", "day", "Day"), (3600, "h", "hour", "Hour"), (60, "m", "minute", "Min"), (1, "s", "second", "Sec"))



class _Facts(dict[str, str]):
    """The facts of one limit as texts, made when a text asks for them, and a note of what was asked for."""

    def __init__(self, state: State, wait: float | None, now: float) -> None:
        super().__init__()
        self.state, self.wait, self.now = state, wait, now
        self.waits: list[float] = []
        self.resets: list[float] = []

    def __missing__(self, key: str) -> str:
        kind, _, form = key.partition("_")
        if kind in ("wait", "reset") and form:
            seconds = self.state.reset if kind == "reset" else self.wait or 0.0
            text, told = FORMS[form](seconds, self.now)
            (self.waits if kind == "wait" else self.resets).append(told)
        else:
            text = self._plain(key)
        self[key] = text
        return text

    def _plain(self, key: str) -> str:
        state = self.state
        if key == "limit":
            return str(state.limit)
        if key == "remaining":
            return str(state.remaining)
        if key == "used":
            return str(max(0, state.limit - state.remaining))
        if key == "share":
            return str(100 - 100 * state.remaining // max(1, state.limit))
        if key == "rate":
            return f"{state.rate:.9g}"
        if key == "period":
            return str(max(1, int(state.period)))
        size, letter, word, short = next((each for each in _SPANS if state.period >= each[0]), _SPANS[-1])
        if key == "span":
            return f"{max(1, int(state.period // size))}{letter.upper() if letter == 'm' else letter}"
        return {"per": word, "Per": word.title(), "Xero": short}[key] if key != "name" else "default"


def _fill(text: str, facts: _Facts) -> str:
    return _FACT.sub(lambda found: facts[found[1]], text)


def write(style: Style, states: Sequence[State], nearest: int, wait: float | None, now: float) -> Words:
    """What a style says of the limits at an epoch (seconds); `wait`: the answer is a refusal, with so many seconds.

    states: the limits with a period; nearest: which of them the facts of a single limit are about.

    >>> words = write(STYLES["reddit"], [State(600, 0, 4.2, 600.0)], 0, 4.2, 0.0)
    >>> words.headers[-1], words.told.wait
    (('x-ratelimit-reset', '5'), 5.0)
    """
    headers: list[tuple[str, str]] = []
    facts = [_Facts(state, wait, now) for state in states]
    chief = facts[nearest] if facts else _Facts(State(0, 0, wait or 0.0, 0.0), wait, now)
    if facts:
        headers += [(_fill(name, chief), _fill(text, chief)) for name, text in style.quotas]
        for name, text in style.each:
            if style.join is None:
                fields = {_fill(name, each): _fill(text, each) for each in reversed([*facts, chief])}
                headers += fields.items()
            else:
                headers.append((name, style.join.join(_fill(text, each) for each in facts)))
    body = b""
    if wait is not None:
        headers += [(name, _fill(text, chief)) for name, text in style.refusal]
        body = _fill(style.body, chief).encode()
    return Words(tuple(headers), body, _told(style, facts, chief, wait))


def _told(style: Style, facts: Sequence[_Facts], chief: _Facts, wait: float | None) -> Told:
    asked = frozenset(key.partition("_")[0] for each in [*facts, chief] for key in each)
    if wait is None:
        return Told(None, asked, bool(style.each))
    if chief.waits:
        return Told(min(chief.waits), asked, bool(style.each))
    ends = [told for each in facts if each.state.remaining == 0 for told in each.resets[:1]]
    return Told(max(ends, default=None), asked, bool(style.each))
