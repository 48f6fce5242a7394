"""A limit and its text form: `QUOTA [UNIT] / [N]PERIOD [SHAPE] [burst N]`, or `N concurrent`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import LimitSyntaxError

__all__ = ["Limit", "Shape"]

Shape = Literal["steady", "sliding", "fixed", "bucket", "concurrent"]

_SHAPES: Final = get_args(Shape)
_RIGHT: Final = "write it like 100/2s, 5000/hour, 90000 tokens/min, 50/s bucket burst 20, 1000/day fixed@UTC or 8 concurrent"

_UNIT_SECONDS: Final[dict[str, float]] = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNIT_NAMES: Final[dict[str, str]] = {
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
}
_PERIOD_FORMS: Final = (
    ("week", "w", 604800),
    ("day", "d", 86400),
    ("hour", "h", 3600),
    ("min", "min", 60),
    ("s", "s", 1),
)
_MIN_PERIOD: Final = 0.001
_MAX_PERIOD: Final = 366 * 86400.0
_NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_QUOTA_RE: Final = re.compile(rf"({_NUMBER})(?:\s+([A-Za-z][A-Za-z0-9_.-]{{0,39}}))?\s*")
_PERIOD_RE: Final = re.compile(rf"\s*({_NUMBER})?\s*([A-Za-z]+)")
_PLAIN_NUMBER_RE: Final = re.compile(_NUMBER)


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota over a period, or a number in flight.

    quota: permits (or units of cost) per period; for `concurrent`, how many at once.
    period: seconds, 0.001 to 366 days; 0 for `concurrent`.
    shape: how departures are scheduled so that the server never counts more than the quota.
    unit: what the quota counts.
    burst: for `bucket` only, how much may go at once.
    zone: for `fixed` only, the IANA zone whose calendar the windows follow; None: the Unix epoch.

    Raises LimitSyntaxError where the values make no limit.

    >>> Limit.parse("100 / 2 seconds")
    Limit(quota=100, period=2.0, shape='steady', unit='requests', burst=None, zone=None)
    >>> str(Limit.parse("90000 tokens/minute bucket"))
    '90000 tokens/min bucket'
    """

    quota: float
    period: float = 0.0
    shape: Shape = "steady"
    unit: str = "requests"
    burst: float | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        def wrong(part: object, why: str) -> LimitSyntaxError:
            return LimitSyntaxError(f"{self.quota}/{self.period}s {self.shape}", str(part), f"{why}; {_RIGHT}")

        if self.shape not in _SHAPES:
            raise wrong(self.shape, f"there is no shape {self.shape!r}, the shapes are {', '.join(_SHAPES)}")
        if not 1e-9 <= self.quota < 1e15:
            raise wrong(self.quota, f"a quota of {self.quota!r} is not a number above 0")
        if self.shape == "concurrent":
            if self.period or self.burst is not None or self.zone is not None:
                raise wrong(self.period, "a number in flight has no period, burst or zone")
            if self.quota < 1:
                raise wrong(self.quota, f"at least 1 must be allowed in flight, not {self.quota}")
        elif not _MIN_PERIOD <= self.period <= _MAX_PERIOD:
            raise wrong(self.period, f"a period of {self.period:g} s is not between 1 ms and 366 days")
        if self.burst is not None:
            if self.shape != "bucket":
                raise wrong(self.burst, f"only the shape bucket has a burst, not {self.shape}")
            if not 1 <= self.burst < 1e15:
                raise wrong(self.burst, f"a burst of {self.burst:g} is not a number of at least 1")
        if self.zone is not None:
            if self.shape != "fixed":
                raise wrong(self.zone, f"only the shape fixed has a zone, not {self.shape}")
            _check_zone(self.zone, str(self.quota))
        # One form a value: 100 and 100.0 are the same limit and print the same.
        # Nine decimals are what the text form holds; the rest is rounding of whoever computed them.
        object.__setattr__(self, "quota", _plain(round(self.quota, 9)))
        object.__setattr__(self, "period", round(float(self.period), 9))
        if self.burst is not None:
            object.__setattr__(self, "burst", _plain(round(self.burst, 9)))

    @property
    def rate(self) -> float:
        """Permits a second, on average; infinite for `concurrent`."""
        return self.quota / self.period if self.period else float("inf")

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Reads a limit's text form; raises LimitSyntaxError, which names the part at fault.

        >>> Limit.parse("1000/day fixed@America/Los_Angeles").zone
        'America/Los_Angeles'
        >>> Limit.parse("100/fortnight")
        Traceback (most recent call last):
        ...
        paceline.errors.LimitSyntaxError: cannot read the limit '100/fortnight': there is no period 'fortnight', \
