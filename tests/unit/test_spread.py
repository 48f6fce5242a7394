"""A job over several workers, with workers in this process that come, go and lose answers, on a loop whose time jumps."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clocks import run_virtual
from tests.unit.test_engine import ScriptedSender, request

from paceline import Policy, Retry
from paceline.credentials import AsyncCredential, Held
from paceline.errors import OutputError, PacelineError
from paceline.events import Attempted, Event
from paceline.jobs.dask_seat import Parcel
from paceline.jobs.seat import Came, Given, Order, Outcome, Seat, Turn
from paceline.jobs.spec import BadInput, Request
from paceline.jobs.spread import SeatLost, Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from paceline.jobs.engine import Result


class Chair:
    """A seat in this process; all that it is told and tells goes through a pickle."""

    def __init__(self, crew: Workers, worker: str, order: Order) -> None:
        # The sender and the clock are the test's; everything else is what would travel.
        self.crew, self.worker = crew, worker
        self.seat = Seat(replace(order, policy=replace(order.policy)), crew.sender)
        self.serving = asyncio.ensure_future(self.seat.serve())
        self.turns = 0
        self.closed = False

    def _reach(self) -> None:
        if self.worker not in self.crew.there or self.crew.chairs.get(self.worker) is not self:
            raise SeatLost(f"{self.worker} has gone")

    async def turn(self, turn: Turn) -> Came:
        self._reach()
        self.turns += 1
        came = await self.seat.turn(Parcel.of(turn).open())
        self._reach()
        if self.crew.drop is not None and self.crew.drop(self):
            raise SeatLost("the answer was lost")
        back: Came = Parcel.of(came).open()
        return back

    async def drain(self) -> None:
        self._reach()
        self.seat.drain()

    async def lend(self, held: Held[str]) -> None:
        self._reach()
        self.seat.lend(Parcel.of(held).open())

    async def close(self) -> None:
        self.closed = True
        self.seat.close()
        await asyncio.wait([self.serving])


class Workers:
    """A crew of workers of this process."""

    def __init__(self, sender: ScriptedSender, *names: str) -> None:
        self.sender = sender
        self.there = set(names)
        self.chairs: dict[str, Chair] = {}
        self.all: list[Chair] = []
        self.drop: Callable[[Chair], bool] | None = None
        self.closed = False

    async def open(self) -> None:
        pass

    async def workers(self) -> Collection[str]:
        return self.there

    async def seat(self, worker: str, order: Order) -> Chair:
        chair = self.chairs[worker] = Chair(self, worker, order)
        self.all.append(chair)
        return chair

    async def close(self) -> None:
        self.closed = True

    def kill(self, worker: str) -> None:
        """As kill -9: what it had under way is never heard of again."""
        self.there.discard(worker)
        chair = self.chairs.pop(worker, None)
        if chair is not None:
            chair.seat.close()

    def most_places(self) -> int:
        return sum(chair.seat.concurrency for chair in self.chairs.values())


def run(
    items: list[Request | BadInput],
    sender: ScriptedSender,
    *workers: str,
    act: Callable[[Spread, Workers], Any] | None = None,
    limits: Any = (),
    retry: Retry | None = None,
    finish: Callable[[Result], None] | None = None,
    prepare: Callable[[Workers], None] | None = None,
    renews: bool = False,
    debug: bool = False,
    **options: Any,
) -> tuple[list[Result], Spread, Workers]:
    """Runs a job to its end."""

    async def main(clock: Any) -> tuple[list[Result], Spread, Workers]:
        results: list[Result] = []
        crew = Workers(sender, *(workers or ("a", "b", "c")))
        if prepare is not None:
            prepare(crew)
        policy = Policy(limits=limits, retry=retry or Retry(), clock=clock)
        order = Order(policy=policy, make_sender=lambda _common: sender, renews=renews, debug=debug)
        spread = Spread(crew=crew, order=order, policy=policy, finish=finish or results.append, **options)
        helper = asyncio.ensure_future(act(spread, crew)) if act is not None else None
        try:
            await spread.run(items)
        finally:
            assert crew.closed
            # Whoever was there is let go of; only a worker that died keeps its seat.
            for chair in crew.chairs.values():
                assert chair.closed
            for chair in crew.all:
                await chair.close()
            if helper is not None:
                await helper
        return results, spread, crew

    return run_virtual(main)


def once_each(results: list[Result], count: int) -> None:
    assert Counter(result.item.number for result in results) == Counter(range(1, count + 1))


def test_each_input_ends_once() -> None:
    """All workers take part, together with no more in flight than allowed."""
    sender = ScriptedSender()
    results, _, crew = run([request(n) for n in range(1, 1001)], sender, concurrency=10)
    once_each(results, 1000)
    assert len(sender.sent) == 1000
    assert sender.most <= 10
    assert all(chair.turns > 20 for chair in crew.all)


def test_an_unusable_input_is_a_result_without_a_worker() -> None:
    """It is finished here, with why."""
    bad = BadInput(2, 2, "it is no URL", "", b"x", 2)
    results, _, _ = run([request(1), bad, request(3)], ScriptedSender())
    once_each(results, 3)
    assert next(result for result in results if result.item is bad).error == "it is no URL"


@given(st.integers(0, 2**32))
def test_lost_workers_lose_and_double_nothing(seed: int) -> None:
    """Workers die, come back, and answers get lost: one result an input, and a loss asks again no more than its places."""
    draw = random.Random(seed)
    count, concurrency = 300, 12
    sender = ScriptedSender(latency=0.05)
    losses = 0

    def drop(_chair: Chair) -> bool:
        nonlocal losses
        lost = draw.random() < 0.03
        losses += lost
        return lost

    async def faults(spread: Spread, crew: Workers) -> None:
        nonlocal losses
        while not crew.closed:
            await asyncio.sleep(draw.uniform(0.05, 0.8))
            if draw.random() < 0.5 and crew.there:
                losses += 1
                crew.kill(draw.choice(sorted(crew.there)))
            else:
                crew.there.add(draw.choice("abcdef"))

    def prepare(crew: Workers) -> None:
        crew.drop = drop

    results, _, _ = run([request(n) for n in range(1, count + 1)], sender, act=faults, prepare=prepare, concurrency=concurrency)
    once_each(results, count)
    assert all(result.status == 200 for result in results)
    assert len(sender.sent) - count <= losses * concurrency


def test_places_of_a_lost_worker_go_to_the_others() -> None:
    """Two of three workers die: the third goes on with all places."""

    async def faults(spread: Spread, crew: Workers) -> None:
        await asyncio.sleep(0.5)
        crew.kill("a")
        crew.kill("b")
        await asyncio.sleep(1.0)
        assert crew.most_places() == 9
        assert spread.in_flight == 9

    results, spread, _ = run([request(n) for n in range(1, 601)], ScriptedSender(latency=0.1), act=faults, concurrency=9)
    once_each(results, 600)
    assert spread.waiting() == (None, None)


def test_a_seat_with_nothing_left_leaves_its_places_to_the_others() -> None:
    """One worker was handed all there is of an input's end: the other must not sit on all places."""
    for count in (40, 70, 100, 130):
        results, _, _ = run([request(n) for n in range(1, count + 1)], ScriptedSender(latency=0.01), "a", "b", concurrency=32)
        once_each(results, count)


