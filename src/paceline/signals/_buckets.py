"""Quotas while they are put together: what is left, which reset counts, policies laid over, one told twice made one."""

from __future__ import annotations

from ._items import Item, read_item
from ._signal import Quota
from ._structured import cut, read_policy
from ._times import Span

__all__ = ["Bucket", "choose_reset", "count_down", "facts", "fit", "join", "policy_of", "with_policy"]


class Bucket:
    """A quota while it is put together from the fields that speak of it; reset in seconds from now."""

    __slots__ = (
        "absolute",
        "group",
        "limit",
        "name",
        "remaining",
        "reset",
        "unit",
        "used",
        "vendor",
        "window",
    )

    def __init__(
        self, name: str | None = None, unit: str | None = "requests", group: str = "", vendor: str = ""
    ) -> None:
        self.name, self.unit, self.group, self.vendor = name, unit, group, vendor
        self.limit: float | None = None
        self.remaining: float | None = None
        self.used: float | None = None
        self.reset: float | None = None
        self.window: float | None = None
        self.absolute = False

    def quota(self) -> Quota:
        """The finished, frozen quota."""
        return Quota(self.name, self.limit, self.remaining, self.reset, self.window, self.unit)

    def says_something(self) -> bool:
        """Whether any of it is a fact about a limit."""
        return (
            self.limit is not None
            or self.remaining is not None
            or self.reset is not None
            or (self.used is not None and self.window is not None)
        )


def count_down(bucket: Bucket) -> None:
    """What is left, from what was used; the limit, from both."""
    if bucket.used is not None:
        if bucket.limit is not None and bucket.remaining is None:
            bucket.remaining = max(bucket.limit - bucket.used, 0)
        elif bucket.limit is None and bucket.remaining is not None:
            bucket.limit = bucket.remaining + bucket.used


def choose_reset(bucket: Bucket, spans: list[Span]) -> None:
    for span in spans:
        # A span needs no agreement of clocks, so it goes before a moment.
        if bucket.reset is None or (bucket.absolute and not span.absolute):
            bucket.reset, bucket.absolute = span.seconds, span.absolute


def facts(bucket: Bucket) -> tuple[object, ...]:
    return bucket.limit, bucket.remaining, bucket.reset, bucket.window


def policy_of(base: Bucket, item: Item) -> Bucket:
    bucket = Bucket(item.name or base.name, base.unit, base.group, base.vendor)
    bucket.limit, bucket.window = item.value, item.window
    return bucket


def with_policy(buckets: list[Bucket], policy: str | None, notes: list[str]) -> list[Bucket]:
    """Adds the quotas of a policy field: by name in structured ones, by equal quota in the older drafts."""
    if policy is None:
        return [bucket for bucket in buckets if bucket.says_something()]
    base = buckets[0] if buckets else Bucket()
    stated = read_policy(policy)
    if stated is not None:
        others = []
        for name, quota, window, unit in stated:
            bucket = Bucket(name, unit, base.group, base.vendor)
            bucket.limit, bucket.window = quota, window or None
            others.append(bucket)
    else:
        items = [item for item in (read_item(piece) for piece in cut(policy, ",")) if item.value is not None]
        if not items:
            notes.append("the policy field is malformed and was ignored")
        others = [policy_of(base, item) for item in items]
    for bucket in buckets:
        others = fit(bucket, others)[1:]
    return [bucket for bucket in (*buckets, *others) if bucket.says_something()]


def fit(bucket: Bucket, policies: list[Bucket]) -> list[Bucket]:
    """The bucket, with the window of the one policy that has its quota, and the other policies."""
    same = [policy for policy in policies if policy.limit == bucket.limit]
    if len(same) == 1 and bucket.limit is not None and bucket.window in (None, same[0].window):
        bucket.window = same[0].window
        if bucket.name is None:
            bucket.name, bucket.unit = same[0].name, same[0].unit
        policies = [policy for policy in policies if policy is not same[0]]
    distinct: list[Bucket] = []
    for policy in policies:
        if not any(facts(policy) == facts(other) for other in (bucket, *distinct)):
            distinct.append(policy)
    return [bucket, *distinct]


def join(buckets: list[Bucket], notes: list[str]) -> list[Bucket]:
    """One bucket told twice becomes one; an unnamed reset goes to the bucket it can only belong to."""
    found: list[Bucket] = []
    for bucket in buckets:
        twin = next((other for other in found if other.group != bucket.group and _same(other, bucket)), None)
        if twin is None:
            found.append(bucket)
            continue
        for fact in ("name", "limit", "remaining", "window"):
            if getattr(twin, fact) is None:
                setattr(twin, fact, getattr(bucket, fact))
        if bucket.reset is not None:
            choose_reset(twin, [Span(bucket.reset, absolute=bucket.absolute)])
    _adopt_limits(found)
    for bucket in list(found):
        if (
            bucket.name is not None
            or bucket.limit is not None
            or bucket.remaining is not None
            or bucket.reset is None
        ):
            continue
        siblings = [
            other
            for other in found
            if other is not bucket and other.vendor == bucket.vendor and other.name is not None
        ]
        if len(siblings) > 1:
            siblings = [other for other in siblings if other.remaining == 0 and other.reset is None]
        if len(siblings) == 1:
            found.remove(bucket)
            if siblings[0].window is None:
                siblings[0].window = bucket.window
            if siblings[0].reset is None:
                siblings[0].reset, siblings[0].absolute = bucket.reset, bucket.absolute
            else:
                notes.append("a second reset of the same bucket was ignored, a span goes before a moment")
    return found


def _adopt_limits(found: list[Bucket]) -> None:
    """A limit whose name holds its period (`RateLimit-DailyLimit`) belongs to the counters beside it that have none."""
    for bucket in list(found):
        if bucket.name is not None or bucket.limit is not None or bucket.remaining is None:
            continue
        bare = [
            o
            for o in found
            if o.group == bucket.group and o.limit is not None and o.remaining is None and o.used is None
        ]
        if len(bare) == 1 and bare[0].name is not None and bare[0].reset is None:
            found.remove(bare[0])
            bucket.name, bucket.limit, bucket.window = bare[0].name, bare[0].limit, bare[0].window


def _same(one: Bucket, two: Bucket) -> bool:
    if one.vendor != two.vendor:
        return False
    facts = [(one.limit, two.limit), (one.remaining, two.remaining), (one.window, two.window)]
    if any(a is not None and b is not None and a != b for a, b in facts):
        return False
    if one.reset is not None and two.reset is not None and abs(one.reset - two.reset) > 2:
        return False
    if one.name == two.name:
        return True
    # A named and an unnamed account of the same numbers.
    return (one.name is None or two.name is None) and all(a is not None and a == b for a, b in facts[:2])