the periods are ms, s, min, h, d, w and their long names; write it like 100/2s, 5000/hour, 90000 tokens/min, \
50/s bucket burst 20, 1000/day fixed@UTC or 8 concurrent
        """
        if not isinstance(text, str):
            raise LimitSyntaxError(repr(text)[:80], "", f"it is not text but {type(text).__name__}; {_RIGHT}")

        def wrong(part: str, why: str) -> LimitSyntaxError:
            return LimitSyntaxError(text[:120], part[:80], f"{why}; {_RIGHT}")

        whole = text.strip()
        if not whole:
            raise wrong("", "it is empty")
        head, slash, tail = whole.partition("/")
        # A zone holds slashes too, so only the first one parts quota and period.
        words = head.lower().split()
        if not slash:
            if len(words) == 2 and words[1] == "concurrent":
                return _build(text, quota=_number(words[0], wrong, "quota"), shape="concurrent")
            raise wrong(whole, "there is no '/' and no period")
        quota_match = _QUOTA_RE.fullmatch(head)
        if quota_match is None:
            raise wrong(head.strip(), f"{head.strip()!r} is not a quota (a number, then perhaps a unit)")
        quota, unit = float(Decimal(quota_match[1])), quota_match[2] or "requests"
        if unit.lower() in ("request", "requests", "calls", "call"):
            unit = "requests"
        period_match = _PERIOD_RE.match(tail)
        if period_match is None:
            raise wrong(tail.strip(), f"{tail.strip()!r} does not begin with a period")
        name = _UNIT_NAMES.get(period_match[2].lower())
        if name is None:
            raise wrong(
                period_match[2],
                f"there is no period {period_match[2]!r}, the periods are ms, s, min, h, d, w and their long names",
            )
        count = Decimal(period_match[1] or "1")
        period = float(count * Decimal(str(_UNIT_SECONDS[name])))
        rest = tail[period_match.end() :]
        if rest and not rest[0].isspace():
            raise wrong(rest, f"{rest!r} after the period is not understood")
        shape: str = "steady"
        zone: str | None = None
        burst: float | None = None
        seen_shape = False
        parts = rest.split()
        while parts:
            word = parts.pop(0)
            shape_name, at, zone_name = word.partition("@")
            if shape_name.lower() in _SHAPES and not seen_shape and shape_name.lower() != "concurrent":
                shape, seen_shape = shape_name.lower(), True
                if at:
                    if shape != "fixed":
                        raise wrong(word, f"only the shape fixed has a zone, not {shape}")
                    _check_zone(zone_name, text)
                    zone = zone_name
            elif word.lower() == "burst" and burst is None:
                if not parts:
                    raise wrong(word, "there is no number behind 'burst'")
                burst = _number(parts.pop(0), wrong, "burst")
            else:
                raise wrong(word, f"{word!r} is not understood; a shape is one of {', '.join(_SHAPES[:4])}")
        return _build(text, quota=quota, period=period, shape=shape, unit=unit, burst=burst, zone=zone)

    def __str__(self) -> str:
        """The canonical text: what `parse` reads back to an equal limit."""
        if self.shape == "concurrent":
            return f"{_text(self.quota)} concurrent"
        unit = "" if self.unit == "requests" else f" {self.unit}"
        shape = "" if self.shape == "steady" else f" {self.shape}"
        zone = f"@{self.zone}" if self.zone else ""
        burst = f" burst {_text(self.burst)}" if self.burst is not None else ""
        return f"{_text(self.quota)}{unit}/{_period_text(self.period)}{shape}{zone}{burst}"


def _build(text: str, **fields: object) -> Limit:
    try:
        return Limit(**fields)  # type: ignore[arg-type]
    except LimitSyntaxError as error:
        raise LimitSyntaxError(text[:120], error.part, error.why) from None


def _number(word: str, wrong: object, what: str) -> float:
    if _PLAIN_NUMBER_RE.fullmatch(word) is None:
        raise wrong(word, f"{word!r} is not a {what} (a plain number)")  # type: ignore[operator]
    return float(Decimal(word))


def _check_zone(zone: str, text: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise LimitSyntaxError(
            text[:120], zone, f"there is no time zone {zone!r}; write it like fixed@UTC or fixed@America/Los_Angeles"
        ) from None


def _plain(value: float) -> float:
    return int(value) if value == int(value) else float(value)


def _text(value: float) -> str:
    return format(Decimal(repr(value)), "f")


def _period_text(seconds: float) -> str:
    for one, many, size in _PERIOD_FORMS:
        count = seconds / size
        if count == int(count):
            return one if count == 1 else f"{int(count)}{many}"
    milliseconds = Decimal(repr(seconds)) * 1000
    if milliseconds < 1000 and milliseconds == milliseconds.to_integral_value():
        return "ms" if milliseconds == 1 else f"{int(milliseconds)}ms"
    return f"{_text(seconds)}s"
