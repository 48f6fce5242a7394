"""A report is whole, stands alone, and shows what the account tells."""

from __future__ import annotations

import errno
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline import events
from paceline.errors import InputError, OutputError
from paceline.jobs.account import Account
from paceline.jobs.chart import bars, timeline_svg
from paceline.jobs.page import page
from paceline.jobs.report import check_report_path, write_report
from paceline.limits import Limit

T0 = 1700000000.0
META = {"source": "urls.txt", "output": "out.jsonl", "version": "1.2.3"}


def a_run(scope: str = "api.example.com:443", reason: str = "attempts used up") -> Account:
    """2,000 requests at 100/2s with a refusal, a pause and two kinds of failures."""
    account = Account(started=T0, limits=[Limit.parse("100/2s")], total=2000)
    for n in range(2000):
        account.sent(scope, at=T0 + n * 0.02, status=503 if n % 100 == 7 else 200)
    account(
        events.Refused(
            at=T0 + 10,
            scope=scope,
            method="GET",
            url="u",
            attempt=1,
            status=429,
            retry_after=2.0,
            remaining=0.0,
            wait=2.0,
        )
    )
    account(events.CooldownBegan(at=T0 + 10, scope=scope, until=T0 + 12, seconds=2.0, reason="Retry-After"))
    account(events.CooldownEnded(at=T0 + 12, scope=scope, lasted=2.0))
    account.waited(scope, 65.0, "pace")
    for _ in range(1997):
        account.fetched(200)
    account.fetched(404)
    account.failed(reason)
    account.failed()
    account.ended(T0 + 40.1, "done")
    return account


