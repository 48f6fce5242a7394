"""The batch job's engine, with a sender that answers from a script, on a loop whose time jumps."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from multidict import CIMultiDict
from tests.clocks import run_virtual

from paceline import Policy, Retry
from paceline.effects import Answer, Fault
from paceline.jobs.engine import Engine, Result
from paceline.jobs.spec import BadInput, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def request(number: int, url: str | None = None, *, method: str = "GET", cost: float = 1.0, **headers: str) -> Request:
    url = url or f"https://api.example.com/items/{number}"
    return Request(number, number, method, url, headers, None, cost, url, url.encode(), number)


@dataclass
class ScriptedSender:
    """Answers each URL from a function; keeps what was sent and when."""

    answer: Callable[[str, int], tuple[int, Mapping[str, str]] | BaseException] = lambda _url, _n: (200, {})
    latency: float = 0.05
    sent: list[tuple[float, str, Mapping[str, str]]] = field(default_factory=list)
    most: int = 0
    now: int = 0
    closed: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, permit: Any, left: float | None) -> Answer | Fault:
        loop = asyncio.get_running_loop()
        permit.sent()
        self.sent.append((loop.time(), f"{method} {url}", dict(headers)))
        self.counts[url] = self.counts.get(url, 0) + 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.now -= 1
        given = self.answer(url, self.counts[url])
        epoch = 1_700_000_000.0 + loop.time() - 1000.0
        if isinstance(given, BaseException):
            return Fault(given, "reset", self.latency, epoch, True)
        status, answered = given
        return Answer(status, CIMultiDict(answered), None, b"{}", self.latency, epoch)

    async def close(self) -> None:
        self.closed = True


def run(
    items: list[Request | BadInput],
    sender: ScriptedSender,
    *,
    limits: Any = (),
    hosts: Any = None,
    retry: Retry | None = None,
    act: Callable[[Engine], Any] | None = None,
    **options: Any,
) -> tuple[list[Result], Engine, float]:
    """Runs an engine to its end on a virtual loop."""

    async def main(clock: Any) -> tuple[list[Result], Engine, float]:
        results: list[Result] = []
        policy = Policy(limits=limits, hosts=hosts or {}, retry=retry or Retry(), clock=clock)
        engine = Engine(policy=policy, sender=sender, finish=results.append, **options)
        helper = asyncio.ensure_future(act(engine)) if act is not None else None
        began = asyncio.get_running_loop().time()
        await engine.run(items)
        if helper is not None:
            await helper
        return results, engine, asyncio.get_running_loop().time() - began

    results, engine, took = run_virtual(main)
    assert engine.in_flight == 0, "a place in flight was not given back"
    for line in engine.lanes.values():
        assert line.ledger.in_flight == 0, "a permit was not given back"
        assert line.waiting == 0
    return results, engine, took


def test_each_input_ends_once() -> None:
    """Every input gets exactly one result, with no more in flight than allowed."""
    sender = ScriptedSender()
    results, _, took = run([request(n) for n in range(1, 501)], sender, concurrency=10)
    assert sorted(result.item.number for result in results) == list(range(1, 501))
    assert sender.most == 10
    assert took == pytest.approx(50 * 0.05, abs=0.05)


def test_a_permit_is_only_granted_to_one_who_can_leave() -> None:
    """With all places taken no permit is drawn: every permit is written at once."""
    sender = ScriptedSender(latency=1.0)
    results, _, took = run([request(n) for n in range(1, 41)], sender, limits=["1000/s"], concurrency=4)
    assert len(results) == 40
    assert took == pytest.approx(10.0, abs=0.1)


def test_a_waiting_scope_delays_no_other() -> None:
    """A slow host that stands first does not hold up a fast one behind it."""
    slow = [request(n, f"https://slow.example.com/{n}") for n in range(1, 101)]
    fast = [request(n, f"https://fast.example.com/{n}") for n in range(101, 201)]
    sender = ScriptedSender()
    results, _, took = run(slow + fast, sender, hosts={"slow.example.com": "1/s sliding"}, concurrency=4)
    assert len(results) == 200
    last_fast = max(at for at, what, _ in sender.sent if "fast" in what)
    assert last_fast - 1000.0 < 3.0
    assert took > 90


def test_retries_go_before_those_not_sent_yet() -> None:
    """A failed request is sent again before the queue is through."""
    sender = ScriptedSender(lambda url, n: (503, {}) if url.endswith("/1") and n == 1 else (200, {}))
    results, _, _ = run([request(n) for n in range(1, 400)], sender, limits=["10/s"], concurrency=4)
    order = [what for _, what, _ in sender.sent]
    again = [index for index, what in enumerate(order) if what.endswith("/items/1")]
    assert len(again) == 2
    assert again[1] < 60
    assert next(result for result in results if result.item.number == 1).attempts == 2


def test_a_refusal_pauses_the_whole_scope() -> None:
    """After a 429 with Retry-After: 7 nothing of the scope leaves for seven seconds, then all are served."""
    refused_at: list[float] = []

    def answer(url: str, n: int) -> tuple[int, Mapping[str, str]]:
        if url.endswith("/20") and n == 1:
            refused_at.append(asyncio.get_running_loop().time())
            return 429, {"Retry-After": "7"}
        return 200, {}

    sender = ScriptedSender(answer)
    results, _, _ = run([request(n) for n in range(1, 101)], sender, limits=["20/s"], concurrency=4)
    assert {result.status for result in results} == {200}
    assert [at for at, _, _ in sender.sent if refused_at[0] < at < refused_at[0] + 7] == []


def test_a_pause_that_is_not_sat_out_leaves_the_rest_for_later() -> None:
    """Retry-After beyond max_wait: other scopes go on, this one's inputs end without a result and are counted."""
    sender = ScriptedSender(lambda url, n: (429, {"Retry-After": "5000"}) if "slow" in url else (200, {}))
    items = [request(n, f"https://{'slow' if n % 2 else 'fast'}.example.com/{n}") for n in range(1, 101)]
    results, engine, took = run(items, sender, concurrency=4)
    assert len(results) == 50
    assert engine.put_off == 50
    assert engine.stopped_until is not None
    assert engine.stopped_until.scope == "slow.example.com:443"
    assert took < 60


