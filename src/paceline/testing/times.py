"""The forms in which providers write a span or a moment: each a text, and the seconds that the text truly tells."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORMS", "up"]

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def up(value: float) -> int:
    """The next whole number; what is one but for a millionth (readings are sums of floats) is that number.

    >>> up(1.2), up(2.0000001)
    (2, 2)
    """
    return math.ceil(round(value, 6))


def _whole(wait: float, _: float) -> tuple[str, float]:
    told = max(1, up(wait)) if wait > 0 else 0
    return str(told), float(told)


def _thousandths(wait: float, _: float) -> tuple[str, float]:
    told = up(wait * 1000) / 1000
    return f"{told:.3f}", told


def _milliseconds(wait: float, _: float) -> tuple[str, float]:
    told = up(wait * 1000)
    return str(told), told / 1000


def _minutes(wait: float, _: float) -> tuple[str, float]:
    told = math.ceil(round(wait, 6) / 60)
    return str(told), told * 60.0


def _epoch(wait: float, now: float) -> tuple[str, float]:
    moment = up(now + wait)
    return str(moment), moment - now


def _epoch_ms(wait: float, now: float) -> tuple[str, float]:
    moment = math.ceil(round((now + wait) * 1000, 3))
    return str(moment), moment / 1000 - now


def _epoch_float(wait: float, now: float) -> tuple[str, float]:
    moment = math.ceil(round((now + wait) * 1000, 3)) / 1000
    return f"{moment:.3f}", moment - now


def _date(wait: float, now: float) -> tuple[str, float]:
    moment = up(now + wait)
    return formatdate(moment, usegmt=True), moment - now


def _iso(wait: float, now: float) -> tuple[str, float]:
    moment = up(now + wait)
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ"), moment - now


def _iso_ms(wait: float, now: float) -> tuple[str, float]:
    moment = math.ceil(round((now + wait) * 1000, 3)) / 1000
    return _utc(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z"), moment - now


def _iso_minute(wait: float, now: float) -> tuple[str, float]:
    moment = math.ceil(round(now + wait, 6) / 60) * 60
    return _utc(moment).strftime("%Y-%m-%dT%H:%MZ"), moment - now


def _go(wait: float, _: float) -> tuple[str, float]:
    """As Go prints durations: 6m0s, 2m59.56s, 20ms."""
    told = up(wait * 1000)
    if told < 1000:
        return (f"{told}ms" if told else "0s"), told / 1000
    minutes, rest = divmod(told, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text, told / 1000


def _clock(wait: float, _: float) -> tuple[str, float]:
    told = up(wait)
    return f"{told // 3600:02d}:{told // 60 % 60:02d}:{told % 60:02d}", float(told)


def _utc(moment: float) -> datetime:
    return _START + timedelta(microseconds=round(moment * 1_000_000))


# Each is told the wait and the epoch of now, both in seconds, and never tells less than the wait.
FORMS: Final[Mapping[str, Callable[[float, float], tuple[str, float]]]] = {
    "delta": _whole,
    "float": _thousandths,
    "ms": _milliseconds,
    "minutes": _minutes,
    "epoch": _epoch,
    "epoch_ms": _epoch_ms,
    "epoch_float": _epoch_float,
    "date": _date,
    "iso": _iso,
    "iso_ms": _iso_ms,
    "iso_minute": _iso_minute,
    "go": _go,
    "clock": _clock,
}
