"""The books of one scope: its limits, its pause, and what the server's answers taught about both.

Pure: no clock, no lock, no I/O. Whoever keeps a ledger (a store) calls it under its own lock with its own
clock's `now` (seconds) and asks three questions: may `cost` permits go now (`take`), what does this answer
change (`learn`), how do things stand (`look`). Several limits hold together, all or nothing.

How refusals are read (LIMIT MISMATCH): a ledger never lets more go than it was told, so a refusal for quota means
that the server enforces less than told, or that somebody else uses the quota too. The first one widens the guard and
gives up bursts (one permit less a period); later ones lower the rate by 0.7, at most one decrease a period;
clean periods give it back step by step. However many requests of one volley are refused, they count as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import CostAboveQuota
from .limits import Limit
from .schedules import Schedule, base_guard, schedule_for, widest_guard
from .schedules.fixed import Fixed

if TYPE_CHECKING:
    from .signals import Quota, Signal

__all__ = ["Cost", "Learned", "Ledger", "LimitState", "ScopeState"]

Cost = float | Mapping[str, float]

_FIRST_PROBE: Final = 1.0  # seconds of pause where a refusal names no wait; doubles up to _LAST_PROBE
_LAST_PROBE: Final = 60.0
_ZERO_WAIT: Final = 0.25  # a wait of 0 is not believed; doubles like a probe
_RAMP_LONGEST: Final = 10.0  # seconds from a tenth of the rate to all of it, at most
_DECREASE: Final = 0.7
_INCREASE: Final = 0.05
_LEAST_SCALE: Final = 0.05
_FOREIGN_SLACK: Final = 2.0  # permits by which the server's count may differ from ours
_MEMORY: Final = 100  # clean periods after which a refusal is forgotten
_SLICES: Final = 32


class Learned(NamedTuple):
    """What one answer changed for its scope.

    wait: seconds until the scope goes on, 0 if it is not paused; until: the same as epoch seconds.
    began: this refusal began the pause (others of its volley did not).
    others_served: another request of the scope was served since this one departed.
    remaining: what the server says is left, where it says so.
    """

    wait: float = 0.0
    until: float = 0.0
    began: bool = False
    others_served: bool = False
    remaining: float | None = None
    mismatch: str | None = None
    learned: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit now: how many permits are left, what share of the told quota is used since refusals."""

    limit: Limit
    left: float
    scale: float
    told: bool


@dataclass(frozen=True, slots=True)
class ScopeState:
    """One scope now: its limits, who waits, and until when it is paused (epoch seconds) and why."""

    limits: tuple[LimitState, ...]
    waiting: int
    next_at: float | None
    in_flight: int
    paused_until: float | None
    paused_for: str | None


@dataclass(slots=True)
class _Led:
    """A quota as the server's headers keep it: `budget` more may go before `reset_at`."""

    limit: float | None
    budget: float
    reset_at: float
    heard_at: float  # departure of the request whose answer said so: older ones know less
    more: bool  # the reset is the time to more, not to all (IETF)


class _Meter:
    """Answered departures of the last period in slices: our own use as the server may count it."""

    __slots__ = ("_counts", "_newest", "_width")

    def __init__(self, period: float) -> None:
        self._width = max(period, 1e-6) / _SLICES
        self._counts = [0.0] * (_SLICES + 2)
        self._newest = -1

    def add(self, at: float, cost: float) -> None:
        index = int(at / self._width)
        self._advance(index)
        if index > self._newest - len(self._counts):
            self._counts[index % len(self._counts)] += cost

    def _advance(self, index: int) -> None:
        size = len(self._counts)
        if index > self._newest:
            for slot in range(max(self._newest + 1, index - size + 1), index + 1):
                self._counts[slot % size] = 0.0
            self._newest = index

    def total(self, now: float) -> float:
        self._advance(int(now / self._width))
        return sum(self._counts)


