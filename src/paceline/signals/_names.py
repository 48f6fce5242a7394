"""Which header names concern limits, and what each says: role, bucket, unit of time; learned once per name.

Providers spell the same few facts in hundreds of names: `X-RateLimit-Remaining-Requests`,
`anthropic-ratelimit-requests-remaining`, `X-MinLimit-Remaining`. So a name is read by its words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Field", "Role", "period_of", "read_name", "unit_of", "words"]

Role = Literal[
    "limit",
    "remaining",
    "used",
    "reset",
    "window",
    "policy",
    "label",
    "reason",
    "wait",
    "fraction",
    "pairs",
    "bare",
    "mark",
]

_LONGEST: Final = 100


def words(text: str) -> frozenset[str]:
    """The words of a text, for tables of words."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Field:
    """What one header name says.

    role: what its value is; `bare` is a name with no role word (`X-Rate-Limit: 700`, `RateLimit: "a";r=1`).
    key: header fields with the same key describe the same bucket.
    group: the name up to the bucket's name, so that `X-RateLimit-Reset` finds its sibling buckets.
    vendor: the group without `x-` and `ratelimit`.
    bucket: the bucket's name, None where the name has none.
    window: seconds of the period that the bucket's name states.
    scale: seconds of one unit of a bare number, for times.
    rank: which of several waits counts first, 0 before 1; 1 on a reason that is an error's code.
    dialect: the provider that alone sends such a name.
    """

    role: Role
    name: str
    key: str = ""
    group: str = ""
    vendor: str = ""
    bucket: str | None = None
    window: float | None = None
    unit: str | None = "requests"
    scale: float = 1.0
    rank: int = 0
    dialect: str | None = None


_ROLES: Final[Mapping[str, Role]] = {
    **dict.fromkeys(
        ("limit", "limits", "max", "maximum", "total", "quota", "allowed", "capacity", "allotment"), "limit"
    ),
    **dict.fromkeys(("remaining", "remain", "remains", "left", "available"), "remaining"),
    **dict.fromkeys(("used", "usage", "count", "current", "consumed", "observed", "spent"), "used"),
    **dict.fromkeys(
        (
            "reset",
            "resets",
            "resettime",
            "resetat",
            "resetsat",
            "reseton",
            "resetson",
            "resetin",
            "resetafter",
            "next",
            "expiry",
            "expires",
        ),
        "reset",
    ),
    **dict.fromkeys(("interval", "period", "window", "duration"), "window"),
    **dict.fromkeys(("policy", "policies"), "policy"),
    **dict.fromkeys(("resource", "bucket", "name", "group"), "label"),
    **dict.fromkeys(("reason", "problem", "type", "scope", "category", "status"), "reason"),
}
_WEAK: Final = frozenset({"label", "reason"})
_TIME_WORDS: Final[Mapping[str, float]] = {
    **dict.fromkeys(
        ("after", "in", "at", "on", "time", "timestamp", "epoch", "unix", "utc", "date", "datetime", "delta"),
        1.0,
    ),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), 0.001),
    **dict.fromkeys(("min", "mins", "minutes"), 60.0),
}
_PERIODS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("s", "sec", "second", "secondly"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutely"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hourly"), 3600.0),
    **dict.fromkeys(("d", "day", "daily", "today"), 86400.0),
    **dict.fromkeys(("w", "week", "weekly"), 604800.0),
    **dict.fromkeys(("month", "monthly"), 2592000.0),
}
_PERIOD: Final = re.compile(r"(?:per-?)?([0-9]{0,4})-?([a-z]{1,8}?)s?")
_GLUED: Final = re.compile(r"([a-z0-9]{2,20}?)(limit|remaining|reset|used)")
_GLUED_PERIOD: Final = re.compile(r"([a-z]{0,12}?)(sec|second|min|minute|hour|day|week|month)")
_LONG_PERIOD: Final = {"sec": "second", "min": "minute"}
_USED_PER: Final = re.compile(r"((?:used-[a-z-]{1,30}|order-count)-[0-9]{1,4}[smhd])")
_WAIT: Final = re.compile(r"(?:([a-z0-9.-]{1,60})-)?retry-?(?:after|in)((?:-[a-z]{1,12})?)")
# Buckets that stand before the anchor: `X-App-Rate-Limit`, `X-Post-Rate-Limit-Reset`.
_OWN_WORDS: Final = words(
    "app method post user client service account project org ip endpoint read write burst daily hourly minute day month"
)
# Qiita: Rate-Limit, Rate-Remaining, Rate-Reset
_SHORT: Final = re.compile(r"^(x-)?rate-(?=(?:remaining|reset|used)$)")
_COUNTED: Final = words("requests request calls call credits points tokens queries units hits messages")
# Headers that carry an error's code.
_CODES: Final = frozenset(
    {
        "x-amzn-errortype",
        "mediawiki-api-error",
        "x-els-status",
        "x-ms-error-code",
        "x-error-code",
        "x-mashery-error-code",
    }
)
_FOREIGN: Final = (
    "access-control-",
    "content-",
    "sec-",
    "cache-",
    "accept",
    "if-",
    "strict-",
    "cross-origin-",
)
_FOREIGN_WORDS: Final = words(
    "page pages pagination size upload length frame body file memory cpu forwards hop offset"
)
_POINTS: Final = words("complexity points point cost weight graphql credits credit score units compute")


