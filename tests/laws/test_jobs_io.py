"""Laws of the batch job's input and output, over whatever happens between runs."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import InputError
from paceline.jobs.bitmap import Bitmap
from paceline.jobs.content import split_lines
from paceline.jobs.csv_rows import cells, rows
from paceline.jobs.duplicates import Duplicates
from paceline.jobs.output import Output
from paceline.jobs.record import encode
from paceline.jobs.source import Source
from paceline.jobs.spec import BadInput, Defaults, Request, read_spec
from paceline.jobs.urls import CheckedURL, Unusable, check_url, is_plain_url

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 12

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, COUNT), st.booleans()),
        st.tuples(st.just("flush")),
        st.tuples(st.just("checkpoint")),
        # A crash: how much of what stands behind a point of OUT is lost, and which of the states so far is found.
        st.tuples(st.just("crash"), st.floats(0, 1), st.one_of(st.none(), st.integers(0, 50))),
    ),
    max_size=40,
)


class Runs:
    """A job that crashes and is begun again, and a simple account of what must be in OUT."""

    def __init__(self, folder: Path, named: bool) -> None:
        self.out, self.state, self.failed = folder / "out", folder / "out.state", folder / "failed"
        path = folder / "in.jsonl"
        path.write_text("".join(self.spec(number, named) + "\n" for number in range(1, COUNT + 1)))
        self.named = named
        self.source = Source.open(str(path))
        self.states: list[bytes] = []
        self.open()

    @staticmethod
    def spec(number: int, named: bool) -> str:
        return f'{{"url":"https://a.example/{number}"' + (f',"id":"k{number}"}}' if named else "}")

    def open(self) -> None:
        self.output = Output.open(str(self.out), source=self.source, request={}, failed_path=str(self.failed))
        self.failures: set[int] = set()  # of this run: those of runs before are all tried again
        self.taken = {number for number in range(1, COUNT + 1) if number in self.output.done}
        self.states.append(self.state.read_bytes())

    def write(self, number: int, fail: bool) -> None:
        if number in self.taken:
            return
        self.taken.add(number)
        if fail:
            self.failures.add(number)
        error = {"error": "x" * number} if fail else {}
        line = json.dumps({"id": f"k{number}" if self.named else number, "pad": "y" * number} | error)
        self.output.write(
            number, line.encode() + b"\n", self.spec(number, self.named).encode() if fail else None
        )

    def crash(self, lost: float, state: int | None) -> None:
        self.output.abandon()
        size = self.out.stat().st_size
        os.truncate(self.out, size - int(size * lost))
        if state is not None:
            self.state.write_bytes(self.states[state % len(self.states)])
        kept = Counter(record["id"] for record in self.records(whole_only=True) if "error" not in record)
        self.open()
        assert Counter(record["id"] for record in self.records()) == kept
        assert len(self.output.done) == len(kept)

    def records(self, *, whole_only: bool = False) -> list[dict[str, Any]]:
        lines = self.out.read_bytes().split(b"\n")
        assert whole_only or lines[-1] == b""
        return [json.loads(line) for line in lines[:-1]]


@given(steps=steps, named=st.booleans(), failing=st.sets(st.integers(1, COUNT)))
@settings(max_examples=150, deadline=None)
def test_each_input_ends_as_exactly_one_record(
    steps: list[tuple[Any, ...]], named: bool, failing: set[int]
) -> None:
    """Over any writes, checkpoints and crashes, with OUT cut anywhere and any older state put back."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), named)
        for step, *facts in steps:
            if step == "checkpoint":
                runs.output.checkpoint({})
                runs.states.append(runs.state.read_bytes())
            else:
                getattr(runs.output if step == "flush" else runs, step)(*facts)
        for item in runs.source.items(runs.taken):
            runs.write(item.number, item.number in failing)
        runs.output.close({})
        records = runs.records()
        ids = [f"k{n}" if named else n for n in range(1, COUNT + 1)]
        assert Counter(record["id"] for record in records) == Counter(ids)
        failed = runs.failures
        expected = {runs.spec(number, named) for number in failed}
        assert {record["id"] for record in records if "error" in record} == {
            ids[number - 1] for number in failed
        }
        assert Counter(runs.failed.read_text().splitlines()) == Counter(expected)
        runs.source.close()


@given(
    content=st.lists(
        st.sampled_from([b"a", b"\n", b"\r\n", b"#", b" ", b"\xef\xbb\xbf", b"longer text"]), max_size=60
    ).map(b"".join),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=9),
)
def test_blocks_do_not_show_in_lines(content: bytes, cuts: list[int]) -> None:
    """Lines are the same however the blocks fall."""

    def blocks() -> Iterator[bytes]:
        file, number = io.BytesIO(content), 0
        while block := file.read(cuts[number % len(cuts)]):
            number += 1
            yield block

    expected = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line for batch in split_lines(blocks()) for line in batch] == expected


