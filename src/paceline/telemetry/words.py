"""Times, numbers and events in words, for people: the same wording in every log, bar, account and report."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ..events import (
    Attempted,
    CooldownBegan,
    CooldownEnded,
    CredentialRefreshed,
    GaveUp,
    LimitLearned,
    LimitMismatch,
    Progress,
    Refused,
    Retrying,
    Steered,
    StoreBack,
    StoreLost,
    StoreReplaced,
    Waited,
)

if TYPE_CHECKING:
    from ..events import Event

__all__ = [
    "LEVELS",
    "LONGEST_TEXT",
    "REASONS",
    "duration",
    "moment",
    "number",
    "one_line",
    "rate",
    "sentence",
    "timestamp",
]

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}  # as in `logging`
LONGEST_TEXT: Final = 2000
_LAST_DAY: Final = 253402300799.0  # 9999-12-31, the last that datetime knows
REASONS: Final = {
    "pace": "the limit's own pace",
    "cooldown": "a pause asked by the server",
    "quota": "a spent quota",
    "concurrency": "a free place in flight",
    "backoff": "backoff before a retry",
    "credential": "a fresh credential",
    "store": "the shared store",
    "paused": "a pause by hand",
}


def duration(seconds: float) -> str:
    """A span of time, short, with the precision that matters.

    >>> [duration(s) for s in (0, 0.0123, 2.5, 45.2, 95, 3725, 66975, 200000)]
    ['0 s', '12 ms', '2.5 s', '45 s', '1 min 35 s', '1 h 2 min', '18 h 36 min', '2 d 7 h']
    """
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        size, big, part, small = 60, "min", 1, "s"
    elif whole < 86400:
        size, big, part, small = 3600, "h", 60, "min"
    else:
        size, big, part, small = 86400, "d", 3600, "h"
    rest = whole % size // part
    return f"{whole // size:,} {big} {rest} {small}" if rest else f"{whole // size:,} {big}"


def timestamp(at: float, *, digits: int = 3) -> str:
    """Epoch seconds as RFC 3339 in UTC, with `digits` (0, 3 or 6) decimals of a second.

    >>> timestamp(1700000000.1239)
    '2023-11-14T22:13:20.123Z'
    """
    if not 0 <= at <= _LAST_DAY:
        at = 0.0 if not at > 0 else _LAST_DAY
    spec = {0: "seconds", 3: "milliseconds", 6: "microseconds"}[digits]
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def moment(at: float, now: float) -> str:
    """A moment as people say it: the time of day, with the date where it is not today.

    >>> moment(1700000100, now=1700000000), moment(1700007200, now=1700000000)
    ('22:15:00 UTC', '2023-11-15 00:13 UTC')
    """
    if not 0 <= at <= _LAST_DAY:
        return "a far day"
    then = datetime.fromtimestamp(at, UTC)
    today = datetime.fromtimestamp(min(max(0.0, now), _LAST_DAY), UTC).date()
    if then.date() != today:
        return then.strftime("%Y-%m-%d %H:%M UTC")
    return then.strftime("%H:%M:%S UTC" if abs(at - now) < 3600 else "%H:%M UTC")


def number(value: float) -> str:
    """A count with thousands apart, without needless decimals.

    >>> number(1234567), number(0.25), number(12.0)
    ('1,234,567', '0.25', '12')
    """
    if not math.isfinite(value):
        return "unlimited" if value > 0 else "unknown"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def rate(per_second: float) -> str:
    """A rate, per second, minute or hour, whichever reads best.

    >>> rate(50), rate(0.5), rate(0.002), rate(0)
    ('50/s', '30/min', '7.2/h', '0/s')
    """
    value, unit = per_second, "s"
    if 0 < value < 0.95:
        value, unit = per_second * 60, "min"
    if 0 < value < 0.95:
        value, unit = per_second * 3600, "h"
    return f"{value:,.0f}/{unit}" if value >= 99.95 else f"{value:.1f}".removesuffix(".0") + f"/{unit}"


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    r"""Text that cannot break a line, move a cursor or fill a log: controls escaped, length bounded.

    >>> one_line("a\x1b[2Jb\n"), one_line("abcdef", 4)
    ('a\\x1b[2Jb\\n', 'abc…')
    """
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def sentence(event: Event) -> str:
    """What happened, in one line.

    >>> sentence(Waited(at=0.0, scope="api", seconds=0.5, reason="pace"))
    "api: waited 500 ms for the limit's own pace"
    """
    return one_line(f"{event.scope}: {_what(event)}")


def _what(event: Event) -> str:
    match event:
        case Attempted():
            came = f"status {event.status}" if event.status is not None else event.error
            return f"{event.method} {event.url}: {came} after {duration(event.elapsed)}{_nth(event.attempt)}"
        case Waited():
            return f"waited {duration(event.seconds)} for {REASONS.get(event.reason, event.reason)}"
        case Refused():
            told = _told(event.retry_after, event.remaining)
            return (
                f"refused {event.method} {event.url} with {event.status}{_nth(event.attempt)}{told}; "
                f"waiting {duration(event.wait)}"
            )
        case Retrying():
            came = f"status {event.status}" if event.status is not None else event.error
            told = _told(event.retry_after, event.remaining)
            return f"retrying {event.method} {event.url} in {duration(event.wait)} after {came}{_nth(event.attempt)}{told}"
        case GaveUp():
            last = f"status {event.status}" if event.status is not None else event.error
            tries = f"{event.attempts} attempt{'' if event.attempts == 1 else 's'}"
            return f"gave up on {event.method} {event.url} after {tries}: {event.reason}; last: {last}"
        case CooldownBegan():
            return (
                f"paused for {duration(event.seconds)}, until {moment(event.until, event.at)}: {event.reason}"
            )
        case CooldownEnded():
            return f"goes on after a pause of {duration(event.lasted)}"
        case LimitMismatch():
            return f"refused inside the limit {event.limit}; {event.action}"
        case LimitLearned():
            before = f", before: {event.before}" if event.before else ""
            return f"the server names the limit {event.limit}{before}"
        case CredentialRefreshed():
            return f"credential renewed in {duration(event.seconds)}"
        case StoreLost():
            then = {"share": "going on alone at a part of the limit", "stop": "waiting for it"}
            return f"{event.error}; {then.get(event.then, 'going on alone at the full limit')}"
        case StoreBack():
            return f"the store answers again after {duration(event.lasted)}"
        case StoreReplaced():
            return f"{event.reason}; told anew what the workers know"
        case Steered():
            return _steered(event)
        case Progress():
            return progress_text(event)
        case _:
            return f"{event.name} {event.facts()}"


def _steered(event: Steered) -> str:
    match event.action:
        case "pause":
            until = "until it is resumed" if event.until is None else f"until {moment(event.until, event.at)}"
            return f"paused by hand, for all workers, {until}{f': {event.reason}' if event.reason else ''}"
        case "resume":
            return "resumed by hand: all workers go on, slowly at first"
        case "set":
            before = f", instead of {event.before}" if event.before else ""
            return f"limits set by hand, for all workers: {event.limits}{before}; they win over every policy until a reset"
        case _:
            limits = f": {event.limits}" if event.limits else ""
            return f"reset by hand: what was learned, counted and set is forgotten; the policies' limits hold again{limits}"


def progress_text(event: Progress) -> str:
    """How far the job is, in one line."""
    of = f" of {event.total:,} ({event.done / event.total:.0%})" if event.total else ""
    waiting = ""
    if event.waiting_for:
        until = f" until {moment(event.waiting_until, event.at)}" if event.waiting_until is not None else ""
        waiting = f", waiting for {REASONS.get(event.waiting_for, event.waiting_for)}{until}"
    pages = f", {event.pages:,} pages" if event.pages else ""
    return f"{event.done:,}{of} done{pages}, {rate(event.rate)}, {event.refused:,} refused, {event.failed:,} failed{waiting}"


def _nth(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt > 1 else ""


def _told(retry_after: float | None, remaining: float | None) -> str:
    told = []
    if retry_after is not None:
        told.append(f"the server asks for {duration(retry_after)}")
    if remaining is not None:
        told.append(f"{number(remaining)} left")
    return f"; {', '.join(told)}" if told else ""
