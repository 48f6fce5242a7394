"""Meta's Graph API: usage in percent as JSON in headers, refusals as 400 with error codes, waits in minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .._bodies import load
from .._buckets import Bucket
from .._dialect import Dialect
from .._items import label_of
from .._times import amount

if TYPE_CHECKING:
    from .._reading import Reading

# Graph API and Marketing API: "Rate limiting", error codes.
_CODES: Final = frozenset({4, 17, 32, 341, 613, *range(80000, 80015)})
_SHARES: Final = ("call_count", "total_time", "total_cputime")
_MOST: Final = 16


def _read(reading: Reading) -> None:
    error = reading.object.get("error")
    if isinstance(error, dict) and error.get("code") in _CODES and reading.status >= 400:
        reading.refused = True
        reading.notes.append(f"error code {error['code']} is a limit's: refused")
    for field, value in reading.fields:
        if field.dialect == "meta":
            said = load(value.encode("utf-8", "replace"))
            if isinstance(said, dict):
                _read_usage(reading, field.name, said)
            else:
                reading.notes.append(f"{field.name} is no JSON object: ignored")


def _read_usage(reading: Reading, header: str, said: dict[str, Any]) -> None:
    if header != "x-business-use-case-usage":
        for name in list(said)[:_MOST]:
            if name in _SHARES or name.endswith("_pct"):
                _add(reading, name, amount(said[name]), amount(said.get("reset_time_duration")))
        return
    for uses in list(said.values())[:_MOST]:
        for use in uses[:_MOST] if isinstance(uses, list) else ():
            if not isinstance(use, dict):
                continue
            shares = [share for share in (amount(use.get(name)) for name in _SHARES) if share is not None]
            _add(reading, str(use.get("type", "")), max(shares, default=None), None)
            minutes = amount(use.get("estimated_time_to_regain_access"))
            if reading.refused and minutes is not None and minutes > 0:
                reading.offer(minutes * 60, "estimated_time_to_regain_access, which is in minutes")


def _add(reading: Reading, name: str, used: float | None, reset: float | None) -> None:
    if used is not None and used >= 0:
        bucket = Bucket(label_of(name), unit=None, group="meta")
        bucket.limit, bucket.remaining = 100, max(100 - used, 0)
        bucket.reset = reset if reset is not None and reset >= 0 else None
        reading.buckets.append(bucket)


META = Dialect(
    name="meta",
    title="Meta Graph API",
    docs=("https://developers.facebook.com/docs/graph-api/overview/rate-limiting",),
    hosts=("graph.facebook.com", "graph.instagram.com", "graph.threads.net"),
    headers=(
        "x-app-usage",
        "x-page-usage",
        "x-ad-account-usage",
        "x-business-use-case-usage",
        "x-fb-ads-insights-throttle",
    ),
    bodies=(b'"fbtrace_id"',),
    read=_read,
)
