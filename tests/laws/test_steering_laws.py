"""Laws of steering a shared scope: whatever is told from outside, every worker obeys, within the limit, and loses nothing."""

from __future__ import annotations

import asyncio
import random
from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clocks import LoopClock, run_virtual
from tests.measures import most_in

from paceline.events import Event, Steered
from paceline.limits import Limit
from paceline.operating import Scopes
from paceline.signals import Signal
from paceline.stores.line import Line
from paceline.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HEARD = 0.52  # seconds: within half a second, and what a virtual timer rounds
LIMITS = ["20/s", "20/s sliding", "20/s bucket burst 5", "30/2s fixed", "12/3s"]


class Fleet:
    """Workers on one store in virtual time, each with callers that always want; what departed, and when."""

    def __init__(self, clock: LoopClock, limits: list[str], *, workers: int = 2, callers: int = 4) -> None:
        self.clock = clock
        self.store = MemoryStore(lambda: round(clock.epoch() * 1e6))
        self.scopes = Scopes(self.store)
        self.departed: list[float] = []
        self.events: list[Event] = []
        self.in_flight = self.most_in_flight = 0
        self.callers, self.limits = callers, [Limit.parse(text) for text in limits]
        self.lines: list[Line] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.stopping = False
        self.rng = random.Random(1)
        for _ in range(workers):
            self.join()

    def join(self, *limits: str) -> Line:
        """One worker more."""
        told = [Limit.parse(text) for text in limits] or self.limits
        line = Line("api", told, store=self.store, clock=self.clock, emit=self.events.append)
        self.lines.append(line)
        self.tasks += [asyncio.create_task(self._work(line)) for _ in range(self.callers)]
        return line

    async def _work(self, line: Line) -> None:
        while not self.stopping:
            permit = await line.acquire_async(1, 0, None, True)
            permit.sent()
            self.departed.append(self.clock.now())
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            await asyncio.sleep(self.rng.uniform(0.001, 0.05))
            self.in_flight -= 1
            line.learn(permit, Signal(), 200)
            permit.release()

    async def stop(self) -> None:
        """Everyone is served once more and goes."""
        self.stopping = True
        await asyncio.wait_for(asyncio.gather(*self.tasks), 600)

    def since(self, begin: float, end: float = inf) -> list[float]:
        return [moment for moment in self.departed if begin < moment <= end]

    def steered(self, action: str) -> list[Steered]:
        return [event for event in self.events if isinstance(event, Steered) and event.action == action]


def virtual(limits: list[str], act: Callable[[Fleet], Awaitable[None]], **how: int) -> Fleet:
    """Lets `act` do with a fleet what it wants; then everyone must come to an end."""

    async def main(clock: LoopClock) -> Fleet:
        fleet = Fleet(clock, limits, **how)
        await act(fleet)
        await fleet.stop()
        return fleet

    made: Fleet = run_virtual(main)
    return made


def check(moments: list[float], limit: Limit, offset: float) -> None:
    """No server that enforces the limit would have refused any of them."""
    if limit.shape == "bucket":
        for first in range(len(moments)):
            for last in range(first, len(moments)):
                assert last - first + 1 <= (limit.burst or limit.quota) + limit.rate * (moments[last] - moments[first]) + 1e-6
    elif limit.shape == "fixed":
        windows: dict[int, int] = {}
        for moment in moments:
            window = int((moment + offset) / limit.period)
            windows[window] = windows.get(window, 0) + 1
        assert max(windows.values()) <= limit.quota
    else:
        assert most_in(moments, limit.period) <= limit.quota


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.sampled_from(LIMITS), endless=st.booleans(), begin=st.floats(0.5, 3.0), length=st.floats(1.0, 8.0))
def test_nothing_departs_in_a_pause(texts: str, endless: bool, begin: float, length: float) -> None:
    """From half a second after it was told until its end nobody departs; then all go on, slowly at first."""
    times: list[float] = []

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(begin)
        assert fleet.departed
        fleet.scopes.pause("api", None if endless else length, reason="maintenance")
        times.append(fleet.clock.now())
        await asyncio.sleep(length)
        if endless:
            assert fleet.scopes.show("api").paused_until == inf
            fleet.scopes.resume("api")
        times.append(fleet.clock.now())
        await asyncio.sleep(8)

    fleet = virtual([texts], act)
    paused, ended = times
    limit = Limit.parse(texts)
    assert fleet.since(paused + HEARD, ended - 1e-6) == []
    soon = fleet.since(ended, ended + 0.1 * limit.period)
    assert len(soon) <= max(2, 0.1 * limit.quota), "a herd"
    assert fleet.since(ended + 2 * limit.period)
    check(fleet.departed, limit, fleet.clock.offset)
    assert len(fleet.steered("pause")) == len(fleet.lines)
    assert all(event.reason == "maintenance" and (event.until is None) is endless for event in fleet.steered("pause"))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=st.sampled_from(LIMITS), after=st.sampled_from(["8/s", "8/s sliding", "40/s", "40/s sliding", "9/3s bucket burst 3", "50/2s fixed"]), begin=st.floats(0.5, 4.0))