def test_more_workers_than_places_take_no_part() -> None:
    """Two places are two seats at most."""
    results, _, crew = run([request(n) for n in range(1, 21)], ScriptedSender(), concurrency=2)
    once_each(results, 20)
    assert len(crew.all) == 2


def test_drained_what_is_in_flight_ends_and_nothing_else_leaves() -> None:
    """As after the first Ctrl-C."""
    at: list[float] = []

    async def act(spread: Spread, crew: Workers) -> None:
        await asyncio.sleep(1.0)
        at.append(asyncio.get_running_loop().time())
        spread.drain()

    sender = ScriptedSender(latency=0.3)
    results, _, _ = run([request(n) for n in range(1, 501)], sender, act=act, concurrency=8)
    assert 8 < len(results) < 60
    assert len(results) == len(sender.sent)
    assert max(moment for moment, _, _ in sender.sent) <= at[0]


def test_halted_it_ends_at_once() -> None:
    """As after the second Ctrl-C."""

    async def act(spread: Spread, crew: Workers) -> None:
        await asyncio.sleep(1.0)
        spread.halt()

    results, _, _ = run([request(n) for n in range(1, 501)], ScriptedSender(latency=30.0), act=act, concurrency=8)
    assert results == []


def test_a_pause_that_is_not_sat_out_leaves_its_scope_for_later() -> None:
    """The others of that scope are let go of, the ones of other hosts are fetched, and it is known until when."""

    def answer(url: str, _n: int) -> tuple[int, dict[str, str]]:
        return (429, {"Retry-After": "3600"}) if "slow" in url else (200, {})

    slow = [request(n, f"https://slow.example.com/{n}") for n in range(1, 201)]
    fast = [request(n) for n in range(201, 401)]
    results, spread, _ = run(slow + fast, ScriptedSender(answer), retry=Retry(max_wait=60), concurrency=6)
    assert sorted(result.item.number for result in results) == list(range(201, 401))
    assert spread.put_off == 200
    assert spread.stopped_until is not None
    assert spread.stopped_until.scope == "slow.example.com:443"


