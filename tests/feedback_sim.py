"""A client of many workers and a server in virtual time: a real Ledger learns from what the test server's core answers."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from paceline import read_signal
from paceline.ledger import Ledger
from paceline.testing.core import Core
from paceline.testing.verdict import Request, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.limits import Limit
    from paceline.testing.settings import Settings

EPOCH = 1_700_000_000.0
_FLOOR = 0.25  # how long one request sleeps by itself after a second refusal that asked for no time


@dataclass
class Course:
    """What a simulated run came to. Moments are seconds of the client's clock."""

    ledger: Ledger
    core: Core
    grants: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)  # began, until as known then
    cool: list[tuple[float, float]] = field(default_factory=list)  # for each refusal: learned at, until
    mismatches: list[tuple[float, str]] = field(default_factory=list)
    learned: list[tuple[float, str]] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    most_in_flight: int = 0
    ended: float = 0.0

    def served_between(self, begin: float, end: float) -> int:
        return sum(begin <= moment < end for moment in self.served)

    def refused_between(self, begin: float, end: float) -> int:
        return sum(begin <= moment < end for moment in self.refused)

    @property
    def span(self) -> float:
        """Seconds from the first to the last accepted request."""
        return self.accepted[-1] - self.accepted[0]


@dataclass(order=True)
class _Due:
    at: float
    number: int
    act: Callable[[float], None] = field(compare=False)


class Client:
    """So many workers that take permits of one ledger, send, learn and send refused ones again.

    told: the client's limits. settings: the server's. items: how many are to be served.
    late, delay: most seconds from grant to write, from write to arrival. tick: timers fire up to this late.
    """

    def __init__(
        self,
        told: Sequence[Limit],
        settings: Settings,
        items: int,
        *,
        workers: int = 32,
        late: float = 0.0005,
        delay: float = 0.002,
        tick: float = 0.001,
        seed: int = 0,
        start: float = 1000.0,
        offset: float = EPOCH,
        ledger: Ledger | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.core = Core(settings, origin=offset + start)
        self.offset = offset
        self.ledger = ledger or Ledger(told, now=start, offset=offset)
        self.course = Course(self.ledger, self.core)
        self.todo: deque[int] = deque(range(items))
        self.items = items
        self.workers = workers
        self.in_flight = 0
        self.late, self.delay, self.tick = late, delay, tick
        self.now = start
        self.begun = start
        self._due: list[_Due] = []
        self._numbers = itertools.count()
        self._alarm = inf
        self.tiny: dict[int, int] = {}

    def at(self, moment: float, act: Callable[[float], None]) -> None:
        """Does `act` at a moment of the client's clock."""
        heapq.heappush(self._due, _Due(moment, next(self._numbers), act))

    def run(self, until: float = inf) -> Course:
        """Runs until every item was served, or until a moment."""
        self._pump(self.now)
        while self._due and len(self.course.served) < self.items:
            due = heapq.heappop(self._due)
            if due.at > until:
                break
            assert due.at >= self.now - 1e-9
            self.now = max(self.now, due.at)
            due.act(self.now)
        self.course.ended = self.now
        return self.course

    # ---- the client -----------------------------------------------------------------------------

    def _pump(self, now: float) -> None:
        while self.todo and self.in_flight < self.workers:
            at = self.ledger.take(now, 1, tracked=True)
            if at > now:
                if at == inf:
                    assert self.in_flight, f"held up for ever at {now}: {self.ledger.held_by}"
                elif at < self._alarm:
                    self._alarm = at
                    self.at(at + self.rng.uniform(0.0, self.tick), lambda moment, alarm=at: self._ring(alarm, moment))
                return
            self.in_flight += 1
            self.course.grants.append(now)
            self.course.most_in_flight = max(self.course.most_in_flight, self.in_flight)
            item = self.todo.popleft()
            self.at(now + self.rng.uniform(0.0, self.late), lambda wrote, granted=now, item=item: self._write(item, granted, wrote))

    def _ring(self, alarm: float, now: float) -> None:
        if alarm == self._alarm:  # else an earlier one was set since
            self._alarm = inf
            self._pump(now)

    def _write(self, item: int, granted: float, wrote: float) -> None:
        self.ledger.written(granted, wrote, 1)
        self.at(wrote + self.rng.uniform(0.0, self.delay), lambda now: self._arrive(item, granted, wrote, now))

    def _arrive(self, item: int, granted: float, wrote: float, now: float) -> None:
        verdict = self.core.decide(Request("GET", f"/items/{item}"), now - self.begun)
        accepted = verdict.book is not None
        (self.course.accepted if accepted else self.course.refused).append(now)
        back = now + verdict.delay + self.rng.uniform(0.0, self.delay)
        self.at(now + verdict.delay, lambda moment: self.core.settle(verdict, moment - self.begun, verdict.fault is None))
        self.at(back, lambda moment: self._answer(item, granted, wrote, verdict, moment))

    def _answer(self, item: int, granted: float, wrote: float, verdict: Verdict, now: float) -> None:
        again = 0.0
        if verdict.fault is not None:
            self.todo.append(item)
        else:
            body = verdict.body if isinstance(verdict.body, bytes) else b""
            signal = read_signal(verdict.status, verdict.headers, body, now=now + self.offset)
            learned = self.ledger.learn(now, granted, 1, signal, verdict.status)
            if learned.began:
                self.course.pauses.append((now, now + learned.wait))
            if signal.refused:
                self.course.cool.append((now, now + learned.wait))
            if learned.mismatch:
                self.course.mismatches.append((now, learned.mismatch))
            if learned.learned:
                self.course.learned.append((now, learned.learned))
            if signal.refused:
                asked = signal.retry_after
                self.tiny[item] = self.tiny.get(item, 0) + 1 if asked == 0 else 0
                again = max(asked or 0.0, _FLOOR * 2 ** min(self.tiny[item] - 1, 7) if self.tiny[item] > 1 else 0.0) - learned.wait
                if again <= 0:
                    self.todo.appendleft(item)
            elif verdict.status == 200:
                self.course.served.append(now)
            else:
                self.todo.append(item)
        self.ledger.release(granted, 1, True, True, now)
        self.in_flight -= 1
        if again > 0:
            self.at(now + again, lambda moment: self._come_again(item, moment))
        self._pump(now)

    def _come_again(self, item: int, now: float) -> None:
        self.todo.appendleft(item)
        self._pump(now)


def pace(course: Course, limit: Limit) -> float:
    """The accepted requests a period, from the first to the last, as a share of the quota."""
    return (len(course.accepted) - 1) / limit.rate / course.span