some_numbers = st.one_of(st.sets(st.integers(0, 100_000)), st.integers(0, 40).map(range).map(set))


@given(numbers=some_numbers, gone=st.sets(st.one_of(st.integers(0, 40), st.integers(0, 100_000))))
def test_a_bitmap_is_a_set(numbers: set[int], gone: set[int]) -> None:
    """A bitmap holds what was added and not discarded, also through its compact form."""
    bitmap = Bitmap()
    for number in numbers:
        bitmap.add(number)
    again = Bitmap.from_compact(*bitmap.compact())
    for number in gone:
        again.discard(number)
    assert (list(bitmap), len(bitmap)) == (sorted(numbers), len(numbers))
    assert (list(again), len(again)) == (sorted(numbers - gone), len(numbers - gone))
    assert list(Bitmap.from_compact(*again.compact())) == sorted(numbers - gone)


@given(
    ids=st.lists(
        st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=3), st.integers(0, 9)), max_size=60
    ),
    held=st.integers(1, 70),
)
def test_duplicates_are_suspected_always(ids: list[str | int], held: int) -> None:
    """Every id that stands twice is among the suspects, with and without the temporary file."""
    with pytest.MonkeyPatch.context() as patch, Duplicates() as duplicates:
        patch.setattr("paceline.jobs.duplicates._HELD", held)
        for identity in ids:
            duplicates.add(identity)
        suspects = {value for batch in duplicates.candidates() for value in batch}
    assert suspects == {value for value, count in Counter(map(hash, ids)).items() if count > 1}


@given(ids=st.lists(st.one_of(st.none(), st.integers(-2, 8), st.sampled_from("abc")), max_size=8))
def test_only_true_duplicates_are_refused(ids: list[str | int | None]) -> None:
    """A source is refused exactly where two records would bear the same id."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "in.jsonl")
        path.write_text("".join(json.dumps({"url": "https://a.example/", "id": one}) + "\n" for one in ids))
        final = [(type(one), one) if one is not None else (int, number) for number, one in enumerate(ids, 1)]
        if len(set(final)) == len(final):
            source = Source.open(str(path))
            assert [(type(item.id), item.id) for item in source.items()] == final
            assert [(number, identity) for number, identity in source.ids()] == [
                (n, one) for n, (_, one) in enumerate(final, 1)
            ]
            source.close()
        else:
            with pytest.raises(InputError, match="stands twice"):
                Source.open(str(path))


cell = st.text(st.sampled_from('ab,"\n é'), max_size=6)


@given(table=st.lists(st.lists(cell, min_size=2, max_size=2), max_size=5))
def test_csv_reads_what_was_quoted(table: list[list[str]]) -> None:
    """Cells written as RFC 4180 says come back as they were."""
    text = "".join(",".join('"' + one.replace('"', '""') + '"' for one in row) + "\r\n" for row in table)
    lines = [text.encode().split(b"\n")[:-1]]
    assert [[one.decode() for one in cells(row.text)] for row in rows(iter(lines))] == table


@given(
    text=st.one_of(
        st.text(max_size=40),
        st.text(st.sampled_from("htps:/@[]a.1é%?#\\ -_"), max_size=30).map("http://".__add__),
    )
)
def test_a_checked_url_needs_no_second_check(text: str) -> None:
    """What is accepted is ASCII, without userinfo, and accepted again unchanged; what is plain is never changed."""
    try:
        checked = check_url(text)
    except Unusable:
        assert not is_plain_url(text.encode())
        return
    assert checked.url.isascii()
    assert check_url(checked.url) == CheckedURL(checked.url, None)
    if is_plain_url(text.encode()):
        assert checked == CheckedURL(text, None)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    fields=st.dictionaries(
        st.sampled_from(["id", "method", "headers", "params", "json", "data", "cost", "x"]),
        values,
        max_size=4,
    )
)
def test_no_spec_raises(fields: dict[str, Any]) -> None:
    """Whatever stands in a spec, it is a request or a bad input, with the text it was given as."""
    text = json.dumps({"url": "https://a.example/"} | fields).encode()
    item = read_spec(text, 3, 4, Defaults())
    assert isinstance(item, (Request, BadInput))
    assert (item.number, item.line, item.raw) == (3, 4, text)


@given(
    body=st.binary(max_size=60),
    kind=st.sampled_from(["application/json", "text/plain; charset=latin-1", "text/x; charset=utf-7", "x"]),
)
def test_any_body_makes_one_line_of_json(body: bytes, kind: str) -> None:
    """A record is one line that any JSON reader takes, whatever the server sent."""
    line = encode(
        identity=1,
        url="u",
        status=200,
        attempts=1,
        waited_s=0,
        elapsed_s=0,
        headers=[("content-type", kind)],
        body=body,
    )
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert len({"json", "text", "base64"} & json.loads(line).keys()) == 1
