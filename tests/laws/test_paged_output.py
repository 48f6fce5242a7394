"""Laws of OUT where an input is a list: each page one record, over whatever happens between runs."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.jobs.output import Output
from paceline.jobs.source import Source

LISTS = 5
PAGES = 4  # list n has so many pages or fewer

steps = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.integers(1, LISTS)),
        st.tuples(st.just("turn"), st.integers(1, LISTS)),
        st.tuples(st.just("fail"), st.integers(1, LISTS)),
        st.tuples(st.just("checkpoint")),
        # How much of OUT is lost, which older state is found, and whether a block in the middle was never written.
        st.tuples(st.just("crash"), st.floats(0, 1), st.one_of(st.none(), st.integers(0, 50)), st.none() | st.floats(0, 1)),
    ),
    max_size=60,
)


def pages_of(number: int) -> int:
    return (number - 1) % PAGES + 1


class Runs:
    """A job over lists that crashes and is begun again."""

    def __init__(self, folder: Path, named: bool) -> None:
        self.out, self.state = folder / "out", folder / "out.state"
        path = folder / "in.jsonl"
        path.write_text(
            "".join(f'{{"url":"https://a.example/{n}"' + (f',"id":"k{n}"}}\n' if named else "}\n") for n in range(1, LISTS + 1))
        )
        self.named = named
        self.source = Source.open(str(path))
        self.states: list[bytes] = []
        self.open()

    def open(self) -> None:
        self.output = Output.open(str(self.out), source=self.source, request={})
        self.at = {n: self.output.places.get(n, (0, {}))[0] for n in range(1, LISTS + 1) if n not in self.output.done}
        self.states.append(self.state.read_bytes())

    def identity(self, number: int) -> str | int:
        return f"k{number}" if self.named else number

    def line(self, number: int, page: int, **more: Any) -> bytes:
        return json.dumps({"id": self.identity(number), "page": page, **more, "pad": "y" * (37 * number)}).encode() + b"\n"

    def turn(self, number: int) -> None:
        """One more page of a list, where it has one."""
        if number not in self.at:
            return
        page = self.at[number] + 1
        more = page < pages_of(number)
        told = {"next": f"c{page}" if more else None, "items": page}
        self.output.hand_on_page(number, self.line(number, page, status=200, paging=told), page, told, more=more)
        self.at[number] = page
        if not more:
            del self.at[number]

    def fail(self, number: int) -> None:
        """A list breaks off: nothing of it comes in this run any more."""
        if number in self.at:
            page = self.at.pop(number) + 1
            self.output.hand_on(number, self.line(number, page, error="broken"), b"raw")

    def checkpoint(self) -> None:
        self.output.checkpoint({})
        self.states.append(self.state.read_bytes())

    def crash(self, lost: float, state: int | None, hole: float | None) -> None:
        self.output.abandon()
        size = self.out.stat().st_size
        size -= int(size * lost)
        os.truncate(self.out, size)
        if state is not None:
            self.state.write_bytes(self.states[state % len(self.states)])
        if hole is not None and size > 40:
            # Nothing that a checkpoint has noted is lost so: the states begin anew, too.
            with open(self.out, "r+b") as file:
                file.seek(int((size - 40) * hole))
                file.write(b"\0" * 40)
            self.state.write_bytes(self.states[0])
        before = self.good()
        self.open()
        after = self.good()
        assert Counter(after) == Counter(set(after))
        assert set(after) <= set(before)
        if hole is None:
            assert set(after) == set(before)
        for number in range(1, LISTS + 1):
            had = sorted(page for identity, page in after if identity == self.identity(number))
            assert had == list(range(1, len(had) + 1)), "a page after one that is missing"
            assert (number not in self.at) == (len(had) == pages_of(number))
            assert number not in self.at or self.at[number] == len(had)
            if number in self.at and had:
                assert self.output.places[number] == (len(had), {"next": f"c{len(had)}", "items": len(had)})

    def good(self) -> list[tuple[Any, int]]:
        found = []
        for line in self.out.read_bytes().split(b"\n")[:-1]:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if "error" not in record:
                found.append((record["id"], record["page"]))
        return found


@given(steps=steps, named=st.booleans())
@settings(max_examples=150, deadline=None)
def test_each_page_is_exactly_one_record(steps: list[tuple[Any, ...]], named: bool) -> None:
    """Over any pages, failures, checkpoints and crashes, with OUT cut or holed anywhere and any older state put back."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), named)
        for step, *facts in steps:
            getattr(runs, step)(*facts)
        runs.output.close({})
        runs.open()
        while runs.at:
            runs.turn(next(iter(runs.at)))
        assert runs.output.places == {}
        runs.output.close({})
        records = [json.loads(line) for line in runs.out.read_text().splitlines()]
        expected = {(runs.identity(n), page) for n in range(1, LISTS + 1) for page in range(1, pages_of(n) + 1)}
        assert Counter((record["id"], record["page"]) for record in records) == Counter(expected)
        assert not any("error" in record for record in records)
        runs.source.close()