def test_a_bearer_token_is_lent_and_renewed_once_for_all() -> None:
    """A 401 at any worker asks the hook once, and all go on with the fresh token."""
    asked = 0

    async def hook() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)
        return f"token-{asked}"

    sender = ScriptedSender()
    sender.answer = lambda url, n: (401, {}) if sender.sent_with(url) == "Bearer token-1" and len(sender.sent) > 100 else (200, {})
    sender.__class__ = Remembering
    results, _, _ = run([request(n) for n in range(1, 301)], sender, renews=True, bearer=AsyncCredential(hook, shortest_life=0.0), concurrency=6)
    once_each(results, 300)
    assert all(result.status == 200 for result in results)
    assert asked == 2


class Remembering(ScriptedSender):
    """Knows what a URL was last asked with."""

    def sent_with(self, url: str) -> str:
        return next(headers.get("Authorization", "") for _, what, headers in reversed(self.sent) if what.endswith(f" {url}"))


def test_a_hook_that_fails_ends_the_job() -> None:
    """With its own exception, as without workers."""

    async def hook() -> str:
        raise OutputError("the vault is sealed")

    with pytest.raises(OutputError, match="sealed"):
        run([request(1)], ScriptedSender(), renews=True, bearer=AsyncCredential(hook))


def test_nobody_is_there_for_a_minute() -> None:
    """The job stops, and says how to go on."""

    async def act(spread: Spread, crew: Workers) -> None:
        await asyncio.sleep(0.3)
        for worker in list(crew.there):
            crew.kill(worker)

    with pytest.raises(OutputError, match=r"no worker for 60 s; run the same command again"):
        run([request(n) for n in range(1, 501)], ScriptedSender(latency=0.1), act=act)


def test_workers_that_die_again_and_again_end_the_job() -> None:
    """Twenty losses without a result between them are no accident."""

    def prepare(crew: Workers) -> None:
        crew.drop = lambda _chair: True

    with pytest.raises(OutputError, match=r"21 workers were lost in a row, the last with: the answer was lost"):
        run([request(n) for n in range(1, 5)], ScriptedSender(), prepare=prepare)


def test_an_output_that_fails_ends_the_job() -> None:
    """What `finish` raises is raised."""

    def finish(_result: Result) -> None:
        raise OutputError("the disk is full")

    with pytest.raises(OutputError, match="full"):
        run([request(n) for n in range(1, 5)], ScriptedSender(), finish=finish)


def test_what_breaks_at_a_worker_ends_the_job() -> None:
    """An error of the sender's is told, without what it may hold of secrets."""
    sender = ScriptedSender()

    def broken(_url: str, _n: int) -> tuple[int, dict[str, str]]:
        raise ZeroDivisionError("https://me:secret@example.com/ broke")

    sender.answer = broken
    with pytest.raises(PacelineError, match="a worker failed with ZeroDivisionError") as caught:
        run([request(1)], sender)
    assert "secret" not in str(caught.value)


