"""Sinks write what happened, where it is wanted, and never stand in the work's way."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from paceline import events, telemetry
from paceline.errors import InputError
from paceline.telemetry import all_of, console, json_lines, load, log_sink, wanted
from paceline.telemetry.words import duration, moment, one_line, rate, sentence, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = 1700000000.25
RETRY = events.Retrying(
    at=AT, scope="api.example.com", method="GET", url="https://api.example.com/items/7?key=***", attempt=1,
    status=429, error=None, retry_after=7.0, remaining=0.0, wait=7.2,
)  # fmt: skip
WAITED = events.Waited(at=AT, scope="api", seconds=0.5, reason="pace")
EVERY = (
    RETRY,
    WAITED,
    events.Attempted(at=AT, scope="s", method="GET", url="u", attempt=2, status=200, error=None, elapsed=0.031),
    events.Attempted(at=AT, scope="s", method="GET", url="u", attempt=1, status=None, error="timeout", elapsed=30.0),
    events.Refused(
        at=AT, scope="s", method="GET", url="u", attempt=1, status=429, retry_after=None, remaining=None, wait=1.0
    ),
    events.CooldownBegan(at=AT, scope="s", until=AT + 7, seconds=7.0, reason="Retry-After"),
    events.CooldownEnded(at=AT, scope="s", lasted=7.0),
    events.GaveUp(at=AT, scope="s", method="GET", url="u", attempts=6, status=503, error=None, reason="attempts used up"),
    events.LimitMismatch(at=AT, scope="s", limit="100/2s", action="sending at 99/2s from now on"),
    events.LimitLearned(at=AT, scope="s", limit="5000/hour", before=None),
    events.CredentialRefreshed(at=AT, scope="s", seconds=0.2),
    events.StoreLost(at=AT, scope="s", error="the store redis://db:6379/0 cannot be used: timed out", then="share"),
    events.StoreBack(at=AT, scope="s", lasted=3.0),
    events.StoreReplaced(at=AT, scope="s", reason="the store lost what it knew of this scope"),
    events.Steered(at=AT, scope="s", action="pause", until=AT + 60, reason="maintenance"),
    events.Steered(at=AT, scope="s", action="pause"),
    events.Steered(at=AT, scope="s", action="resume"),
    events.Steered(at=AT, scope="s", action="set", limits="50/2s", before="100/2s"),
    events.Steered(at=AT, scope="s", action="reset", limits="100/2s", before="50/2s"),
    events.Progress(
        at=AT, scope="s", done=10, total=40, fetched=9, failed=1, refused=2, rate=4.5, waiting_for="cooldown",
        waiting_until=AT + 60,
    ),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _unconfigured_structlog() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def test_every_event_class_has_an_example_here() -> None:
    """No class of events is left out of these tests, nor of the sentences."""
    kinds = {
        kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)
    }
    assert kinds - {events.Event} == {type(event) for event in EVERY}
    assert all("facts()" not in sentence(event) and "{" not in sentence(event) for event in EVERY)


def test_a_retry_warns_with_all_that_matters(caplog: pytest.LogCaptureFixture) -> None:
    """The warning before a retry names endpoint, status, Retry-After, remaining and wait."""
    with caplog.at_level(logging.DEBUG, logger="paceline"):
        log_sink()(RETRY)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "api.example.com: retrying GET https://api.example.com/items/7?key=*** in 7.2 s after status 429; "
        "the server asks for 7 s, 0 left"
    )
    assert record.paceline["wait"] == 7.2  # type: ignore[attr-defined]


def test_each_class_has_its_level_in_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Every event is logged at the level of its class."""
    with caplog.at_level(logging.DEBUG, logger="paceline"):
        for event in EVERY:
            log_sink()(event)
    assert [record.levelname.lower() for record in caplog.records] == [event.level for event in EVERY]


class Untouchable(events.Waited):
    """A debug event that must not be looked into."""

    def facts(self) -> dict[str, Any]:
        raise AssertionError("the facts of an unwanted event were built")


