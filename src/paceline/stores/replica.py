"""The books of a scope that many processes share: a ledger and who uses it, replayed from the store's log.

Pure and deterministic: the same entries in the same order give the same books in every process, so each computes
for itself which departure slots it was given. Slots are booked ahead in the order of the log; the moment of the
last one booked is the ledger's present, whatever the store's clock says: it never goes back.

Fair by construction: a call is given at most its seat's share of half the look-ahead (and of what may go at the same
moment). A seat of less weight than another that wants too is held to its share of the rate.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import CostAboveQuota, InputError
from ..ledger import Cost, Learned, Ledger
from ..limits import Limit
from ..signals import Quota, Signal
from .codec import dump, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .protocol import Entry

__all__ = ["AHEAD", "FORMAT", "SEAT_KEPT", "Outcome", "Replica", "Seat", "Slot", "signal_from_json", "signal_to_json"]

FORMAT: Final = 2  # of entries and snapshots; to be raised with every change that makes a replay end otherwise
AHEAD: Final = 0.4  # seconds that slots are booked ahead where calls are quick
_FARTHEST: Final = 5.0  # seconds ahead that a single slot may lie
SEAT_KEPT: Final = 30.0  # seconds without a call after which a worker is taken for gone, and its places come back
_MOST_SLOTS: Final = 2000  # a call
_MOST_SEATS: Final = 10_000


class Slot(NamedTuple):
    """One departure slot: the moment it is for, and the cost it was booked with."""

    at: float
    cost: Cost


@dataclass(slots=True)
class Seat:
    """One worker as the log knows it.

    seen, booked: when it last called, and last asked for slots. want: how many of them it was not given.
    until: its last slot; flying: permits it holds and has not released; total: permits it was given.
    """

    seq: int = 0
    seen: float = 0.0
    booked: float = -inf
    want: int = 0
    flying: int = 0
    weight: float = 1.0
    until: float = -inf
    total: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What an entry came to.

    slots: given to its writer; error: why one of its costs can never be granted. next_at: when the first of those
    not given may go (infinite: not before something is released or answered), held_by: what stands in the way.
    void_before: slots booked earlier for moments before it must not be used any more.
    """

    worker: str = ""
    seq: int = 0
    slots: list[Slot] = field(default_factory=list)
    next_at: float | None = None
    held_by: str = ""
    void_before: float = -inf
    learned: list[tuple[Learned, int]] = field(default_factory=list)
    error: CostAboveQuota | None = None