def test_a_seat_that_nobody_asks_ends_by_itself() -> None:
    """The process that ran the job was killed: no more is sent than there are places, and after 30 s the seat is gone."""

    async def main(clock: Any) -> tuple[int, bool]:
        sender = ScriptedSender()
        seat = Seat(Order(policy=Policy(clock=clock), make_sender=lambda _common: sender), sender)
        serving = asyncio.ensure_future(seat.serve())
        await asyncio.sleep(0)
        inputs = tuple(Given(n, "GET", f"https://api.example.com/{n}", None, None, 1) for n in range(50))
        await seat.turn(Turn(inputs, places=4))
        await asyncio.sleep(10)
        assert not serving.done()
        await asyncio.sleep(60)
        return len(sender.sent), serving.done() and sender.closed

    assert run_virtual(main) == (4, True)


def test_events_come_whole_where_they_are_wanted() -> None:
    """With a sink for everything each attempt is an event; else only counts travel."""
    heard: list[Event] = []
    run([request(n) for n in range(1, 31)], ScriptedSender(), debug=True, events=heard.append)
    assert len([event for event in heard if isinstance(event, Attempted)]) == 30
    heard.clear()
    counted: list[str] = []

    class Counts:
        def sent(self, scope: str, at: float, status: int | None, error: str | None = None) -> None:
            counted.append(scope)

        def waited(self, scope: str, seconds: float, reason: str) -> None:
            pass

    _, spread, _ = run([request(n) for n in range(1, 31)], ScriptedSender(), limits="100/s", events=heard.append, tally=Counts())
    assert heard == []
    assert counted == ["api.example.com:443"] * 30
    assert list(spread.lanes) == ["api.example.com:443"]


def test_a_list_goes_on_after_its_last_recorded_page() -> None:
    """A worker dies in the middle of lists: no page is recorded twice, and no list begins anew."""
    from paceline.paging import read_paging

    paging = read_paging("page last=pages")
    pages = 12
    lists = [request(n)._replace(paging=paging) for n in range(1, 9)]

    class Lists(ScriptedSender):
        async def send(self, *arguments: Any) -> Any:
            answer = await super().send(*arguments)
            body = f'{{"pages": {pages}, "n": {len(self.sent)}}}'.encode()
            return answer._replace(body=body, response=body)

    places: dict[int, tuple[int, dict[str, Any]]] = {}
    seen: list[tuple[int, int]] = []

    def finish(result: Result) -> None:
        assert result.error is None
        assert result.leaf is not None
        seen.append((result.item.number, result.leaf.page))
        if result.leaf.more:
            places[result.item.number] = (result.leaf.page, dict(result.leaf.so_far or {}))
        else:
            places.pop(result.item.number, None)

    async def faults(spread: Spread, crew: Workers) -> None:
        for worker in ("a", "b"):
            await asyncio.sleep(0.35)
            crew.kill(worker)

    sender = Lists()
    run(lists, sender, act=faults, finish=finish, places=places, concurrency=6)
    assert Counter(seen) == Counter((n, page) for n in range(1, 9) for page in range(1, pages + 1))
    assert len(sender.sent) <= 8 * pages + 2 * 6


def test_nothing_that_travels_prints_a_secret() -> None:
    """Dask writes the arguments of what failed into logs."""
    order = Order(policy=Policy(headers={"X": "hush"}), make_sender=partial(print, "hush"), headers={"Authorization": "Bearer hush"})
    item = Given(1, "GET", "https://api.example.com/?key=hush", {"Authorization": "hush"}, b"hush", 1)
    outcome = Outcome(1, 200, (("set-cookie", "hush"),), b"hush", 1, 0.0, 0.0, None, None)
    for value in (order, item, Turn((item,)), outcome, Parcel.of(order), Held("hush", 1)):
        assert "hush" not in repr(value)