def test_a_limit_set_by_hand_holds_for_all(before: str, after: str, begin: float) -> None:
    """From half a second on nobody exceeds it, and it is used, by those who waited and by those who come later."""
    times: list[float] = []

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(begin)
        report = fleet.scopes.set("api", after)
        assert [(str(each.limit), each.origin) for each in report.limits] == [(after, "set")]
        times.append(fleet.clock.now())
        await asyncio.sleep(4)
        fleet.join()  # told other limits by its own configuration
        await asyncio.sleep(8)
        times.append(fleet.clock.now())
        assert fleet.lines[-1].state().limits[0].limit == Limit.parse(after)

    fleet = virtual([before], act)
    told, ended = times
    limit = Limit.parse(after)
    moments = fleet.since(told + HEARD, ended)
    check(moments, limit, fleet.clock.offset)
    # A small bucket shared by several is used less well, set by hand or not.
    share = 0.75 if limit.burst is None else 0.3
    assert len(fleet.since(ended - 6, ended)) >= share * 6 * limit.rate - 1
    assert {event.limits for event in fleet.steered("set")} == {after}
    assert len(fleet.steered("set")) == 2


def test_reset_forgets_the_cooldown_the_tightening_and_what_was_set() -> None:
    """After a reset a paused and tightened scope goes at once, by the limits of its policies; a pause by hand stays."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(2)
        line = fleet.lines[0]
        for _ in range(2):
            permit = await line.acquire_async(1, 0, None, True)
            permit.sent()
            line.learn(permit, Signal(True, 3.0), 429)
            permit.release()
        line.tell_store()
        await asyncio.sleep(1)
        fleet.scopes.set("api", ["10/s", "3 concurrent"])
        report = fleet.scopes.show("api")
        assert report.paused_until is not None
        assert not report.by_hand
        assert report.set
        report = fleet.scopes.reset("api")
        assert report.paused_until is None
        assert not report.set
        assert [(str(each.limit), each.origin, each.scale) for each in report.limits] == [("20/s", "policy", 1.0)]
        began = fleet.clock.now()
        await asyncio.sleep(2)
        assert len(fleet.since(began, began + 1.5)) > 15
        fleet.scopes.pause("api")
        assert fleet.scopes.reset("api").by_hand
        began = fleet.clock.now()
        await asyncio.sleep(3)
        assert fleet.since(began + HEARD) == []
        assert fleet.scopes.resume("api").paused_until is None

    fleet = virtual(["20/s"], act)
    assert len(fleet.steered("reset")) == 4


def test_resume_ends_the_servers_cooldown_too() -> None:
    """A cooldown of an hour, which all keep, ends by hand for all within half a second."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(1)
        line = fleet.lines[0]
        permit = await line.acquire_async(1, 0, None, True)
        permit.sent()
        line.learn(permit, Signal(True, 3600.0), 429)
        permit.release()
        line.tell_store()
        await asyncio.sleep(5)
        began = fleet.clock.now()
        assert fleet.scopes.show("api").paused_for == "refused by the server"
        fleet.scopes.resume("api")
        await asyncio.sleep(HEARD)
        assert fleet.since(began)

    virtual(["20/s"], act)


