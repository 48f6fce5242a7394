"""The replica: every process that replays the same entries holds the same books, and they are the ledger's own."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import InputError
from paceline.stores.protocol import Entry
from paceline.stores.replica import FORMAT, Replica


class Log:
    """Entries as a store would stamp them, replayed at once."""

    def __init__(self, *limits: str) -> None:
        self.replica = Replica()
        self.entries: list[Entry] = []
        self.seqs: dict[str, int] = {}
        self.say(0.0, "a", ["join", list(limits)])

    def say(self, at: float, worker: str, *ops: list[Any]) -> list[float]:
        """Appends one entry and gives the slots that it was given."""
        seq = self.seqs[worker] = self.seqs.get(worker, 0) + 1
        entry = Entry(len(self.entries) + 1, at, json.dumps({"f": FORMAT, "w": worker, "s": seq, "o": ops}))
        self.entries.append(entry)
        return [slot.at for slot in self.replica.apply(entry).slots]

    def book(self, at: float, worker: str, count: int, weight: float = 1.0) -> list[float]:
        """Asks for so many slots."""
        return self.say(at, worker, ["book", [[1, count, 1]], 0, weight, 0.0, 0.4])


def test_a_reported_write_is_counted_once() -> None:
    """Slots that are reported as written, in time or late, stand in the log once, at the moment of the write."""
    log = Log("100/2s sliding")
    slots = log.book(0.0, "a", 10)
    assert slots == [0.0] * 10
    log.say(0.05, "a", ["wrote", [[0.0, 0.0, 1, 6], [0.0, 0.03, 1, 1], [0.0, 0.03, 1.0, 3]]])
    state = log.replica.ledger._told[0].state
    assert state.used == 10
    assert [(run[0], run[1]) for run in state.runs if run[1]] == [(0.0, 6), (0.03, 4)]


@settings(max_examples=60, deadline=None)
@given(
    limit=st.sampled_from(["20/s sliding", "20/s", "20/s bucket burst 5", "10/500ms fixed", "3 concurrent"]),
    seed=st.integers(0, 2**32),
)
def test_all_replays_are_the_same(limit: str, seed: int) -> None:
    """From the first entry or from a snapshot anywhere between: the same books, and never two slots too many."""
    rng = random.Random(seed)
    log = Log(limit)
    now, slots, cut = 0.0, [], rng.randint(2, 30)
    snapshot = None
    for _ in range(40):
        now = round(now + rng.expovariate(10), 6)
        worker = rng.choice("abc")
        given_now = log.book(now, worker, rng.randint(1, 5))
        slots += given_now
        used = [slot for slot in given_now if rng.random() < 0.8]
        if given_now:
            ops: list[list[Any]] = [["wrote", [[slot, slot + rng.choice([0.0, 0.0, 0.015]), 1, 1] for slot in used]]]
            ops += [["done", used], ["back", [[slot, 1, 1] for slot in given_now if slot not in used]]]
            log.say(round(now + 0.01, 6), worker, *ops)
        if rng.random() < 0.1:
            log.say(now, worker, ["learn", now, 1, [True, 0.3, False, False, [], "generic"], 429])
        if len(log.entries) >= cut and snapshot is None:
            snapshot = (log.replica.snapshot(), log.replica.replayed)
    whole = Replica()
    for entry in log.entries:
        whole.apply(entry)
    assert whole.snapshot() == log.replica.snapshot()
    assert snapshot is not None
    later = Replica.restore(*snapshot, 0.0)
    for entry in log.entries[snapshot[1] :]:
        later.apply(entry)
    assert later.snapshot() == log.replica.snapshot()
    assert slots == sorted(slots)


def test_a_backlogged_backfill_keeps_to_its_share() -> None:
    """Of two that always want, one of weight 0.3 is not starved, and given hardly more than 0.3 parts where the other has one."""
    log = Log("20/s")
    given_to = {"a": 0, "b": 0}
    calls = [(0.0, "a", 1.0), (0.001, "b", 0.3)]
    while calls[0][0] < 20.0:
        # As `Shared` does it: again after half the way to the first slot, 0.1 s at most; else when the next may go.
        now, worker, weight = calls.pop(0)
        slots = log.book(now, worker, 50, weight)
        given_to[worker] += len(slots)
        wait = min((slots[0] - now) / 2, 0.1) if slots else 0.05
        calls = sorted([*calls, (round(now + max(wait, 0.001), 6), worker, weight)])
    assert 350 <= sum(given_to.values()) <= 420
    assert given_to["b"] / given_to["a"] == pytest.approx(0.22, abs=0.09)


def test_a_dead_worker_gives_its_places_back() -> None:
    """A worker that is not heard of for half a minute holds no place in flight any more."""
    log = Log("2 concurrent")
    assert len(log.book(0.0, "a", 2)) == 2
    assert log.book(10.0, "b", 1) == []
    assert len(log.book(31.0, "b", 1)) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"f": 99, "w": "a", "s": 1, "o": []}', f'{{"f": {FORMAT}, "w": "a", "s": 1, "o": [["nonsense"]]}}'])
def test_what_is_no_entry_is_refused(text: str) -> None:
    """An entry of a newer version, or of another program, is an error that says so; nothing of it is run."""
    with pytest.raises(InputError, match="paceline"):
        Replica().apply(Entry(1, 0.0, text))
