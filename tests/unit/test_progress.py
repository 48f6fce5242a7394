"""The view of a running job fits its place, tells what matters, and leaves nothing behind."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline import events
from paceline.errors import MissingExtra
from paceline.jobs.progress import Mode, Progress, Snapshot, render
from paceline.telemetry import console

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1700000000.0
RUNNING = Snapshot(
    done=1240, total=2000, in_flight=32, fetched=1239, failed=1, refused=3, rate=49.8, quota_rate=50.0
)  # fmt: skip
PAUSED = replace(RUNNING, waiting_reason="cooldown", waiting_until=NOW + 12)


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def lines(snapshot: Snapshot, width: int, left: float | None = None) -> list[str]:
    return ["".join(text for text, _ in line) for line in render(snapshot, width, NOW, left)]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def test_a_wide_terminal_shows_all() -> None:
    """At 120 columns everything is told, and until when a pause lasts."""
    assert lines(PAUSED, 120, left=27.2) == [
        f" 1,240/2,000 {'━' * 37}{'─' * 23}  62%  49.8/s of 50/s  3 refused  1 failed",
        " 32 in flight  27 s left  waiting for a pause asked by the server until 22:13:32 UTC (12 s)",
    ]


def test_eighty_columns_show_all() -> None:
    """At 80 columns the bar is shorter, and everything is still there."""
    first, second = lines(PAUSED, 80, left=27.2)
    assert re.fullmatch(r" 1,240/2,000 ━+╸?─+  62%  49.8/s of 50/s  3 refused  1 failed", first)
    assert second == " 32 in flight  27 s left  waiting until 22:13:32 UTC"


def test_narrow_terminals_drop_the_least_telling_first() -> None:
    """Nothing failed or refused goes before what was; at last the count alone stays."""
    quiet = replace(RUNNING, refused=0, failed=0)
    assert [lines(quiet, width)[0].split("  ")[1:] for width in (75, 60, 50, 30, 12)] == [
        ["62%", "49.8/s of 50/s", "0 refused", "0 failed"],
        ["62%", "49.8/s of 50/s", "0 failed"],
        ["62%", "49.8/s of 50/s"],
        ["62%"],
        [],
    ]
    assert lines(RUNNING, 40)[0].endswith("  62%  1 failed")


@given(
    st.integers(0, 10**12), st.one_of(st.none(), st.integers(0, 10**12)), st.integers(0, 200), st.floats(0, 1e9),
    st.one_of(st.none(), st.floats(0.0001, 1e9)), st.sampled_from([None, "pace", "cooldown", "quota", "odd"]),
    st.one_of(st.none(), st.floats(-1e12, 1e12)), st.booleans(),
)  # fmt: skip
def test_no_line_is_wider_than_its_place(
    done: int, total: int | None, width: int, rate: float, quota: float | None, reason: str | None, until: float | None,
    ascii_only: bool,
) -> None:  # fmt: skip
    """Whatever the numbers, two lines come out and neither is wider than told."""
    snapshot = Snapshot(
        done=done, total=total, in_flight=done, fetched=done, failed=done, refused=done, rate=rate, quota_rate=quota,
        waiting_reason=reason, waiting_until=until,
    )  # fmt: skip
    shown = render(snapshot, width, NOW, left=rate, ascii_only=ascii_only)
    assert len(shown) == 2
    assert all(sum(len(text) for text, _ in line) <= width for line in shown)
    if ascii_only and shown[0][1:]:
        assert shown[0][2][0].isascii()


def test_the_bar_stands_still_while_numbers_change() -> None:
    """Between two refreshes the pieces keep their columns."""
    slow = replace(RUNNING, rate=9.5, done=7, failed=2)
    assert [len(lines(each, 80)[0]) for each in (RUNNING, slow)] == [80, 80]
    assert lines(RUNNING, 80)[0].index("refused") == lines(slow, 80)[0].index("refused")


def test_an_unknown_total_has_no_bar() -> None:
    """Without a total there is a count and no bar."""
    assert lines(replace(RUNNING, total=None), 80)[0] == " 1,240 done  49.8/s of 50/s  3 refused  1 failed"


def test_a_short_wait_is_no_news() -> None:
    """The pace's own short waits are not shown as waiting."""
    assert lines(replace(RUNNING, waiting_reason="pace", waiting_until=NOW + 0.02), 80)[1] == " 32 in flight"


def test_log_lines_come_after_two_seconds_then_every_ten() -> None:
    """Elsewhere than on a terminal: the first line after 2 s, then one every 10 s."""
    clock, seen = Clock(), list[events.Event]()
    with Progress(lambda: PAUSED, mode="log", sink=seen.append, monotonic=clock, wall=lambda: NOW) as shown:
        times = []
        for tenth in range(400):
            clock.now = tenth / 10
            before = len(seen)
            shown.tick()
            if len(seen) > before:
                times.append(clock.now)
    assert times == [2.0, 12.0, 22.0, 32.0]
    assert seen[0] == events.Progress(
        at=NOW, scope="job", done=1240, total=2000, fetched=1239, failed=1, refused=3, rate=49.8,
        waiting_for="cooldown", waiting_until=NOW + 12,
    )  # fmt: skip


def test_log_lines_without_a_sink_are_text() -> None:
    """Without a sink the line is written to the stream."""
    clock, stream = Clock(), io.StringIO()
    with Progress(lambda: PAUSED, stream=stream, monotonic=clock, wall=lambda: NOW) as shown:
        assert shown.mode == "log"
        assert shown.stream is stream
        clock.now = 2.0
        shown.tick()
    assert stream.getvalue() == (
        "1,240 of 2,000 (62%) done, 49.8/s, 3 refused, 1 failed, "
        "waiting for a pause asked by the server until 22:13:32 UTC\n"
    )