def unit_of(name: str) -> str | None:
    """What a bucket of that name counts.

    >>> unit_of("input-tokens"), unit_of("complexity"), unit_of("core")
    ('tokens', 'points', 'requests')
    """
    parts = set(re.split(r"[^a-z0-9]+", name.lower()))
    if "tokens" in parts or "token" in parts:
        return "requests" if "api" in parts else "tokens"  # an API token is a credential
    if parts & _POINTS:
        return "points"
    if "time" in parts:
        return "seconds"
    if not parts.isdisjoint(("concurrent", "concurrency")):
        return None  # what is in flight is no amount per period
    return "bytes" if parts & {"bytes", "bandwidth", "egress"} else "requests"


def period_of(name: str) -> float | None:
    """The period that a bucket's name ends in or consists of, in seconds.

    >>> period_of("day"), period_of("app-limit-24hour"), period_of("used-weight-1m"), period_of("requests")
    (86400.0, 86400.0, 60.0, None)
    """
    last = name.rsplit("-", 2)
    for piece in ("-".join(last[-2:]), last[-1]):
        found = _PERIOD.fullmatch(piece)
        if found is not None and found[2] in _PERIODS and (found[1] or len(found[2]) > 1):
            return int(found[1] or 1) * _PERIODS[found[2]] or None
    first = name.partition("-")[0]
    return _PERIODS[first] if first in ("daily", "hourly", "weekly", "monthly") else None


def read_name(name: str) -> Field | None:
    """What a header name says about limits; None where it does not concern them.

    >>> field = read_name("X-RateLimit-Remaining-Tokens")
    >>> field.role, field.bucket, field.unit
    ('remaining', 'tokens', 'tokens')
    >>> read_name("Content-Type") is None
    True
    """
    text = name.lower()
    if len(text) > _LONGEST or not text.isascii() or text.startswith(_FOREIGN):
        return None
    field = _read(text)
    return field if field is None or field.name == text else replace(field, name=text)


def _read(text: str) -> Field | None:
    text = _SHORT.sub(r"\1rate-limit-", text)
    if "_" in text and "-" not in text:
        text = text.replace("_", "-")  # gateways leak CGI spellings
    wait = _WAIT.fullmatch(text)
    if wait is not None:
        return _wait(text, wait[1], wait[2][1:])
    if text in _CODES:
        return Field("reason", text, rank=1)
    spelling = "-" if "rate-limit" in text else ""
    text = text.replace("rate-limit", "ratelimit")
    if text.endswith("limit-info"):
        return Field("pairs", text, key=text, group=text, vendor=text)
    parts = text.removeprefix("x-").split("-")
    at = next((i for i, part in enumerate(parts) if "ratelimit" in part), None)
    if at is not None:
        return _anchored(text, parts, at, spelling)
    used = _USED_PER.search(text)
    if used is not None and used.end() == len(text):
        return _bucket("used", text, text, used[1])
    return _unanchored(text, parts)


def _wait(text: str, vendor: str | None, suffix: str) -> Field | None:
    if suffix and suffix not in _TIME_WORDS:
        return None
    scale = _TIME_WORDS.get(suffix, 1.0)
    rank = 0 if scale == 0.001 else 1 if vendor is None and not suffix else 2
    return Field("wait", text, scale=scale, rank=rank)


def _anchored(text: str, parts: list[str], at: int, spelling: str) -> Field | None:
    before, _, behind = parts[at].partition("ratelimit")
    own = [word for word in parts[:at] if word in _OWN_WORDS] + ([before] if before else [])
    vendor = "-".join(word for word in parts[:at] if word not in _OWN_WORDS)
    group = ("x-" if text.startswith("x-") else "") + vendor + "|" + spelling + behind
    rest = parts[at + 1 :]
    if rest in (["remaining", "seconds"], ["timeremaining"]):
        rest = ["reset", "seconds"]  # Rollbar's X-Rate-Limit-Remaining-Seconds is the time that remains
    if behind in _ROLES:
        behind, rest = "", [behind, *rest]  # `X-RateLimitRemaining`
    if (not rest and behind == "ed") or rest == ["over", "limit"]:
        return Field("reason", text, group=group, vendor=vendor)
    role, scale, bucket = _split(rest)
    if role == "bare":
        # A name that only adds a period states the limit of that period; others may still hold pairs.
        role = "limit" if rest and period_of("-".join(rest)) and "".join(rest).isalnum() else "bare"
        bucket = rest
    return _bucket(role, text, group, "-".join(own + bucket), vendor=vendor, scale=scale)


