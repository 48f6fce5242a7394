"""Stack Exchange: `backoff` on a served answer binds, per method; quotas stand in the body; refusals come as 400 in prose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._buckets import Bucket
from .._dialect import Dialect, path_of
from .._times import amount

if TYPE_CHECKING:
    from .._reading import Reading


def _read(reading: Reading) -> None:
    said = reading.object
    quota = Bucket(group="stackexchange")
    limit, remaining = amount(said.get("quota_max")), amount(said.get("quota_remaining"))
    quota.limit = limit if limit is None or limit >= 0 else None
    quota.remaining = remaining if remaining is None or remaining >= 0 else None
    if quota.says_something():
        reading.buckets.append(quota)
    backoff = amount(said.get("backoff"))
    if backoff is not None and backoff > 0:
        reading.offer(backoff, "backoff")


def _scope(_method: str, url: str) -> str | None:
    parts = path_of(url).split("/")
    return "/".join("*" if any(c.isdigit() for c in part) else part for part in parts[2:]) or None


STACKEXCHANGE = Dialect(
    name="stackexchange",
    title="Stack Exchange",
    docs=("https://api.stackexchange.com/docs/throttle",),
    hosts=("api.stackexchange.com",),
    bodies=(b'"quota_remaining"', b"throttle_violation"),
    read=_read,
    scope=_scope,
    served_body=lambda _url: True,
)
