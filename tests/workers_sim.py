"""Workers that share one limit through a store, in virtual time: the real protocol code, a store that takes its time.

Each worker always wants more than it gets, and holds a permit for `hold` seconds. Nothing here sleeps or is left
to chance but the seeded length of each trip to the store.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING, Any

from paceline.limits import Limit
from paceline.stores.memory import MemoryStore
from paceline.stores.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.stores.protocol import Message, Reply

_BOOT = 1_000.0  # seconds that the workers' clocks show when it begins
_EPOCH = 1_750_000_000


class _Clock:
    def __init__(self, world: World) -> None:
        self.now: Callable[[], float] = lambda: _BOOT + world.time
        self.epoch: Callable[[], float] = lambda: _EPOCH + world.time

    def wait(self, lock: Any, timeout: float | None) -> bool:
        raise AssertionError("nobody blocks in virtual time")


class World:
    """The simulation: `run` it, then ask what happened.

    weights: one worker each; tasks: permits that each could use at once; rtt: seconds of a trip to the store, there and back.
    """

    def __init__(
        self, limit: str, weights: Sequence[float], *, rtt: float = 0.001, tasks: int = 32, hold: float = 0.005, seed: int = 0
    ) -> None:
        self.time = 0.0
        self.ahead = 0.0  # of what time it is, the store's clock
        self.limit = Limit.parse(limit)
        self.weights = weights
        self.rtt, self.hold = rtt, hold
        self.chance = random.Random(seed)
        self.clock = _Clock(self)
        self.store = MemoryStore(clock=lambda: int((_EPOCH + self.time + self.ahead) * 1e6))
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.workers = [_Worker(self, weight, tasks) for weight in weights]
        for worker in self.workers:
            self.at(self.chance.random() * 0.01, worker.look)

    def at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (max(time, self.time), self._count, action, args))

    def run(self, until: float) -> World:
        """Goes on until the moment `until` (seconds)."""
        while self._agenda and self._agenda[0][0] < until:
            self.time, _, action, args = heapq.heappop(self._agenda)
            action(*args)
        self.time = until
        return self

    def trip(self) -> float:
        return self.rtt * self.chance.uniform(0.3, 0.7)

    @property
    def permits(self) -> list[int]:
        """How many each worker was given."""
        return [len(worker.sent) for worker in self.workers]

    @property
    def used(self) -> float:
        """The part of the quota that was used."""
        return sum(self.permits) / (self.time * self.limit.rate)

    @property
    def most(self) -> int:
        """The most sent in any period."""
        sent = sorted(moment for worker in self.workers for moment in worker.sent)
        return max(bisect_left(sent, moment + self.limit.period) - index for index, moment in enumerate(sent))

    @property
    def jain(self) -> float:
        """Jain's index of fairness of permits over weight: 1 is even."""
        parts = [count / weight for count, weight in zip(self.permits, self.weights, strict=True)]
        return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))

    @property
    def trips(self) -> float:
        """Trips to the store a permit."""
        return sum(worker.shared.calls for worker in self.workers) / sum(self.permits)


class _Worker:
    def __init__(self, world: World, weight: float, tasks: int) -> None:
        self.world = world
        self.shared = Shared([world.limit], clock=world.clock, weight=weight)
        self.shared.wanted = lambda: self.waiting
        self.waiting = tasks
        self.sent: list[float] = []
        self._armed: float | None = None
        self._steps: Any = None

    def look(self) -> None:
        world, shared = self.world, self.shared
        now = world.clock.now()
        at = inf
        while self.waiting:
            at = shared.take(now, 1, True)
            if at > now:
                break
            self.waiting -= 1
            self.sent.append(world.time)
            shared.written(shared.granted, now, 1)
            world.at(world.time + world.hold, self._done, shared.granted)
        if self.waiting:
            if shared.wants_call and not shared.calling:
                self._call()
            at = shared.wake(now, at)
            if at < inf:
                self._armed = max(at - _BOOT, world.time + 1e-6)
                world.at(self._armed, self._due, self._armed)
        if shared.flush_at < inf:
            world.at(shared.flush_at - _BOOT, self._flush)

    def _due(self, armed: float) -> None:
        if armed == self._armed:
            self.look()

    def _flush(self) -> None:
        if self.shared.flush_at <= self.world.clock.now() and not self.shared.calling:
            self._call()

    def _done(self, granted: float) -> None:
        self.waiting += 1
        self.shared.release(granted, 1, True, True, self.world.clock.now())
        self.look()

    def _demand(self) -> tuple[list[list[Any]], int]:
        held = self.shared.in_hand
        wanted = self.waiting - held
        return [[1, wanted, 1]] if wanted > 0 else [], max(0, self.shared.ahead() - max(self.waiting, held))

    def _call(self) -> None:
        self.shared.calling, self.shared.wants_call = True, False
        self._steps = self.shared.steps(self._demand)
        self._answered(None)

    def _answered(self, reply: Reply | None) -> None:
        try:
            message = self._steps.send(reply)
        except StopIteration:
            self.shared.calling = False
            self.look()
            return
        self.world.at(self.world.time + self.world.trip(), self._arrived, message)

    def _arrived(self, message: Message) -> None:
        reply = self.world.store.call("scope", message)
        self.world.at(self.world.time + self.world.trip(), self._answered, reply)