def unread() -> Snapshot:
    raise AssertionError("the numbers were taken although nothing is shown")


def test_none_shows_nothing() -> None:
    """`none` never even asks for the numbers."""
    stream = Terminal()
    with Progress(unread, mode="none", stream=stream) as shown:
        shown.tick()
    assert stream.getvalue() == ""


def test_between_refreshes_nothing_is_asked() -> None:
    """The numbers are taken at most eight times a second, however often it ticks."""
    clock, taken = Clock(), []

    def snapshot() -> Snapshot:
        taken.append(clock.now)
        return RUNNING

    with Progress(snapshot, mode="bar", stream=Terminal(), monotonic=clock, wall=lambda: NOW) as shown:
        for hundredth in range(100):
            clock.now = hundredth / 100
            shown.tick()
        assert len(taken) == 8


def shown_on(stream: Terminal, action: Callable[[Progress, Clock], None], snapshot: Snapshot = PAUSED) -> str:
    clock = Clock()
    with Progress(lambda: snapshot, stream=stream, monotonic=clock, wall=lambda: NOW) as shown:
        assert shown.mode == "bar"
        shown.tick()
        action(shown, clock)
    return stream.getvalue()


def test_the_terminal_is_given_back() -> None:
    """The cursor is hidden while the bar stands and shown again at its end, also when the job broke."""

    def breaks(shown: Progress, clock: Clock) -> None:
        raise ZeroDivisionError

    stream = Terminal()
    with pytest.raises(ZeroDivisionError):
        shown_on(stream, breaks)
    written = stream.getvalue()
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert written.rindex("\x1b[?25h") > written.rindex("1,240/2,000")
    assert written.endswith(("\n", "\x1b[?25h"))


def test_no_thread_is_begun() -> None:
    """The bar has no thread of its own."""
    before = threading.active_count()
    shown_on(
        Terminal(),
        lambda shown, clock: None if threading.active_count() == before else pytest.fail("a thread"),
    )


def test_lines_appear_above_the_bar() -> None:
    """What is written to its stream meanwhile stands above the bar, whole, with no markup read into it."""

    def writes(shown: Progress, clock: Clock) -> None:
        above = shown.stream
        assert above.isatty()
        assert above.writable()
        above.write("warning [bold]in two ")
        above.write("pieces" + "x" * 100 + "\nrest")
        above.flush()

    written = shown_on(Terminal(), writes)
    assert "warning [bold]in two pieces" + "x" * 100 + "\n" in written
    assert written.endswith("rest\n")


def test_standard_error_goes_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a bar stands on standard error, what others write there goes above it; then all is as before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    log = console(None, colour=False)
    clock = Clock()
    with Progress(lambda: PAUSED, mode="bar", monotonic=clock, wall=lambda: NOW) as shown:
        shown.tick()
        assert sys.stderr is shown.stream
        with pytest.raises(io.UnsupportedOperation):
            sys.stderr.fileno()
        before = len(stream.getvalue())
        log(events.CooldownEnded(at=NOW, scope="api", lasted=7.0))
        added = stream.getvalue()[before:]
    assert sys.stderr is stream
    # The line first, then the bar anew.
    assert added.index("22:13:20 info    api: goes on after a pause of 7 s\n") < added.index("1,240/2,000")


def test_the_stream_outlives_the_bar() -> None:
    """A log that keeps the stream may write to it after the bar has gone."""
    stream, kept = Terminal(), []
    shown_on(stream, lambda shown, clock: kept.append(shown.stream))
    kept[0].write("late\n")
    assert stream.getvalue().endswith("late\n")


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR no colour is written."""
    assert "\x1b[36m" in shown_on(Terminal(), lambda shown, clock: None)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown_on(Terminal(), lambda shown, clock: None))


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the terminal cannot move its cursor there is no bar."""
    monkeypatch.setenv("TERM", "dumb")
    assert Progress(unread, stream=Terminal()).mode == "log"


@pytest.mark.parametrize(
    ("snapshots", "left"),
    [
        ([(0.0, 0), (10.0, 500)], "30 s left"),
        ([(0.0, 1240)], "15 s left"),
        ([(0.0, 0), (10.0, 2000)], None),
    ],
)
def test_the_time_left(snapshots: list[tuple[float, int]], left: str | None) -> None:
    """It follows the pace lately, before there is one the quota, and ends with the job."""
    clock, stream, current = Clock(), Terminal(), [RUNNING]
    with Progress(lambda: current[0], mode="bar", stream=stream, monotonic=clock, wall=lambda: NOW) as shown:
        for at, done in snapshots:
            clock.now, current[0] = at, replace(RUNNING, done=done)
            shown.tick()
        seen = stream.getvalue()[stream.getvalue().rindex("in flight") :]
    assert (left in seen) if left else ("left" not in seen)


def test_a_pause_adds_to_the_time_left() -> None:
    """In a pause the time left is the pause and then the quota's own pace."""
    assert "27 s left" in shown_on(Terminal(), lambda shown, clock: None)


def test_without_rich_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar without rich says what to install."""
    monkeypatch.setitem(sys.modules, "rich.live", None)  # type: ignore[arg-type]
    with pytest.raises(
        MissingExtra, match=r"^rich is not installed; install it with: pip install 'paceline\[cli\]'$"
    ):
        Progress(unread, mode="bar", stream=Terminal()).start()


@pytest.mark.parametrize("mode", ["log", "none"])
def test_rich_is_for_the_bar_only(mode: Mode) -> None:
    """Log lines do not pay for rich."""
    code = (
        "import sys; from paceline.jobs.progress import Progress\n"
        f"with Progress(lambda: None, mode={mode!r}): pass\n"
        "sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
