"""From header fields to quotas: the fields of one bucket brought together, whatever counters and lists they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ._buckets import Bucket, choose_reset, count_down, facts, fit, join, policy_of, with_policy
from ._items import Item, label_of, read_counts, shorten
from ._names import Field, unit_of
from ._signal import Quota
from ._structured import cut, read_pairs, read_policy, read_state
from ._times import Clock, Headers, Span, number, read_span

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["gather", "plain_quota"]

_MOST_BUCKETS: Final = 48
_FAR: Final = 3_888_000  # 45 days: beyond it a plain number of seconds is doubtful
_EPOCH_FROM: Final = 1_000_000_000
_EPOCH_TO: Final = 100_000_000_000
_NEAR: Final = 366 * 86400.0


class _Raw:
    """The raw values of the fields with one key."""

    __slots__ = ("bare", "field", "label", "limit", "policy", "remaining", "resets", "used", "window")

    def __init__(self, field: Field) -> None:
        self.field = field
        self.limit: str | None = None
        self.remaining: str | None = None
        self.used: str | None = None
        self.label: str | None = None
        self.policy: str | None = None
        self.bare: str | None = None
        self.window: tuple[str, float] | None = None
        self.resets: list[tuple[str, Field]] = []


def plain_quota(fields: list[tuple[Field, str]], now: float, headers: Headers) -> Quota | None:
    """The one quota of plain numbers in fields of one bucket, as nearly all responses have it; None: read with care.

    It says the same as `gather` would, several times faster, since it runs on every response of a pipeline.
    """
    first = fields[0][0]
    key = first.key
    limit = remaining = used = reset = None
    absolute = False
    for field, text in fields:
        if field.key != key or not (text.isdecimal() and text.isascii() and len(text) < 13):
            return None
        value = int(text)
        role = field.role
        if role == "reset":
            if reset is not None or field.scale != 1.0 or _FAR <= value < _EPOCH_FROM:
                return None
            absolute, reset = value >= _EPOCH_FROM, value
        elif role == "remaining" and remaining is None:
            remaining = value
        elif role == "limit" and limit is None:
            limit = value
        elif role == "used" and used is None:
            used = value
        else:
            return None
    wait: float | None = reset
    if absolute and reset is not None:
        clock = Clock(now, headers)
        wait = reset - now
        if reset > _EPOCH_TO or abs(wait) > _NEAR or clock.offset() or clock.notes:
            return None
        wait = wait if wait > 0 else 0.0
    if used is not None:
        if remaining is None and limit is not None:
            remaining = max(limit - used, 0)
        elif limit is None and remaining is not None:
            limit = remaining + used
    if limit is None and remaining is None and wait is None:
        return None
    return Quota(first.bucket, limit, remaining, wait, first.window, first.unit)


def gather(fields: Iterable[tuple[Field, str]], clock: Clock, notes: list[str]) -> list[Bucket]:
    """All buckets that the fields describe, in their order; what is malformed is left out and noted."""
    raws: dict[str, _Raw] = {}
    for field, value in fields:
        role = field.role
        if role in ("wait", "reason", "mark"):
            continue
        raw = raws.get(field.key)
        if raw is None:
            raw = raws[field.key] = _Raw(field)
        if role == "reset":
            raw.resets.append((value, field))
        elif role == "window":
            raw.window = (value, field.scale)
        elif role in ("fraction", "pairs"):
            raw.limit = value
        else:
            before = getattr(raw, role)
            setattr(raw, role, value if before is None else f"{before}, {value}")
    found: list[Bucket] = []
    for raw in raws.values():
        found += _build(raw, clock, notes)
    return join(found[:_MOST_BUCKETS], notes) if len(found) > 1 else found


def _build(raw: _Raw, clock: Clock, notes: list[str]) -> list[Bucket]:
    field = raw.field
    if raw.bare is not None:
        stated = _bare(raw, notes)
        if stated is not None:
            return stated
    if field.role == "pairs":
        return _named_fractions(raw, notes)
    bucket = Bucket(field.bucket, field.unit, field.group, field.vendor)
    bucket.window = field.window
    limits = remaining = used = None
    many = 1
    if raw.limit is not None:
        limits = read_counts(raw.limit, field, "limit", notes)
        many = len(limits)
        if field.role == "fraction" and limits and limits[0].of is not None:
            bucket.name = None  # `X-Shopify-Shop-Api-Call-Limit: 32/40` tells of the one bucket that there is
    if raw.remaining is not None:
        remaining = read_counts(raw.remaining, field, "remaining", notes, many)
    if raw.used is not None:
        used = read_counts(raw.used, field, "used", notes, many)
    if raw.label is not None and (name := label_of(raw.label)) is not None:
        bucket.name, bucket.unit = name, unit_of(name)
    if raw.window is not None:
        span = read_span(raw.window[0].partition(",")[0], clock, raw.window[1])
        if span is not None and span.seconds > 0 and not span.absolute:
            bucket.window = span.seconds
    resets = [_resets(text, told, clock, notes) for text, told in raw.resets]
    if remaining and remaining[0].name is not None and raw.limit is None:
        return [_of_item(bucket, item) for item in remaining]
    if many > 1:
        zipped = [ls for ls in (remaining, used, *resets) if ls is not None and len(ls) == many]
        if zipped:
            return with_policy(_zip(bucket, limits or [], remaining, used, resets), raw.policy, notes)
    _fill(bucket, limits, remaining, used, resets)
    others = [policy_of(bucket, item) for item in (limits or ())[1:]]
    if not others and raw.policy is None:
        return [bucket] if bucket.says_something() else []
    return with_policy(fit(bucket, others), raw.policy, notes)


def _fill(
    bucket: Bucket,
    limits: list[Item] | None,
    remaining: list[Item] | None,
    used: list[Item] | None,
    resets: list[list[Span]],
) -> None:
    if limits:
        first = limits[0]
        bucket.limit = first.value
        if first.window is not None:
            bucket.window = first.window
        if first.of is not None:  # 32/40: used and limit
            bucket.limit, bucket.used = first.of, first.value
        if first.name is not None:
            bucket.name = first.name
    if remaining:
        # A value doubled by a proxy: the smaller one cannot lead over the limit.
        bucket.remaining = min(item.value for item in remaining if item.value is not None)
        if remaining[0].of is not None and bucket.limit is None:
            bucket.limit = remaining[0].of
        if bucket.window is None:
            bucket.window = remaining[0].window
    if used:
        bucket.used = max(item.value for item in used if item.value is not None)
        if used[0].of is not None and bucket.limit is None:
            bucket.limit = used[0].of
    count_down(bucket)
    choose_reset(bucket, [max(spans, key=lambda span: span.seconds) for spans in resets if spans])


def _zip(
    base: Bucket,
    limits: list[Item],
    remaining: list[Item] | None,
    used: list[Item] | None,
    resets: list[list[Span]],
) -> list[Bucket]:
    found: list[Bucket] = []
    for i, item in enumerate(limits):
        bucket = Bucket(base.name, base.unit, base.group, base.vendor)
        bucket.window = base.window
        alike = [
            ls[i : i + 1] if ls is not None and len(ls) == len(limits) else None for ls in (remaining, used)
        ]
        _fill(
            bucket,
            [item],
            alike[0],
            alike[1],
            [spans[i : i + 1] for spans in resets if len(spans) == len(limits)],
        )
        if bucket.says_something() and not any(facts(bucket) == facts(other) for other in found):
            found.append(bucket)
    return found


def _of_item(base: Bucket, item: Item) -> Bucket:
    bucket = Bucket(item.name, base.unit, base.group, base.vendor)
    bucket.remaining = item.value
    return bucket


def _resets(text: str, field: Field, clock: Clock, notes: list[str]) -> list[Span]:
    span = read_span(text, clock, field.scale)
    found = [span] if span is not None else []
    if span is None and "," in text:
        found = [
            s for s in (read_span(piece, clock, field.scale) for piece in cut(text, ",")) if s is not None
        ]
    if any(span.negative for span in found):
        notes.append(f"{field.name} says a reset of {shorten(text)}, which is below 0: ignored")
        return [span for span in found if not span.negative]
    for span in found:
        if span.doubt is not None:
            notes.append(f"{field.name}: {span.doubt}")
    if not found and text.strip():
        notes.append(f"{field.name} says a reset of {shorten(text)}, which is no time: ignored")
    return found


def _bare(raw: _Raw, notes: list[str]) -> list[Bucket] | None:
    """`RateLimit: "a";r=1;t=5`, `RateLimit: limit=10, remaining=1`, `X-Rate-Limit: 700`; None: read on as usual."""
    field, text = raw.field, raw.bare or ""
    known = field.bucket is None or field.bucket in ("app", "method")
    if known and (field.group != "|" or ":" in text) and number(text.split(",")[0].split(":")[0]) is not None:
        raw.limit = raw.limit or text
        return None
    stated = read_state(text) if '"' in text else None
    if stated is not None:
        found = []
        for name, remaining, reset, _ in stated:
            bucket = Bucket(name, "requests", field.group, field.vendor)
            bucket.remaining, bucket.reset = remaining, reset
            found.append(bucket)
        policies = read_policy(raw.policy) if raw.policy is not None else None
        for name, quota, window, unit in policies or ():
            same = next((bucket for bucket in found if bucket.name == name), None)
            if same is None:
                same = Bucket(name, unit, field.group, field.vendor)
                found.append(same)
            same.limit, same.window, same.unit = quota, window or None, unit
        return found
    pairs = read_pairs(text) if "=" in text or ":" in text else {}
    roles = {
        "limit": "limit",
        "total": "limit",
        "remaining": "remaining",
        "reset": "reset",
        "resets": "reset",
        "used": "used",
    }
    if not {roles.get(name) for name in pairs} & {"remaining", "limit"}:
        if field.bucket is None:
            notes.append(f"{field.name} is malformed and was ignored")
        return None
    for name, value in pairs.items():
        if roles.get(name) == "reset":
            raw.resets.append((value, field))
        elif name in roles:
            setattr(raw, roles[name], value)
    return None


def _named_fractions(raw: _Raw, notes: list[str]) -> list[Bucket]:
    """`api-usage=18/5000; per-app-api-usage=17/250(appName=…)`: used and limit of each name."""
    found = []
    for piece in cut((raw.limit or "").replace(",", ";"), ";"):
        name, _, rest = piece.strip().partition("=")
        used, _, limit = rest.partition("(")[0].partition("/")
        bucket = Bucket(name, unit_of(name), raw.field.group, raw.field.vendor)
        bucket.used, bucket.limit = number(used), number(limit)
        if bucket.used is None or bucket.limit is None or label_of(name) is None:
            notes.append(f"{raw.field.name}: {shorten(piece)} is not used/limit: ignored")
            continue
        count_down(bucket)
        found.append(bucket)
    return found
