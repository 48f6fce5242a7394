"""Dates as servers write them: the three forms of RFC 9110, ISO 8601, and their usual corruptions."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

__all__ = ["read_date"]

_LONGEST: Final = 80
_YEAR: Final = 365.25 * 86400.0
_MONTHS: Final = {
    "jan": 1,
    "feb": 2,
    "mar": 3,
    "apr": 4,
    "may": 5,
    "jun": 6,
    "jul": 7,
    "aug": 8,
    "sep": 9,
    "oct": 10,
    "nov": 11,
    "dec": 12,
}
_MONTH: Final = f"({'|'.join(_MONTHS)})"
_CLOCK: Final = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_ZONE: Final = r"(?: ?(gmt|utc|ut|z|[+-][0-9]{4}))?"
_IMF: Final = re.compile(
    rf"(?:[a-z]{{2,9}}, ?)?([0-9]{{1,2}})[ -]{_MONTH}[a-z]{{0,6}}[ -]([0-9]{{4}}) {_CLOCK}{_ZONE}"
)
_RFC850: Final = re.compile(rf"[a-z]{{3,9}}, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_CLOCK}{_ZONE}")
_JAVASCRIPT: Final = re.compile(
    rf"[a-z]{{3}} {_MONTH} ([0-9]{{2}}) ([0-9]{{4}}) {_CLOCK} gmt([+-][0-9]{{4}})(?: \([a-z ]{{1,40}}\))?"
)
_ASCTIME: Final = re.compile(rf"[a-z]{{3}} {_MONTH} {{1,2}}([0-9]{{1,2}}) {_CLOCK} ([0-9]{{4}})")
# WSO2 API Manager's `nextAccessTime`: 2026-Jan-16 00:00:00+0000 UTC
_NAMED_MONTH: Final = re.compile(rf"([0-9]{{4}})-{_MONTH}-([0-9]{{2}}) {_CLOCK}([+-][0-9]{{4}})?(?: utc)?")
_ISO: Final = re.compile(
    r"([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})[t ]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?(z|utc|gmt|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)


def read_date(text: str, now: float) -> float | None:
    """Epoch seconds of a date: the three forms of RFC 9110 section 5.6.7, ISO 8601, and their usual corruptions.

    The weekday is ignored (it is wrong in the wild); a two-digit year more than 50 years ahead is in the past.
    A date without a zone is taken as UTC.

    >>> read_date("Sun Nov  6 08:49:37 1994", 0) == read_date("Sunday, 06-Nov-94 08:49:37 GMT", 0) == 784111777
    True
    """
    text = text.strip(" \t\r\n")
    if len(text) > _LONGEST:
        return None
    # A pipeline sees the same Date for a second; the reference only has to be right to a year.
    return _date(text.lower(), now // _YEAR * _YEAR if abs(now) < 1e15 else 0.0)


@lru_cache(maxsize=64)
def _date(lower: str, now: float) -> float | None:
    found = _IMF.fullmatch(lower)
    if found is not None:
        day, month, year, *clock, zone = found.groups()
        return _epoch(int(year), _MONTHS[month], int(day), clock, zone)
    found = _ISO.fullmatch(lower)
    if found is not None:
        year, month, day, hour, minute, second, fraction, zone = found.groups()
        whole = _epoch(int(year), int(month), int(day), (hour, minute, second or "0"), zone)
        return whole if whole is None or not fraction else whole + float("0." + fraction)
    found = _NAMED_MONTH.fullmatch(lower)
    if found is not None:
        year, month, day, *clock, zone = found.groups()
        return _epoch(int(year), _MONTHS[month], int(day), clock, zone)
    found = _RFC850.fullmatch(lower)
    if found is not None:
        day, month, short, *clock, zone = found.groups()
        whole = _epoch(2000 + int(short), _MONTHS[month], int(day), clock, zone)
        if whole is None or whole - now > 50 * _YEAR:
            whole = _epoch(1900 + int(short), _MONTHS[month], int(day), clock, zone)
        return whole
    found = _ASCTIME.fullmatch(lower)
    if found is not None:
        month, day, *clock, year = found.groups()
        return _epoch(int(year), _MONTHS[month], int(day), clock, None)
    found = _JAVASCRIPT.fullmatch(lower)
    if found is not None:
        month, day, year, *clock, zone = found.groups()
        return _epoch(int(year), _MONTHS[month], int(day), clock, zone)
    return None


def _epoch(
    year: int, month: int, day: int, clock: list[str] | tuple[str, ...], zone: str | None
) -> float | None:
    hour, minute, second = (int(part) for part in clock)
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
        return None
    shift = 0
    if zone and zone[0] in "+-":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        if int(digits[:2]) > 23 or int(digits[2:]) > 59:
            return None
        shift = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        shift = -shift if zone[0] == "-" else shift
    try:
        midnight = datetime(year, month, day, tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return midnight + hour * 3600 + minute * 60 + second - shift