@dataclass(slots=True)
class _Told:
    """One limit in force: its schedule and the schedule's state."""

    limit: Limit
    schedule: Schedule[Any]
    state: Any
    told: bool = True
    meter: _Meter | None = None


@dataclass(slots=True)
class _Pause:
    """The scope's cooldown. volley: departures before this moment belong to a refusal already counted."""

    until: float = -inf
    began: float = -inf
    reason: str = ""
    volley: float = -inf
    streak: int = 0  # pauses in a row with nothing served between
    by_hand: bool = False


@dataclass(slots=True)
class _Ramp:
    """After a pause: from a tenth of the rate to all of it."""

    start: float
    length: float
    rate: float
    next: float = field(default=-inf)


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
        self._pause = _Pause()
        self._ramp: _Ramp | None = None
        self._led: dict[str, _Led] = {}
        self._probe_out = False
        self._probing = False
        self._served = 0.0  # since the last pause ended
        self._served_since = now
        self._last_served = -inf
        self._scale = 1.0
        self._credit = True
        self._guard_factor = 1.0
        self._decreased_at = -inf
        self._recovered_at = -inf
        self._born = now
        self._told: list[_Told] = []
        self.only: Schedule[Any] | None = None
        self.only_state: Any = None
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
        self._scale, self._credit, self._guard_factor = 1.0, True, 1.0
        self._install(limits, now)

    def _install(self, limits: Sequence[Limit], now: float, told: bool = True) -> None:
        before = list(self._told)
        self._told = []
        for limit in limits:
            kept = next((old for old in before if _akin(old.limit, limit)), None)
            schedule = self._schedule(limit)
            if kept is not None:
                before.remove(kept)
                self._told.append(_Told(limit, schedule, kept.state, told, kept.meter))
            else:
                meter = _Meter(limit.period) if limit.period else None
                self._told.append(_Told(limit, schedule, schedule.start(now, self.offset), told, meter))
        self.reads_epoch = any(limit.shape == "fixed" for limit in limits)
        self._units = frozenset(limit.unit for limit in limits if limit.shape != "concurrent")
        self._settle_path()

    def _schedule(self, limit: Limit) -> Schedule[Any]:
        guard = min(base_guard(limit.period) * self._guard_factor, widest_guard(limit.period)) if limit.period else 0.0
        return schedule_for(limit, guard=max(guard, base_guard(limit.period)), scale=self._scale, credit=self._credit)

    def _reschedule(self) -> None:
        for told in self._told:
            if told.limit.shape != "concurrent":
                told.schedule = self._schedule(told.limit)
        self._settle_path()

    def _settle_path(self) -> None:
        """Chooses the short way through `take` where one limit alone decides: `only` is its schedule, else None."""
        plain = (
            len(self._told) == 1
            and not self._led
            and self._ramp is None
            and self._pause.until == -inf
            and not self._probing
            and not self.reads_epoch
        )
        self.only = self._told[0].schedule if plain else None
        self.only_state = self._told[0].state if plain else None

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
            else:
                self.held_by = "pace" if at < inf else "concurrency"
            return at
        return self._take(now, cost, tracked)

    def _take(self, now: float, cost: Cost, tracked: bool) -> float:
        if cost == 0:
            if tracked:
                self.in_flight += 1
            return now
        at = self._gate(now, cost)
        for told in self._told:
            share = self._share(told.limit, cost)
            if share > max(1.0, told.limit.quota):
                raise CostAboveQuota(share, told.limit)
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
        weight = cost if isinstance(cost, int | float) else 1.0
        for led in self._led.values():
            led.budget -= weight
        if self._ramp is not None:
            self._step_ramp(now)
        if self._probing:
            self._probe_out = True
        if tracked:
            self.in_flight += 1
        return now

    def _share(self, limit: Limit, cost: Cost) -> float:
        """What a call's cost means under one limit: a plain number counts for the limits of its unit.

        Beside limits of another unit (tokens, points) every call counts one against those of requests.
        """
        if isinstance(cost, Mapping):
            return cost.get(limit.unit, 1.0 if limit.unit == "requests" else 0.0)
        if limit.unit == "requests" and len(self._units) > 1:
            return 1.0
        return cost

    def _gate(self, now: float, cost: Cost) -> float:
        """What stands before the limits: the pause, a probe under way, the ramp, quotas led by headers."""
        pause = self._pause
        if pause.until > -inf:
            if now < pause.until:
                self.held_by = "paused" if pause.by_hand else "cooldown"
                return pause.until
            self._end_pause(now)
        if self._probing and self._probe_out:
            self.held_by = "cooldown"
            return inf
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
                if self._told and self._told[0].told:
                    del self._led[name]  # the told limit decides again
                    self._settle_path()
                    continue
                # A new window: a tenth of it until an answer tells more; after a time to "more", one.
                led.budget = 1.0 if led.more or not led.limit else max(1.0, led.limit // 10)
                led.budget = max(led.budget - self.in_flight, 0.0) if self.in_flight else led.budget
                led.reset_at = inf
            weight = cost if isinstance(cost, int | float) else 1.0
            if led.budget < min(weight, led.limit or weight):
                if led.reset_at == inf and not self.in_flight:
                    led.budget = weight  # nobody under way could tell us more: ask
                else:
                    self.held_by = "quota"
                    at = max(at, led.reset_at)
        return at

    def _step_ramp(self, now: float) -> None:
        ramp = self._ramp
        assert ramp is not None  # noqa: S101 - for the type checker; the caller has just looked
        reached = 0.1 + 0.9 * min(1.0, max(0.0, now - ramp.start) / ramp.length)
        ramp.next = max(now, ramp.next) + 1.0 / (ramp.rate * reached)

    def written(self, granted: float, wrote: float, cost: Cost) -> None:
        """A tracked permit granted at `granted` went on the wire at `wrote`: that moment is what counts."""
        for told in self._told:
            share = self._share(told.limit, cost)
            if share:
                told.schedule.written(told.state, granted, wrote, share)

    def release(self, granted: float, cost: Cost, tracked: bool, wrote: bool, now: float) -> None:
        """The exchange behind a permit ended; never written, it counts as written now."""
        if tracked:
            self.in_flight = max(0, self.in_flight - 1)
            if not wrote:
                self.written(granted, now, cost)
        self._probe_out = False
        for told in self._told:
            told.schedule.release(told.state, 1)

    def cancel(self, granted: float, cost: Cost, tracked: bool) -> None:
        """A permit was never used."""
        if tracked:
            self.in_flight = max(0, self.in_flight - 1)
        self._probe_out = False
        for told in self._told:
            share = self._share(told.limit, cost)
            if share:
                told.schedule.cancel(told.state, granted, share, tracked)
        weight = cost if isinstance(cost, int | float) else 1.0
        for led in self._led.values():
            led.budget += weight

    def adjust(self, now: float, reserved: Cost, actual: Cost) -> None:
        """Settles a reservation: the limits are charged or given back the difference."""
        for told in self._told:
            before, after = self._share(told.limit, reserved), self._share(told.limit, actual)
            if told.limit.shape == "concurrent" or before == after:
                continue
            if after > before:
                told.schedule.commit(told.state, now, after - before)
            else:
                told.schedule.cancel(told.state, now, before - after)

    # ---- pauses ---------------------------------------------------------------------------------

    def pause(self, until: float) -> None:
        """Pauses the scope by hand until the moment `until` (infinite: until `resume`)."""
        self._pause = _Pause(until=until, reason="paused by hand", by_hand=True, volley=self._pause.volley)
        self._settle_path()

    def resume(self, now: float) -> float | None:
        """Ends a pause at once, without a ramp; returns how long it would still have lasted."""
        left = self._pause.until - now if self._pause.until > now else None
        self._pause.until = -inf
        self._ramp, self._probing, self._probe_out = None, False, False
        self._settle_path()
        return left

    def _end_pause(self, now: float) -> None:
        pause = self._pause
        if not pause.by_hand:
            paced = [told.limit for told in self._told if told.limit.period]
            if paced:
                shortest = min(paced, key=lambda limit: limit.period)
                self._ramp = _Ramp(pause.until, min(shortest.period, _RAMP_LONGEST), max(limit.rate for limit in paced))
        pause.until = -inf
        self._served, self._served_since = 0.0, now
        self._settle_path()

    def cool(self, now: float, departed: float, wait: float | None, reason: str) -> bool:
        """Pauses the whole scope after a refusal of a request that departed at `departed`.

        wait: seconds asked by the server; None: it named none, then a single request probes, the pauses doubling.
        Returns whether this refusal began a pause or made it longer; one that departed before the pause began
        adds nothing but a later end.
        """
        pause = self._pause
        same_volley = departed <= pause.volley
        if not same_volley:
            pause.streak += 1
        if wait is None or wait <= 0.0:
            first = _FIRST_PROBE if wait is None else _ZERO_WAIT
            wait = min(_LAST_PROBE, first * 2.0 ** min(pause.streak - 1, 10)) if not same_volley else 0.0
            if wait:
                self._probing, self._probe_out = True, False
        else:
            # Positive jitter only, so that those who were told the same moment do not meet there.
            wait += min(0.02 * wait, 0.010)
        until = now + wait
        if until <= pause.until or (same_volley and wait == 0.0):
            return False
        began = not same_volley
        if began:
            self._learn_rate(now, until)
            pause.volley, pause.began = now, now
        pause.until, pause.reason, pause.by_hand = until, reason, False
        self._ramp = None
        self._settle_path()
        return began

    @property
    def cooling(self) -> tuple[float, str] | None:
        """(until, reason) of the pause last begun, even if its time is over and nobody has come since."""
        return (self._pause.until, self._pause.reason) if self._pause.until > -inf else None

    # ---- learning -------------------------------------------------------------------------------

    def learn(self, now: float, departed: float, cost: Cost, signal: Signal) -> Learned:
        """Takes in what one answer said; `departed` is the moment its request was written."""
        weight = cost if isinstance(cost, int | float) else 1.0
        for told in self._told:
            if told.meter is not None:
                told.meter.add(departed, weight)
        if signal.refused:
            return self._learn_refusal(now, departed, signal)
        self._last_served = now
        self._probing, self._probe_out = False, False
        if departed > self._pause.volley:
            self._pause.streak = 0
            self._served += weight
        learned = before = None
        remaining = None
        if signal.limits:
            learned, before = self._heed(now, departed, signal)
            remaining = _tightest(signal.limits)
        wait = 0.0
        if signal.retry_after:
            # Binding although served (a backoff wish): pause, but nothing was refused.
            self._pause.until = max(self._pause.until, now + signal.retry_after)
            self._pause.reason, self._pause.began = "asked by the server", now
            wait = signal.retry_after
        if self._scale < 1.0 or not self._credit:
            self._recover(now)
        self._settle_path()
        if not (wait or learned or remaining is not None):
            return _NOTHING
        return Learned(wait, now + wait + self.offset, began=bool(wait), remaining=remaining, learned=learned, before=before)

    def _learn_refusal(self, now: float, departed: float, signal: Signal) -> Learned:
        others_served = self._last_served >= departed
        if signal.concurrency:
            mismatch = self._fewer_at_once()
            began = self.cool(now, departed, signal.retry_after or 0.0, "too many at once")
        else:
            first = departed > self._pause.volley
            mismatch = self._tighten(now) if first else None
            began = self.cool(now, departed, signal.retry_after, "refused by the server")
        if signal.limits:
            self._heed(now, departed, signal)
        wait = max(0.0, self._pause.until - now)
        return Learned(wait, now + wait + self.offset, began, others_served, _tightest(signal.limits), mismatch)

    def _tighten(self, now: float) -> str | None:
        paced = [told.limit for told in self._told if told.limit.period]
        if not paced:
            return None
        period = min(limit.period for limit in paced)
        if now - self._decreased_at < min(period, _RAMP_LONGEST):
            return None
        self._decreased_at = self._recovered_at = now
        self._guard_factor = min(self._guard_factor * 2, 16.0)
        if self._credit:
            self._credit = False
            action = "one permit less a period, no bursts"
        else:
            self._scale = max(_LEAST_SCALE, self._scale * _DECREASE)
            action = f"rate lowered to {self._scale:.0%}"
        self._reschedule()
        return action

    def _fewer_at_once(self) -> str | None:
        """A refusal for too many at once: a ceiling just below what was in flight."""
        ceiling = max(1, int(max(self.in_flight, 1) * _DECREASE))
        for told in self._told:
            if told.limit.shape == "concurrent":
                if ceiling < told.limit.quota:
                    told.limit = Limit(ceiling, shape="concurrent")
                    told.schedule = self._schedule(told.limit)
                    self._settle_path()
                return f"at most {ceiling} at once"
        limit = Limit(ceiling, shape="concurrent")
        schedule = self._schedule(limit)
        state = schedule.start(0.0, self.offset)
        state.in_flight = float(self.in_flight)
        self._told.append(_Told(limit, schedule, state, told=False))
        self._settle_path()
        return f"at most {ceiling} at once"

    def _recover(self, now: float) -> None:
        """Clean periods give back what refusals took: a twentieth a period, then, much later, the bursts."""
        period = max(min((told.limit.period for told in self._told if told.limit.period), default=1.0), 0.1)
        if now - self._recovered_at < period:
            return
        if self._scale < 1.0:
            self._recovered_at = now
            self._scale = min(1.0, self._scale + _INCREASE)
            self._reschedule()
        elif now - self._decreased_at > _MEMORY * period:
            self._recovered_at = now
            self._credit, self._guard_factor = True, 1.0
            self._reschedule()

    def _learn_rate(self, now: float, until: float) -> None:
        """With no limit told, the rate that one cycle of serving and pausing came to is the rate to keep."""
        if any(told.told and told.limit.period for told in self._told) or self._led:
            return
        cycle = until - self._served_since
        if self._served < 2 or cycle <= 0:
            kept = [told for told in self._told if told.limit.period]
            if kept:
                rate = kept[0].limit.quota * _DECREASE
            else:
                return
        else:
            rate = self._served / cycle
        concurrent = [told.limit for told in self._told if not told.limit.period]
        learned = Limit(max(round(rate, 3), 0.02) if rate < 1 else round(rate, 2), 1.0)
        if learned.quota < 1:
            learned = Limit(1, min(round(1 / learned.quota, 3), 86400.0))
        self._install([*concurrent, learned], now, told=False)
        self._credit = False
        self._reschedule()

    def _heed(self, now: float, departed: float, signal: Signal) -> tuple[str | None, str | None]:
        """Quotas in headers: led by them where none was told; else only lowered, for use that is not ours."""
        told = [entry for entry in self._told if entry.told and entry.limit.period]
        news: tuple[str | None, str | None] = (None, None)
        for quota in signal.limits[:8]:
            if quota.unit not in (None, "requests") and quota.unit not in self._units:
                continue
            if not told and quota.limit and quota.window and quota.window >= 0.001:
                news = self._adopt(now, quota) or news
                continue
            if quota.remaining is None:
                continue
            more = signal.dialect == "ietf"
            if not told:
                self._lead(now, departed, quota, more)
            else:
                news = self._compare(now, departed, quota, told, more) or news
        return news

    def _adopt(self, now: float, quota: Quota) -> tuple[str, str | None] | None:
        """A quota whose period the server names is a limit like one that was told."""
        assert quota.limit is not None and quota.window is not None  # noqa: PT018, S101
        window = min(quota.window, 366 * 86400.0)
        known = next((entry for entry in self._told if entry.limit.period == window), None)
        if known is not None and known.limit.quota == quota.limit:
            return None
        limit = Limit(max(quota.limit, 1), window, unit=quota.unit or "requests")
        others = [entry.limit for entry in self._told if entry is not known and (entry.limit.period or entry.told)]
        self._install([*others, limit], now, told=False)
        used = (quota.limit - quota.remaining) if quota.remaining is not None else 0.0
        entry = self._told[-1]
        if known is None and used > 0:
            # What went before we knew, ours or others', has been spent already.
            entry.schedule.commit(entry.state, now, min(used, limit.quota))
        return str(limit), str(known.limit) if known else None

    def _lead(self, now: float, departed: float, quota: Quota, more: bool) -> None:
        if quota.reset_after is None or quota.remaining is None:
            return
        name = quota.name or f"{quota.limit}"
        led = self._led.get(name)
        if led is None and len(self._led) >= 8:
            return
        if led is not None and departed < led.heard_at:
            return
        budget = quota.remaining - max(0, self.in_flight - 1)
        self._led[name] = _Led(quota.limit, budget, now + quota.reset_after, departed, more)

    def _compare(
        self, now: float, departed: float, quota: Quota, told: list[_Told], more: bool
    ) -> tuple[str, str | None] | None:
        """A told limit's schedule wins while the server's count agrees with ours."""
        for entry in told:
            same_period = quota.window is not None and abs(quota.window - entry.limit.period) <= 0.05 * entry.limit.period
            if same_period and quota.limit is not None and 1 <= quota.limit < entry.limit.quota:
                before = str(entry.limit)
                lowered = Limit(
                    quota.limit, entry.limit.period, entry.limit.shape, entry.limit.unit,
                    min(entry.limit.burst, quota.limit) if entry.limit.burst is not None else None, entry.limit.zone,
                )  # fmt: skip
                entry.limit = lowered
                self._reschedule()
                return str(lowered), before
            if quota.limit is None or abs(quota.limit - entry.limit.quota) > 1 or entry.meter is None:
                continue
            ours = entry.meter.total(now) + self.in_flight
            used = quota.limit - (quota.remaining or 0.0)
            if used > ours + _FOREIGN_SLACK + 0.05 * quota.limit and quota.reset_after is not None:
                self._lead(now, departed, quota, more)
            elif quota.remaining and self._led:
                self._led.pop(quota.name or f"{quota.limit}", None)
        return None

    # ---- how things stand -----------------------------------------------------------------------

    def look(self, now: float, waiting: int, next_at: float | None) -> ScopeState:
        """The scope as it stands at `now`."""
        paused = self._pause.until > now
        return ScopeState(
            limits=tuple(
                LimitState(told.limit, told.schedule.left(told.state, now), self._scale, told.told) for told in self._told
            ),
            waiting=waiting,
            next_at=next_at + self.offset if next_at is not None else None,
            in_flight=self.in_flight,
            paused_until=self._pause.until + self.offset if paused else None,
            paused_for=self._pause.reason if paused else None,
        )

    def export(self, now: float) -> dict[str, Any]:
        """What a later run must know to have no credit that this one has spent: plain numbers, epoch seconds."""
        saved: dict[str, Any] = {
            "limits": [[str(told.limit), told.schedule.export(told.state, self.offset)] for told in self._told if told.told]
        }
        if now < self._pause.until < inf and not self._pause.by_hand:
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
                whole = min(int(permits), int(told.limit.quota) + 1)
                for _ in range(whole):
                    told.schedule.commit(told.state, at, 1)


_NOTHING: Final = Learned()


def _akin(one: Limit, other: Limit) -> bool:
    """Whether a limit may go on with the other's state."""
    return (one.shape, one.period, one.unit, one.zone) == (other.shape, other.period, other.unit, other.zone)


def _tightest(quotas: Sequence[Quota]) -> float | None:
    left = [quota.remaining for quota in quotas if quota.remaining is not None]
    return min(left) if left else None
