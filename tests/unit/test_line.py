"""The line: who is told what, interruptions, forks, the retry budget and the journal."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
from tests.clocks import FakeClock, LoopClock, run_virtual

from paceline.errors import AcquireTimeout, CostAboveQuota, RetryLater
from paceline.events import CooldownBegan, CooldownEnded, Event, LimitMismatch
from paceline.limits import Limit
from paceline.signals import Signal
from paceline.stores.clock import SystemClock
from paceline.stores.line import Line


def line(*texts: str, **options: Any) -> tuple[Line, FakeClock]:
    """A line on a clock that the test moves."""
    clock = FakeClock()
    return Line("api", [Limit.parse(text) for text in texts], clock=clock, **options), clock


def test_events_tell_a_refusal_once() -> None:
    """A refusal is told as a cooldown and a mismatch, its end when the next permit goes."""
    events: list[Event] = []
    queue, clock = line("10/s", emit=events.append)
    permit = queue.acquire(tracked=True)
    queue.learn(permit, Signal(True, 3.0), 429)
    permit.release()
    assert [type(event) for event in events] == [CooldownBegan, LimitMismatch]
    assert events[0].facts()["reason"] == "refused by the server (status 429)"
    assert events[1].facts()["action"] == "one permit less a period, no bursts"
    queue.acquire()
    assert isinstance(events[2], CooldownEnded)
    assert events[2].lasted == pytest.approx(3.01)
    assert clock.waits == [pytest.approx(3.01)]


def test_a_503_is_no_mismatch() -> None:
    """A 5xx that asks for a pause is told as a cooldown only."""
    events: list[Event] = []
    queue, _ = line("10/s", emit=events.append)
    permit = queue.acquire(tracked=True)
    queue.learn(permit, Signal(True, 3.0), 503)
    assert [type(event) for event in events] == [CooldownBegan]


def test_late_writes_belong_to_the_volley_of_their_grant() -> None:
    """What was granted before a pause and written in it is refused for the same reason: no second decrease."""
    events: list[Event] = []
    queue, clock = line("10/s", emit=events.append)
    first, second = queue.acquire(tracked=True), queue.acquire(tracked=True)
    queue.learn(first, Signal(True, 3.0), 429)
    clock.time += 1.5
    second.sent()
    queue.learn(second, Signal(True, 1.0), 429)
    assert len(events) == 2


def test_an_interrupted_wait_gives_its_place_on() -> None:
    """Ctrl-C in a wait leaves no waiter and no charge behind; who waits next is not held up."""

    class Interrupting(FakeClock):
        def wait(self, lock: object, timeout: float | None) -> bool:
            raise KeyboardInterrupt

    queue = Line("api", [Limit.parse("1 concurrent")], clock=Interrupting())
    permit = queue.acquire(tracked=True)
    with pytest.raises(KeyboardInterrupt):
        queue.acquire(tracked=True)
    assert queue.state().waiting == 0
    permit.release()
    assert queue.try_acquire(tracked=True) is not None


def test_an_interrupt_after_the_grant_gives_the_permit_back() -> None:
    """Ctrl-C that comes when the permit was granted already: it goes to the next, not to nobody."""
    queue = Line("api", [Limit.parse("1 concurrent")], clock=SystemClock())
    held = queue.acquire(tracked=True)

    class Interrupting(SystemClock):
        def wait(self, lock: Any, timeout: float | None) -> bool:
            held.release()
            raise KeyboardInterrupt

    queue.clock = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        queue.acquire(tracked=True)
    assert queue.state().in_flight == 0
    assert queue.state().limits[0].left == 1


def test_a_closed_permit_does_nothing_more() -> None:
    """Of release and cancel the first counts; later ones free no place of somebody else."""
    queue, _ = line("2 concurrent")
    one, _two = queue.acquire(tracked=True), queue.acquire(tracked=True)
    one.release()
    one.cancel()
    one.release()
    assert queue.state().in_flight == 1
    assert queue.state().limits[0].left == 1
    assert repr(one) == "<Permit cost=1 waited=0.000s closed>"


def test_settle_after_the_answer() -> None:
    """A reservation is settled after its answer came; what is left is as if the true cost had been taken."""
    queue, clock = line("100 tokens/min sliding")
    permit = queue.acquire(80, tracked=True)
    clock.time += 0.5
    permit.sent()
    clock.time += 4
    permit.settle(15)
    permit.release()
    assert queue.state().limits[0].left == 85
    again = queue.acquire(50, tracked=True)
    again.settle(70)
    again.sent()
    assert queue.state().limits[0].left == 15


def test_retry_later_names_scope_and_end() -> None:
    """A pause above max_wait is an error with its end, at once, without a wait; a pause by hand is sat out."""
    queue, clock = line("10/s", max_wait=10)
    permit = queue.acquire(tracked=True)
    queue.learn(permit, Signal(True, 3600.0), 429)
    with pytest.raises(RetryLater, match="api is paused for another 3600 s") as caught:
        queue.acquire()
    assert caught.value.until == pytest.approx(1_700_003_600.01)
    assert clock.waits == []
    queue.resume()
    queue.pause(3600)
    queue.acquire()
    assert clock.waits[-1] == pytest.approx(60)  # a long sleep looks at the clock each minute


def test_a_cost_too_high_is_an_error_in_a_pause_too() -> None:
    """What would never be granted is not held up by a pause first, and leaves the line whole."""
    queue, _ = line("10/s")
    queue.pause(100)
    with pytest.raises(CostAboveQuota):
        queue.acquire(11)
    assert queue.state().waiting == 0


def test_a_waiting_head_that_costs_too_much_does_not_fail_others() -> None:
    """Limits lowered below what somebody waits for: that wait fails, those behind it go on."""

    async def main(clock: LoopClock) -> list[Any]:
        queue = Line("api", [Limit.parse("10/s sliding")], clock=clock)
        await queue.acquire_async(10)
        tasks = [asyncio.create_task(queue.acquire_async(cost)) for cost in (8, 1, 1)]
        await asyncio.sleep(0)
        queue.update([Limit.parse("5/s sliding")])
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)

    high, *others = run_virtual(main)
    assert isinstance(high, CostAboveQuota)
    assert not [other for other in others if isinstance(other, Exception)]


def test_timeouts_say_what_held_them_up() -> None:
    """AcquireTimeout names the reason: the limit's pace, a cooldown, places in flight."""
    queue, _ = line("1 concurrent")
    queue.acquire(tracked=True)
    with pytest.raises(AcquireTimeout, match="within 1 s, held up by concurrency"):
        queue.acquire(timeout=1)
    queue.pause(50)
    with pytest.raises(AcquireTimeout, match="held up by paused"):
        queue.acquire(timeout=1)