def test_drain_lets_what_is_in_flight_end() -> None:
    """Drained, nothing more leaves, what is in flight gets its result, the rest none."""
    sender = ScriptedSender(latency=1.0)

    async def act(engine: Engine) -> None:
        await asyncio.sleep(1.5)
        engine.drain()

    results, _, took = run([request(n) for n in range(1, 101)], sender, concurrency=5, act=act)
    assert len(results) == 10
    assert len(sender.sent) == 10
    assert took == pytest.approx(2.0, abs=0.01)


def test_drain_ends_those_who_wait_to_be_sent_again() -> None:
    """A request that waits for its retry when the engine is drained ends without a result."""
    sender = ScriptedSender(lambda _url, _n: (503, {"Retry-After": "30"}))

    async def act(engine: Engine) -> None:
        await asyncio.sleep(5)
        engine.drain()

    results, _, took = run([request(n) for n in range(1, 11)], sender, concurrency=5, act=act)
    assert results == []
    assert took < 6


def test_halt_gives_everything_back() -> None:
    """Halted in the middle, places and permits all come back."""
    sender = ScriptedSender(latency=1.0)

    async def act(engine: Engine) -> None:
        await asyncio.sleep(0.5)
        engine.halt()

    results, _, took = run([request(n) for n in range(1, 101)], sender, limits=["50/s", "3 concurrent"], concurrency=5, act=act)
    assert results == []
    assert took == pytest.approx(0.5, abs=0.01)


def test_an_error_of_the_finish_ends_the_run() -> None:
    """What `finish` raises (a full disk) stops the engine and is raised."""

    async def main(clock: Any) -> None:
        def finish(_result: Result) -> None:
            raise OSError("disk full")

        engine = Engine(policy=Policy(clock=clock), sender=ScriptedSender(), finish=finish)
        with pytest.raises(OSError, match="disk full"):
            await engine.run([request(n) for n in range(1, 100)])
        assert engine.in_flight == 0

    run_virtual(main)