def _unanchored(text: str, parts: list[str]) -> Field | None:
    if not _FOREIGN_WORDS.isdisjoint(parts) or len(parts) < 2:
        return None
    if parts[-1] == "limit" and parts[-2] in ("call", "calls"):
        name = "-".join(parts[:-1])
        return Field("fraction", text, key=f"quota|{name}", group=text, vendor=text, bucket=name)
    # `X-Limit-Per-Second`, `X-Remaining-This-Second`, `X-Remaining-Today`
    if parts[0] in ("limit", "remaining"):
        period = [word for word in parts[1:] if word not in ("per", "this", "in")]
        if len(period) == 1 and period[0] in _PERIODS:
            return _bucket(_ROLES[parts[0]], text, "per", "day" if period[0] == "today" else period[0])
    role, scale, bucket = _split(parts)
    if role not in ("limit", "remaining", "used", "reset"):
        return None
    if len(parts) == 2 and len(parts[0]) > 4 and parts[0].endswith("api") and role != "used":
        return _bucket(role, text, "quota", parts[0], scale=scale)  # X-AircallApi-Remaining
    if bucket and (bucket[-1].endswith("limit") or not {"limit", "quota", "throttle"}.isdisjoint(bucket)):
        pass
    elif role == "reset" or _COUNTED.isdisjoint(bucket):
        return None
    if len(bucket) > 1 and bucket[0] in ("ms", "api", "limit"):
        bucket = bucket[1:]
    glued = _GLUED_PERIOD.fullmatch(bucket[0].removesuffix("limit")) if len(bucket) == 1 else None
    if glued is not None:
        named = glued[1] + _LONG_PERIOD.get(glued[2], glued[2])
    else:
        named = "-".join(bucket) if len(bucket) > 1 else bucket[0].removesuffix("limit")
    return _bucket(
        role, text, "quota", named, scale=scale, window=_PERIODS[glued[2]] if glued is not None else None
    )


def _split(parts: list[str]) -> tuple[Role, float, list[str]]:
    """Parts the words behind the anchor into role, unit of time and the bucket's own words."""
    if not parts:
        return "bare", 1.0, []
    scale, kept = 1.0, list(parts)
    if kept[-2:] == ["window", "size"]:
        kept.pop()
    while len(kept) > 1 and kept[-1] in _TIME_WORDS:
        scale *= _TIME_WORDS[kept.pop()]
    if _ROLES.get(kept[-1]) not in ("reset", "window"):
        scale, kept = 1.0, list(parts)
    roles = [_ROLES.get(word) for word in kept]
    order = [len(kept) - 1, 0, *range(1, len(kept) - 1)]
    for weak in (False, True):
        for i in order:
            role = roles[i]
            if role is not None and (role in _WEAK) is weak:
                bucket = kept[:i] + kept[i + 1 :]
                if role in ("reset", "window") and bucket[-1:] == ["time"]:
                    bucket = bucket[:-1]  # X-Rate-Limit-Time-Reset-Ms
                if kept[i] == "capacity" and bucket == ["burst"]:
                    bucket = []  # Spring Cloud Gateway's X-RateLimit-Burst-Capacity is the size of its one bucket
                return role, scale, bucket
    for i in (-1, 0):
        glued = _GLUED.fullmatch(kept[i])
        if glued is not None:
            others = kept[:i] if i else kept[1:]
            return _ROLES[glued[2]], scale, [*others, glued[1]]
    return "bare", 1.0, list(parts)


def _bucket(
    role: Role,
    text: str,
    group: str,
    name: str,
    *,
    vendor: str = "",
    scale: float = 1.0,
    window: float | None = None,
) -> Field:
    if name.endswith("-limit") and name != "app-limit":
        name = name.removesuffix("-limit")
    if name == "limit":
        name = ""
    return Field(
        role,
        text,
        key=f"{group}|{name}",
        group=group,
        vendor=vendor,
        bucket=name or None,
        window=window if window is not None else period_of(name) if name else None,
        unit=unit_of(name) if name else "requests",
        scale=scale,
    )