class Page(HTMLParser):
    """What a page holds: its text, its elements, and whether every element was closed."""

    _VOID = ("meta", "br", "rect", "line")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    @property
    def plain(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_the_json_report_is_the_account(tmp_path: Path) -> None:
    """`.json` holds the whole account, and what else was told."""
    account = a_run()
    write_report(tmp_path / "r.json", account, META)
    assert json.loads((tmp_path / "r.json").read_text("utf-8")) == {**account.as_dict(), "meta": META}


def test_the_page_tells_what_matters(tmp_path: Path) -> None:
    """`.html` has the figures, the tables and the next steps."""
    write_report(tmp_path / "r.HTML", a_run(), META)
    shown = Page((tmp_path / "r.HTML").read_text("utf-8"))
    assert shown.open == []
    for text in (
        "1,998 of 2,000 inputs fetched",
        "2 failed",
        "source: urls.txt",
        "limit: 100/2s",
        "1 input failed: run the same command again to try only that one.",
        "Fetched 1,998 1 with status ≥ 400",
        "Refused 1 by the server",
        "Quota used 95.0% of 100/2s",
        "404 Not Found 1",
        "attempts used up 1",
        "429 Too Many Requests 1",
        "the limit's own pace 1 min 5 s",
        "quota 50/s",
        "paceline 1.2.3",
    ):
        assert text in shown.plain


def test_the_page_stands_alone(tmp_path: Path) -> None:
    """No script, no link, nothing from elsewhere; light and dark."""
    text = page(a_run().as_dict(), META)
    tags = {tag for tag, _ in Page(text).elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "a"}
    assert not re.search(r"https?://|url\(|@import|\bsrc=|\bhref=|\bon\w+=", text)
    assert "prefers-color-scheme: dark" in text
    assert "default-src 'none'" in text


HOSTILE = "<script>alert('x')</script>&\"\x1b\ud800"


def test_all_text_is_escaped(tmp_path: Path) -> None:
    """Whatever servers and inputs said comes out as text, also what is no UTF-8."""
    account = a_run(scope=HOSTILE, reason=HOSTILE)
    account(events.LimitLearned(at=T0, scope=HOSTILE, limit=HOSTILE, before=None))
    write_report(tmp_path / "r.html", account, {"source": HOSTILE})
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 4
    assert Page(text).open == []
    write_report(tmp_path / "r.json", account, {"source": HOSTILE})
    json.loads((tmp_path / "r.json").read_text("utf-8"))


@pytest.mark.parametrize("how", ["done", "interrupted", "deadline", "paused", "broken", None])
@pytest.mark.parametrize("total", [None, 0, 1, 5])
def test_small_and_unfinished_runs(how: Any, total: int | None) -> None:
    """A run of nothing, of one request, and one that is still going have a page too."""
    account = Account(started=T0, total=total)
    if total:
        account.sent("api", at=T0, status=200)
        account.fetched(200)
    if how is not None:
        account.ended(T0, how, T0 + 60)
    shown = Page(page(account.as_dict(), {}))
    assert shown.open == []
    assert ("1 input fetched" if total == 1 else "inputs fetched") in shown.plain.replace("1 of 1", "1")


def test_many_scopes_have_no_common_quota_line() -> None:
    """The line of the quota is drawn where one scope made the run, not as a sum that no one has."""
    account = Account(started=T0, limits=[Limit.parse("100/2s")])
    for n in range(200):
        account.sent(f"host{n % 80}", at=T0 + n - 0.1, status=200)
    shown = Page(page(account.as_dict(), {}))
    assert "quota 50/s" not in shown.plain
    assert "all others" in shown.plain
    assert len([tag for tag, _ in shown.elements if tag == "tr"]) == 1 + 51


@given(
    st.lists(st.integers(0, 10**9), max_size=600),
    st.one_of(st.none(), st.floats(1e-6, 1e9)),
    st.one_of(st.none(), st.floats(0.001, 366 * 86400)),
    st.sampled_from([0.1 * 2**n for n in range(20)]),
)
def test_every_timeline_has_a_chart(
    sent: list[int], quota_rate: float | None, period: float | None, width: float
) -> None:
    """Whatever the counts: well-formed SVG, everything inside its frame, no more than 120 bars, no count lost."""
    timeline = {
        "span_s": width, "sent": sent, "refused": [n % 7 for n in sent], "broken": [n % 3 for n in sent],
        "paused_s": [width * (n % 2) for n in sent],
    }  # fmt: skip
    shown = bars(timeline, period)
    assert sum(bar.sent for bar in shown) == sum(sent)
    assert len(shown) <= 120
    root = ElementTree.fromstring(timeline_svg(timeline, quota_rate, period))
    for rect in root.iter("rect"):
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert x >= 55
        assert x + w <= 946
        assert y >= 20
        assert h >= 0
        assert y + h <= 268


def test_bars_are_as_long_as_the_period() -> None:
    """In a long run a bar is a period of the limit: a burst within one is no excess."""
    timeline = {"span_s": 0.1, **{name: [1] * 400 for name in ("sent", "refused", "broken", "paused_s")}}
    assert {round(bar.length, 3) for bar in bars(timeline, 2.0)} == {2.0}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.pdf", "its name must end in .html or .json"),
        ("report", "its name must end in .html or .json"),
        (".html", "its name must end in .html or .json"),
        ("folder.html", "it is a folder"),
        ("missing/report.html", "there is no folder '"),
    ],
)
def test_paths_that_cannot_be(name: str, message: str, tmp_path: Path) -> None:
    """A path where no report can stand is told before anything begins."""
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(
        InputError, match=f"^cannot write a report to '{re.escape(str(tmp_path / name))}': {message}"
    ):
        check_report_path(tmp_path / name)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without leave to write is told before anything begins."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"is not writable$"):
        check_report_path(tmp_path / "r.html")


def test_a_failed_write_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing fails the report that stood there stays, nothing else is left, and the error says why."""
    target = tmp_path / "r.json"
    target.write_text("old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OutputError, match=r"^cannot write the report to '.*r\.json': No space left on device$"
    ):
        write_report(target, a_run())
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
