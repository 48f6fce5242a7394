"""Workers that share one limit through a store, in virtual time: real lines, and a store that takes its time.

Each worker always wants more than it gets, and holds a permit for `hold` seconds. Nothing here sleeps or is left
to chance but the seeded length of each trip to the store.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Self

from paceline.limits import Limit
from paceline.stores.line import Line
from paceline.stores.memory import MemoryStore

from .clocks import LoopClock, VirtualLoop
from .measures import jain, most_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.stores.protocol import Message, Reply


class _FarStore(MemoryStore):
    """A store with a way to it, and a clock of its own; ahead: seconds that this clock is ahead of the time."""

    def __init__(self, clock: LoopClock, rtt: float, seed: int) -> None:
        self.ahead = 0.0
        super().__init__(clock=lambda: int((clock.epoch() + self.ahead) * 1e6))
        self._rtt, self._chance = rtt, random.Random(seed)

    async def acall(self, scope: str, message: Message) -> Reply:
        await asyncio.sleep(self._rtt * self._chance.uniform(0.3, 0.7))
        reply = self.call(scope, message)
        await asyncio.sleep(self._rtt * self._chance.uniform(0.3, 0.7))
        return reply


class World:
    """The simulation: `run` it, then ask what happened.

    weights: one worker each; tasks: permits that each could use at once; rtt: seconds of a trip to the store, there and back.
    """

    def __init__(
        self, limit: str, weights: Sequence[float], *, rtt: float = 0.001, tasks: int = 32, hold: float = 0.005, seed: int = 0
    ) -> None:
        self.time = 0.0
        self.limit = Limit.parse(limit)
        self.weights: list[float] = []
        self._tasks, self._hold = tasks, hold
        self._loop = VirtualLoop()
        self._clock = LoopClock(self._loop)
        self.store = _FarStore(self._clock, rtt, seed)
        self._lines: list[Line] = []
        self._sent: list[list[float]] = []
        for weight in weights:
            self.join(weight)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.end()

    def join(self, weight: float) -> None:
        """One worker more."""
        line = Line("scope", [self.limit], store=self.store, clock=self._clock, share=weight)
        sent: list[float] = []
        self.weights.append(weight)
        self._lines.append(line)
        self._sent.append(sent)
        for _ in range(self._tasks):
            self._loop.create_task(self._work(line, sent))

    async def _work(self, line: Line, sent: list[float]) -> None:
        while True:
            permit = await line.acquire_async(1, 0, None, True)
            permit.sent()
            sent.append(self._clock.now())
            await asyncio.sleep(self._hold)
            permit.release()

    def run(self, until: float) -> World:
        """Goes on until the moment `until` (seconds)."""
        self._loop.run_until_complete(asyncio.sleep(until - self.time))
        self.time = until
        return self

    @property
    def permits(self) -> list[int]:
        """How many each worker was given."""
        return [len(sent) for sent in self._sent]

    @property
    def used(self) -> float:
        """The part of the quota that was used."""
        return sum(self.permits) / (self.time * self.limit.rate)

    @property
    def most(self) -> int:
        """The most sent in any period."""
        return most_in(sorted(moment for sent in self._sent for moment in sent), self.limit.period)

    @property
    def jain(self) -> float:
        """Jain's index of permits over weight."""
        return jain([count / weight for count, weight in zip(self.permits, self.weights, strict=True)])

    @property
    def trips(self) -> float:
        """Trips to the store a permit."""
        return sum(line.shared.calls for line in self._lines if line.shared is not None) / sum(self.permits)
