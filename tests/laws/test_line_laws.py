"""Laws of the line: no waiter is lost, no permit leaks, whatever is cancelled, refused, paused and changed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clocks import LoopClock, run_virtual

from paceline import read_signal
from paceline.errors import AcquireTimeout, RetryLater
from paceline.events import CooldownBegan, CooldownEnded, Event, LimitMismatch
from paceline.limits import Limit
from paceline.signals import Signal
from paceline.stores.line import Line

SEEDS = st.integers(0, 2**32)
SETS = [["10/s"], ["10/s sliding", "3 concurrent"], ["20/s bucket burst 5", "40/10s sliding"], ["2 concurrent"], ["30/2s fixed", "4 concurrent"]]


def few(examples: int) -> Any:
    """So many examples, however long each takes."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def limits(texts: list[str]) -> list[Limit]:
    """Limits from their texts."""
    return [Limit.parse(text) for text in texts]


def check_empty(line: Line, texts: list[str]) -> None:
    """Nobody waits, nothing is in flight, every place is free, and what is paced comes again."""
    state = line.state()
    assert state.waiting == 0
    assert state.in_flight == 0
    assert state.next_at is None
    for each in state.limits:
        if each.limit.shape == "concurrent":
            assert each.left == each.limit.quota


@few(60)
@given(texts=st.sampled_from(SETS), seed=SEEDS, tracked=st.booleans())
def test_a_storm_of_cancellations_loses_nothing(texts: list[str], seed: int, tracked: bool) -> None:
    """Tasks are cancelled and time out at random moments; the others are served, and all places come back."""
    rng = random.Random(seed)

    async def main(clock: LoopClock) -> tuple[Line, int, int]:
        line = Line("api", limits(texts), clock=clock)
        served = 0
        most = 0
        flying = 0

        async def one() -> None:
            nonlocal served, flying, most
            await asyncio.sleep(rng.uniform(0, 3))
            timeout = rng.choice([None, None, rng.uniform(0, 4)])
            cost = rng.choice([1, 1, 1, 2, 0])
            permit = await line.acquire_async(cost, rng.randint(0, 2), timeout, tracked)
            held = cost > 0  # a call of cost 0 holds no place
            flying += held
            most = max(most, flying)
            try:
                if rng.random() < 0.2:
                    permit.cancel()
                    return
                await asyncio.sleep(rng.uniform(0, 0.1))
                permit.sent()
                await asyncio.sleep(rng.uniform(0, 0.5))
                served += 1
            finally:
                flying -= held
                permit.release()

        tasks = [asyncio.create_task(one()) for _ in range(60)]
        kept = set(tasks)
        for _ in range(25):
            await asyncio.sleep(rng.uniform(0, 0.3))
            gone = rng.choice(tasks)
            gone.cancel()
            kept.discard(gone)
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 200)
        for task, result in zip(tasks, done, strict=True):
            assert result is None or isinstance(result, AcquireTimeout) or task not in kept, result
        return line, served, most

    line, _, most = run_virtual(main)
    check_empty(line, texts)
    places = min((limit.quota for limit in limits(texts) if limit.shape == "concurrent"), default=60)
    assert most <= places


@few(40)
@given(texts=st.sampled_from(SETS), seed=SEEDS)
def test_steering_in_the_middle_of_everything(texts: list[str], seed: int) -> None:
    """Pauses, resumes, other limits, refusals and cancellations at once: in the end everything was served."""
    rng = random.Random(seed)

    async def main(clock: LoopClock) -> Line:
        line = Line("api", limits(texts), clock=clock)

        async def one() -> None:
            await asyncio.sleep(rng.uniform(0, 2))
            for _ in range(50):
                permit = await line.acquire_async(1, 0, None, True)
                if rng.random() < 0.9:
                    permit.sent()
                await asyncio.sleep(rng.uniform(0, 0.3))
                kind = rng.random()
                if kind < 0.15:
                    refused = Signal(True, rng.choice([None, 0.0, 0.5, 2.0]), concurrency=rng.random() < 0.3)
                    line.learn(permit, refused, 429)
                    permit.release()
                    continue
                if kind < 0.25:
                    permit.release()  # its connection broke: nothing to learn
                    continue
                if kind < 0.3:
                    permit.cancel()
                    continue
                line.learn(permit, Signal(), 200)
                permit.release()
                return
            raise AssertionError("refused fifty times")

        async def steer() -> None:
            for _ in range(12):
                await asyncio.sleep(rng.uniform(0, 1))
                act = rng.randrange(4)
                if act == 0:
                    line.pause(rng.choice([0.5, 3.0, float("inf")]))
                elif act == 1:
                    line.resume()
                elif act == 2:
                    line.update(limits(rng.choice(SETS)))
                else:
                    line.restore(line.export(), rng.choice([0, 3]), clock.epoch())
            line.update(limits(texts))
            line.resume()

        tasks = [asyncio.create_task(one()) for _ in range(40)]
        await asyncio.wait_for(asyncio.gather(steer(), *tasks), 3000)
        return line

    line = run_virtual(main)
    assert line.state().waiting == 0
    assert line.state().in_flight == 0
    for each in line.state().limits:
        if each.limit.shape == "concurrent":
            assert each.left == each.limit.quota