def test_an_impossible_cost_is_a_record_not_an_end() -> None:
    """A cost above the quota gets a result with an error; the others are served."""
    items = [request(1), request(2, cost=11), request(3)]
    results, _, _ = run(items, ScriptedSender(), limits=["10/s"])
    errors = {result.item.number: result.error for result in results}
    assert errors[1] is None
    assert errors[3] is None
    assert "a cost of 11 can never be granted" in str(errors[2])


def test_bad_inputs_are_results() -> None:
    """An unusable input gets its result without being sent."""
    bad = BadInput(2, 2, "no host", "https:///", b"https:///", 2)
    sender = ScriptedSender()
    results, _, _ = run([request(1), bad, request(3)], sender)
    assert next(result for result in results if result.item is bad).error == "no host"
    assert len(sender.sent) == 2


def test_only_as_many_are_read_as_may_be_open() -> None:
    """The source is read as results are made room for, not at once."""
    taken = 0

    def source() -> Any:
        nonlocal taken
        for number in range(1, 10_001):
            taken = number
            yield request(number)

    seen: list[int] = []

    async def main(clock: Any) -> None:
        done = 0

        def finish(_result: Result) -> None:
            nonlocal done
            done += 1
            seen.append(taken - done)

        engine = Engine(policy=Policy(clock=clock), sender=ScriptedSender(), finish=finish, ahead=50, concurrency=8)
        await engine.run(source())

    run_virtual(main)
    assert len(seen) == 10_000
    assert max(seen) <= 50


def test_redirects_are_followed_each_with_a_permit() -> None:
    """Each hop takes a permit; another origin sees no credential; a loop ends in an error."""

    def answer(url: str, _n: int) -> tuple[int, Mapping[str, str]]:
        if url.endswith("/a"):
            return 302, {"Location": "/b"}
        if url.endswith("/b"):
            return 307, {"Location": "https://other.example.com/c"}
        if url.endswith("/loop"):
            return 301, {"Location": "/loop"}
        return 200, {}

    sender = ScriptedSender(answer)
    items = [
        request(1, "https://api.example.com/a", Authorization="Bearer secret", Accept="*/*"),
        request(2, "https://api.example.com/loop"),
    ]
    results, _, _ = run(items, sender, redirects=5)
    by_number = {result.item.number: result for result in results}
    assert (by_number[1].status, by_number[1].attempts, by_number[1].error) == (200, 3, None)
    assert "more than 5 in a row" in str(by_number[2].error)
    last = next(headers for _, what, headers in sender.sent if what.endswith("/c"))
    assert last == {"Accept": "*/*"}


def test_a_scope_put_off_leaves_its_place_to_others() -> None:
    """With one place, a scope that is put off while it waits for the place hands it on: nothing hangs."""
    sender = ScriptedSender(lambda url, _n: (429, {"Retry-After": "5000"}) if "slow" in url else (200, {}))
    items = [request(n, f"https://{'slow' if n <= 10 else 'fast'}.example.com/{n}") for n in range(1, 21)]
    results, engine, _ = run(items, sender, concurrency=1)
    assert len(results) == 10
    assert engine.put_off == 10


def test_a_scope_of_impossible_costs_leaves_its_place_to_others() -> None:
    """With one place, a scope whose inputs can never be granted hands it on: nothing hangs."""
    items = [request(n, f"https://{'a' if n <= 10 else 'b'}.example.com/{n}", cost=11 if 1 < n <= 10 else 1) for n in range(1, 21)]
    results, _, _ = run(items, ScriptedSender(), limits=["10/s"], concurrency=1)
    assert len(results) == 20
    assert sum(result.error is not None for result in results) == 9


def test_a_retry_costs_what_the_first_attempt_cost() -> None:
    """Two inputs of cost 50, each failing once, under 100/10s: never more than 100 in ten seconds."""
    sender = ScriptedSender(lambda _url, n: (503, {}) if n == 1 else (200, {}))
    results, _, _ = run([request(n, cost=50) for n in range(1, 5)], sender, limits=["100/10s sliding"])
    moments = [at for at, _, _ in sender.sent]
    assert len(results) == 4
    assert len(moments) == 8
    assert all(sum(begin <= at < begin + 10 for at in moments) <= 2 for begin in moments)


