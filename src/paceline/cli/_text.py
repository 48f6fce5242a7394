"""What a signal means, in plain words: the verdict, the quotas as a table, and what paceline does."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from ..errors import LimitSyntaxError
from ..limits import Limit
from ..masking import mask_url
from ..signals import DIALECTS, find_dialect
from ..telemetry.words import duration, moment, number, one_line, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..signals import Quota, Signal
    from ._responses import Response

__all__ = ["MAX_WAIT", "RETRIED", "advice", "as_json", "explanation", "limit_text", "table", "told_by", "verdict"]

# The defaults of `Retry`, which a test compares: importing them here would cost the import of tenacity.
MAX_WAIT: Final = 900.0
RETRIED: Final = frozenset({408, 425, 500, 502, 503, 504})
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_UNSAID: Final = "–"


def verdict(response: Response, signal: Signal, now: float) -> str:
    """One sentence: refused or not, and until when to wait.

    now: epoch seconds when the response arrived.
    """
    wait = signal.retry_after
    waiting = "" if wait is None else f" wait {_exactly(wait)}, until {moment(now + wait, now)}"
    if signal.refused:
        if signal.terminal:
            return f"{response.status}: refused for good: waiting will not help"
        what = "refused, too many at once" if signal.concurrency else "refused"
        return f"{response.status}: {what};{waiting or ' how long to wait is not said'}"
    if wait is not None:
        return f"{response.status}: not refused, but the server asks for a pause:{waiting}"
    if signal.limits:
        return f"{response.status}: not refused; the quotas are named below"
    return f"{response.status}: not refused; nothing in it speaks of limits"


def _exactly(wait: float) -> str:
    return duration(wait) if wait < 120 else f"{number(wait)} s ({duration(wait)})"


def advice(response: Response, signal: Signal, now: float) -> str:
    """What paceline does with such a response, by its defaults."""
    wait, status = signal.retry_after, response.status
    if signal.refused and signal.terminal:
        return "gives the request up at once: no number of retries would be served"
    if wait is not None and wait > MAX_WAIT:
        return (
            f"stops with RetryLater (`paceline fetch`: exit status 75), since {duration(wait)} is more than --max-wait "
            f"({duration(MAX_WAIT)}): run again at {moment(now + wait, now)}, or allow a longer wait"
        )
    if signal.refused:
        if wait is None:
            return (
                "pauses the whole scope and asks with one single request after about a second, then twice as long each "
                "time, until one is served; the others wait for that"
            )
        fewer = " with fewer at once" if signal.concurrency else ", slowly at first"
        how_long = duration(wait) if wait > 0 else "a moment (0 s was asked for: a floor holds, and it grows)"
        return f"pauses the whole scope for {how_long}, then goes on{fewer}; this request is sent again, whatever its method"
    if wait is not None:
        return f"keeps this answer, and sends nothing more to this scope for {duration(wait)}"
    if status in RETRIED:
        return "tries again with growing waits, if the method is idempotent or the request has an Idempotency-Key"
    if status in REDIRECTS and any(name.lower() == "location" for name, _ in response.headers):
        return "follows the redirect, with a permit of its own"
    spent = [quota for quota in signal.limits if quota.remaining == 0]
    if spent and spent[0].reset_after is not None:
        return f"keeps this answer; the quota is spent, so the next request waits {duration(spent[0].reset_after)}"
    return "keeps this answer: it is final"


def limit_text(quota: Quota) -> str | None:
    """The quota as a limit's text, where the response told enough to write one.

    >>> from paceline.signals import Quota
    >>> limit_text(Quota(limit=100, window=60, unit="requests"))
    '100/min'
    """
    if quota.limit is None or quota.window is None:
        return None
    try:
        return str(Limit(quota=quota.limit, period=quota.window, unit=quota.unit or "requests"))
    except LimitSyntaxError:
        return None


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Rows as aligned lines, the columns numbered in `right` to the right.

    >>> table([["name", "left"], ["core", "5"]], right=[1])
    ['name  left', 'core     5']
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    aligned = set(right)
    return [
        "  ".join(
            cell.rjust(width) if index in aligned else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _quota_rows(signal: Signal, now: float) -> list[str]:
    rows = [["quota", "limit", "left", "more in", "at", "period", "counts"]]
    for quota in signal.limits:
        reset = quota.reset_after
        rows.append(
            [
                one_line(quota.name or "(no name)", 40),
                _UNSAID if quota.limit is None else number(quota.limit),
                _UNSAID if quota.remaining is None else number(quota.remaining),
                _UNSAID if reset is None else duration(reset),
                _UNSAID if reset is None else moment(now + reset, now),
                _UNSAID if quota.window is None else duration(quota.window),
                one_line(quota.unit or _UNSAID, 20),
            ]
        )
    # A column that says nothing is left out.
    told = [index for index in range(7) if index == 0 or any(row[index] != _UNSAID for row in rows[1:])]
    kept = [[row[index] for index in told] for row in rows]
    return table(kept, right=[told.index(index) for index in (1, 2) if index in told])


def _paragraph(label: str, text: str, width: int) -> list[str]:
    """Text behind its label, wrapped so that the label stands alone in its column."""
    begin, indent = f"  {label:<10}", " " * 12
    return textwrap.wrap(text, width, initial_indent=begin, subsequent_indent=indent, break_long_words=False)


def told_by(response: Response, signal: Signal, named: str | None) -> str:
    """How the dialect was found: named, by the host, or by what the response holds."""
    if named is not None:
        return "as named"
    spoken = None if response.url is None else find_dialect(response.url)
    if spoken is not None and spoken.name == signal.dialect:
        return "told by the host"
    if signal.dialect == "generic":
        return "the general rules, nothing tells a provider"
    return "told by the names of headers" if signal.dialect == "ietf" else "told by a header or the body"


def _note_rows(notes: Sequence[str], width: int) -> list[str]:
    """The notes under what they are: rules that were applied, and what was ignored."""
    lines: list[str] = []
    ignored = [note for note in notes if "ignored" in note or "not used" in note]
    for label, those in (("rule", [note for note in notes if note not in ignored]), ("ignored", ignored)):
        for index, note in enumerate(those):
            lines += _paragraph("" if index else label, one_line(note, 300), width)
    return lines


def explanation(
    response: Response, signal: Signal, now: float, known_by: str, width: int = 100, *, dialect: str | None = None
) -> list[str]:
    """The whole explanation, a line each; the first one is the verdict.

    now: epoch seconds when the response arrived; known_by: how that is known. width: where lines are wrapped.
    dialect: the one that was named, None where it was found.
    """
    lines = [verdict(response, signal, now), ""]
    if response.url:
        lines.append(f"  {'URL':<10}{one_line(mask_url(response.url), 200)}")
    lines.append(f"  {'arrived':<10}{timestamp(now, digits=0)} ({known_by})")
    lines += _paragraph(
        "dialect",
        f"{signal.dialect} ({DIALECTS[signal.dialect].title}): {told_by(response, signal, dialect)}",
        width,
    )
    spoken = DIALECTS[signal.dialect]
    bucket = spoken.scope_key(response.method or "GET", response.url) if response.url else None
    if bucket is not None:
        lines += _paragraph("bucket", f"{one_line(bucket, 200)}: it has limits of its own there", width)
    lines += _note_rows(signal.notes, width)
    if spoken.default_wait is not None and signal.refused and signal.retry_after is None and not signal.terminal:
        wait = f"none is named; {spoken.title} documents {duration(spoken.default_wait)}, which --policy and Policy(dialect=…) keep"
        lines += _paragraph("wait", wait, width)
    if signal.limits:
        lines += ["", *(f"  {line}" for line in _quota_rows(signal, now))]
    lines += ["", *_paragraph("paceline", advice(response, signal, now), width)]
    told = [text for quota in signal.limits if (text := limit_text(quota)) is not None]
    if told:
        options = " ".join(f"--limit '{text}'" for text in dict.fromkeys(told))
        lines += _paragraph("tell it", f"{options}, to keep to the quota from the first request", width)
    return lines


def as_json(response: Response, signal: Signal, now: float, dialect: str | None = None) -> dict[str, Any]:
    """The explanation for programs: the signal's own fields, the moments, and the same sentences."""
    wait = signal.retry_after
    return {
        "status": response.status,
        "url": None if response.url is None else mask_url(response.url),
        "received_at": timestamp(now),
        "refused": signal.refused,
        "retry_after": wait,
        "until": None if wait is None else timestamp(now + wait),
        "terminal": signal.terminal,
        "concurrency": signal.concurrency,
        "limits": [
            {
                "name": quota.name,
                "limit": quota.limit,
                "remaining": quota.remaining,
                "reset_after": quota.reset_after,
                "window": quota.window,
                "unit": quota.unit,
                "text": limit_text(quota),
            }
            for quota in signal.limits
        ],
        "dialect": signal.dialect,
        "told_by": told_by(response, signal, dialect),
        "notes": list(signal.notes),
        "verdict": verdict(response, signal, now),
        "advice": advice(response, signal, now),
    }