def test_the_retry_budget_grows_with_answers() -> None:
    """Three retries at first, then one for every five answers, and a floor that comes back in ten seconds."""
    queue, clock = line("1000/s")
    assert [queue.may_retry() for _ in range(4)] == [True, True, True, False]
    permit = queue.acquire(tracked=True)
    for _ in range(5):
        queue.learn(permit, Signal(), 200)
    assert queue.may_retry()
    assert not queue.may_retry()
    clock.time += 10
    assert [queue.may_retry() for _ in range(4)] == [True, True, True, False]


def test_the_journal_counts_every_grant() -> None:
    """Each permit is noted with cost and moment, whether waited for or not."""
    noted: list[tuple[float, float]] = []
    queue, _ = line("1/s sliding")
    queue.journal = lambda cost, at: noted.append((cost, at))
    queue.acquire()
    queue.acquire()
    assert noted == [(1, pytest.approx(1_700_000_000.0)), (1, pytest.approx(1_700_000_001.02))]


def test_what_was_spent_is_restored() -> None:
    """A later run has no credit that an earlier one spent, nor what it spent after its last checkpoint."""
    queue, _ = line("10/min sliding")
    for _ in range(4):
        queue.acquire()
    other, _ = line("10/min sliding")
    other.restore(queue.export(), 3, 1_700_000_000.0)
    assert other.state().limits[0].left == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_in_the_middle_of_waits_starts_clean() -> None:
    """A child has nobody waiting, no cooldown that it began, no journal, and grants permits."""
    queue = Line("api", [Limit.parse("1 concurrent")])
    queue.acquire(tracked=True)
    queue.journal = lambda _cost, _at: None
    waiting = threading.Thread(target=lambda: queue.acquire(timeout=20).release())
    waiting.start()
    while not queue.waiting:
        pass
    child = os.fork()
    if child == 0:
        good = queue.state().waiting == 0 and queue.journal is None and queue.try_acquire() is not None
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    queue.update([Limit.parse("2 concurrent")])
    waiting.join(20)
    assert not waiting.is_alive()


def test_the_system_clock_waits_for_the_lock_or_the_time() -> None:
    """The real clock tells a lock that came free from a time that passed."""
    clock, lock = SystemClock(), threading.Lock()
    assert clock.wait(lock, 0.0)
    before = clock.now()
    assert not clock.wait(lock, 0.01)
    assert clock.now() - before >= 0.009