def test_paced_scopes_do_not_starve_a_free_one() -> None:
    """A hundred slow hosts and thirty-two places: a host without a limit is served at once."""
    hosts = {f"h{n}.example.com": "1/10s sliding" for n in range(100)}
    items = [request(n, f"https://h{n % 100}.example.com/{n}") for n in range(1, 301)]
    items += [request(n, f"https://free.example.com/{n}") for n in range(301, 401)]
    sender = ScriptedSender()
    run(items, sender, hosts=hosts, concurrency=32)
    assert max(at for at, what, _ in sender.sent if "free" in what) - 1000.0 < 3.0


def test_another_origin_sees_no_header_that_looks_like_a_secret() -> None:
    """A redirect to another origin drops whatever header's name speaks of a secret."""
    sender = ScriptedSender(lambda url, _n: (302, {"Location": "https://b.example.com/"}) if "//a." in url else (200, {}))
    item = Request(1, 1, "GET", "https://a.example.com/", {"X-Auth-Token": "s3cret", "Accept": "*/*"}, None, 1.0, "", b"", 1)
    run([item], sender)
    assert sender.sent[1][2] == {"Accept": "*/*"}


def test_a_post_becomes_a_get_after_303() -> None:
    """After 303, and after 302 to a POST, the next request is a GET without a body (RFC 9110, section 15.4.4)."""
    sender = ScriptedSender(lambda url, _n: (303, {"Location": "/done"}) if url.endswith("/form") else (200, {}))
    run([request(1, "https://api.example.com/form", method="POST")], sender)
    assert [what for _, what, _ in sender.sent] == ["POST https://api.example.com/form", "GET https://api.example.com/done"]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_leaks_in_a_storm(seed: int) -> None:
    """Under random failures, refusals, hosts and a random end, every place and permit comes back, nothing ends twice."""
    rng = random.Random(seed)

    def answer(_url: str, _n: int) -> tuple[int, Mapping[str, str]] | BaseException:
        kind = rng.random()
        if kind < 0.05:
            return 429, {"Retry-After": str(rng.choice([0, 1, 2]))}
        if kind < 0.08:
            return 429, {}
        if kind < 0.12:
            return 503, {}
        if kind < 0.15:
            return ConnectionResetError("cut")
        return 200, {}

    async def act(engine: Engine) -> None:
        await asyncio.sleep(rng.uniform(0, 60))
        (engine.drain if rng.random() < 0.5 else engine.halt)()

    items = [request(n, f"https://h{rng.randint(1, 5)}.example.com/{n}", cost=rng.choice([1, 1, 2])) for n in range(1, 301)]
    results, _, _ = run(
        items, ScriptedSender(answer), limits=["20/s", "6 concurrent"], concurrency=8, act=act if seed % 2 else None
    )
    numbers = [result.item.number for result in results]
    assert len(numbers) == len(set(numbers))
    if not seed % 2:
        assert len(numbers) == 300
        assert sum(result.error is None for result in results) >= 290


def test_a_slow_scope_ahead_does_not_hold_up_another_behind_it() -> None:
    """Thousands of inputs of a scope at one a second: those of another scope behind them leave at once."""
    slow = [request(number, f"https://slow.example.com/{number}") for number in range(1, 3001)]
    quick = [request(number, f"https://quick.example.com/{number}") for number in range(3001, 3011)]
    order: list[int] = []

    async def main(clock: Any) -> None:
        policy = Policy(hosts={"slow.example.com": "1/s sliding"}, clock=clock)
        engine = Engine(policy=policy, sender=ScriptedSender(), finish=lambda result: order.append(result.item.number))
        await engine.run([*slow, *quick])

    run_virtual(main)
    assert sorted(order) == list(range(1, 3011))
    assert max(order.index(number) for number in range(3001, 3011)) < 100


def run_policy(items: list[Request | BadInput], sender: ScriptedSender, **told: Any) -> tuple[list[Result], Engine, float]:
    """Runs an engine with a policy of its own to its end on a virtual loop."""

    async def main(clock: Any) -> tuple[list[Result], Engine, float]:
        results: list[Result] = []
        engine = Engine(policy=Policy(clock=clock, **told), sender=sender, finish=results.append)
        began = asyncio.get_running_loop().time()
        await engine.run(items)
        return results, engine, asyncio.get_running_loop().time() - began

    return run_virtual(main)


