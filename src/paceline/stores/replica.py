"""The books of a scope that many processes share: a ledger and who uses it, replayed from the store's log.

Pure and deterministic: the same entries in the same order give the same books in every process, so each computes
for itself which departure slots it was given. Slots are booked ahead in the order of the log; the moment of the
last one booked is the ledger's present, whatever the store's clock says: it never goes back.

Fair by construction, in two ways. A seat holds at most its part (its share of half the look-ahead) in slots to come,
and asks again once half of them have passed: those who always want stand in one ring, each with its part of it. And
what a seat was given over its weight is its virtual time (start-time fair queueing, Goyal, Vin and Cheng 1996): one that is
further ahead of another that wants than two parts gets only slots that are near, and would else go by unused.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import CostAboveQuota, InputError
from ..ledger import Cost, Learned, Ledger
from ..limits import Limit
from ..schedules.fixed import Fixed
from ..schedules.steady import SteadyState
from ..signals import Quota, Signal
from .codec import dump, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .protocol import Entry, Reply

__all__ = [
    "AHEAD", "FORMAT", "SEAT_KEPT", "Outcome", "Replica", "Seat", "Slot", "Steered", "signal_from_json", "signal_to_json",
]  # fmt: skip

FORMAT: Final = 4  # of entries and snapshots; to be raised with every change that makes a replay end otherwise
AHEAD: Final = 0.4  # seconds that slots are booked ahead where calls are quick
_FARTHEST: Final = 5.0  # seconds ahead that a single slot may lie
_NEAR: Final = 0.05  # seconds within which a slot that nobody took is anybody's
_BY_NOW: Final = 0.01  # seconds by which a worker may take its slot for past before the store's clock says so
SEAT_KEPT: Final = 30.0  # seconds without a call after which a worker is taken for gone, and its places come back
_FORGOTTEN_AFTER: Final = 3600.0  # seconds that a store remembers a scope for at least
_MOST_SLOTS: Final = 2000  # a call
_MOST_SEATS: Final = 10_000
_WORD_KEPT: Final = 30 * 86_400.0  # seconds that a word of people without an end is kept, after the last call of anyone
_LONGEST_NAME: Final = 100
_AT_ONCE: Final = 0.01  # seconds ahead, within which a slot is no wait
_SHORTEST_TURN, _LONGEST_TURN = 1.0, 60.0  # seconds that a worker's rate is counted over


class Steered(NamedTuple):
    """What people, or a program on their behalf, told all of a scope: `pause`, `resume`, `set`, `reset`.

    until: when a pause ends, infinite: not before `resume`. limits, before: those in force from now on, and until now.
    """

    action: str
    until: float | None = None
    reason: str = ""
    limits: str = ""
    before: str = ""


class Slot(NamedTuple):
    """One departure slot: the moment it is for, and the cost it was booked with."""

    at: float
    cost: Cost


@dataclass(slots=True)
class Seat:
    """One worker as the log knows it.

    seen, booked: when it last called, and last asked for slots. want: for how many of them it must wait.
    virtual: permits that it was given over its weight, counted so that seats that want can be compared.
    until: its last slot; held: its slots to come, as [first, last, permits] a call.
    flying: permits it holds and has not released; total: permits it was given.
    unwritten: those of them that it has not reported as written yet. waiting: its callers that wait; name: what people call it.
    turn, count, before: permits of the present turn, which began at `turn`, and of the one before it.
    """

    seq: int = 0
    seen: float = 0.0
    booked: float = -inf
    want: int = 0
    flying: int = 0
    weight: float = 1.0
    virtual: float = 0.0
    until: float = -inf
    total: float = 0.0
    held: list[list[float]] = field(default_factory=list)
    unwritten: float = 0.0
    waiting: int = 0
    name: str = ""
    turn: float = -inf
    count: float = 0.0
    before: float = 0.0

    def ahead(self, now: float) -> float:
        """Permits of its slots that come after `now`; those before are let go of."""
        held = self.held
        while held and held[0][1] <= now:
            del held[0]
        return sum(
            permits if first > now else permits * (last - now) / (last - first) for first, last, permits in held
        )

    def went(self, at: float, permits: float, length: float) -> None:
        """Counts what it was given for the moment `at`; turns are `length` seconds long."""
        if at >= self.turn + length:
            self.before = self.count if at < self.turn + 2 * length else 0.0
            self.turn = at if at >= self.turn + 2 * length else self.turn + length
            self.count = 0.0
        self.count += permits

    def rate(self, now: float, length: float) -> float:
        """Permits a second over about the last `length` seconds."""
        # Slots are booked ahead: up to the last of them, where it is still to come.
        gone = max(0.0, max(now, self.until) - self.turn) / length
        if gone >= 1:
            return max(0.0, 2 - gone) * self.count / length
        return (self.count + (1 - gone) * self.before) / length


@dataclass(slots=True)
class Outcome:
    """What an entry came to.

    slots: given to its writer; part: how many it may hold at once, where more were asked for. error: why one of its
    costs can never be granted. next_at: when the first of those
    not given may go (infinite: not before something is released or answered), held_by: what stands in the way.
    void_before: slots booked earlier for moments before it must not be used any more.
    steered: what it told all workers to do. waiting: its callers that wait on, some for a slot that is theirs.
    """

    worker: str = ""
    seq: int = 0
    slots: list[Slot] = field(default_factory=list)
    part: int = 0
    next_at: float | None = None
    held_by: str = ""
    void_before: float = -inf
    learned: list[tuple[Learned, int]] = field(default_factory=list)
    steered: list[Steered] = field(default_factory=list)
    waiting: int = 0
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
        self.virtual = 0.0  # the least of those who wanted, never going back: where a seat that begins to want stands
        self.told = False
        self.lineage = ("", 0)  # the log that this one took the place of, and its last entry known here
        self.policy: list[str] = []  # the limits that the workers' own configuration told last
        self.ordered: list[str] | None = None  # those that people have set instead, until they reset the scope

    # ---- as text --------------------------------------------------------------------------------

    def snapshot(self) -> str:
        """The books as text."""
        seats = {name: astuple(seat) for name, seat in self.seats.items()}
        return json.dumps(
            {
                "format": FORMAT, "ledger": dump(self.ledger), "seats": seats, "cursor": self.cursor, "last": self.last, "swept": self.swept,
                "not_before": self.not_before, "paused": self.paused, "virtual": self.virtual, "told": self.told, "lineage": self.lineage,
                "policy": self.policy, "ordered": self.ordered,
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
            replica.swept, replica.virtual = float(saved["swept"]), float(saved["virtual"])
            replica.lineage = (str(saved["lineage"][0]), int(saved["lineage"][1]))
            replica.policy, ordered = [str(text) for text in saved["policy"]], saved["ordered"]
            replica.ordered = None if ordered is None else [str(text) for text in ordered]
            paused = saved["paused"]
            replica.paused = None if paused is None else (float(paused[0]), str(paused[1]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"what the store holds is not a scope's state: {error!r}"[:200]) from None
        replica.replayed = replayed
        return replica

    @classmethod
    def of(cls, reply: Reply) -> Replica:
        """The books as a store's answer tells them to one who knew nothing: its snapshot, and what followed."""
        replica = cls.restore(reply.snapshot or "", reply.snapshot_at, reply.base / 1e6)
        for entry in reply.entries:
            replica.apply(entry)
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
                seat = Seat()
                if not said.get("g"):  # guests steer, and are no workers that share the limit
                    self.seats[outcome.worker] = seat
            seat.seq, seat.seen = outcome.seq, now
            for name, *given in said["o"]:
                _OPERATIONS[name](self, now, seat, outcome, *given)
            seat.waiting = outcome.waiting = _still_waiting(int(said.get("n", 0)), outcome.slots, now)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"what the store holds is not an entry of paceline's: {error!r}"[:200]) from None
        if outcome.void_before > -inf:
            for other in self.seats.values():
                other.held.clear()
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
                    seat.unwritten = 0.0
                    self._land(seat, seat.flying, now)
                    self.ledger._probe_at = None

    def gone(self, now: float) -> tuple[str, ...]:
        """Workers not seen for long."""
        return tuple(name for name, seat in self.seats.items() if now - seat.seen > SEAT_KEPT)

    def alive(self, now: float) -> int:
        """How many workers were seen lately."""
        return sum(now - seat.seen <= SEAT_KEPT for seat in self.seats.values())

    @property
    def turn(self) -> float:
        """Seconds that a worker's rate is counted over: the shortest period, within reason."""
        periods = [told.limit.period for told in self.ledger._told if told.limit.period]
        return min(max(min(periods, default=_SHORTEST_TURN), _SHORTEST_TURN), _LONGEST_TURN)

    def used(self, index: int, now: float) -> float:
        """Permits that departed under a limit in its current period (for one of a number in flight: those in flight)."""
        told = self.ledger._told[index]
        if told.meter is None:
            return float(told.state.in_flight)
        period = told.limit.period
        begin = now - period * 31 / 32  # so that no more than a whole period is counted
        if isinstance(told.schedule, Fixed):
            begin = max(told.schedule.began(told.state, now), begin)
        gone = told.meter.since(begin, now)
        # Booked, and on the wire or about to be; who is idle since has nothing to report, until it comes again.
        return max(gone, min(gone + self._under_way(begin), told.limit.quota))

    def _under_way(self, since: float) -> float:
        """Permits of slots that were not reported as written, of seats whose last slot is not before `since`."""
        return sum(seat.unwritten for seat in self.seats.values() if seat.until >= since)

    def keep(self, now: float, told: Sequence[Limit] = ()) -> float:
        """Seconds that the store must remember the scope for: two periods of its limits (and of `told`), what people told
        it, and an hour more."""
        periods = 2 * max((limit.period for limit in (*self.ledger.limits, *told)), default=0.0)
        until = self.ledger._held_until
        if self.ordered is not None or until == inf:
            word = _WORD_KEPT
        else:
            word = until - now if until > now else 0.0
        return _FORGOTTEN_AFTER + max(periods, word)

    # ---- operations -----------------------------------------------------------------------------

    def _join(self, now: float, seat: Seat, outcome: Outcome, texts: Sequence[str]) -> None:
        """A worker comes, and says which limits it was told; those of the last to come hold."""
        if self.last > -inf:
            self._rest(now)
        if texts:
            self._tell(now, outcome, texts)

    def _tell(self, now: float, outcome: Outcome, texts: Sequence[str]) -> None:
        self.policy = list(texts)
        if self.ordered is not None:
            return
        limits = [Limit.parse(text) for text in texts]
        told = [str(each.full or each.limit) for each in self.ledger._told if each.told]
        if not self.told or told != [str(limit) for limit in limits]:
            self.ledger.update(limits, now)
            self.told = True
            outcome.void_before = inf

    def _limits(self, now: float, seat: Seat, outcome: Outcome, texts: Sequence[str]) -> None:
        """A worker's own program puts other limits in force."""
        self.policy = list(texts)
        if self.ordered is None:
            self._put(now, outcome, texts)

    def _put(self, now: float, outcome: Outcome, texts: Sequence[str]) -> None:
        """Puts limits in force. Under one of another period or shape, what is known to have gone, or may still go
        because its worker has not heard of this, counts."""
        ledger, after = self.ledger, max(now, self.cursor)
        before = list(ledger._told)
        booked = self._under_way(now - AHEAD)
        ledger.update([Limit.parse(text) for text in texts], now)
        for told in ledger._told:
            if not told.limit.period or any(told.state is old.state for old in before):
                continue
            meters = [old.meter for old in before if old.meter is not None and old.limit.unit == told.limit.unit]
            gone = max((meter.since(now - told.limit.period, after) for meter in meters), default=0.0)
            if isinstance(told.state, SteadyState):
                # What is paced from now on needs only what is under way, and no burst on top of it.
                told.schedule.spend(told.state, after, min(booked, told.limit.quota))
                told.state.credit = 0.0
            elif gone or booked:
                told.schedule.spend(told.state, after, min(gone + booked, told.limit.quota))
        self.told = bool(texts)
        outcome.void_before = inf

    def _set(self, now: float, seat: Seat, outcome: Outcome, texts: Sequence[str]) -> None:
        """People put limits in force, whatever the workers' configurations say, until `reset`."""
        before = ", ".join(map(str, self.ledger.limits))
        self.ordered = [str(Limit.parse(text)) for text in texts]
        self._put(now, outcome, self.ordered)
        outcome.steered.append(Steered("set", limits=", ".join(self.ordered), before=before))

    def _reset(self, now: float, seat: Seat, outcome: Outcome) -> None:
        """Forgets what was learned, counted and set; what is under way stays, and so does a pause by hand."""
        old, before = self.ledger, ", ".join(map(str, self.ledger.limits))
        ledger = self.ledger = Ledger((), now=now, offset=old.offset)
        ledger.in_flight, ledger._unwritten = old.in_flight, old._unwritten
        ledger._held_until, ledger._held_for = old._held_until, old._held_for
        ledger.update([Limit.parse(text) for text in self.policy], now)
        # Slots that others hold may still go before they hear of this.
        booked = self._under_way(now - AHEAD)
        if booked:
            ledger.charge(booked, max(now, self.cursor))
        self.ordered, self.paused, self.told = None, None, bool(self.policy)
        self._note_pause(now, outcome)
        outcome.void_before = inf
        outcome.steered.append(Steered("reset", limits=", ".join(self.policy), before=before))

    def _here(self, now: float, seat: Seat, outcome: Outcome, name: str) -> None:
        """What people call a worker."""
        seat.name = name[:_LONGEST_NAME]

    def _sent(self, now: float, seat: Seat, outcome: Outcome, permits: float) -> None:
        """What a worker sent where no limit is known, so that nothing was booked."""
        seat.went(now, permits, self.turn)
        seat.total += permits

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
        weight = max(1e-6, weight)
        rate = min((each.limit.rate for each in ledger._told if each.limit.period), default=inf) * ledger._tight.scale
        pace = 0.0 if rate == inf else 1.0 / rate
        rivals = self._rivals(now, seat, weight, pace, ahead)
        together = weight + sum(other.weight for other in rivals)
        if not seat.want:
            seat.virtual = max(seat.virtual, self.virtual)
        seat.booked, seat.weight = now, weight
        near = now + lead + _NEAR
        farthest = max(now + lead + ahead, now + min((len(rivals) + 1) * 1.2 * pace + lead, _FARTHEST))
        room = inf
        if pace:
            outcome.part = max(1, int(ahead / 2 / pace * weight / together))
            room = outcome.part - seat.ahead(now + lead + _BY_NOW)
        if rivals:
            least = min(other.virtual for other in rivals)
            self.virtual = max(self.virtual, min(seat.virtual, least))
            # Virtual times may lie two parts apart, of those whose parts are the largest for their weight.
            parts = ahead / 2 / pace / together if pace else 1.0
            latest = least + 2 * max(parts, 1 / weight, *(1 / other.weight for other in rivals))
        else:
            self.virtual, latest = max(self.virtual, seat.virtual), inf
        given, burst = 0.0, 0.0
        slots, moment, same = outcome.slots, max(now + lead, self.cursor, self.not_before), self.cursor
        length = self.turn
        asked = sum(int(count) for _, count, _ in groups)
        wanted = ((cost, tracked) for cost, count, tracked in (*groups, (1, more, 1)) for _ in range(int(count)))
        for cost, tracked in wanted:
            until = farthest if seat.virtual < latest else near
            if given >= room:
                # More than its part only of what may go at one moment, and of that half its share.
                until = min(until, same) if given < burst or not slots else -inf
            try:
                at = self._first(moment, cost, until)
            except CostAboveQuota as error:
                outcome.error = error
                break
            if at > until:
                outcome.next_at, outcome.held_by = at, ledger.held_by or "pace"
                if near < at <= farthest and seat.virtual >= latest:
                    behind = (seat.virtual - latest) * (together - weight) * pace
                    outcome.next_at = max(at - _NEAR, now + min(behind, ahead / 2))
                break
            moment = at
            if not slots:
                same = at
                left = min((each.schedule.left(each.state, at) for each in ledger._told), default=inf)
                burst = _MOST_SLOTS if left == inf else ceil((left + 1) * weight / together / 2)
            slots.append(Slot(at, cost))
            permits = _plain(cost)
            given += permits
            seat.total += permits
            seat.virtual += permits / weight
            seat.went(at, permits, length)
            # What the server has counted and we have not heard of yet is no use by others.
            if tracked:
                ledger._unwritten += 1
                seat.unwritten += permits
            else:
                self._meter(at, cost)
            if tracked or any(not each.limit.period for each in ledger._told):
                seat.flying += 1
                ledger.in_flight += 1
            if len(slots) >= _MOST_SLOTS:
                outcome.next_at, outcome.held_by = at, "pace"
                break
        if slots:
            self.cursor = seat.until = slots[-1].at
            seat.held.append([slots[0].at, slots[-1].at, given])
        if asked <= len(slots):
            outcome.next_at = None
        seat.want = max(0, asked - sum(slot.at <= near for slot in slots))

    def _rivals(self, now: float, seat: Seat, weight: float, pace: float, ahead: float) -> list[Seat]:
        """The other seats that must wait for what they want, as long as they can be expected to ask again."""
        wanting = [other for other in self.seats.values() if other.want and other is not seat]
        round_trip = pace * (weight + sum(other.weight for other in wanting))
        return [other for other in wanting if now - other.booked < 2 * max(ahead, min(round_trip / other.weight, _FARTHEST))]

    def _first(self, moment: float, cost: Cost, farthest: float) -> float:
        """Books `cost` for the first moment from `moment` on that the limits allow, if it is not beyond `farthest`."""
        for _ in range(1000):
            # Whole microseconds, so that a moment is the same number wherever it is read.
            whole = round(moment, 6)
            moment = whole if whole >= moment else round(whole + 1e-6, 6)
            if moment > farthest:
                return moment
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
            seat.unwritten = max(0.0, seat.unwritten - int(count) * _plain(cost))

    def _back(self, now: float, seat: Seat, outcome: Outcome, slots: Sequence[Sequence[Any]]) -> None:
        """Slots that were not used: [slot, cost, tracked]."""
        for granted, cost, tracked in slots:
            held = min(int(tracked or self._counts()), seat.flying)
            if tracked:
                self.ledger._unwritten = max(0, self.ledger._unwritten - 1)
                seat.unwritten = max(0.0, seat.unwritten - _plain(cost))
            seat.count = max(0.0, seat.count - _plain(cost))
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
            self.paused = (until, ledger.by_hand if by_hand else ledger._pause.reason)
            outcome.void_before = max(outcome.void_before, until)

    def _settle(
        self, now: float, seat: Seat, outcome: Outcome, granted: float, wrote: float | None, reserved: Cost, actual: Cost
    ) -> None:
        self.ledger.adjust(max(now, self.cursor), granted, granted if wrote is None else wrote, True, reserved, actual)

    def _pause(self, now: float, seat: Seat, outcome: Outcome, seconds: float | None, reason: str = "") -> None:
        until = inf if seconds is None else now + seconds
        self.ledger.pause(until, reason)
        self._note_pause(now, outcome)
        outcome.steered.append(Steered("pause", until, reason))

    def _resume(self, now: float, seat: Seat, outcome: Outcome) -> None:
        self.ledger.resume(now)
        self.paused = None
        outcome.void_before = inf
        outcome.steered.append(Steered("resume"))

    def _quiet(self, now: float, seat: Seat, outcome: Outcome, seconds: float) -> None:
        """The log was lost and begun anew: what others have booked in the old one may still go for so long."""
        self.not_before = max(self.not_before, now + seconds)

    def _own(self, now: float, seat: Seat, outcome: Outcome, spent: Sequence[Sequence[float]]) -> None:
        """What a worker has sent that this log does not know: [moment, permits]."""
        for at, permits in spent:
            self.ledger.charge(permits, min(at, max(now, self.cursor)))
            self._meter(min(at, now), permits)
            seat.total += permits
            seat.went(min(at, now), permits, self.turn)

    def _seen(self, now: float, seat: Seat, outcome: Outcome) -> None:
        """A worker renews its lease."""


_OPERATIONS: Final[dict[str, Any]] = {
    "back": Replica._back, "book": Replica._book, "done": Replica._done, "join": Replica._join, "learn": Replica._learn,
    "here": Replica._here, "limits": Replica._limits, "own": Replica._own, "pause": Replica._pause, "quiet": Replica._quiet,
    "reset": Replica._reset, "resume": Replica._resume, "seen": Replica._seen, "sent": Replica._sent, "set": Replica._set,
    "settle": Replica._settle, "wrote": Replica._wrote,
}  # fmt: skip
_NOTHING: Final = Learned()


def _still_waiting(callers: int, slots: Sequence[Slot], now: float) -> int:
    return max(0, callers - sum(slot.at - now < _AT_ONCE for slot in slots)) if callers else 0


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
