"""The view of a running job: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import io
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TextIO, cast

from .. import events
from ..errors import MissingExtra
from ..telemetry.words import REASONS, duration, moment, progress_text, rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.live import Live
    from rich.text import Text

__all__ = ["Mode", "Progress", "Snapshot", "render"]

Mode = Literal["auto", "bar", "log", "none"]

_BAR_EVERY: Final = 1 / 8
_LOG_FIRST: Final = 2.0
_LOG_EVERY: Final = 10.0
_PACE_SPAN: Final = 20.0  # seconds over which the pace for the time left is taken
_LEAST_BAR: Final = 8
_MOST_BAR: Final = 60
_WAIT_SHOWN: Final = 1.0  # a wait shorter than this is the pace at work, not news


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where the job is, as its runner sees it now.

    done: inputs that have ended (of this run and before), of `total`; None: not known. in_flight: requests on
    the wire. fetched, failed: inputs of this run by their end. refused: refusals so far. rate: requests sent a
    second, lately. quota_rate: what the limit allows a second; None without one. waiting_reason: what the next
    request waits for (as in the event `Waited`); None: nothing. waiting_until: until when (epoch seconds), where
    that is known. pages: of this run, where inputs are lists.
    """

    done: int
    total: int | None
    in_flight: int
    fetched: int
    failed: int
    refused: int
    rate: float
    quota_rate: float | None = None
    waiting_reason: str | None = None
    waiting_until: float | None = None
    pages: int = 0


Span = tuple[str, str]
"""A piece of text and its style, in rich's words."""


def render(
    snapshot: Snapshot, width: int, now: float, left: float | None = None, ascii_only: bool = False
) -> list[list[Span]]:
    """The two lines of the bar, as pieces of text and style, neither wider than `width` cells.

    now: epoch seconds; left: seconds to the end, where they are known. Where room is short the least telling
    pieces go first; below about 20 cells only the count stays.

    >>> shown = render(Snapshot(done=5, total=10, in_flight=2, fetched=5, failed=0, refused=0, rate=2.0), 40, 0.0, 2.5)
    >>> ["".join(text for text, _ in line) for line in shown]
    ['  5/10 ━━━━━─────  50%     2/s  0 failed', ' 2 in flight  2.5 s left']
    """
    total = snapshot.total
    count = (
        f" {snapshot.done:>{len(f'{total:,}')},}/{total:,}"
        if total is not None
        else f" {snapshot.done:,} done"
    )
    speed = f"{rate(snapshot.rate):>6}"  # of steady width, so that the bar stands still
    # (how soon it is dropped: the lowest first, text, style)
    pieces: list[tuple[int, str, str]] = []
    if total:
        pieces.append((6, f"{min(1.0, snapshot.done / total):>3.0%}", "bold"))
    if snapshot.quota_rate is not None:
        pieces.append((4, f"{speed} of {rate(snapshot.quota_rate)}", "cyan"))
    else:
        pieces.append((4, speed, "cyan"))
    pieces.append(
        (
            5 if snapshot.refused else 1,
            f"{snapshot.refused:,} refused",
            "yellow" if snapshot.refused else "dim",
        )
    )
    pieces.append(
        (7 if snapshot.failed else 2, f"{snapshot.failed:,} failed", "red" if snapshot.failed else "dim")
    )
    room = width - len(count) - 1
    while pieces and _length(pieces) + (_LEAST_BAR if total else 0) > room:
        pieces.remove(min(pieces))
    first: list[Span] = [(count[:width], "bold")]
    bar = min(_MOST_BAR, room - _length(pieces))
    if total and bar >= _LEAST_BAR:
        first += [(" ", ""), *_bar(snapshot.done / total, bar, ascii_only)]
    for _, text, style in pieces:
        first += [("  ", ""), (text, style)]
    return [first, _state(snapshot, width, now, left)]


def _length(pieces: list[tuple[int, str, str]]) -> int:
    return sum(len(text) + 2 for _, text, _ in pieces)