def test_buckets_of_one_host_wait_apart() -> None:
    """A full bucket delays no other of the same host, and each keeps its own limit."""
    github = "https://api.github.com"
    items: list[Request | BadInput] = [
        request(n, f"{github}/search/issues?q={n}" if n % 2 else f"{github}/items/{n}") for n in range(1, 41)
    ]
    sender = ScriptedSender()
    results, engine, took = run_policy(items, sender, limits=["100/s"], dialect="github", buckets={"search": ["10/s fixed"]})
    assert len(results) == 40
    assert set(engine.lanes) == {"api.github.com:443/search", "api.github.com:443/core"}
    core = [at for at, line, _ in sender.sent if "/items/" in line]
    search = [at for at, line, _ in sender.sent if "/search/" in line]
    assert max(core) - min(core) < 0.3
    assert max(search) - min(search) > 0.5
    assert took < 3


def test_a_policy_s_headers_go_to_its_hosts_alone() -> None:
    """Each request to them carries the header, none to another host does, not even by a redirect; a request's own one stays."""

    def answer(url: str, _: int) -> tuple[int, Mapping[str, str]]:
        return (302, {"Location": "https://other.example/moved"}) if url.endswith("/moves") else (200, {})

    sender = ScriptedSender(answer=answer)
    items: list[Request | BadInput] = [
        request(1, "https://api.example.com/a"),
        request(2, "https://api.example.com/moves"),
        request(3, "https://other.example/a"),
        request(4, "https://api.example.com/own", **{"x-api-key": "mine"}),
        request(5, "http://api.example.com/clear"),
    ]
    run_policy(items, sender, headers={"X-Api-Key": "k"}, send_to=["api.example.com"])
    sent = {line: {name.lower(): value for name, value in headers.items()}.get("x-api-key") for _, line, headers in sender.sent}
    assert sent == {
        "GET https://api.example.com/a": "k",
        "GET https://api.example.com/moves": "k",
        "GET https://other.example/moved": None,
        "GET https://other.example/a": None,
        "GET https://api.example.com/own": "mine",
        "GET http://api.example.com/clear": None,
    }


def test_costs_are_reserved_and_settled() -> None:
    """What an input does not name is reckoned; what the answer says less is given back, so that more go in a period."""
    items: list[Request | BadInput] = [request(n) for n in range(1, 61)]
    told: dict[str, Any] = {"limits": ["1000 tokens/10s sliding"], "cost_of": lambda _method, _url, _body: {"tokens": 100}}
    _, _, reserved = run_policy(items, ScriptedSender(), **told)
    _, _, settled = run_policy(items, ScriptedSender(), **told, settle_of=lambda _reserved, _status, _body: {"tokens": 10})
    assert reserved > 50 - 1
    assert settled < 15
    named: list[Request | BadInput] = [request(n, cost=5.0) for n in range(1, 61)]
    _, _, own = run_policy(named, ScriptedSender(), **told)
    assert own < 5


@pytest.mark.parametrize("limits", [(), "2/s sliding"])
def test_hosts_by_the_thousand_are_let_go_again(limits: Any) -> None:
    """What was held for a host that nothing is under way for goes; within its limit's periods nothing is forgotten."""
    held: list[int] = []
    often: list[float] = []

    async def main(clock: Any) -> None:
        policy = Policy(limits=limits, clock=clock)

        def finish(result: Result) -> None:
            held.append(len(policy.lines))
            if result.item.number >= 20_000:
                often.append(clock.now())

        hosts = [request(number, f"https://h{number}.example.com/") for number in range(12_000)]
        # One host again and again, far apart in the list: its limit holds as if it were the only one.
        for place in range(0, 12_000, 500):
            hosts.insert(place, request(20_000 + place, f"https://often.example.com/{place}"))
        await Engine(policy=policy, sender=ScriptedSender(), finish=finish).run(hosts)

    run_virtual(main)
    assert len(held) == 12_024
    assert len(often) == 24
    if limits:
        assert all(later - earlier >= 1.0 for earlier, later in zip(often, often[2:], strict=False))
    else:
        assert max(held) <= 2 * 2048
