"""Every way in which servers write a moment or a span of time, read into seconds from now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ._dates import read_date

__all__ = [
    "Clock",
    "Headers",
    "Span",
    "amount",
    "header",
    "number",
    "pairs_of",
    "read_span",
    "span_of_number",
    "text_of",
]

Headers = Mapping[str, Any] | Iterable[tuple[Any, Any]]

_MOST_VALUES: Final = 32
_OWS: Final = " \t\r\n"
_LONGEST: Final = 80
_DAY: Final = 86400.0
# Ten years: an absolute time further off than that is a sentinel (2038, 9999) or no time at all.
_HORIZON: Final = 3660 * _DAY
# Below this a number is a span, above it an absolute time: no span is 31 years, no epoch of interest is before 2001.
_EPOCH_FROM: Final = 1e9
_SCALES: Final = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))

_NUMBER: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,40})?")
_UNITS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), _DAY),
}
_PART: Final = r"([0-9]{1,15}(?:\.[0-9]{1,12})?) ?(ns|nanoseconds?|us|µs|μs|microseconds?|ms|msecs?|millis|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_PARTS: Final = re.compile(_PART + r"(?![a-zµμ])(?:,? (?:and )?)?")
_DURATION: Final = re.compile(rf"(?:{_PART}(?![a-zµμ])(?:,? (?:and )?)?){{1,6}}")
_CLOCK_SPAN: Final = re.compile(r"([0-9]{1,4}):([0-5]?[0-9]):([0-5]?[0-9](?:\.[0-9]{1,9})?)")
_ISO_SPAN: Final = re.compile(
    r"p(?:([0-9]{1,6})d)?(?:t(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?)?"
)


def pairs_of(headers: Headers) -> Iterable[tuple[Any, Any]]:
    """The (name, value) pairs of a mapping or of pairs."""
    return headers.items() if hasattr(headers, "items") else headers


def text_of(value: Any) -> str:
    """A header's name or value as text, whatever the client made of it."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        return ", ".join(
            text_of(part) for part in value[:_MOST_VALUES] if not isinstance(part, (list, tuple))
        )
    return str(value)


def header(headers: Headers, name: str) -> str | None:
    """The last value of a header, by its name in lower case."""
    found = None
    for key, value in pairs_of(headers):
        if len(key) == len(name) and text_of(key).lower() == name:
            found = text_of(value)
    return found


@dataclass(slots=True)
class Clock:
    """When the response arrived (epoch seconds), and what its own `Date` says of the server's clock."""

    now: float
    headers: Headers = ()
    notes: list[str] = field(default_factory=list)
    _offset: float | None = None

    def until(self, moment: float) -> float | None:
        """Seconds from now until `moment` (epoch seconds), 0 if past; None where that is no sensible time."""
        wait = moment - self.now
        if not -_HORIZON <= wait <= _HORIZON:
            return None
        offset = self.offset()
        if offset and wait - offset >= -2:
            self.notes.append(
                f"an absolute time was corrected by the response's Date, {offset:+.0f} s off our clock"
            )
            wait -= offset
        return wait if wait > 0 else 0.0

    def offset(self) -> float:
        """How far the server's clock is ahead of ours, in seconds; 0 where `Date` does not tell it plausibly."""
        if self._offset is None:
            self._offset = 0.0
            date = header(self.headers, "date")
            sent = read_date(date, self.now) if date else None
            if sent is not None:
                ahead = sent + (number(header(self.headers, "age") or "") or 0) - self.now
                if abs(ahead) > _DAY:
                    self.notes.append(
                        "Date is more than a day off our clock and was not used to correct times"
                    )
                elif abs(ahead) > 2:
                    # Less is the rounding of Date to whole seconds, or the way here.
                    self._offset = ahead
        return self._offset


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds from now; `absolute` if written as a moment, `negative` if written below 0, `doubt` if another reading is near."""

    seconds: float
    absolute: bool = False
    negative: bool = False
    doubt: str | None = None


def number(text: str) -> float | None:
    """Reads a plain ASCII decimal number, nothing else: no sign, exponent, underscore or other script's digits.

    >>> number("2.0"), number("00030"), number("1_000"), number("\uff11\uff12"), number("1e3")
    (2, 30, None, None, None)
    """
    if text.isdecimal() and text.isascii() and len(text) < 16:
        return int(text)
    text = text.strip(_OWS)
    if len(text) > 64 or _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    return int(value) if value.is_integer() else value


def amount(value: object) -> float | None:
    """A JSON value as a finite number, whether written as a number or as text; None for all else.

    >>> amount(3), amount("4.5"), amount(True), amount(float("inf")), amount("x")
    (3, 4.5, None, None, None)
    """
    if isinstance(value, str):
        return number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -1e15 < value < 1e15:
        return value
    return None


def read_span(text: str, clock: Clock, scale: float = 1.0) -> Span | None:
    """Reads a wait or a reset in any encoding; `scale` is the unit of a bare number, in seconds.

    None for what is no time. A time in the past is 0.

    >>> clock = Clock(now=1768478400.0)
    >>> [read_span(t, clock).seconds for t in ("30", "6m0s", "20ms", "00:00:05", "1768478460", "2026-01-15T12:01Z")]
    [30, 360.0, 0.02, 5.0, 60.0, 60.0]
    >>> read_span("Thursday, 15-Jan-26 12:00:30 GMT", clock)
    Span(seconds=30.0, absolute=True, negative=False, doubt=None)
    """
    text = text.strip(_OWS)
    if not text or len(text) > _LONGEST:
        return None
    value = number(text)
    if value is not None:
        return span_of_number(value, clock, scale)
    lower = text.lower()
    first = lower[0]
    if first == "-":
        rest = lower[1:]
        if number(rest) is not None or _DURATION.fullmatch(rest) or _CLOCK_SPAN.fullmatch(rest):
            return Span(0.0, negative=True)
        return None
    if first.isdigit():
        if _DURATION.fullmatch(lower):
            return Span(sum(float(n) * _UNITS[u] for n, u in _PARTS.findall(lower)))
        parts = _CLOCK_SPAN.fullmatch(lower)
        if parts is not None:
            return Span(int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3]))
    elif first == "p" and len(lower) > 2:
        parts = _ISO_SPAN.fullmatch(lower)
        if parts is not None:
            days, hours, minutes, seconds = (float(p or 0) for p in parts.groups())
            return Span(days * _DAY + hours * 3600 + minutes * 60 + seconds)
    moment = read_date(text, clock.now)
    if moment is None:
        return None
    wait = clock.until(moment)
    return None if wait is None else Span(wait, absolute=True)


def span_of_number(value: float, clock: Clock, scale: float = 1.0) -> Span | None:
    """Decides by magnitude whether a number is a span or an epoch in s, ms, µs or ns.

    >>> span_of_number(1768478460000, Clock(now=1768478400.0))
    Span(seconds=60.0, absolute=True, negative=False, doubt=None)
    """
    if not value < _SCALES[-1][0]:
        return None
    if value < 0:
        return Span(0.0, negative=True)
    if value < _EPOCH_FROM:
        doubt = None
        if value > 45 * _DAY and scale == 1.0:
            doubt = f"{value:.0f} was read as seconds; it could be milliseconds"
        if scale == 0.001:
            value /= 1000  # unlike a product with 0.001 it is exact to the last digit
        elif scale != 1.0:
            value *= scale
        return Span(value, doubt=doubt)
    for below, per_second in _SCALES:
        if value < below:
            wait = clock.until(value / per_second)
            return None if wait is None else Span(wait, absolute=True)
    return None
