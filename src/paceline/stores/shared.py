"""What one process holds of a scope that others share: its slots, its word to the store, and what it knows of the rest.

Answers a line's questions like a ledger, from slots that were booked in the store for this process. It does no I/O:
`steps` yields the messages to be sent and is sent the replies. One call is under way at a time; whoever wants
a permit meanwhile is taken along by the next one. A call is made when somebody wants a slot and none is in hand, when
there is something that others must know, and while somebody waits at least every half second: a look, which appends
nothing, so that a pause, its end and other limits are heard wherever they were told.

The store's clock is bracketed by this process's own at every call (before, after), and the tightest bracket counts:
a slow store delays slots, it does not make them late or lose them.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections import deque
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal

from .._records import LimitState, ScopeState
from ..errors import CostAboveQuota
from ..ledger import BY_HAND, Cost, Learned, Ledger
from ..schedules import base_guard
from ..signals import Signal
from .codec import dump, load
from .protocol import Message, Reply, StoreUnavailable
from .replica import AHEAD, FORMAT, SEAT_KEPT, Replica, Slot, signal_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from ..limits import Limit
    from .clock import Clock

__all__ = ["Heard", "OnStoreLoss", "Shared"]

OnStoreLoss = Literal["share", "stop", "open"]

_ON_TIME: Final = 0.002  # seconds after its slot within which a request counts as written in it
_REPORT_WITHIN: Final = 0.05  # seconds within which others are told of late writes
_SNAPSHOT_EVERY: Final = 64  # entries
_DRIFT: Final = 1e-4  # seconds a second, between two clocks
_STEP: Final = 0.25  # seconds by which a clock must jump to be noticed
_FIRST_ASK, _LAST_ASK = 0.01, 0.5  # seconds between calls while only others' doings can free anything
_FIRST_TRY, _LAST_TRY = 0.1, 5.0  # seconds between tries to reach a lost store
_OWN_KEPT: Final = 256
_LOOK: Final = 0.5  # seconds after which one who waits, or sends without slots, looks what others have told
_RENEW: Final = SEAT_KEPT / 3  # seconds after which such a look says that this worker is there
_SLOW: Final = 0.02  # seconds that an answer is late at which calls cost permits, if no more of these are asked for
_RETURNING: Final = 0.1  # seconds between calls while others are still to come back to a store that was lost
_ROUNDS: Final = 12

if TYPE_CHECKING:
    Demand = Callable[[], tuple[list[list[Any]], int]]

# What happened that a line tells as events: (kind, facts).
Heard = tuple[str, Any]


class Shared:
    """See the module. Moments are this process's clock unless a name ends in `_there`: those count from the log's base.

    told: the limits of this worker's own configuration. weight: its share against other workers'.
    on_loss: what to do while the store cannot be reached.
    """

    only: Any = None
    only_state: Any = None
    reads_epoch = False

    def __init__(
        self, told: Sequence[Limit], *, clock: Clock, weight: float = 1.0, on_loss: OnStoreLoss = "share"
    ) -> None:
        self._clock = clock
        self._now = clock.now
        self.told = tuple(told)
        self.weight = weight
        self.on_loss = on_loss
        self.priority = 0  # of those who wait, the highest
        self.wanted: Callable[[], int] = lambda: 1  # how many permits are waited for
        self.offset = clock.epoch() - clock.now()
        self.begin()

    def begin(self) -> None:
        """A worker of its own: nothing known, nothing in hand. Identity survives neither a fork nor a pickle."""
        self.worker = secrets.token_hex(8)
        self.seq = 0
        self.replica: Replica | None = None
        self.held_by = "store"
        self.calling = False
        self.wants_call = False
        self.granted = 0.0
        self.heard: list[Heard] = []
        self.calls = 0
        self._log = ""
        self._base = 0
        # Local clock minus the log's time: at best, at least, at most; and as permits are told apart by.
        self._off = self._low = self._high = self._ref = 0.0
        self._bracketed_at: float | None = None
        self._late_by = 0.0
        self._sigma = 0.01  # seconds after its moment within which a slot may still be used
        self._slots: deque[tuple[float, Slot]] = deque()
        self._ops: list[list[Any]] = []
        self._wrote: dict[str, list[Any]] = {}  # on time, by cost
        self._late: list[list[Any]] = []
        self._done: list[float] = []
        self._served = 0
        self._served_at = -inf
        self._told_us: tuple[float, Any, int] | None = None
        self._unsure: Message | None = None
        self._snapshot_due = False
        self._joined = False
        self._wanted = False
        self._call_at = -inf
        self._next_at: float | None = None
        self._asks = 0
        self._flush_at = inf
        self._paused_until = -inf
        self._paused_for = "cooldown"
        self._own: deque[list[float]] = deque()
        self._alone: Ledger | None = None
        self._alone_used: list[list[float]] = []
        self._repeated = False
        self._lost_at: float | None = None
        self._back_at: float | None = None  # when a lost store was first heard again
        self._tries = 0
        self._recent = 0
        self._ran_dry = False
        self._pace = 0.0
        self._pace_at = self._now()
        self._seen_at = self._said_at = -inf  # when the store was last heard, and last told anything
        self._said_waiting = 0
        self._due = inf  # of whoever waits here
        self._freely = 0  # permits of a scope without limits, which nothing was booked for
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._flying = 0
        self._outstanding = 0

    # ---- time -----------------------------------------------------------------------------------

    def _there(self, moment: float) -> float:
        return round(moment - self._off, 6)

    def _slot(self, granted: float) -> float:
        """The slot's own moment in the log, exact, from that of its permit."""
        return round(granted - self._ref, 6)

    def _bracket(self, before: float, after: float, there: float) -> bool:
        """Takes in that the store's clock said `there` between two moments of ours; False: one of the clocks jumped."""
        low, high = before - there, after - there
        if self._bracketed_at is None:
            self._low, self._high = low, high
        else:
            drift = _DRIFT * max(0.0, after - self._bracketed_at) + 1e-5
            self._low, self._high = max(self._low - drift, low), min(self._high + drift, high)
            if self._low > self._high:
                if self._low - self._high > _STEP:
                    return False
                self._low, self._high = low, high
        if self._bracketed_at is None:
            self._ref = low
        self._off = (self._low + self._high) / 2
        self._bracketed_at = after
        late = after - there - self._off
        self._late_by = max(late, 0.8 * self._late_by)
        return True

    # ---- the ledger's questions: permits --------------------------------------------------------

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force, told and learned, as far as is known here."""
        if self._alone is not None:
            return self._alone.limits
        return self.replica.ledger.limits if self.replica is not None and self._joined else self.told

    @property
    def in_flight(self) -> int:
        """Permits of this process that are not released yet."""
        return self._flying

    def take(self, now: float, cost: Cost, tracked: bool = False) -> float:
        """A permit from a slot in hand whose time has come; else the moment to come back, as `Ledger.take` says it.

        `wants_call` is set where a call of the store is due first; the permit's own moment is left in `granted`.
        """
        self.wants_call = self._wanted = False
        if self._lost_at is not None:
            return self._take_alone(now, cost, tracked)
        replica = self.replica
        if replica is not None and self._joined and replica.ledger._free and now >= self._paused_until:
            self._freely += 1
            if now - self._seen_at > _LOOK:
                self._soon(now)
            return self._grant(now, now, tracked)
        if self._slots:
            self._drop_late(now)
        if now < self._paused_until:
            self.held_by = self._paused_for
            self._want(now, inf)
            return self._paused_until
        for index, (at, slot) in enumerate(self._slots):
            if slot.cost == cost:
                if at <= now:
                    del self._slots[index]
                    return self._grant(now, slot.at + self._ref, tracked)
                self.held_by = "pace"
                self._want(now, self._call_at if self.wanted() > len(self._slots) else inf)
                return at
        if replica is not None and self._joined:
            for told in replica.ledger._told:
                share = replica.ledger._share(told.limit, cost)
                if share > max(1.0, told.limit.quota):
                    raise CostAboveQuota(share, told.limit)
        self._want(now, self._call_at)
        self._ran_dry = self._ran_dry or not self._slots
        if self._next_at is not None and self._next_at > now and not self.wants_call:
            return self._next_at
        return inf

    def _want(self, now: float, at: float) -> None:
        self._wanted = True
        self._due = min(at, self._flush_at, self._seen_at + _LOOK)
        if not self.calling and now >= self._due:
            self.wants_call = True

    def _grant(self, now: float, at: float, tracked: bool) -> float:
        self.granted = at
        self._recent += 1
        if tracked:
            self._flying += 1
        self._outstanding += 1
        return now

    def _drop_late(self, now: float) -> None:
        latest = now - self._sigma
        while self._slots and self._slots[0][0] < latest:
            self._give_back(self._slots.popleft()[1], True)
            self._ran_dry = False

    def _give_back(self, slot: Slot, unused: bool) -> None:
        for op in self._ops:
            if op[0] == "back":
                op[1].append([slot.at, slot.cost, int(unused)])
                return
        self._ops.append(["back", [[slot.at, slot.cost, int(unused)]]])

    def wake(self, now: float, moment: float) -> float:
        """When a line must look again although nothing is due before `moment`."""
        if self.calling:
            return moment
        if self._lost_at is not None:
            return min(moment, self._call_at)
        return max(now, min(moment, self._due)) if self._wanted else moment

    @property
    def flush_at(self) -> float:
        """By when the store must be told what happened; infinite: nothing that others wait for."""
        return inf if self.calling else self._flush_at

    def _soon(self, at: float) -> None:
        if at < self._flush_at:
            self._flush_at = at

    def written(self, granted: float, wrote: float, cost: Cost, pending: bool = True) -> None:
        """A tracked permit's request went on the wire; others must know if it was late."""
        if self._alone is not None:
            self._alone.written(self._there(granted), self._there(wrote), cost)
            return
        slot, there = self._slot(granted), self._there(wrote)
        key = repr(cost)
        if there - slot > _ON_TIME:
            if self._paced():
                self._soon(wrote + _REPORT_WITHIN)
            self._late.append([slot, there, cost, 1])
        elif key in self._wrote:
            entry = self._wrote[key]
            entry[0] = entry[1] = max(entry[0], slot)
            entry[3] += 1
        else:
            self._wrote[key] = [slot, slot, cost, 1]

    def _paced(self) -> bool:
        return any(limit.period for limit in self.limits)

    def release(self, granted: float, cost: Cost, tracked: bool, wrote: bool, now: float) -> None:
        """The exchange behind a permit ended."""
        if tracked:
            self._flying = max(0, self._flying - 1)
        if self._alone is not None:
            self._alone.release(self._there(granted), cost, tracked, wrote, self._there(now))
            self._done.append(self._slot(granted))
            return
        if tracked and not wrote:
            self.written(granted, now, cost)
        if tracked or self._counts():
            self._done.append(self._slot(granted))
            if self._counts() or (self.replica is not None and self.replica.ledger._probing):
                self._soon(now)

    def _counts(self) -> bool:
        return any(not limit.period for limit in self.limits)

    def cancel(self, granted: float, cost: Cost, tracked: bool) -> None:
        """A permit was never used: another waiter of this process may have its slot, else the store."""
        if tracked:
            self._flying = max(0, self._flying - 1)
        if self._alone is not None:
            self._alone.cancel(self._there(granted), cost, tracked)
            return
        if self.replica is not None and self.replica.ledger._free:
            self._freely = max(0, self._freely - 1)
            return
        slot = Slot(self._slot(granted), cost)
        self._slots.appendleft((slot.at + self._off, slot))

    def adjust(self, now: float, granted: float, wrote: float | None, tracked: bool, reserved: Cost, actual: Cost) -> None:
        """Settles a reservation, in the store."""
        if self._alone is not None:
            there = None if wrote is None else self._there(wrote)
            self._alone.adjust(self._there(now), self._there(granted), there, tracked, reserved, actual)
            return
        self._ops.append(["settle", self._slot(granted), None if wrote is None else self._there(wrote), reserved, actual])
        self._soon(now)

    # ---- the ledger's questions: the server's word ----------------------------------------------

    def learn(self, now: float, departed: float, cost: Cost, signal: Signal, status: int | None = None) -> Learned:
        """Takes in what one answer said: at once here, in the store with the next call."""
        there = self._slot(departed)
        if self._alone is not None:
            there = self._there(departed)
            learned = self._alone.learn(self._there(now), there, cost, signal, status)
            return self._here(now, learned)
        replica = self.replica
        if replica is None:
            return Learned()
        if signal.refused or signal.retry_after:
            # What it will change is worked out on a copy; the books themselves change when the log says so.
            copy = load(dump(replica.ledger))
            learned = copy.learn(max(self._there(now), replica.last), there, cost, signal, status)
            self._ops.append(["learn", there, cost, signal_to_json(signal), status])
            self._soon(now)
            if learned.wait > 0:
                self._pause_here(now + learned.wait, "cooldown")
            return self._here(now, learned)
        self._served += 1
        self._served_at = max(self._served_at, there)
        ledger = replica.ledger
        if ledger._probing or ledger._pause.streak:
            self._soon(now)
        if signal.limits:
            if self._told_us is None or there >= self._told_us[0]:
                self._told_us = (there, signal_to_json(signal), status or 200)
            if not ledger._is_told() or ledger._led:
                self._soon(now)
            left = [quota.remaining for quota in signal.limits if quota.remaining is not None]
            return Learned(remaining=min(left) if left else None)
        return Learned()

    def served(self, now: float, granted: float, cost: Cost, signal: Signal) -> None:
        """`learn` and `release` in one, for a tracked permit that was written and whose answer says nothing of limits."""
        self.learn(now, granted, cost, signal)
        self.release(granted, cost, True, True, now)

    def _here(self, now: float, learned: Learned) -> Learned:
        return learned._replace(until=now + learned.wait + self.offset)

    def _pause_here(self, until: float, why: str) -> None:
        if until > self._paused_until:
            self._paused_until, self._paused_for = until, why
        self._void(until)

    def _void(self, before: float) -> None:
        kept = deque(each for each in self._slots if each[0] >= before)
        for at, slot in self._slots:
            if at < before:
                self._give_back(slot, True)
        self._slots = kept

    def pause(self, until: float) -> None:
        """Pauses the scope by hand, for all workers."""
        seconds = None if until == inf else max(0.0, until - self._now())
        self._ops.append(["pause", seconds])
        self._pause_here(until, "paused")
        self._soon(self._now())

    def resume(self, now: float) -> float | None:
        """Ends all pauses, for all workers."""
        left = self._paused_until - now
        self._paused_until = -inf
        self._ops.append(["resume"])
        self._void(inf)
        self._call_at = now
        self._soon(now)
        if self._alone is not None:
            self._alone.resume(self._there(now))
        return left if left > 0 else None

    def update(self, limits: Sequence[Limit], now: float) -> None:
        """Puts other limits in force, for all workers."""
        self.told = tuple(limits)
        self._ops.append(["limits", [str(limit) for limit in limits]])
        self._void(inf)
        self._call_at = now
        self._soon(now)
        if self._alone is not None:
            self._alone.update(self._part(self.told), self._there(now))

    @property
    def cooling(self) -> tuple[float, str] | None:
        """(until, reason) of the pause last begun."""
        if self._paused_until > -inf:
            reason = "refused by the server"
            if self.replica is not None and self.replica.paused is not None:
                reason = self.replica.paused[1]
            return self._paused_until, reason
        return None

    def look(self, now: float, waiting: int, next_at: float | None) -> ScopeState:
        """The scope as it stood at the last call, with what this process holds since."""
        until = self._paused_until if self._paused_until > now else None
        next_epoch = next_at + self.offset if next_at is not None and next_at < inf else None
        ledger = self._alone or (self.replica.ledger if self.replica is not None else None)
        if ledger is None:
            limits = tuple(LimitState(limit, limit.quota, 1.0, True) for limit in self.told)
        else:
            limits = ledger.look(self._there(now), 0, None).limits
        why = (self.cooling or (0.0, ""))[1] if until is not None else None
        return ScopeState(limits, waiting, next_epoch, self._flying, None if until is None else until + self.offset, why)

    def export(self, now: float) -> dict[str, Any]:
        """Nothing: the store remembers."""
        return {}

    def restore(self, saved: Mapping[str, Any], now: float) -> None:
        """Nothing: the store remembers better than a checkpoint."""

    def charge(self, permits: float, at: float) -> None:
        """Nothing: what went was booked in the store before it went."""

    # ---- calls ----------------------------------------------------------------------------------

    def steps(self, demand: Demand) -> Generator[Message, Reply | Exception, None]:
        """One call and what must follow at once; `demand` says what is wanted now: [cost, how many, tracked], and how
        many more of cost 1 are likely to be.

        Sent back: the reply, or the error that came instead. `calling` is held meanwhile.
        """
        for _ in range(_ROUNDS):
            message = self._message(demand)
            before = self._now()
            self.calls += 1
            reply = yield message
            after = self._now()
            if not isinstance(reply, Reply):
                self._lose(reply, after)
                return
            if reply.kind == "ok":
                repeated = self._repeated
                jumped = not self._take_in(reply, before, after)
                if not jumped and (self._lost_at is not None or not (repeated or self._alone_used)):
                    return
            else:
                jumped = False
            if reply.kind == "ok" and not jumped:
                continue
            if jumped or reply.kind == "none" or (reply.log == self._log and reply.log):
                reply = yield self._begin_anew(reply, before, after)
                if not isinstance(reply, Reply):
                    self._lose(reply, self._now())
                    return
                if reply.kind == "ok":
                    self._founded(reply, after, self._now())
                else:
                    self._adopt(reply, after, self._now())
            else:
                self._adopt(reply, before, after)
        self._lose(StoreUnavailable("", "the scope was begun anew again and again"), self._now())

    def _message(self, demand: Demand) -> Message:
        replica = self.replica
        if replica is None:
            return Message(keep=self._keep())
        self._repeated = self._unsure is not None
        if self._unsure is not None:
            # Word for word: if it was taken in, nothing of it is taken in again.
            return replace(self._unsure, since=replica.replayed, snapshot=None)
        groups, more = demand() if self._lost_at is None and not self._alone_used else ([], 0)
        ops: list[list[Any]] = []
        now = self._now()
        if now - self._said_at > SEAT_KEPT - 1:
            ops.append(["here", self.name])
        if not self._joined:
            ops.insert(0, ["join", [str(limit) for limit in self.told]])
        ops += self._take_ops()
        # Who only looks asks for nothing before it is due.
        if (groups or more) and self._paused_until <= now and (ops or now >= self._call_at):
            lead = max(0.0, self._late_by - self._sigma / 2)
            ahead = max(AHEAD, 4 * self._late_by)
            ops.append(["book", groups, more, self.weight * 8.0 ** max(-4, min(4, self.priority)), round(lead, 6), round(ahead, 3)])
        waiting = self.wanted()
        if not ops:
            if self._lost_at is None and waiting == self._said_waiting and now - self._said_at < _RENEW:
                return Message(self._log, replica.replayed, keep=self._keep())
            ops.append(["seen"])
        self.seq += 1
        self._said_at, self._said_waiting = now, waiting
        said = {"f": FORMAT, "w": self.worker, "s": self.seq, "o": ops}
        if waiting:
            said["n"] = waiting
        text = json.dumps(said, separators=(",", ":"))
        snapshot, at = None, 0
        gone: tuple[str, ...] = ()
        if self._snapshot_due:
            snapshot, at, gone = replica.snapshot(), replica.replayed, replica.gone(replica.last)
            self._snapshot_due = False
        self._unsure = Message(
            self._log, replica.replayed, self.worker, self.seq, text, snapshot, at, gone=gone, keep=self._keep()
        )
        self._flush_at = inf
        return self._unsure

    def _unsure_ops(self) -> list[list[Any]]:
        """What the last call, whose fate is not known, had to say; the slots it asked for are asked for anew."""
        assert self._unsure is not None and self._unsure.text is not None  # noqa: PT018
        said: list[list[Any]] = json.loads(self._unsure.text)["o"]
        return [op for op in said if op[0] not in ("book", "seen", "join")]

    def _take_ops(self) -> list[list[Any]]:
        ops, self._ops = self._ops, []
        if self._wrote or self._late:
            ops.insert(0, ["wrote", [*self._wrote.values(), *self._late]])
            self._wrote, self._late = {}, []
        if self._served or self._told_us is not None:
            if self._told_us is not None:
                ops.append(["learn", self._told_us[0], max(1, self._served), *self._told_us[1:]])
            else:
                ops.append(["learn", self._served_at, self._served, signal_to_json(Signal()), 200])
            self._served, self._told_us = 0, None
        if self._done:
            ops.append(["done", self._done])
            self._done = []
        if self._freely:
            ops.append(["sent", self._freely])
            self._freely = 0
        if self._alone_used and (self._lost_at is None or self._back_at is not None):
            ops.insert(0, ["own", [[self._there(at), permits] for at, permits in self._alone_used]])
            self._alone_used = []
        return ops

    def _keep(self) -> float:
        """Seconds that the store must remember the scope for."""
        replica = self.replica or Replica()
        return replica.keep(replica.last, self.told)

    def _take_in(self, reply: Reply, before: float, after: float) -> bool:
        """Replays what came back; False: the clock jumped, and the log is to be begun anew."""
        replica = self.replica
        assert replica is not None
        if reply.snapshot is not None and reply.snapshot_at > replica.replayed:
            known = replica.ledger.limits
            self.replica = replica = Replica.restore(reply.snapshot, reply.snapshot_at, reply.base / 1e6)
            # What led there was not heard: the pause and the limits are those of the books.
            self._paused_until = -inf
            if replica.ledger.limits != known:
                self._void(inf)
            self._heed_pause(replica)
        mine = None
        for entry in reply.entries:
            if entry.index <= replica.replayed:
                continue
            outcome = replica.apply(entry)
            if outcome.void_before > -inf:
                self._void(inf if outcome.void_before == inf else outcome.void_before + self._off)
            own = outcome.worker == self.worker
            if outcome.steered:
                # The last word holds, also where it is less than the one before; who waits is timed anew.
                self._paused_until = -inf
                self._call_at, self._next_at = after, None
                if not own:
                    self.heard += [("steered", each._replace(until=self._epoch(each.until))) for each in outcome.steered]
            if replica.paused is not None:
                self._heed_pause(replica)
            elif outcome.void_before == inf:
                self._paused_until = -inf
            if own and outcome.seq == self.seq:
                mine = (entry.at, outcome)
            elif not own:
                for learned, status in outcome.learned:
                    self.heard.append(("learned", (learned, status)))
        self._joined = True
        self._unsure = None
        self._seen_at = after
        if mine is not None:
            self._said_waiting = mine[1].waiting
        clock = (reply.clock - reply.base) / 1e6
        there = mine[0] if mine is not None else clock
        # A clock that went back stands still in the log; each call alone may find it too little to be a jump.
        steady = self._bracket(before, after, there) and there - clock <= _STEP
        guards = [base_guard(told.limit.period) for told in replica.ledger._told if told.limit.period]
        self._sigma = min(0.025, 0.6 * min(guards)) if guards else 1.0
        if reply.last - self._last_snapshot(reply) >= _SNAPSHOT_EVERY:
            self._snapshot_due = reply.last % 4 == 0 or reply.last - self._last_snapshot(reply) > 4 * _SNAPSHOT_EVERY
        if self._lost_at is not None:
            self._regain(after)
            # What the call that got lost had asked for was booked before others could tell what they sent meanwhile.
            for slot in mine[1].slots if mine is not None else ():
                self._give_back(slot, True)
            return True
        if mine is None:
            return True
        outcome = mine[1]
        if not steady:
            for slot in outcome.slots:
                self._give_back(slot, True)
            return False
        self._note_pace(after)
        off = self._off
        for slot in outcome.slots:
            self._slots.append((slot.at + off, slot))
        if outcome.slots:
            self._remember(replica.replayed, outcome.slots)
            self._asks = 0
            first = outcome.slots[0].at + off - after
            self._call_at = after + max(0.0, min(first / 2, AHEAD / 4))
            self._next_at = None
        if outcome.next_at is not None:
            self._plan(outcome.next_at, outcome.held_by, after, outcome.part)
        elif not outcome.slots:
            self._call_at, self._next_at = after, None
        if outcome.error is not None:
            self._call_at = after
        return True

    def _heed_pause(self, replica: Replica) -> None:
        if replica.paused is not None:
            until, reason = replica.paused
            if until + self._off > self._paused_until:
                self._paused_until = until + self._off
                self._paused_for = "paused" if reason.startswith(BY_HAND) else "cooldown"
            if until < replica.last:
                replica.paused = None

    def _epoch(self, there: float | None) -> float | None:
        return None if there is None else there + self._off + self.offset

    @staticmethod
    def _last_snapshot(reply: Reply) -> int:
        if reply.snapshot_at:
            return reply.snapshot_at
        return reply.entries[0].index - 1 if reply.entries else reply.last

    def _plan(self, next_at: float, held_by: str, after: float, part: int) -> None:
        """When to call again for the slots that were not to be had."""
        if next_at == inf:
            # Somebody must release or answer something first.
            self._asks += 1
            self._call_at = after + min(_LAST_ASK, _FIRST_ASK * 2.0 ** min(self._asks - 1, 10))
            self._next_at = None
        else:
            at = next_at + self._off
            ahead = max(AHEAD, 4 * self._late_by)
            wait = at - after
            if self._slots:
                # Once half of its part has gone, there is room for more.
                self._call_at = self._slots[max(0, len(self._slots) - 1 - part // 2)][0]
            else:
                self._call_at = max(at - ahead / 2 if wait > ahead else at, after + 0.0005)
            self._next_at = at
        self.held_by = held_by

    def _note_pace(self, now: float) -> None:
        elapsed = now - self._pace_at
        if elapsed > AHEAD / 2:
            self._pace = self._recent / elapsed
            self._recent, self._pace_at = 0, now

    def ahead(self) -> int:
        """How many more slots this process is likely to use soon, by what it used lately.

        Soon is what passes until the slots of a later call come: longer where calls take long. Who used all that it
        had and then waited for a slow store may ask for more than it used, or it would ask for ever less.
        """
        soon = AHEAD / 2 + 4 * self._late_by
        return int(self._pace * soon * (2.0 if self._ran_dry and self._late_by > _SLOW else 1.0))

    @property
    def in_hand(self) -> int:
        """Slots booked for this process and not used yet."""
        return len(self._slots)

    def _remember(self, index: int, slots: Sequence[Slot]) -> None:
        permits = sum(slot.cost if isinstance(slot.cost, int | float) else 1.0 for slot in slots)
        self._own.append([index, slots[-1].at, permits])
        if len(self._own) > _OWN_KEPT:
            first = self._own.popleft()
            self._own[0][2] += first[2]

    # ---- losses ---------------------------------------------------------------------------------

    def _begin_anew(self, reply: Reply, before: float, after: float) -> Message:
        """There is no log, the one known was moved or put back, or its clock jumped: begins one with what is known."""
        replica = self.replica
        name = secrets.token_hex(8)
        if replica is None:
            self.replica = replica = Replica(reply.clock / 1e6)
            base = reply.clock
        else:
            if reply.kind == "other" and reply.last >= replica.replayed and reply.entries:
                for entry in reply.entries:
                    if entry.index == replica.replayed + 1:
                        replica.apply(entry)
            now_there = max(replica.last, (before + after) / 2 - self._off)
            base = reply.clock - int(now_there * 1e6)
            replica.not_before = max(replica.not_before, now_there + self._horizon())
            replica.ledger.offset = base / 1e6
            self.heard.append(("anew", "the store lost what it knew of this scope, or was replaced"))
        replica.lineage = (self._log, replica.replayed)
        return Message(
            reply.log, worker=self.worker, snapshot=replica.snapshot(),
            snapshot_at=replica.replayed, found=name, base=base, keep=self._keep(),
        )  # fmt: skip

    def _horizon(self) -> float:
        return 2 * max(AHEAD, 4 * self._late_by)

    def _founded(self, reply: Reply, before: float, after: float) -> None:
        self._log, self._base = reply.log, reply.base
        old_off, self._bracketed_at = self._off, None
        self._bracket(before, after, (reply.clock - reply.base) / 1e6)
        shift = old_off - self._off
        if abs(shift) > _STEP:
            # The store's clock jumped, and the log's time with it: a slot in hand would else count as written as much too late.
            self._slots = deque((at, Slot(round(slot.at + shift, 6), slot.cost)) for at, slot in self._slots)
            self._own = deque([index, round(at + shift, 6), permits] for index, at, permits in self._own)
        self._unsure_again()

    def _adopt(self, reply: Reply, before: float, after: float) -> None:
        """Another log than the one known here holds now: takes it over, and tells it what it cannot know."""
        known, old_off, old_log = self.replica, self._off, self._log
        assert reply.snapshot is not None
        self.replica = replica = Replica.of(reply)
        self._log, self._base = reply.log, reply.base
        self._off, self._bracketed_at = 0.0, None
        self._bracket(before, after, (reply.clock - reply.base) / 1e6)
        if known is not None and self._joined:
            covered = replica.lineage[1] if replica.lineage[0] == old_log else -1
            shift = old_off - self._off
            spent = [[round(at + shift, 6), permits] for index, at, permits in self._own if index > covered]
            self._own = deque([index, round(at + shift, 6), permits] for index, at, permits in self._own)
            self._ops.insert(0, ["quiet", self._horizon()])
            if spent:
                self._ops.insert(1, ["own", spent])
            self._slots = deque((at, Slot(round(at - self._off, 6), slot.cost)) for at, slot in self._slots)
            self.heard.append(("anew", "the store lost what it knew of this scope, or was replaced"))
        self._unsure_again()
        self._said_at = -inf  # nobody there knows this worker's name
        self._heed_pause(replica)

    def _unsure_again(self) -> None:
        """A call of unknown fate is not repeated as it was in another log: what it had to say is, where it is missing."""
        if self._unsure is not None:
            seat = self.replica.seats.get(self.worker) if self.replica is not None else None
            if seat is None or seat.seq < self._unsure.seq:
                self._ops[:0] = self._unsure_ops()
            self._unsure = None

    def _lose(self, error: Exception, now: float) -> None:
        """The store cannot be reached: on alone, or not at all, until it can."""
        why = str(error)
        self._tries += 1
        self._back_at = None
        self._call_at = now + min(_LAST_TRY, _FIRST_TRY * 2.0 ** min(self._tries - 1, 10))
        self._flush_at = inf
        if self._lost_at is not None:
            return
        self._lost_at = now
        self.heard.append(("lost", why))
        if self.on_loss == "stop":
            return
        replica = self.replica
        if replica is None:
            self._off = 0.0 if self._bracketed_at is None else self._off
            self._alone = Ledger(self.told, now=self._there(now), offset=self.offset)
            return
        self._workers = max(1, replica.alive(replica.last))
        alone = load(dump(replica.ledger))
        alone.update(self._part([told.full or told.limit for told in alone._told]), self._there(now))
        self._alone = alone
        self._alone_from = now + self._before_alone(replica)

    _workers = 1
    _alone_from = -inf

    def _before_alone(self, replica: Replica) -> float:
        """Seconds before the first permit without the store: until then others use slots that they booked in it, of
        which this worker has not heard. Then the workers begin one after another, not all in the same moment."""
        if self.on_loss == "open" or self._workers == 1:
            return 0.0
        pace = max((1.0 / told.limit.rate for told in replica.ledger._told if told.limit.period), default=0.0)
        turn = sorted(replica.seats).index(self.worker) if self.worker in replica.seats else len(replica.seats)
        return max(AHEAD, 4 * self._late_by) + min(turn * pace, self._longest())

    def _longest(self) -> float:
        return max((limit.period for limit in self.told), default=0.0)

    def _part(self, limits: Sequence[Limit]) -> list[Limit]:
        """This worker's part of the limits, while the store cannot divide them."""
        if self.on_loss == "open" or self._workers == 1:
            return list(limits)
        return [
            replace(limit, quota=max(1.0, limit.quota // self._workers))
            if not limit.period
            else replace(
                limit,
                quota=limit.quota / self._workers,
                burst=None if limit.burst is None else max(1.0, limit.burst / self._workers),
            )
            for limit in limits
        ]

    def _take_alone(self, now: float, cost: Cost, tracked: bool) -> float:
        if not self.calling and now >= self._call_at:
            self.wants_call = True
        alone = self._alone
        if alone is None:
            self.held_by = "store"
            return inf
        if now < self._alone_from:
            self.held_by = "store"
            return self._alone_from
        there = self._there(now)
        at = alone.take(there, cost, tracked)
        self.held_by = alone.held_by
        if at > there:
            return at + self._off
        permits = cost if isinstance(cost, int | float) else 1.0
        used = self._alone_used
        if used and now - used[-1][0] < 0.01:
            used[-1] = [now, used[-1][1] + permits]
        else:
            used.append([now, permits])
            if len(used) > _OWN_KEPT:
                used[1][1] += used.pop(0)[1]
        return self._grant(now, there + self._off, tracked)

    def _regain(self, now: float) -> None:
        """The store answers again: together from here on, once the others who were cut off with us have come back too.

        Until then each keeps to its part and tells the store what it sends; none counts on what others still use.
        """
        replica, lost_at = self.replica, self._lost_at
        assert replica is not None and lost_at is not None  # noqa: PT018
        if self._back_at is None:
            self._back_at = now
        if self.on_loss != "stop" and now - self._back_at < _LAST_TRY + 2.0:
            since = self._there(lost_at)
            seats = replica.seats.items()
            if any(name != self.worker and since - SEAT_KEPT < seat.seen < since for name, seat in seats):
                self._call_at = now + _RETURNING
                return
            self._ops.insert(0, ["quiet", AHEAD + 2.5 * _RETURNING])
        self._back_at = None
        self.heard.append(("back", now - (self._lost_at or now)))
        self._lost_at, self._tries = None, 0
        self._alone = None

    def leave(self) -> bool:
        """Before a process goes: whether there is anything that a last call must give back or tell."""
        self._void(inf)
        return self._lost_at is None and self._joined and bool(self._ops or self._late or self._done)
