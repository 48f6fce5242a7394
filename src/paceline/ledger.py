"""The books of one scope: its limits, its pause, and what the server's answers taught about both.

Pure: no clock, no lock, no I/O. Whoever keeps a ledger (a store) calls it under its own lock with its own
clock's `now` (seconds) and asks three questions: may `cost` permits go now (`take`), what does this answer
change (`learn`), how do things stand (`look`). Several limits hold together, all or nothing.

How refusals are read: a ledger never lets more go than it was told, so a refusal for quota means that the server
enforces less than told, or that somebody else uses the quota too. The whole scope pauses, then ramps up again, and
its rate is tightened (see `_tightening`). However many requests of one volley are refused, they count as one. A
5xx that asks for a pause is no such proof: it pauses the scope and tightens nothing, unless it shows a quota
that is used up. With no limit told, refusals and headers without a period make the rate that was served
the first guess, which then grows and shrinks by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Final

from ._meter import Meter
from ._records import Cost, Learned, Led, LimitState, Pause, Ramp, ScopeState, Told
from ._tightening import Tightening
from .errors import CostAboveQuota
from .limits import Limit
from .schedules import Schedule, base_guard, schedule_for, widest_guard
from .schedules.fixed import Fixed

if TYPE_CHECKING:
    from .signals import Quota, Signal

__all__ = ["BY_HAND", "Cost", "Learned", "Ledger", "LimitState", "ScopeState"]

_FIRST_PROBE: Final = 1.0  # seconds of pause where a refusal names no wait; doubles up to _LAST_PROBE
_LAST_PROBE: Final = 60.0
_ZERO_WAIT: Final = 0.25  # a wait of 0 is not believed; doubles like a probe
_RAMP_LONGEST: Final = 10.0  # seconds from a tenth of the rate to all of it, at most
_FEWER: Final = 0.7  # of the number in flight, after a refusal for too many at once
_MORE_AFTER: Final = 5.0  # seconds without such a refusal after which one more may go at once
_LONGEST_CYCLE: Final = 60.0  # quotas that are used up and come back within it are better paced than used in bursts
_WISH_KEPT: Final = 60.0
_GROWN: Final = 5.0  # cycles after which the average rate says too little, because it has grown meanwhile
_STEP_BACK: Final = 0.9
_FOREIGN_SLACK: Final = 2.0  # permits by which the server's count may differ from ours
_MOST_LED: Final = 8
BY_HAND: Final = "paused by hand"


class Ledger:
    """See the module.

    limits: what was told; none: learn from headers and refusals.
    now: seconds on the store's clock; offset: epoch seconds minus that clock.

    >>> ledger = Ledger([Limit.parse("2/s sliding")], now=0.0, offset=0.0)
    >>> [ledger.take(0.0, 1) <= 0.0 for _ in range(3)]
    [True, True, False]
    >>> ledger.take(0.0, 1)  # come back then
    1.02
    """

    def __init__(self, limits: Sequence[Limit], *, now: float, offset: float) -> None:
        self.offset = offset
        self.held_by = "pace"
        self.in_flight = 0
        self._unwritten = 0
        self._pause = Pause()
        self._held_until = -inf  # by hand
        self._held_for = ""
        self._ramp: Ramp | None = None
        self._led: dict[str, Led] = {}
        self._probing = False
        self._probe_at: float | None = None  # the grant of the one request that probes
        self._served = 0.0  # since the last pause, or the last quota used up
        self._served_since = now
        self._last_served = -inf
        self._tight = Tightening()
        self._cycle = 1.0  # seconds that a guessed rate was measured over
        self._fewer_at = -inf
        self._wished_at = -inf
        self._told: list[Told] = []
        self.only: Schedule[Any] | None = None
        self.only_state: Any = None
        self.only_meter: Meter | None = None
        self.calm = False
        self.reads_epoch = False
        self._units: frozenset[str] = frozenset()
        self._install(limits, now)

    # ---- limits ---------------------------------------------------------------------------------

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force, told and learned."""
        return tuple(told.limit for told in self._told)

    def update(self, limits: Sequence[Limit], now: float) -> None:
        """Puts other limits in force; what was already sent counts on under a limit of the same shape and period."""
        self._tight = Tightening()
        self._fewer_at = -inf
        self._led.clear()
        self._install(limits, now)

    def _install(self, limits: Sequence[Limit], now: float, told: bool = True) -> None:
        before = list(self._told)
        self._told = []
        for limit in limits:
            kept = next((old for old in before if _akin(old.limit, limit)), None)
            schedule = self._schedule(limit)
            if kept is not None:
                before.remove(kept)
                entry = Told(limit, schedule, kept.state, told, kept.meter, since=kept.since)
            else:
                entry = Told(limit, schedule, schedule.start(now, self.offset), told, since=now)
                if limit.period:
                    entry.meter = Meter(limit.period)
                else:
                    entry.state.in_flight = float(self.in_flight)
            self._told.append(entry)
        self._note_limits()

    def _note_limits(self) -> None:
        limits = self.limits
        self.reads_epoch = any(limit.shape == "fixed" for limit in limits)
        self._units = frozenset(limit.unit for limit in limits if limit.period)
        self._settle_path()

    def _schedule(self, limit: Limit) -> Schedule[Any]:
        if not limit.period:
            return schedule_for(limit)
        tight, guard = self._tight, base_guard(limit.period)
        guard = max(guard, min(guard * tight.guard, widest_guard(limit.period)))
        return schedule_for(limit, guard=guard, scale=tight.scale, credit=tight.credit)

    def _reschedule(self) -> None:
        for told in self._told:
            if told.limit.period:
                told.schedule = self._schedule(told.limit)
        self._settle_path()

    def _period(self) -> float:
        """Seconds in which the rate of this scope's limits is judged anew."""
        if self._tight.ceiling == inf:
            return self._cycle
        return max(min((told.limit.period for told in self._told if told.limit.period), default=1.0), 0.1)

    def _settle_path(self) -> None:
        """Chooses the short way where one limit alone decides: `only` is its schedule, else None.

        calm: besides, an answer that is served and says nothing of limits changes counters alone.
        """
        plain = (
            len(self._told) == 1
            and not self._led
            and self._ramp is None
            and self._pause.until == -inf
            and self._held_until == -inf
            and not self._probing
            and not self.reads_epoch
        )
        # With no limit at all, and nothing learned of one, nothing stands in the way.
        self._free = not (
            self._told or self._led or self._ramp or self._probing or max(self._pause.until, self._held_until) > -inf
        )
        self.only, self.only_state, self.only_meter, self.calm = None, None, None, False
        if plain:
            told = self._told[0]
            self.only, self.only_state, self.only_meter = told.schedule, told.state, told.meter
            self.calm = bool(told.limit.period) and self._tight.at_rest and not self._pause.streak

    # ---- departures -----------------------------------------------------------------------------

    def take(self, now: float, cost: Cost, tracked: bool = False) -> float:
        """Books `cost` permits for now if they may go; else changes nothing and says when to come back.

        tracked: the caller will report `written` and `release`.
        Returns a moment `<= now` when booked, else the first moment at which it may succeed (infinite: not before
        something is released or answered; `held_by` says what stands in the way).
        Raises CostAboveQuota for a cost that no limit of its unit would ever grant.
        """
        only = self.only
        if only is not None and cost == 1:
            at = only.take(self.only_state, now, tracked)
            if at <= now:
                if tracked:
                    self.in_flight += 1
                    self._unwritten += 1
            else:
                self.held_by = "pace" if at < inf else "concurrency"
            return at
        if self._free:
            if tracked:
                self.in_flight += 1
                self._unwritten += 1
            return now
        return self._take(now, cost, tracked)

    def _take(self, now: float, cost: Cost, tracked: bool) -> float:
        at = self._gate(now, cost)
        # Behind a closed gate the limits are not asked: what they would say by then is not known yet.
        closed = at > now
        for told in self._told:
            share = self._share(told.limit, cost)
            if share > max(1.0, told.limit.quota):
                raise CostAboveQuota(share, told.limit)
            if closed:
                continue
            if isinstance(told.schedule, Fixed):
                told.schedule.realign(told.state, self.offset)
            if share:
                moment = told.schedule.earliest(told.state, now, share)
                if moment > at:
                    at = moment
                    self.held_by = "concurrency" if told.limit.shape == "concurrent" or moment == inf else "pace"
        if at > now:
            return at
        for told in self._told:
            share = self._share(told.limit, cost)
            if share:
                told.schedule.commit(told.state, now, share, tracked)
        for led in self._led.values():
            led.budget -= self._weigh(led.unit, cost)
        if self._ramp is not None:
            self._step_ramp(now)
        if self._probing:
            self._probe_at = now
        if tracked:
            self.in_flight += 1
            self._unwritten += 1
        return now

    def _share(self, limit: Limit, cost: Cost) -> float:
        """What a call's cost means under one limit: a plain number counts for the limits of its unit.

        Beside limits of another unit (tokens, points) every call counts one against those of requests.
        """
        if not limit.period:
            # A call holds one place, whatever it costs; one that costs nothing takes nothing.
            return 0.0 if cost == 0 else 1.0
        return self._weigh(limit.unit, cost)

    def _weigh(self, unit: str, cost: Cost) -> float:
        if type(cost) is not int and isinstance(cost, Mapping):
            return cost.get(unit, 1.0 if unit == "requests" else 0.0)
        if unit == "requests" and len(self._units) > 1 and cost:
            return 1.0
        return cost

    def _gate(self, now: float, cost: Cost) -> float:
        """What stands before the limits: the pauses, a probe under way, the ramp, quotas led by headers."""
        if now < self._held_until and self._held_until >= self._pause.until:
            self.held_by = "paused"
            return self._held_until
        if now < self._pause.until:
            self.held_by = "cooldown"
            return self._pause.until
        if self._held_until > -inf:
            # As after a cooldown: those who waited do not all go at once.
            self._pause.until, self._held_until = max(self._pause.until, self._held_until), -inf
        if self._pause.until > -inf:
            self._end_pause(now)
        if self._probing and self._probe_at is not None:
            self.held_by = "cooldown"
            return inf
        if cost == 0:
            return now
        at = now
        ramp = self._ramp
        if ramp is not None:
            if now >= ramp.start + ramp.length:
                self._ramp = None
                self._settle_path()
            elif ramp.next > now:
                self.held_by = "cooldown"
                at = ramp.next
        for name, led in list(self._led.items()):
            if now >= led.reset_at:
                if self._is_told():
                    del self._led[name]  # the told limit decides again
                    self._settle_path()
                    continue
                # A new window: a tenth of it until an answer tells more; after a time to "more", one.
                tenth = 1.0 if led.more or not led.limit else max(1.0, led.limit // 10)
                led.budget = max(tenth - self.in_flight, 0.0)
                led.reset_at = inf
            weight = self._weigh(led.unit, cost)
            if led.budget < min(weight, led.limit or weight):
                if led.reset_at == inf and not self.in_flight:
                    led.budget = weight  # nobody under way could tell us more: ask
                    continue
                if led.reset_at < inf and not self.in_flight and not self._is_told():
                    self._ran_dry(now, led.reset_at)
                self.held_by = "quota"
                at = max(at, led.reset_at)
        return at

    def _is_told(self) -> bool:
        return any(told.told and told.limit.period for told in self._told)

    def _step_ramp(self, now: float) -> None:
        ramp = self._ramp
        assert ramp is not None
        reached = 0.1 + 0.9 * min(1.0, max(0.0, now - ramp.start) / ramp.length)
        ramp.next = max(now, ramp.next) + 1.0 / (ramp.rate * reached)

    def written(self, granted: float, wrote: float, cost: Cost, pending: bool = True) -> None:
        """A tracked permit granted at `granted` went on the wire at `wrote`: that moment is what counts.

        Not `pending`: it was booked as gone at `granted` (slots that are booked ahead are).
        """
        if self._unwritten:
            self._unwritten -= 1
        if self.only is not None and cost == 1:
            self.only.written(self.only_state, granted, wrote, 1.0, pending)
            if self.only_meter is not None:
                self.only_meter.add(wrote, 1.0)
            return
        for told in self._told:
            share = self._share(told.limit, cost)
            if share:
                told.schedule.written(told.state, granted, wrote, share, pending)
                if told.meter is not None:
                    told.meter.add(wrote, share)

    def release(self, granted: float, cost: Cost, tracked: bool, wrote: bool, now: float) -> None:
        """The exchange behind a permit ended; never written, it counts as written now."""
        if tracked:
            self.in_flight = max(0, self.in_flight - 1)
            if not wrote:
                self.written(granted, now, cost)
        self._leave(granted, cost, tracked)

    def cancel(self, granted: float, cost: Cost, tracked: bool) -> None:
        """A permit was never used."""
        if tracked:
            self.in_flight = max(0, self.in_flight - 1)
            self._unwritten = max(0, self._unwritten - 1)
        for told in self._told:
            share = self._share(told.limit, cost)
            if share and told.limit.period:
                told.schedule.cancel(told.state, granted, share, tracked)
        for led in self._led.values():
            if granted >= led.heard_at:
                led.budget += self._weigh(led.unit, cost)
        self._leave(granted, cost, tracked)

    def _leave(self, granted: float, cost: Cost, tracked: bool) -> None:
        """What a permit held is free again: its place in flight, the right to probe."""
        if granted == self._probe_at:
            self._probe_at = None
        for told in self._told:
            # An untracked permit from before a number in flight was told holds no place of it.
            if not told.limit.period and cost != 0 and (tracked or granted >= told.since):
                told.schedule.release(told.state, 1)

    def adjust(self, now: float, granted: float, wrote: float | None, tracked: bool, reserved: Cost, actual: Cost) -> None:
        """Settles a reservation: the limits are charged or given back the difference.

        granted, wrote: the permit's moments; a tracked permit with no `wrote` is yet to be written.
        """
        pending = tracked and wrote is None
        for told in self._told:
            before, after = self._share(told.limit, reserved), self._share(told.limit, actual)
            if not told.limit.period or before == after:
                continue
            if after > before:
                told.schedule.commit(told.state, now, after - before, pending)
            else:
                told.schedule.refund(told.state, granted if wrote is None else wrote, before - after, pending)

    # ---- pauses ---------------------------------------------------------------------------------

    def pause(self, until: float, reason: str = "") -> None:
        """Pauses the scope by hand until the moment `until` (infinite: until `resume`); no cooldown is made shorter."""
        self._held_until, self._held_for = until, reason
        self._settle_path()

    def resume(self, now: float) -> float | None:
        """Ends all pauses at once, with a ramp as after a cooldown; returns how long they would still have lasted."""
        until = max(self._pause.until, self._held_until)
        self._pause.until, self._held_until = now if until > now else -inf, -inf
        self._ramp, self._probing, self._probe_at = None, False, None
        self._settle_path()
        return until - now if until > now else None

    def _end_pause(self, now: float) -> None:
        pause = self._pause
        paced = [told.limit for told in self._told if told.limit.period]
        length = min(min((limit.period for limit in paced), default=1.0), _RAMP_LONGEST)
        if paced:
            rate = max(limit.rate for limit in paced) * self._tight.scale
        else:
            # Nobody told a rate: that of what was served before the pause.
            rate = max(self._served / max(pause.volley - self._served_since, length), 10 / length)
        self._ramp = Ramp(pause.until, length, rate)
        pause.until = -inf
        self._served, self._served_since = 0.0, now
        self._settle_path()

    def cool(self, now: float, departed: float, wait: float | None, reason: str, probe: bool = True) -> bool:
        """Pauses the whole scope after a refusal of a request that departed at `departed`.

        wait: seconds asked by the server; None: it named none, then the pauses double and, with `probe`, a single
        request goes when one is over. Returns whether this refusal began a pause or made it longer; one that
        departed before the pause began, or in it, adds nothing but a later end.
        """
        pause = self._pause
        same_volley = self._of_the_volley(departed)
        if not same_volley:
            pause.streak += 1
        if wait is None or wait <= 0.0:
            if same_volley:
                return False
            first = _FIRST_PROBE if wait is None else _ZERO_WAIT
            wait = min(_LAST_PROBE, first * 2.0 ** min(pause.streak - 1, 10))
            if probe:
                self._probing, self._probe_at = True, None
        else:
            if pause.streak > 1 and not same_volley:
                # Sat out and refused all the same: the server asks for less than it means.
                wait = max(wait, min(_LAST_PROBE, wait * 2.0 ** min(pause.streak - 1, 10)))
                if probe:
                    self._probing, self._probe_at = True, None
            # Positive jitter only, so that those who were told the same moment do not meet there.
            wait += min(0.02 * wait, 0.010)
        if not same_volley:
            pause.volley = now
        until = now + wait
        if until <= pause.until:
            return False
        pause.until, pause.reason = until, reason
        self._ramp = None
        self._settle_path()
        return not same_volley

    def _of_the_volley(self, departed: float) -> bool:
        """Whether a refusal was counted already. In a pause nobody departs who knows of it: but another worker may not
        have heard of it yet, and a request granted before it may have taken its time to the wire."""
        return departed <= self._pause.volley or departed < self._pause.until

    @property
    def cooling(self) -> tuple[float, str] | None:
        """(until, reason) of the cooldown last begun, even if its time is over and nobody has come since."""
        return (self._pause.until, self._pause.reason) if self._pause.until > -inf else None

    # ---- learning -------------------------------------------------------------------------------

    def learn(self, now: float, departed: float, cost: Cost, signal: Signal, status: int | None = None) -> Learned:
        """Takes in what one answer said; `departed` is the moment its request was written."""
        if signal.refused:
            return self._learn_refusal(now, departed, signal, status)
        self._last_served = now
        pause = self._pause
        changed = bool(self._led)
        if departed > pause.volley:
            # One from before the pause says nothing about how things stand now.
            if pause.streak:
                pause.streak, changed = 0, True
            if self._probing:
                self._probing, self._probe_at, changed = False, None, True
        if departed >= self._served_since:
            self._served += self._weigh("requests", cost)
        learned = before = None
        remaining = None
        if signal.limits:
            learned, before = self._heed(now, departed, signal)
            remaining = _tightest(signal.limits)
        wait, began = 0.0, False
        if signal.retry_after:
            # Binding although served (a backoff wish): pause, but nothing was refused.
            wait = signal.retry_after
            if now + wait > pause.until:
                began = departed > pause.volley
                pause.until, pause.reason = now + wait, "asked by the server"
                pause.volley = now if began else pause.volley
                self._ramp = None
        if not self._tight.at_rest or self._fewer_at > -inf:
            self._recover(now)
        if changed or wait or signal.limits:
            self._settle_path()
        if not (wait or learned or remaining is not None):
            return _NOTHING
        return Learned(wait, now + wait + self.offset, began=began, remaining=remaining, learned=learned, before=before)

    def served(self, now: float, granted: float, cost: Cost, signal: Signal) -> None:
        """`learn` and `release` in one, for a tracked permit that was written and whose answer says nothing of limits."""
        if not self._free and (not self.calm or cost != 1):
            self.learn(now, granted, cost, signal)
            self.release(granted, cost, True, True, now)
            return
        self._last_served = now
        if granted >= self._served_since:
            self._served += self._weigh("requests", cost)
        if self.in_flight:
            self.in_flight -= 1

    def _learn_refusal(self, now: float, departed: float, signal: Signal, status: int | None) -> Learned:
        # Since it departed, or since the pause before: the pause's own end is tried out by one request of them all.
        others_served = self._last_served >= (volley if -inf < (volley := self._pause.volley) < departed else departed)
        first = not self._of_the_volley(departed)
        mismatch = None
        if signal.concurrency:
            if first:
                mismatch = self._fewer_at_once(now)
            began = self.cool(now, departed, signal.retry_after or 0.0, "too many at once", probe=False)
        else:
            began = self.cool(now, departed, signal.retry_after, "refused by the server")
            # A 5xx wishes a pause; only a quota that is used up proves more than that.
            proof = status is None or status < 500 or any(quota.remaining == 0 for quota in signal.limits)
            if first and not proof:
                # Nobody told a limit and it wishes so again and again: then a rate is meant after all.
                proof = not self._is_told() and now - self._wished_at < _WISH_KEPT
                self._wished_at = now
            # A pause that was sat out and did not help is no sign of too high a rate.
            if first and proof and self._pause.streak == 1:
                mismatch = self._unmoored(departed, now) or self._tighten(now, max(self._pause.until, now))
        if signal.limits:
            self._heed(now, departed, signal)
        wait = max(0.0, self._pause.until - now)
        return Learned(wait, now + wait + self.offset, began, others_served, _tightest(signal.limits), mismatch)

    def _tighten(self, now: float, until: float) -> str | None:
        """The limits were found too wide; what was done about it, where they were told."""
        if not any(told.limit.period for told in self._told) or self._tight.ceiling == inf:
            self._guess(now, until)
            return None
        action = self._tight.refused(now, self._period())
        if action is not None:
            self._reschedule()
        return action

    def _unmoored(self, departed: float, now: float) -> str | None:
        """Refused before anything was served in a window of the clock, or once more though less was sent: the server's
        windows begin elsewhere."""
        if self._last_served == -inf:
            return None  # whoever was before us may have used it up
        again = not self._tight.at_rest
        for entry in self._told:
            if isinstance(entry.schedule, Fixed) and entry.limit.zone is None:
                began = entry.schedule.began(entry.state, departed)
                if again or (self._last_served < began and departed - began < entry.limit.period / 4):
                    return self._unmoor(entry, now)
        return None

    def _astray(self, entry: Told, departed: float, now: float, quota: Quota, more: bool) -> bool:
        """Whether the server gives its window another end than the clock does."""
        if more or not quota.reset_after or not isinstance(entry.schedule, Fixed) or entry.limit.zone is not None:
            return False
        return not entry.schedule.agrees(entry.state, departed, now + quota.reset_after)

    def _unmoor(self, entry: Told, now: float) -> str:
        """Windows that the server begins at other moments than the clock (at a first request, or by a clock of its own):
        what holds in every window there is holds in those too."""
        before = entry.limit
        used = 0.0 if entry.meter is None else entry.meter.since(now - before.period, now)
        entry.limit = replace(before, shape="sliding")
        entry.schedule = self._schedule(entry.limit)
        entry.state = entry.schedule.start(now, self.offset)
        if used:
            entry.schedule.spend(entry.state, now, min(used, before.quota))
        self._note_limits()
        return f"its windows are not those of the clock; kept as {entry.limit}"

    def _fewer_at_once(self, now: float) -> str:
        """A refusal for too many at once: a ceiling below what was in flight, once for a whole volley."""
        self._fewer_at = now
        ceiling = max(1, int(max(self.in_flight, 1) * _FEWER))
        entry = next((told for told in self._told if not told.limit.period), None)
        if entry is None:
            limit = Limit(ceiling, shape="concurrent")
            schedule = self._schedule(limit)
            entry = Told(limit, schedule, schedule.start(now, self.offset), told=False, since=now)
            entry.state.in_flight = float(self.in_flight)
            self._told.append(entry)
        elif ceiling < entry.limit.quota:
            if entry.told and entry.full is None:
                entry.full = entry.limit
            self._change(entry, Limit(ceiling, shape="concurrent"))
        self._settle_path()
        return f"at most {entry.limit.quota:g} at once"

    def _change(self, entry: Told, limit: Limit) -> None:
        entry.limit = limit
        entry.schedule = self._schedule(limit)

    def _recover(self, now: float) -> None:
        """Clean periods give back what refusals took; see `Tightening`. Places in flight come back one by one."""
        if self._tight.clean(now, self._period()):
            self._reschedule()
        if self._fewer_at > -inf and now - self._fewer_at > _MORE_AFTER:
            self._fewer_at = now
            entry = next(told for told in self._told if not told.limit.period)
            more = entry.limit.quota + 1
            if entry.full is not None and more >= entry.full.quota:
                self._change(entry, entry.full)
                entry.full, self._fewer_at = None, -inf
            else:
                self._change(entry, Limit(more, shape="concurrent"))
            self._settle_path()

    def _ran_dry(self, now: float, until: float) -> None:
        """A quota known from headers alone is used up until the moment `until`."""
        if until - self._served_since <= _LONGEST_CYCLE:
            self._guess(now, until)
        self._served, self._served_since = 0.0, until
        # What is under way may still be refused: for the same reason, and no other rate.
        self._pause.volley = now

    def _guess(self, now: float, until: float) -> None:
        """With no limit told, the rate that one cycle of serving and waiting came to is the rate to keep."""
        cycle = until - self._served_since
        rate = self._served / cycle if self._served >= 2 and cycle > 0 else None
        guessed = next((told.limit for told in self._told if told.limit.period), None)
        if guessed is not None and self._tight.ceiling == inf:
            reached = None if rate is None else rate / guessed.rate
            if reached is not None and cycle > _GROWN * self._cycle:
                reached = max(reached, _STEP_BACK * self._tight.scale)
            if self._tight.refused(now, min(cycle, 1.0), reached) is not None:
                self._reschedule()
        elif guessed is None and rate is not None:
            self._cycle = min(max(cycle, 1.0), _LONGEST_CYCLE)
            self._tight = Tightening(inf, now=until)
            kept = list(self._told)
            limit = Limit(max(float(f"{rate:.3g}"), 0.001), 1.0)
            self._install([limit], now, told=False)
            self._told += kept
            self._note_limits()

    def _heed(self, now: float, departed: float, signal: Signal) -> tuple[str | None, str | None]:
        """Quotas in headers: led by them where none was told; else only lowered, for use that is not ours."""
        told = self._is_told()
        more = signal.dialect == "ietf"
        news: tuple[str | None, str | None] = (None, None)
        for quota in _strictest(signal.limits[:_MOST_LED]):
            unit = quota.unit or "requests"
            if unit != "requests" and unit not in self._units:
                continue
            if not told and quota.limit and quota.window and quota.window >= 0.001:
                news = self._adopt(now, quota, unit) or news
            elif not told:
                self._lead(now, departed, quota, unit, more)
                continue
            if quota.limit is not None:
                news = self._compare(now, departed, quota, unit, more) or news
        return news

    def _adopt(self, now: float, quota: Quota, unit: str) -> tuple[str, str | None] | None:
        """A quota whose period the server names is a limit like one that was told."""
        assert quota.limit is not None and quota.window is not None  # noqa: PT018
        window = min(quota.window, 366 * 86400.0)
        limit = Limit(max(quota.limit, 1), window, unit=unit)
        if self._tight.ceiling == inf:
            # What was guessed gives way to what is known.
            self._tight = Tightening()
            self._told = [entry for entry in self._told if not entry.limit.period]
        known = next((entry for entry in self._told if entry.limit.period == window and entry.limit.unit == unit), None)
        if known is not None:
            if known.limit == limit:
                return None
            before = str(known.limit)
            self._change(known, limit)
            self._note_limits()
            return str(limit), before
        schedule = self._schedule(limit)
        entry = Told(limit, schedule, schedule.start(now, self.offset), told=False, meter=Meter(window), since=now)
        self._told.append(entry)
        # What went before we knew, ours or others', has been spent already, and so is what is under way.
        used = (quota.limit - quota.remaining) if quota.remaining is not None else 0.0
        used = min(used + (self.in_flight if unit == "requests" else 0), limit.quota)
        if used > 0:
            schedule.spend(entry.state, now, used)
        self._note_limits()
        return str(limit), None

    def _lead(self, now: float, departed: float, quota: Quota, unit: str, more: bool) -> None:
        if quota.reset_after is None or quota.remaining is None:
            return
        name = quota.name or f"{quota.limit}"
        led = self._led.get(name)
        if led is None and len(self._led) >= _MOST_LED:
            return
        if led is not None and departed < led.heard_at:
            return
        budget = quota.remaining - max(0, self.in_flight - 1)
        self._led[name] = Led(quota.limit, budget, now + quota.reset_after, departed, more, unit)
        self._settle_path()

    def _compare(
        self, now: float, departed: float, quota: Quota, unit: str, more: bool
    ) -> tuple[str, str | None] | None:
        """A limit's own schedule wins while the server's count agrees with ours."""
        assert quota.limit is not None
        entries = [entry for entry in self._told if entry.limit.period and entry.limit.unit == unit]
        same = [entry for entry in entries if abs(quota.limit - (entry.full or entry.limit).quota) <= 1]
        if not same:
            # Another number for a period, or under a name, that is one of ours: the server has changed its limit.
            same = [
                entry
                for entry in entries
                if (quota.window is not None and abs(quota.window - entry.limit.period) <= 0.05 * entry.limit.period)
                or (quota.window is None and entry.heard == (quota.name or ""))
            ]
        news = None
        for entry in same[:1]:
            full = entry.full or entry.limit
            if quota.limit >= full.quota - 1:
                entry.heard = quota.name or ""
            if self._astray(entry, departed, now, quota, more):
                self._unmoor(entry, now)
                return str(entry.limit), str(full)
            lowered = full if quota.limit >= full.quota - 1 else _with_quota(full, max(1.0, quota.limit))
            if entry.told and lowered != entry.limit:
                news = str(lowered), str(entry.limit)
                entry.full = full if lowered != full else None
                self._change(entry, lowered)
                self._settle_path()
            self._look_for_others(now, departed, quota, entry, more)
        return news

    def _look_for_others(self, now: float, departed: float, quota: Quota, entry: Told, more: bool) -> None:
        """Led by the server's count where it shows use that is not ours; else no longer."""
        if quota.remaining is None or quota.limit is None or entry.meter is None:
            return
        depth = quota.limit if entry.limit.burst is None else min(quota.limit, entry.limit.burst)
        spare = _FOREIGN_SLACK + 0.05 * quota.limit + self._unwritten
        used = depth - quota.remaining
        meter = entry.meter
        if used > meter.since(departed - entry.limit.period, now) + spare and used > meter.most(departed, now) + spare:
            self._lead(now, departed, quota, entry.limit.unit, more)
        elif quota.remaining and self._led and self._led.pop(quota.name or f"{quota.limit}", None) is not None:
            self._settle_path()

    # ---- how things stand -----------------------------------------------------------------------

    @property
    def by_hand(self) -> str:
        """What a pause by hand is called, with its reason where one was given."""
        return f"{BY_HAND}: {self._held_for}" if self._held_for else BY_HAND

    def look(self, now: float, waiting: int, next_at: float | None) -> ScopeState:
        """The scope as it stands at `now`."""
        pause, by_hand = self._pause, self._held_until >= self._pause.until
        until = self._held_until if by_hand else pause.until
        return ScopeState(
            limits=tuple(
                LimitState(told.limit, told.schedule.left(told.state, now), self._tight.scale, told.told)
                for told in self._told
            ),
            waiting=waiting,
            next_at=next_at + self.offset if next_at is not None else None,
            in_flight=self.in_flight,
            paused_until=until + self.offset if until > now else None,
            paused_for=(self.by_hand if by_hand else pause.reason) if until > now else None,
        )

    def rested(self, now: float) -> bool:
        """Whether nothing is left to remember: a new ledger would let the same requests go from now on."""
        if self._free:
            return not self.in_flight
        if self.in_flight or self._led or not self._tight.at_rest or self._fewer_at > -inf:
            return False
        if not all(told.told and told.full is None for told in self._told):
            return False
        longest = max((told.limit.period for told in self._told), default=0.0)
        busy = max(self._last_served, self._pause.until, self._held_until, self._pause.volley)
        # An idle spell of two periods is what gives all of the burst back.
        return now > busy + 2 * longest + 1.0

    def export(self, now: float) -> dict[str, Any]:
        """What a later run must know to have no credit that this one has spent: plain numbers, epoch seconds."""
        saved: dict[str, Any] = {
            "limits": [
                [str(told.full or told.limit), told.schedule.export(told.state, self.offset)]
                for told in self._told
                if told.told
            ]
        }
        if now < self._pause.until < inf:
            saved["cool"] = self._pause.until + self.offset
        return saved

    def restore(self, saved: Mapping[str, Any], now: float) -> None:
        """Takes over what `export` gave, for limits of the same shape and period."""
        for text, numbers in saved.get("limits", ()):
            limit = Limit.parse(text)
            for told in self._told:
                if _akin(told.limit, limit):
                    told.schedule.restore(told.state, numbers, self.offset)
        cool = saved.get("cool")
        if cool is not None and cool - self.offset > now:
            self._pause.until, self._pause.reason = float(cool) - self.offset, "refused by the server before"
            self._settle_path()

    def charge(self, permits: float, at: float) -> None:
        """Books permits that are known to have gone, all counted as gone at the moment `at`."""
        for told in self._told:
            if told.limit.period:
                told.schedule.spend(told.state, at, min(permits, told.limit.quota + 1))


_NOTHING: Final = Learned()


def _akin(one: Limit, other: Limit) -> bool:
    """Whether a limit may go on with the other's state."""
    return (one.shape, one.period, one.unit, one.zone) == (other.shape, other.period, other.unit, other.zone)


def _tightest(quotas: Sequence[Quota]) -> float | None:
    left = [quota.remaining for quota in quotas if quota.remaining is not None]
    return min(left) if left else None


def _strictest(quotas: Sequence[Quota]) -> list[Quota]:
    """Without those that another one of the same period and unit, with a lower limit, makes idle."""
    kept: dict[tuple[object, ...], Quota] = {}
    for index, quota in enumerate(quotas):
        stated = quota.window and quota.limit
        key = (quota.window, quota.unit) if stated else (index,)
        other = kept.get(key)
        if other is None or (quota.limit or inf) < (other.limit or inf):
            kept[key] = quota
    return list(kept.values())


def _with_quota(limit: Limit, quota: float) -> Limit:
    burst = None if limit.burst is None else min(limit.burst, quota)
    return replace(limit, quota=quota, burst=burst)