def test_unwanted_debug_events_are_not_built(caplog: pytest.LogCaptureFixture) -> None:
    """Where debug is off, a debug event's facts are never taken, by any sink."""
    event = Untouchable(at=AT, scope="s", seconds=1.0, reason="pace")
    with caplog.at_level(logging.INFO, logger="paceline"):
        for sink in (log_sink(), json_lines(io.StringIO()), console(io.StringIO())):
            assert wanted(sink) == "notable"
            sink(event)
    assert not caplog.records


def test_what_a_sink_wants() -> None:
    """A sink's `debug` says which events are worth building; several want what any of them wants."""
    quiet, loud = json_lines(io.StringIO()), json_lines(io.StringIO(), "debug")
    assert [wanted(s) for s in (None, quiet, loud, print)] == ["none", "notable", "all", "all"]
    assert [wanted(all_of(quiet)), wanted(all_of(quiet, loud)), wanted(all_of())] == [
        "notable",
        "all",
        "notable",
    ]


def test_structlog_gets_the_event_where_it_is_set_up() -> None:
    """A configured structlog gets name, level and facts, also when it was configured after the sink was made."""
    sink = log_sink()
    with structlog.testing.capture_logs() as captured:
        sink(RETRY)
        sink(WAITED)
    assert captured[0]["event"] == "retry"
    assert captured[0]["log_level"] == "warning"
    assert captured[0]["wait"] == 7.2
    assert captured[0]["at"] == "2023-11-14T22:13:20.250Z"
    assert captured[1]["event"] == "waited"


def test_structlog_levels_are_asked_first() -> None:
    """A structlog that filters debug gets no debug event, and none is built for it."""
    sink = log_sink()
    lines = io.StringIO()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.PrintLoggerFactory(file=lines),
        processors=[structlog.processors.JSONRenderer()],
    )
    assert wanted(sink) == "notable"
    sink(Untouchable(at=AT, scope="s", seconds=1.0, reason="pace"))
    sink(RETRY)
    assert json.loads(lines.getvalue())["event"] == "retry"


def test_structlog_over_standard_logging(caplog: pytest.LogCaptureFixture) -> None:
    """structlog's wrapper of standard logging is asked for its level in its own way."""
    structlog.configure(
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        processors=[structlog.stdlib.render_to_log_kwargs],
    )
    sink = log_sink()
    with caplog.at_level(logging.INFO, logger="paceline"):
        assert wanted(sink) == "notable"
        sink(RETRY)
    assert [record.getMessage() for record in caplog.records] == ["retry"]


def test_structlog_without_levels_gets_everything() -> None:
    """A wrapper that cannot be asked for its level is written to."""
    lines: list[Any] = []
    structlog.configure(
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.PrintLoggerFactory(file=io.StringIO()),
        processors=[lambda _logger, _name, facts: lines.append(facts) or ""],
    )
    sink = log_sink()
    assert wanted(sink) == "all"
    sink(WAITED)
    assert lines[0]["event"] == "waited"


