"""What the test server saw, counted request by request in bounded memory."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Final

from .account import Account
from .least import allowed_by, least_time
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..limits import Limit

__all__ = ["Tally"]

_MOST_TIMES: Final = 4_000_000
_MOST_NUMBERED: Final = 8_000_000
_MOST_NAMED: Final = 200_000
_MOST_AWAITED: Final = 100_000
_MOST_WRITES: Final = 200_000


class Tally:
    """Counts what happens, one short method each; `account` draws the sum.

    Memory: two times of 8 bytes for each of the last four million requests, four bytes for each numbered item.
    """

    def __init__(self, limits: Sequence[Limit] = (), kinds: Sequence[str] = ()) -> None:
        self._limits, self._kinds = tuple(limits), tuple(kinds)
        self.arrived = self.accepted = self.refused = self.injected = self.unauthorized = 0
        self.failed = self.cut = self.served = self.free = self.malformed = self.noise = 0
        self.truncated = self.slowed = self.told = 0
        self.early_retries = self.in_pause = self.pauses = self.pauses_over = 0
        self.herd = self.herd_refused = 0
        self.unsafe = self.unsafe_duplicates = 0
        self._writes: dict[int, None] = {}
        self.in_flight = self.most_in_flight = 0
        self.connections = self.open_connections = self.most_connections = 0
        self.distinct_items = self.duplicates = self.uncounted_items = 0
        self.held = 0.0
        self.held_count = 0
        self._judged = True
        self.first: float | None = None
        self.last = 0.0
        self.first_epoch = 0.0
        self._sent = _Times()
        self._accepted = _Times()
        self._numbered = array("I")
        self._named: dict[str, int] = {}
        self._awaited: dict[tuple[str, str], float] = {}
        self.common = Watch()

    def change(self, limits: Sequence[Limit], kinds: Sequence[str]) -> None:
        """The limits are others from now on; the time that was least possible is no longer defined."""
        if (tuple(limits), tuple(kinds)) != (self._limits, self._kinds):
            self._judged = self._judged and not self.arrived
            self._limits, self._kinds = tuple(limits), tuple(kinds)

    def arrive(self, now: float, target: str, watch: Watch | None = None) -> None:
        """A request to a limited path; `watch`: that of its key, where keys have limits of their own."""
        watch = watch or self.common
        self.arrived += 1
        if not self.arrived % _MOST_TIMES:
            self._forget()
        self._sent.add(now)
        if self._awaited:
            told = self._awaited.pop((watch.key, target), None)
            # A millisecond for clocks: dates and epochs are told by another one than ours.
            if told is not None and now < told - 0.001:
                self.early_retries += 1
        if watch.awake:
            watch.see(now, self)

    def write(self, identity: int) -> None:
        """A request was carried out that must not be carried out twice; `identity`: of what it does."""
        self.unsafe += 1
        if identity in self._writes:
            self.unsafe_duplicates += 1
        else:
            if len(self._writes) >= _MOST_WRITES:
                del self._writes[next(iter(self._writes))]
            self._writes[identity] = None

    def accept(self, now: float, epoch: float) -> None:
        """The limits let a request in."""
        self.accepted += 1
        self._accepted.add(now)
        if self.first is None:
            self.first, self.first_epoch = now, epoch
        self.last = now
        self.in_flight += 1
        if self.in_flight > self.most_in_flight:
            self.most_in_flight = self.in_flight

    def connect(self) -> None:
        """A connection was opened."""
        self.connections += 1
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)

    def over(self, now: float, arrived: float) -> None:
        """An accepted request has ended, one way or another."""
        self.in_flight -= 1
        self.held += now - arrived
        self.held_count += 1

    def refuse(
        self, now: float, answered: float, target: str, told: float | None, watch: Watch | None = None
    ) -> None:
        """A request was refused; `told` is the wait in seconds that its answer names, if it names a true one."""
        watch = watch or self.common
        watch.refuse(now, answered, told, self)
        if told is None:
            return
        self.told += 1
        if len(self._awaited) >= _MOST_AWAITED:
            del self._awaited[next(iter(self._awaited))]
        self._awaited[watch.key, target] = now + told

    def serve(self, name: str) -> None:
        """An item was answered in full."""
        if len(name) <= 7 and name.isdecimal() and name.isascii() and (name[0] != "0" or name == "0"):
            number = int(name)
            if number < _MOST_NUMBERED:
                numbered = self._numbered
                if number >= len(numbered):
                    size = min(max(1024, number * 2), _MOST_NUMBERED)
                    numbered.extend(array("I", bytes(numbered.itemsize * (size - len(numbered)))))
                before = numbered[number]
                numbered[number] = before + 1
                self._again(before)
                return
        before = self._named.get(name, 0)
        if not before and len(self._named) >= _MOST_NAMED:
            self.uncounted_items += 1
            return
        self._named[name] = before + 1
        self._again(before)

    def _again(self, before: int) -> None:
        if before:
            self.duplicates += 1
        else:
            self.distinct_items += 1

    def times_served(self, name: str) -> int:
        """How often one item was served."""
        if name in self._named:
            return self._named[name]
        if (
            name.isdecimal()
            and name.isascii()
            and str(int(name[:20])) == name
            and int(name) < len(self._numbered)
        ):
            return self._numbered[int(name)]
        return 0

    def items(self) -> dict[str, int]:
        """How often each item was served, those served at least once."""
        numbered = {str(number): count for number, count in enumerate(self._numbered) if count}
        return {**numbered, **self._named}

    def _forget(self) -> None:
        periods = [limit.period for limit in self._limits if limit.period]
        self._sent.halve(periods)
        self._accepted.halve(periods)

    def account(
        self, keys: int = 1, needed: Callable[[int], tuple[float, float]] | None = None, scenario: str | None = None, phase: str | None = None
    ) -> Account:
        """The sum of what was seen; `keys`: how many had limits of their own.

        needed: the seconds that so many accepted requests need, at least and at the quota's own pace, where limits
        changed on the way as planned.
        """
        limits, kinds = self._limits, self._kinds
        periods = [limit.period for limit in limits]
        most = [self._accepted.most_within(period) if period else self.most_in_flight for period in periods]
        sent = [self._sent.most_within(period) if period else self.most_in_flight for period in periods]
        makespan = self.last - self.first if self.first is not None else None
        pairs = [(limit, kind) for limit, kind in zip(limits, kinds, strict=True) if kind != "none"]
        judged = bool(pairs) and self._judged and keys <= 1 and makespan is not None
        least = pace = utilisation = None
        idle: int | None = None
        if judged and makespan is not None:
            hold = self.held / self.held_count if self.held_count else 0.0
            least = max(
                least_time(limit, kind, self.accepted, self.first_epoch, hold) for limit, kind in pairs
            )
            free = min(allowed_by(limit, kind, makespan, self.first_epoch, hold) for limit, kind in pairs)
            if math.isfinite(free):
                idle = max(0, int(free) - self.accepted)
            if makespan > 0 and least > 0:
                utilisation = least / makespan
            rates = [limit.rate for limit, _ in pairs if limit.period]
            if rates and makespan > 0 and self.accepted > 1:
                pace = (self.accepted - 1) / min(rates) / makespan
        elif pairs and keys <= 1 and makespan and needed is not None and self.accepted > 1:
            least, paced = needed(self.accepted)
            utilisation = min(1.0, least / makespan) if least > 0 else None
            pace = paced / makespan if paced > 0 else None
        return Account(
            limits=tuple(
                f"{limit}, as {kind}" if kind != limit.shape else str(limit)
                for limit, kind in zip(limits, kinds, strict=True)
            ),
            arrived=self.arrived,
            accepted=self.accepted,
            refused=self.refused,
            injected=self.injected,
            unauthorized=self.unauthorized,
            failed=self.failed,
            cut=self.cut,
            served=self.served,
            free=self.free,
            malformed=self.malformed,
            truncated=self.truncated,
            slowed=self.slowed,
            told=self.told,
            early_retries=self.early_retries,
            pauses=self.pauses,
            in_pause=self.in_pause,
            pauses_over=self.pauses_over,
            herd=self.herd,
            herd_refused=self.herd_refused,
            unsafe=self.unsafe,
            unsafe_duplicates=self.unsafe_duplicates,
            most_in_window=tuple(most),
            most_sent_in_window=tuple(sent),
            most_in_flight=self.most_in_flight,
            distinct_items=self.distinct_items,
            duplicates=self.duplicates,
            uncounted_items=self.uncounted_items,
            keys=keys,
            noise=self.noise,
            connections=self.connections,
            most_connections=self.most_connections,
            makespan=makespan,
            least_time=least,
            utilisation=utilisation,
            pace=pace,
            idle_quota=idle,
            rate=min((limit.rate for limit, _ in pairs if limit.period), default=0.0),
            scenario=scenario,
            phase=phase,
        )


class _Times:
    """Moments in order, and the most of them in any window of a length; remembers where it stopped counting."""

    def __init__(self) -> None:
        self._times = array("d")
        self._meters: dict[float, list[int]] = {}
        self.add = self._times.append

    def most_within(self, period: float) -> int:
        """The most moments in any window (t - period, t]; exact for windows of up to two million."""
        meter = self._meters.setdefault(period, [0, 0, 0])
        low, high, most = meter
        times = self._times
        for high in range(high, len(times)):  # noqa: B020 - goes on where it stopped
            moment = times[high]
            while times[low] + period <= moment:
                low += 1
            if high - low >= most:
                most = high - low + 1
        meter[:] = low, len(times), most
        return most

    def halve(self, periods: Sequence[float]) -> None:
        """Forgets the older half, after counting it; memory stays bounded however long the server runs."""
        for period in periods:
            self.most_within(period)
        gone = len(self._times) // 2
        del self._times[:gone]
        for meter in self._meters.values():
            meter[0], meter[1] = max(0, meter[0] - gone), max(0, meter[1] - gone)