@few(30)
@given(count=st.integers(2, 10), asked=st.sampled_from([None, 0.0, 1.5, 20.0]), seed=SEEDS)
def test_a_volley_of_refusals_is_one(count: int, asked: float | None, seed: int) -> None:
    """N refusals of one volley, in whatever order: one pause, at most one decrease, then a ramp, then everybody."""
    rng = random.Random(seed)
    events: list[Event] = []

    async def main(clock: LoopClock) -> list[float]:
        line = Line("api", limits(["100/s"]), clock=clock, emit=events.append)
        moments: list[float] = []

        async def one() -> None:
            permit = await line.acquire_async(1, 0, None, True)
            await asyncio.sleep(rng.uniform(0, 0.05))
            permit.sent()
            await asyncio.sleep(rng.uniform(0, 0.2))
            line.learn(permit, Signal(True, asked), 429)
            permit.release()
            permit = await line.acquire_async(1, 0, None, True)
            moments.append(permit.at)
            await asyncio.sleep(0.05)
            line.learn(permit, Signal(), 200)
            permit.release()

        await asyncio.gather(*(one() for _ in range(count)))
        return moments

    moments = run_virtual(main)
    began = [event for event in events if isinstance(event, CooldownBegan)]
    assert len(began) == 1
    assert sum(isinstance(event, LimitMismatch) for event in events) == 1
    assert sum(isinstance(event, CooldownEnded) for event in events) == 1
    offset = 1_700_000_000.0 - 1000.0
    assert min(moments) + offset >= began[0].until - 1e-6
    first = min(moments)
    assert sum(moment < first + 0.1 for moment in moments) <= 3
    if asked in (None, 0.0) and count > 1:
        assert sorted(moments)[1] >= first + 0.05  # nobody follows before the probe was answered


@few(20)
@given(pause=st.floats(30, 5000), late=st.floats(0, 25), seed=SEEDS)
def test_a_pause_above_max_wait_is_told_to_all(pause: float, late: float, seed: int) -> None:
    """Those who wait and those who come later all get RetryLater with the same end; once it is over, permits again."""

    async def main(clock: LoopClock) -> None:
        line = Line("api", limits(["5/s sliding"]), clock=clock, max_wait=10)
        permits = [await line.acquire_async(1, 0, None, True) for _ in range(5)]
        waiting = [asyncio.create_task(line.acquire_async()) for _ in range(7)]
        await asyncio.sleep(0.1)
        learned = line.learn(permits[0], Signal(True, pause), 429)
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(late)
        if late < pause - 10.1:
            try:
                await line.acquire_async()
            except RetryLater as later:
                errors.append(later)
        for error in errors:
            assert isinstance(error, RetryLater)
            assert abs(error.until - learned.until) < 1e-6
        assert line.state().waiting == 0
        for permit in permits:
            permit.release()
        await asyncio.sleep(max(0.0, pause - late - 5))
        permit = await line.acquire_async()
        assert permit.at + clock.offset >= learned.until - 1e-6

    run_virtual(main)


@few(15)
@given(texts=st.sampled_from([["400/s bucket burst 3", "3 concurrent"], ["3 concurrent"], ["300/s", "2 concurrent"]]), seed=SEEDS)
def test_threads_and_tasks_together_leak_nothing(texts: list[str], seed: int) -> None:
    """Real threads and tasks of a loop, with timeouts and cancellations: never more in flight than told, nobody lost."""
    rng = random.Random(seed)
    line = Line("api", limits(texts))
    most = int(min(limit.quota for limit in limits(texts) if limit.shape == "concurrent"))
    lock = threading.Lock()
    flying = worst = served = 0
    ended: list[str] = []

    def enter() -> None:
        nonlocal flying, worst
        with lock:
            flying += 1
            worst = max(worst, flying)

    def leave() -> None:
        nonlocal flying, served
        with lock:
            flying -= 1
            served += 1

    def worker(chance: random.Random) -> None:
        for _ in range(8):
            with contextlib.suppress(AcquireTimeout):
                permit = line.acquire(1, chance.randint(0, 1), chance.choice([None, 0.02]), True)
                enter()
                permit.sent()
                leave()
                permit.release()

    def looper(chance: random.Random) -> None:
        async def one() -> None:
            permit = await line.acquire_async(1, 0, chance.choice([None, 0.02]), True)
            enter()
            try:
                await asyncio.sleep(0.001)
            finally:
                leave()
                permit.release()

        async def main() -> None:
            tasks = [asyncio.create_task(one()) for _ in range(10)]
            await asyncio.sleep(0.005)
            chance.choice(tasks).cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())

    def whole(work: Any, chance: random.Random) -> None:
        work(chance)
        ended.append(work.__name__)

    jobs = [worker] * 3 + [looper] * 2
    threads = [threading.Thread(target=whole, args=(job, random.Random(rng.random()))) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(ended) == ["looper"] * 2 + ["worker"] * 3
    assert worst <= most
    assert served > 0
    check_empty(line, texts)


def test_headers_reach_the_line() -> None:
    """A quota that headers name is in force for those who wait, told by an event."""
    events: list[Event] = []

    async def main(clock: LoopClock) -> Line:
        line = Line("api", [], clock=clock, emit=events.append)
        permit = await line.acquire_async(1, 0, None, True)
        permit.sent()
        headers = {"RateLimit-Policy": '"default";q=10;w=1', "RateLimit": '"default";r=9;t=1'}
        line.learn(permit, read_signal(200, headers, now=clock.epoch()), 200)
        permit.release()
        for _ in range(29):
            (await line.acquire_async(1, 0, None, True)).release()
        return line

    line = run_virtual(main)
    assert [event.facts()["limit"] for event in events] == ["10/s"]
    assert line.now() - 1000 >= 2.0