def test_the_last_pause_holds() -> None:
    """A shorter pause takes the place of a longer one, and a pause without an end that of both."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(1)
        fleet.scopes.pause("api", 3600)
        await asyncio.sleep(1)
        fleet.scopes.pause("api", 2)
        began = fleet.clock.now()
        await asyncio.sleep(1.9)
        assert fleet.since(began) == []
        await asyncio.sleep(1.6)
        assert fleet.since(began)
        fleet.scopes.pause("api", 1)
        fleet.scopes.pause("api")
        began = fleet.clock.now()
        await asyncio.sleep(30)
        assert fleet.since(began + HEARD) == []
        fleet.scopes.resume("api")

    virtual(["20/s"], act)


def test_a_slow_scope_hears_of_a_pause_before_its_next_slot() -> None:
    """Where slots lie seconds apart, one that is booked already is void all the same."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(7)
        began = fleet.clock.now()
        fleet.scopes.pause("api")
        await asyncio.sleep(60)
        assert fleet.since(began + HEARD) == []
        fleet.scopes.set("api", "20/s")
        fleet.scopes.resume("api")
        began = fleet.clock.now()
        await asyncio.sleep(5)
        assert len(fleet.since(began)) > 50

    virtual(["1/2s"], act, workers=3, callers=1)


@pytest.mark.parametrize("limits", [[], ["4 concurrent"]])
def test_scopes_without_a_rate_obey_too(limits: list[str]) -> None:
    """Where nothing is booked ahead, or nothing at all, a pause is heard within half a second and its end too."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(2)
        report = fleet.scopes.show("api")
        assert report.rate > 20
        assert len(report.workers) == 2
        fleet.scopes.pause("api")
        began = fleet.clock.now()
        await asyncio.sleep(20)
        assert fleet.since(began + HEARD) == []
        assert fleet.scopes.show("api").waiting == 8
        fleet.scopes.resume("api")
        began = fleet.clock.now()
        await asyncio.sleep(2)
        assert fleet.since(began)

    fleet = virtual(limits, act)
    assert fleet.most_in_flight <= (4 if limits else 8)


def test_what_is_shown_is_what_goes() -> None:
    """Used, rate, waiting and the workers, as their own counts have it."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(6.3)
        report, now = fleet.scopes.show("api"), fleet.clock.now()
        gone = len(fleet.since(now - 2))
        limit, concurrent = report.limits
        assert gone - 4 <= limit.used <= limit.limit.quota
        assert concurrent.used == fleet.in_flight or concurrent.used <= 8
        assert report.rate == pytest.approx(20, rel=0.25)
        assert 0 < report.waiting <= 12
        assert len(report.workers) == 3
        assert all(worker.name and worker.seen < 1 and not worker.gone for worker in report.workers)
        assert sum(worker.rate for worker in report.workers) == pytest.approx(report.rate)
        assert report.facts()["limits"][0]["limit"] == "40/2s"

    virtual(["40/2s", "8 concurrent"], act, workers=3)


def test_a_pause_outlasts_its_workers() -> None:
    """A worker that comes when all others have gone keeps the pause and the limits that were set meanwhile."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(1)
        fleet.scopes.pause("api")
        fleet.scopes.set("api", "5/s")
        await asyncio.sleep(1)
        for task in fleet.tasks:
            task.cancel()
        await asyncio.gather(*fleet.tasks, return_exceptions=True)
        fleet.tasks.clear()
        await asyncio.sleep(300)
        report = fleet.scopes.show("api")
        assert all(worker.gone for worker in report.workers)
        assert (report.rate, report.waiting, report.paused_until) == (0.0, 0, inf)
        fleet.join()
        began = fleet.clock.now()
        await asyncio.sleep(10)
        assert fleet.since(began) == []
        fleet.scopes.resume("api")
        await asyncio.sleep(10)
        assert 25 <= len(fleet.since(began)) <= 50

    virtual(["20/s"], act)


def test_waiting_looks_write_nothing() -> None:
    """Those who sit out a pause only read: hardly an entry in five minutes."""

    async def act(fleet: Fleet) -> None:
        await asyncio.sleep(1)
        fleet.scopes.pause("api")
        await asyncio.sleep(2)
        before = fleet.store._logs["api"].last
        calls = [line.shared.calls for line in fleet.lines if line.shared is not None]
        await asyncio.sleep(300)
        assert fleet.store._logs["api"].last - before <= 2 * 300 / 10 + 2
        after = [line.shared.calls for line in fleet.lines if line.shared is not None]
        assert all(later - earlier <= 2 * 300 + 2 for earlier, later in zip(calls, after, strict=True))
        assert all(not worker.gone for worker in fleet.scopes.show("api").workers)
        fleet.scopes.resume("api")

    virtual(["20/s"], act)
