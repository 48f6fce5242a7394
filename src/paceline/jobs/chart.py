"""A run's timeline as one SVG: requests a second against the quota, refusals, and the server's pauses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from ..telemetry.words import duration, number, rate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bar", "bars", "timeline_svg"]

_WIDTH: Final = 960
_HEIGHT: Final = 300
_LEFT: Final = 56
_RIGHT: Final = 16
_TOP: Final = 28
_BOTTOM: Final = 34
_MOST_BARS: Final = 120
_FEWEST_PERIODS: Final = 12
_STEPS: Final = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
    86400,
)


@dataclass(frozen=True, slots=True)
class Bar:
    """What happened in one stretch of time; times in seconds since the beginning."""

    begin: float
    end: float
    sent: int
    refused: int
    broken: int
    paused: float

    @property
    def length(self) -> float:
        return self.end - self.begin


def bars(timeline: Mapping[str, Any], period: float | None = None) -> list[Bar]:
    """The spans of a timeline joined to at most 120 bars.

    period: of the limit, in seconds; where the run is long enough a bar is no shorter than it, since within one
    period a burst up to the whole quota is right.

    >>> line = {"span_s": 0.5, "sent": [9, 1, 2], "refused": [0, 0, 1], "broken": [0, 0, 0], "paused_s": [0, 0, 0.5]}
    >>> [bar.sent for bar in bars(line)], [bar.sent for bar in bars(line, period=1.0)]
    ([9, 1, 2], [9, 1, 2])
    """
    width, count = timeline["span_s"], len(timeline["sent"])
    join = max(1, math.ceil(count / _MOST_BARS))
    if period is not None and period * _FEWEST_PERIODS <= width * count:
        join = max(join, round(period / width))
    joined = []
    for first in range(0, count, join):
        spans = slice(first, first + join)
        joined.append(
            Bar(
                first * width,
                min(first + join, count) * width,
                sum(timeline["sent"][spans]),
                sum(timeline["refused"][spans]),
                sum(timeline["broken"][spans]),
                sum(timeline["paused_s"][spans]),
            )
        )
    return joined


def timeline_svg(timeline: Mapping[str, Any], quota_rate: float | None, period: float | None) -> str:
    """The chart as SVG text; colours come from the page's style sheet.

    quota_rate: what the limits allow a second, for the dashed line; None without one. period: see `bars`.
    """
    shown = bars(timeline, period)
    span = max(shown[-1].end, 0.1) if shown else 1.0
    # The last bar is rarely full, and a rate over a sliver of time is no rate.
    full = max((bar.length for bar in shown), default=1.0)
    most = max((bar.sent / full for bar in shown), default=0.0)
    top = _nice(max(most * 1.08, (quota_rate or 0.0) * 1.15, 0.001))
    across = (_WIDTH - _LEFT - _RIGHT) / span
    down = (_HEIGHT - _TOP - _BOTTOM) / top
    floor = _HEIGHT - _BOTTOM

    def x(seconds: float) -> str:
        return f"{_LEFT + seconds * across:.1f}"

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="chart-title chart-text">',
        '<title id="chart-title">Requests over time</title>',
        f'<desc id="chart-text">{escape(_described(shown, quota_rate))}</desc>',
    ]
    for share in (0.25, 0.5, 0.75, 1.0):
        y = floor - top * share * down
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(top * share)}</text>'
        )
    parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{floor + 4}" text-anchor="end">0</text>')
    parts.append(f'<text class="tick" x="{_LEFT - 8}" y="14" text-anchor="end">req/s</text>')
    for begin, end in _pauses(timeline):
        parts.append(
            f'<rect class="paused" x="{x(begin)}" y="{_TOP}" width="{(end - begin) * across:.1f}" height="{floor - _TOP}"/>'
        )
    for bar in shown:
        parts += _stack(bar, full, across, down, floor)
    if quota_rate is not None:
        y = floor - quota_rate * down
        parts.append(f'<line class="quota" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = escape(f"quota {rate(quota_rate)}")
        parts.append(
            f'<text class="quota-label" x="{_WIDTH - _RIGHT}" y="{y - 6:.1f}" text-anchor="end">{label}</text>'
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>')
    step = next((step for step in _STEPS if span / step <= 8), _nice(span / 6))
    for index in range(int(span / step + 1e-9) + 1):
        anchor = "middle" if index * step * across < _WIDTH - _LEFT - _RIGHT - 24 else "end"
        parts.append(
            f'<text class="tick" x="{x(index * step)}" y="{floor + 20}" text-anchor="{anchor}">{duration(index * step)}</text>'
        )
    parts.append("</svg>")
    return "\n".join(parts)


def _stack(bar: Bar, full: float, across: float, down: float, floor: float) -> list[str]:
    """One bar: served below, broken and refused above, with a tooltip over the whole."""
    gap = min(1.0, bar.length * across * 0.15)
    left, width = _LEFT + bar.begin * across + gap / 2, max(0.5, bar.length * across - gap)
    # A refusal is booked when it is told, which may be a bar later than its request.
    refused = min(bar.refused, bar.sent)
    broken = min(bar.broken, bar.sent - refused)
    # A single refusal among thousands must still be seen: it takes its height from those served.
    heights = [("refused", refused), ("broken", broken)]
    upper = [(kind, max(count / full * down, 3.0)) for kind, count in heights if count]
    served = bar.sent / full * down - sum(height for _, height in upper)
    parts, y = [], floor
    for kind, height in [("served", served), *reversed(upper)]:
        if height > 0.05:
            y -= height
            parts.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
            )
    text = f"{duration(bar.begin)} to {duration(bar.end)}: {bar.sent:,} sent ({rate(bar.sent / full)})"
    for count, what in ((bar.refused, "refused"), (bar.broken, "broken")):
        text += f", {count:,} {what}" if count else ""
    text += f", paused {duration(bar.paused)}" if bar.paused > 0.001 else ""
    parts.append(
        f'<rect class="hit" x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{floor - _TOP}">'
        f"<title>{escape(text)}</title></rect>"
    )
    return parts


def _pauses(timeline: Mapping[str, Any]) -> list[tuple[float, float]]:
    """The stretches paused for most of their time, neighbours joined, as finely as the timeline tells."""
    width = timeline["span_s"]
    joined: list[tuple[float, float]] = []
    last = -2
    for index, paused in enumerate(timeline["paused_s"]):
        if paused < width / 2:
            continue
        begin = joined.pop()[0] if last == index - 1 else index * width
        joined.append((begin, (index + 1) * width))
        last = index
    return joined


def _nice(value: float) -> float:
    """The next number of the kind 1, 2, 4, 5, 6, 8 times a power of ten: its quarters read well.

    >>> _nice(57.5), _nice(0.013)
    (60.0, 0.02)
    """
    size = 10.0 ** math.floor(math.log10(value))
    return float(f"{next(step for step in (1, 2, 4, 6, 8, 10) if step * size >= value * 0.9999) * size:.3g}")


def _described(shown: list[Bar], quota_rate: float | None) -> str:
    sent, refused = sum(bar.sent for bar in shown), sum(bar.refused for bar in shown)
    against = f" against a quota of {rate(quota_rate)}" if quota_rate is not None else ""
    took = shown[-1].end if shown else 0.0
    return f"{sent:,} requests in {duration(took)}{against}; {refused:,} refused."