class Replica:
    """See the module. `replayed` is the number of the last entry taken in."""

    def __init__(self, offset: float = 0.0) -> None:
        self.ledger = Ledger((), now=0.0, offset=offset)
        self.seats: dict[str, Seat] = {}
        self.replayed = 0
        self.cursor = -inf
        self.not_before = -inf
        self.paused: tuple[float, str] | None = None
        self.last = self.swept = -inf
        self.told = False
        self.lineage = ("", 0)  # the log that this one took the place of, and its last entry known here

    # ---- as text --------------------------------------------------------------------------------

    def snapshot(self) -> str:
        """The books as text."""
        seats = {
            name: [s.seq, s.seen, s.booked, s.want, s.flying, s.weight, s.until, s.total]
            for name, s in self.seats.items()
        }
        return json.dumps(
            {
                "format": FORMAT, "ledger": dump(self.ledger), "seats": seats, "cursor": self.cursor, "last": self.last, "swept": self.swept,
                "not_before": self.not_before, "paused": self.paused, "told": self.told, "lineage": self.lineage,
            },
            separators=(",", ":"),
        )  # fmt: skip

    @classmethod
    def restore(cls, text: str, replayed: int, offset: float) -> Replica:
        """Books from their text; raises InputError for another format than this version's."""
        try:
            saved = json.loads(text)
            if saved["format"] != FORMAT:
                raise InputError(
                    f"the store's books have format {saved['format']!r}, this version of paceline reads {FORMAT}: "
                    "run the same version everywhere, or name another scope"
                )
            replica = cls(offset)
            replica.ledger = load(saved["ledger"])
            replica.ledger.offset = offset
            replica.seats = {name: Seat(*numbers) for name, numbers in saved["seats"].items()}
            replica.cursor, replica.not_before = float(saved["cursor"]), float(saved["not_before"])
            replica.last, replica.told = float(saved["last"]), bool(saved["told"])
            replica.swept = float(saved["swept"])
            replica.lineage = (str(saved["lineage"][0]), int(saved["lineage"][1]))
            paused = saved["paused"]
            replica.paused = None if paused is None else (float(paused[0]), str(paused[1]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"what the store holds is not a scope's state: {error!r}"[:200]) from None
        replica.replayed = replayed
        return replica

    # ---- replaying ------------------------------------------------------------------------------

    def apply(self, entry: Entry) -> Outcome:
        """Replays one entry; raises InputError for one that no version of paceline wrote."""
        now = entry.at
        try:
            said = json.loads(entry.text)
            if said.get("f", FORMAT) != FORMAT:
                raise InputError(
                    f"another process writes to this scope in format {said['f']!r}, this version of paceline reads "
                    f"{FORMAT}: run the same version everywhere, or name another scope"
                )
            outcome = Outcome(said["w"], said["s"])
            seat = self.seats.get(outcome.worker)
            if seat is None or now - self.swept > 1.0:
                self._forget_seats(now)
                self.swept = now
                seat = self.seats.get(outcome.worker)
            if seat is None:
                seat = self.seats[outcome.worker] = Seat()
            seat.seq, seat.seen = outcome.seq, now
            for name, *given in said["o"]:
                _OPERATIONS[name](self, now, seat, outcome, *given)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"what the store holds is not an entry of paceline's: {error!r}"[:200]) from None
        self.last = now
        self.replayed = entry.index
        return outcome

    def _forget_seats(self, now: float) -> None:
        for name, seat in list(self.seats.items()):
            if now - seat.seen > SEAT_KEPT or len(self.seats) >= _MOST_SEATS:
                del self.seats[name]
                if seat.flying:
                    # It died with permits in hand: their places are free again, and so is the right to probe.
                    self.ledger._unwritten = max(0, self.ledger._unwritten - seat.flying)
                    self._land(seat, seat.flying, now)
                    self.ledger._probe_at = None

    def gone(self, now: float) -> tuple[str, ...]:
        """Workers not seen for long."""
        return tuple(name for name, seat in self.seats.items() if now - seat.seen > SEAT_KEPT)

    def alive(self, now: float) -> int:
        """How many workers were seen lately."""
        return sum(now - seat.seen <= SEAT_KEPT for seat in self.seats.values())

    # ---- operations -----------------------------------------------------------------------------

    def _join(self, now: float, seat: Seat, outcome: Outcome, texts: Sequence[str]) -> None:
        """A worker comes, and says which limits it was told; those of the last to come hold."""
        if self.last > -inf:
            self._rest(now)
        if texts:
            self._tell(now, outcome, texts)

    def _tell(self, now: float, outcome: Outcome, texts: Sequence[str]) -> None:
        limits = [Limit.parse(text) for text in texts]
        told = [str(each.full or each.limit) for each in self.ledger._told if each.told]
        if not self.told or told != [str(limit) for limit in limits]:
            self.ledger.update(limits, now)
            self.told = True
            outcome.void_before = inf

    def _limits(self, now: float, seat: Seat, outcome: Outcome, texts: Sequence[str]) -> None:
        self.ledger.update([Limit.parse(text) for text in texts], now)
        self.told = bool(texts)
        outcome.void_before = inf

    def _rest(self, now: float) -> None:
        """Time without a refusal counts as clean, whether or not anybody sent: evidence does not outlast itself."""
        ledger, last = self.ledger, self.last
        tight, period = ledger._tight, ledger._period()
        if tight.at_rest or now - last < period:
            return
        changed = False
        for count in range(1, min(int((now - last) / period), 1000) + 1):
            changed = tight.clean(last + count * period, period) or changed
        if now - last > 1000 * period and tight.ceiling == 1.0:
            ledger._tight = type(tight)()
            changed = True
        if changed:
            ledger._reschedule()

    def _book(
        self,
        now: float,
        seat: Seat,
        outcome: Outcome,
        groups: Sequence[Sequence[Any]],
        more: int,
        weight: float,
        lead: float,
        ahead: float,
    ) -> None:
        """Slots for [cost, how many, tracked], and as many `more` of cost 1 as may be had, the first `lead` seconds on."""
        ledger = self.ledger
        seat.booked, seat.weight = now, max(1e-6, weight)
        asked = sum(int(count) for _, count, _ in groups)
        rate = min((each.limit.rate for each in ledger._told if each.limit.period), default=inf) * ledger._tight.scale
        pace = 0.0 if rate == inf else 1.0 / rate
        span = max(ahead, 2 * pace * len(self.seats))
        rivals = [other for other in self.seats.values() if other is not seat and other.want and now - other.booked < span]
        share = seat.weight / (seat.weight + sum(other.weight for other in rivals))
        start = max(now + lead, self.cursor, self.not_before)
        farthest = max(now + lead + ahead, now + min((len(rivals) + 1) * 1.2 * pace + lead, _FARTHEST))
        quantum = _MOST_SLOTS if rate == inf else max(1, int(rate * ahead / 2 * share))
        # Who weighs less than others that want is spaced to its share of the rate: the others take what lies between.
        turn = -inf
        if any(other.weight > seat.weight for other in rivals):
            turn = min(seat.until + 0.97 * pace / share, now + _FARTHEST)
        moment, burst = start, 0
        slots = outcome.slots
        at = start
        for cost, count, tracked in (*groups, (1, more, 1)):
            for _ in range(int(count)):
                if moment < turn and pace:
                    outcome.next_at, outcome.held_by = turn, "pace"
                    break
                if len(slots) >= quantum and (at > slots[0].at or len(slots) >= burst):
                    outcome.next_at, outcome.held_by = at, "pace"
                    break
                try:
                    at = self._first(moment, cost, farthest)
                except CostAboveQuota as error:
                    outcome.error = error
                    break
                if at > farthest:
                    outcome.next_at, outcome.held_by = at, ledger.held_by
                    break
                moment = at
                if not slots:
                    left = min((each.schedule.left(each.state, at) for each in ledger._told), default=inf)
                    burst = _MOST_SLOTS if left == inf else ceil((left + 1) * share / 2)
                slots.append(Slot(at, cost))
                seat.total += _plain(cost)
                # What the server has counted and we have not heard of yet is no use by others.
                if tracked:
                    ledger._unwritten += 1
                else:
                    self._meter(at, cost)
                if tracked or any(not each.limit.period for each in ledger._told):
                    seat.flying += 1
                    ledger.in_flight += 1
            else:
                continue
            break
        if slots:
            self.cursor = seat.until = slots[-1].at
        seat.want = max(0, asked - len(slots))
        if not seat.want:
            outcome.next_at = None

    def _first(self, moment: float, cost: Cost, farthest: float) -> float:
        """Books `cost` for the first moment from `moment` on that the limits allow, if it is not beyond `farthest`."""
        for _ in range(1000):
            # Whole microseconds, so that a moment is the same number wherever it is read.
            whole = round(moment, 6)
            moment = whole if whole >= moment else round(whole + 1e-6, 6)
            at = self.ledger.take(moment, cost)
            if at <= moment:
                return moment
            if at > farthest:
                return at
            moment = at
        return inf

    def _wrote(self, now: float, seat: Seat, outcome: Outcome, writes: Sequence[Sequence[Any]]) -> None:
        """Slots whose requests are on the wire: [slot, written, cost, how many]."""
        for granted, wrote, cost, count in writes:
            for _ in range(int(count)):
                self.ledger.written(granted, wrote, cost, False)

    def _back(self, now: float, seat: Seat, outcome: Outcome, slots: Sequence[Sequence[Any]]) -> None:
        """Slots that were not used: [slot, cost, tracked]."""
        for granted, cost, tracked in slots:
            held = min(int(tracked or self._counts()), seat.flying)
            if tracked:
                self.ledger._unwritten = max(0, self.ledger._unwritten - 1)
            seat.flying -= held
            self.ledger.cancel(granted, cost, False)
            self.ledger.in_flight = max(0, self.ledger.in_flight - held)
            seat.total -= _plain(cost)

    def _meter(self, at: float, cost: Cost) -> None:
        for each in self.ledger._told:
            if each.meter is not None:
                each.meter.add(at, self.ledger._share(each.limit, cost))

    def _counts(self) -> bool:
        return any(not each.limit.period for each in self.ledger._told)

    def _done(self, now: float, seat: Seat, outcome: Outcome, granted: Sequence[float]) -> None:
        """Exchanges behind permits have ended."""
        self._land(seat, len(granted), now)
        if self.ledger._probe_at in granted:
            self.ledger._probe_at = None

    def _land(self, seat: Seat, count: int, now: float) -> None:
        count = min(count, seat.flying)
        seat.flying -= count
        ledger = self.ledger
        ledger.in_flight = max(0, ledger.in_flight - count)
        for each in ledger._told:
            if not each.limit.period:
                for _ in range(count):
                    each.schedule.release(each.state, 1)

    def _learn(
        self, now: float, seat: Seat, outcome: Outcome, departed: float, cost: Cost, signal: Any, status: int | None
    ) -> None:
        learned = self.ledger.learn(now, departed, cost, signal_from_json(signal), status)
        if learned != _NOTHING:
            outcome.learned.append((learned, status or 0))
        self._note_pause(now, outcome)

    def _note_pause(self, now: float, outcome: Outcome) -> None:
        ledger = self.ledger
        until = max(ledger._pause.until, ledger._held_until)
        if until > now:
            by_hand = ledger._held_until >= ledger._pause.until
            self.paused = (until, "paused by hand" if by_hand else ledger._pause.reason)
            outcome.void_before = max(outcome.void_before, until)

    def _settle(
        self, now: float, seat: Seat, outcome: Outcome, granted: float, wrote: float | None, reserved: Cost, actual: Cost
    ) -> None:
        self.ledger.adjust(max(now, self.cursor), granted, granted if wrote is None else wrote, True, reserved, actual)

    def _pause(self, now: float, seat: Seat, outcome: Outcome, seconds: float | None) -> None:
        self.ledger.pause(inf if seconds is None else now + seconds)
        self._note_pause(now, outcome)

    def _resume(self, now: float, seat: Seat, outcome: Outcome) -> None:
        self.ledger.resume(now)
        self.paused = None
        outcome.void_before = inf

    def _quiet(self, now: float, seat: Seat, outcome: Outcome, seconds: float) -> None:
        """The log was lost and begun anew: what others have booked in the old one may still go for so long."""
        self.not_before = max(self.not_before, now + seconds)

    def _own(self, now: float, seat: Seat, outcome: Outcome, spent: Sequence[Sequence[float]]) -> None:
        """What a worker has sent that this log does not know: [moment, permits]."""
        for at, permits in spent:
            self.ledger.charge(permits, min(at, max(now, self.cursor)))
            self._meter(min(at, now), permits)
            seat.total += permits

    def _seen(self, now: float, seat: Seat, outcome: Outcome) -> None:
        """A worker renews its lease."""


_OPERATIONS: Final[dict[str, Any]] = {
    "back": Replica._back, "book": Replica._book, "done": Replica._done, "join": Replica._join, "learn": Replica._learn,
    "limits": Replica._limits, "own": Replica._own, "pause": Replica._pause, "quiet": Replica._quiet,
    "resume": Replica._resume, "seen": Replica._seen, "settle": Replica._settle, "wrote": Replica._wrote,
}  # fmt: skip
_NOTHING: Final = Learned()


def _plain(cost: Cost) -> float:
    return cost if isinstance(cost, int | float) else 1.0


def signal_to_json(signal: Signal) -> list[Any]:
    """A signal as a list for an entry; notes stay behind."""
    return [
        signal.refused, signal.retry_after, signal.terminal, signal.concurrency,
        [[q.name, q.limit, q.remaining, q.reset_after, q.window, q.unit] for q in signal.limits[:16]], signal.dialect,
    ]  # fmt: skip


def signal_from_json(saved: Sequence[Any]) -> Signal:
    """The signal that `signal_to_json` was given."""
    refused, retry_after, terminal, concurrency, quotas, dialect = saved
    return Signal(refused, retry_after, terminal, concurrency, tuple(Quota(*each) for each in quotas), dialect)