def test_an_unconfigured_structlog_is_left_alone(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """structlog's default prints to standard output, where data may be: standard logging is used instead."""
    with caplog.at_level(logging.INFO, logger="paceline"):
        log_sink()(RETRY)
    assert capsys.readouterr().out == ""
    assert len(caplog.records) == 1


@pytest.mark.parametrize("event", EVERY, ids=lambda event: event.name)
def test_json_lines(event: events.Event) -> None:
    """Each event is one line: ts, level, event, then its facts."""
    stream = io.StringIO()
    json_lines(stream, "debug")(event)
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert list(line)[:4] == ["ts", "level", "event", "scope"]
    assert (line["ts"], line["level"], line["event"]) == ("2023-11-14T22:13:20.250Z", event.level, event.name)
    assert set(line) == {"ts", "level", "event"} | {f.name for f in dataclasses.fields(event)} - {"at"}


@given(st.floats(), st.text(max_size=50), st.floats())
def test_lines_hold_whatever_comes(at: float, text: str, seconds: float) -> None:
    """No number and no text breaks a line or its syntax."""
    stream = io.StringIO()
    event = events.CooldownBegan(at=at, scope=text, until=seconds, seconds=seconds, reason=text)
    json_lines(stream)(event)
    console(stream, colour=False)(event)
    first, second, end = stream.getvalue().split("\n")
    json.loads(first, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert second.isprintable()
    assert end == ""


def test_long_texts_are_cut() -> None:
    """An error's text of a megabyte does not make a line of a megabyte."""
    stream = io.StringIO()
    event = dataclasses.replace(RETRY, error="x" * 1_000_000, status=None)
    json_lines(stream)(event)
    console(stream)(event)
    assert len(stream.getvalue()) < 10_000


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_console_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours are for terminals, and NO_COLOR takes them away."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = Terminal()
    console(shown)(RETRY)
    assert "\x1b[33mwarning" in shown.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    console(plain)(RETRY)
    assert plain.getvalue().startswith("22:13:20 warning api.example.com: retrying GET")


def test_a_sink_that_raises_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported once, without what it was given, gets no more events, and the others go on."""
    seen: list[events.Event] = []

    def broken(event: events.Event) -> None:
        raise OSError("secret s3cr3t")

    sink = all_of(broken, seen.append)
    for _ in range(3):
        sink(RETRY)
    assert len(seen) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the event sink test_a_sink_that_raises_is_dropped.<locals>.broken failed with OSError "
        "and gets no more events; the work goes on"
    ]


def test_interrupts_pass_through_sinks() -> None:
    """What is no Exception is never swallowed."""

    def interrupted(event: events.Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        all_of(interrupted)(RETRY)


def test_the_table_is_the_folder() -> None:
    """Every sink's file has a line in the table, and every line its file."""
    files = {path.stem for path in Path(telemetry.__file__).parent.glob("*.py")} - {
        "__init__",
        "fan",
        "words",
    }
    assert {target.split(":")[0].rpartition(".")[2] for target in telemetry.SINKS.values()} == files
    assert all(callable(load(name)) for name in telemetry.SINKS)


def test_an_unknown_sink_is_named() -> None:
    """Asking for a sink that is not there tells which are."""
    with pytest.raises(InputError, match=r"^there is no sink 'syslog', the sinks are console, json, log$"):
        load("syslog")


def test_telemetry_imports_no_structlog() -> None:
    """A library user who has no structlog set up does not pay for its import."""
    code = "import sys, paceline.telemetry; sys.exit('structlog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59.6, "1 min"), (9.96, "10 s"), (0.9996, "1 s"), (3599.7, "1 h"), (86399.9, "1 d"), (86400, "1 d"),
        (-5, "-5 s"), (float("inf"), "an unknown time"), (0.9, "900 ms"), (1e9, "11,574 d 1 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    """Spans roll over into the next unit where rounding says so."""
    assert duration(seconds) == text


def test_moments_far_away() -> None:
    """A moment beyond every calendar is said to be so, and never raises."""
    assert moment(1e300, 0.0) == moment(float("nan"), 0.0) == "a far day"
    assert timestamp(float("nan")) == "1970-01-01T00:00:00.000Z"
    assert timestamp(float("inf")) == "9999-12-31T23:59:59.000Z"


def test_rates() -> None:
    """A rate is told per second, minute or hour, whichever reads best."""
    assert [rate(value) for value in (0, 1 / 3600, 0.02, 0.96, 49.96, 12345)] == [
        "0/s", "1/h", "1.2/min", "1/s", "50/s", "12,345/s",
    ]  # fmt: skip


def test_one_line_escapes_terminal_controls() -> None:
    """What a server sent cannot move a cursor."""
    assert one_line("\x1b]0;x\x07\r\n\u202e") == "\\x1b]0;x\\x07\\r\\n\\u202e"


def test_standard_error_is_looked_up_when_it_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """A sink without a stream writes to what standard error is at that moment."""
    sinks = json_lines(), console()
    assert capsys.readouterr().err == ""
    for sink in sinks:
        sink(RETRY)
    assert capsys.readouterr().err.count("\n") == 2


def test_an_event_of_another_kind_has_words_too() -> None:
    """A class of events that is not known here is told by its name and facts."""

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Odd(events.Event):
        more: int

    assert sentence(Odd(at=0.0, scope="s", more=7)) == "s: event {'at': 0.0, 'scope': 's', 'more': 7}"