def _bar(share: float, width: int, ascii_only: bool) -> list[Span]:
    full, half, rest = ("#", "", ".") if ascii_only else ("━", "╸", "─")
    share = min(1.0, max(0.0, share))
    halves = int(share * width * 2)
    done = full * (halves // 2) + (half if halves % 2 else "")
    return [(done, "green" if share >= 1 else "cyan"), (rest * (width - len(done)), "dim")]


def _state(snapshot: Snapshot, width: int, now: float, left: float | None) -> list[Span]:
    text = f" {snapshot.in_flight:,} in flight"
    if snapshot.pages:
        text = f"{text}  {snapshot.pages:,} pages"
    if left is not None and snapshot.done != snapshot.total:
        text = f"{text}  {duration(left)} left"
    reason, until = snapshot.waiting_reason, snapshot.waiting_until
    waits = until - now if until is not None else None
    if reason is None or (waits is not None and waits < _WAIT_SHOWN):
        return [(text[:width], "dim")]
    news = f"waiting for {REASONS.get(reason, reason)}"
    if until is not None and waits is not None:
        whole = f"{news} until {moment(until, now)} ({duration(waits)})"
        news = whole if len(text) + 2 + len(whole) <= width else f"waiting until {moment(until, now)}"
    if len(text) + 2 + len(news) > width:
        text = ""
    style = "dim" if reason == "pace" else "yellow"
    return [(text, "dim"), (f"{'  ' if text else ' '}{news}"[: width - len(text)], style)]


class _AboveBar(io.TextIOBase):
    """A stream whose lines appear above the bar, whole: a long one is wrapped by the terminal, not cut."""

    def __init__(self, live: Live, stream: TextIO) -> None:
        super().__init__()
        self._live, self._stream = live, stream
        self._begun = ""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        from rich.text import Text

        *lines, self._begun = f"{self._begun}{text}".split("\n")
        for line in lines:
            if self._live.is_started:
                self._live.console.print(Text.from_ansi(line), soft_wrap=True, highlight=False)
            else:
                self._stream.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def finish(self) -> None:
        """Writes the line that was begun and never ended."""
        begun, self._begun = self._begun, ""
        if begun:
            self._stream.write(f"{begun}\n")


class Progress:
    """Shows how far a job is; its runner calls `tick` from its own loop as often as it likes, about 8 times a second.

    snapshot: called for the numbers, only when they are about to be shown. mode: `bar`, `log`, `none`, or `auto`:
    a bar where `stream` is a terminal, else log lines. sink: takes the log lines as events `progress`; without
    one they are written to `stream` as text. There is no thread: what is not ticked stands still.

    Raises MissingExtra for a bar where rich is not installed.

    >>> import io
    >>> at = iter((0.0, 1.0, 2.0)).__next__
    >>> now = Snapshot(done=5, total=10, in_flight=2, fetched=5, failed=0, refused=0, rate=2.5)
    >>> with Progress(lambda: now, mode="log", stream=sys.stdout, monotonic=at, wall=lambda: 0.0) as shown:
    ...     shown.tick(), shown.tick()
    5 of 10 (50%) done, 2.5/s, 0 refused, 0 failed
    (None, None)
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        *,
        mode: Mode = "auto",
        stream: TextIO | None = None,
        sink: events.Sink | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._snapshot = snapshot
        self._stream = sys.stderr if stream is None else stream
        self._sink = sink
        self._monotonic, self._wall = monotonic, wall
        self.mode: Mode = _choose(self._stream) if mode == "auto" else mode
        self._live: Live | None = None
        self._above: _AboveBar | None = None
        self._next = float("inf")
        self._trail: deque[tuple[float, int]] = deque(maxlen=int(_PACE_SPAN / _BAR_EVERY))

    def __enter__(self) -> Progress:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stream(self) -> TextIO:
        """Where log lines are written while the job runs: above the bar where there is one."""
        return self._stream if self._above is None else cast("TextIO", self._above)

    def start(self) -> None:
        """Begins to show; before it and after `close` a tick does nothing.

        While a bar stands on standard error, `sys.stderr` is `stream`, so that warnings and logs go above it.
        """
        begun = self._monotonic()
        if self.mode == "bar":
            self._live = _live(self._stream)
            self._live.start()
            self._above = _AboveBar(self._live, self._stream)
            if sys.stderr is self._stream:
                sys.stderr = self.stream
            self._next = begun
        elif self.mode == "log":
            self._next = begun + _LOG_FIRST

    def tick(self) -> None:
        """Shows the numbers anew where it is time to; costs next to nothing where it is not."""
        at = self._monotonic()
        if at < self._next:
            return
        live = self._live
        if live is None:
            self._next = at + _LOG_EVERY
            self._tell()
            return
        self._next = at + _BAR_EVERY
        snapshot = self._snapshot()
        self._trail.append((at, snapshot.done))
        live.update(self._text(live, snapshot, self._time_left(snapshot)), refresh=True)

    def close(self) -> None:
        """Shows the last numbers and gives the terminal back as it was; may be called twice."""
        self._next = float("inf")
        live, self._live = self._live, None
        above, self._above = self._above, None
        if live is None or above is None:
            return
        try:
            live.update(self._text(live, self._snapshot(), None, lines=1), refresh=True)
        finally:
            live.stop()
            if sys.stderr is above:
                sys.stderr = self._stream
            above.finish()

    def _time_left(self, snapshot: Snapshot) -> float | None:
        if snapshot.total is None:
            return None
        left = max(0, snapshot.total - snapshot.done)
        now = self._wall()
        pause = max(0.0, snapshot.waiting_until - now) if snapshot.waiting_until is not None else 0.0
        (began, before), (at, done) = self._trail[0], self._trail[-1]
        pace = (done - before) / (at - began) if at - began > 1 else 0.0
        if pause > _WAIT_SHOWN or not pace:
            # In a pause nothing ends: the pace lately says nothing of the time after it.
            pace = snapshot.quota_rate or pace
        return pause + left / pace if pace > 0 else None

    def _text(self, live: Live, snapshot: Snapshot, left: float | None, lines: int = 2) -> Text:
        from rich.text import Text

        console = live.console
        # The last column stays free: terminals differ in when they wrap.
        shown = render(
            snapshot, console.width - 1, self._wall(), left, not console.encoding.startswith("utf")
        )
        return Text("\n", end="", no_wrap=True, overflow="crop").join(
            Text.assemble(*line, no_wrap=True) for line in shown[:lines]
        )

    def _tell(self) -> None:
        snapshot = self._snapshot()
        now = self._wall()
        event = events.Progress(
            at=now,
            scope="job",
            done=snapshot.done,
            total=snapshot.total,
            fetched=snapshot.fetched,
            failed=snapshot.failed,
            refused=snapshot.refused,
            rate=round(snapshot.rate, 3),
            waiting_for=snapshot.waiting_reason,
            waiting_until=snapshot.waiting_until,
            pages=snapshot.pages,
        )
        if self._sink is not None:
            self._sink(event)
        else:
            self._stream.write(f"{progress_text(event)}\n")
            self._stream.flush()


def _choose(stream: TextIO) -> Mode:
    return "bar" if stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown") else "log"


def _live(stream: TextIO) -> Live:
    try:
        from rich.console import Console
        from rich.live import Live
    except ModuleNotFoundError:
        raise MissingExtra("rich", "cli") from None
    console = Console(file=stream, force_terminal=True, highlight=False)
    # No thread of rich's: the runner's own loop ticks. What others print is its stream's business.
    return Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
