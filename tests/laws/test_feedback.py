"""Laws of feedback: what a scope makes of refusals and headers, against servers of every kind in virtual time."""

from __future__ import annotations

import random
from dataclasses import replace
from math import ceil
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.feedback_sim import EPOCH, Client, Course, pace

from paceline.limits import Limit
from paceline.testing.settings import Settings

SEEDS = st.integers(0, 2**32)
ENFORCED = ["sliding", "fixed", "anchored", "counter", "counter-lenient", "bucket"]
HEADERS = ["none", "x", "ietf", "ietf03"]


def few(examples: int) -> Any:
    """So many examples; a run cannot be shrunk in any useful way, its seed says it all."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )


def client(
    told: list[Limit], enforced: Limit, how: str, seed: int, *, items: int, workers: int = 32, ramble: bool = True, **options: Any
) -> Client:
    """A client told some limits and a server that enforces one, its windows at a phase that the seed decides."""
    rng = random.Random(seed)
    options = {"latency": 0.02, "jitter": 0.01, "charge_refused": True, "seed": seed, **options}
    served = Settings(limits=(enforced,), enforce=(how,), **options)
    offset = EPOCH + (rng.uniform(0.0, 3 * enforced.period) if ramble else 0.0)
    return Client(told, served, items, workers=workers, seed=seed, offset=offset)


def check_cooldowns(course: Course, length: float) -> None:
    """Nothing was granted in a pause once it was known, and hardly anything in the first tenth of the ramp after it."""
    ends = sorted(until for _, until in course.cool)
    for began, until in course.cool:
        assert not [moment for moment in course.grants if began < moment < until]
    for end in ends:
        assert sum(end <= moment < end + length / 10 for moment in course.grants) <= 4


@pytest.mark.parametrize("how", ENFORCED)
@few(12)
@given(
    quota=st.sampled_from([50, 100, 300]),
    period=st.sampled_from([1, 2, 5]),
    headers=st.sampled_from(HEADERS),
    latency=st.sampled_from([0.0, 0.02, 0.2, 0.4]),
    seed=SEEDS,
)
def test_a_limit_told_right_is_used_whole(
    how: str, quota: int, period: float, headers: str, latency: float, seed: int
) -> None:
    """Told the quota alone, whatever the enforcer: no refusal and 97 % of the quota; headers that agree cost nothing."""
    if how == "counter":
        # The strictest kind refuses a full steady rate of so few a period: the law below.
        quota = max(quota, 100)
    limit = Limit(quota, period)
    ends = []
    for style in (headers, "none"):
        workers = 32 + int(2 * limit.rate * latency)
        run = client(
            [limit], limit, how, seed, items=5 * quota, workers=workers, headers=style, latency=latency, jitter=latency / 2
        )
        course = run.run()
        assert not course.refused
        assert not course.learned
        assert pace(course, limit) >= 0.97
        ends.append(course.ended - run.begun)
    assert ends[0] == pytest.approx(ends[1], rel=0.01)


@few(20)
@given(period=st.sampled_from([1, 2, 10, 60]), headers=st.sampled_from(HEADERS), seed=SEEDS)
def test_windows_that_are_not_the_clocks_are_found_out(period: float, headers: str, seed: int) -> None:
    """Told windows of the clock, where the server begins its own at a first request: one volley is refused, none where a
    header gives the moment of a reset that tells the two apart. Windows that begin near the clock's take longer to be
    told from them, and cost two; so do resets, which come in whole seconds, within one second."""
    limit = Limit(100, period, "fixed")
    run = client([limit], limit, "anchored", seed, items=1000, headers=headers)
    run.late, run.delay = 0.0002, 0.0005
    course = run.run()
    begins = (run.begun + run.ledger.offset) % period
    apart = min(begins, period - begins)
    assert len(course.refused) <= (run.workers if apart > period / 10 else 2 * run.workers + 4)
    assert len(course.served) == run.items
    if headers == "x" and period >= 10 and apart > 1.1:
        assert not course.refused
    assert [each.shape for each in run.ledger.limits] == ["sliding"]
    assert pace(course, limit) >= 0.7


@few(20)
@given(period=st.sampled_from([1, 2, 10, 60]), headers=st.sampled_from(HEADERS), seed=SEEDS)
def test_windows_of_the_clock_are_left_as_they_are(period: float, headers: str, seed: int) -> None:
    """Where the server's windows are those of the clock, no header makes anything else of them."""
    limit = Limit(100, period, "fixed")
    run = client([limit], limit, "fixed", seed, items=600, headers=headers, latency=0.2, jitter=0.1, workers=128)
    run.late, run.delay = 0.0002, 0.0005
    course = run.run()
    assert not course.refused
    assert run.ledger.limits == (limit,)


@few(20)
@given(quota=st.sampled_from([10, 20, 50]), period=st.sampled_from([1, 2, 5]), latency=st.sampled_from([0.0, 0.02]), seed=SEEDS)
def test_the_strictest_counter_refuses_once_and_is_known_from_then_on(
    quota: int, period: float, latency: float, seed: int
) -> None:
    """One that serves only while its estimate leaves room for one more counts a steady rate of up to 51 a period as
    full: its one refusal (with what is on its way meanwhile) takes one permit a period and the bursts, and there is no other
    in twenty periods."""
    limit = Limit(quota, period)
    run = client(
        [limit], limit, "counter", seed, items=20 * quota, workers=32, headers="none", latency=latency, jitter=latency / 2
    )
    course = run.run()
    assert not course.refused or course.refused[-1] - course.refused[0] <= 2 * latency
    assert pace(course, limit) >= 0.75


@few(10)
@given(
    shape=st.sampled_from(["sliding", "fixed", "bucket"]),
    headers=st.sampled_from(HEADERS),
    burst=st.sampled_from([None, 20]),
    seed=SEEDS,
)
def test_a_shape_told_right_is_used_whole(shape: str, headers: str, burst: int | None, seed: int) -> None:
    """Told the shape too, headers that agree cost nothing either, also where a bucket is smaller than the quota."""
    limit = Limit(100, 1, shape, burst=burst if shape == "bucket" else None)
    ends = []
    for style in (headers, "none"):
        run = client([limit], limit, shape, seed, items=600, headers=style)
        if shape == "fixed":
            run.late, run.delay = 0.0002, 0.0005
        course = run.run()
        assert not course.refused
        ends.append(course.ended - run.begun)
    assert ends[0] == pytest.approx(ends[1], rel=0.01)


@few(60)
@given(data=st.data(), seed=SEEDS)
def test_hostile_servers_get_every_item_served(data: st.DataObject, seed: int) -> None:
    """Whatever a server does, nothing goes in a cooldown, no herd follows it, and all is served in bounded time."""
    draw = data.draw
    limit = Limit(draw(st.sampled_from([5, 40, 100])), draw(st.sampled_from([1, 2])))
    told = draw(st.sampled_from([[], [limit], [replace(limit, quota=2 * limit.quota)], [Limit(8, shape="concurrent")]]))
    run = client(
        told,
        limit,
        draw(st.sampled_from(ENFORCED)),
        seed,
        items=6 * int(limit.quota),
        workers=draw(st.sampled_from([1, 8, 40])),
        headers=draw(st.sampled_from(HEADERS)),
        retry_after=draw(st.sampled_from(["delta", "date", "ms", "none", "zero", "short", "junk"])),
        refuse_status=draw(st.sampled_from([429, 403, 503, 200])),
        charge_refused=draw(st.booleans()),
        lockout=draw(st.sampled_from([0.0, 0.0, 3.0])),
        fail_rate=draw(st.sampled_from([0.0, 0.05])),
        cut_rate=draw(st.sampled_from([0.0, 0.05])),
        noise_rps=draw(st.sampled_from([0.0, 0.15])) * limit.rate,
    )
    course = run.run(until=run.begun + 2000)
    assert len(course.served) == run.items
    assert course.ended - run.begun <= 60 + 15 * run.items / limit.rate
    assert len(course.refused) <= 40 * len(course.pauses) + run.items / 2
    assert run.ledger.in_flight == run.in_flight
    check_cooldowns(course, min(limit.period, 1.0))


@pytest.mark.parametrize("how", ENFORCED)
@few(4)
@given(headers=st.sampled_from(HEADERS), share=st.sampled_from([0.1, 0.2]), seed=SEEDS)
def test_another_consumer_leaves_us_the_rest(how: str, headers: str, share: float, seed: int) -> None:
    """With 10 to 20 % of the quota used by somebody else, we get at least 60 % of the rest, at few refusals."""
    limit = Limit(100, 2)
    run = client([limit], limit, how, seed, items=1500, headers=headers, noise_rps=share * limit.rate)
    course = run.run(until=run.begun + 500)
    assert len(course.served) == run.items
    assert pace(course, limit) >= 0.6 * (1 - share)
    assert len(course.refused) <= 20


@pytest.mark.parametrize("how", ENFORCED)
@few(4)
@given(headers=st.sampled_from(HEADERS), style=st.sampled_from(["delta", "none", "zero", "short"]), seed=SEEDS)
def test_a_limit_told_too_high_settles_near_the_true_one(how: str, headers: str, style: str, seed: int) -> None:
    """Told twice the quota, the rate settles at 75 % or more of the true one, with one or two refusals in ten periods."""
    limit = Limit(100, 2)
    run = client([Limit(200, 2)], limit, how, seed, items=3000, headers=headers, retry_after=style)
    course = run.run(until=run.begun + 500)
    half = (run.begun + course.ended) / 2
    assert course.served_between(half, course.ended) >= 0.75 * limit.rate * (course.ended - half)
    assert course.refused_between(half, course.ended) <= ceil(0.2 * (course.ended - half) / limit.period) + 4
    assert course.refused_between(run.begun, half) <= 60


@pytest.mark.parametrize("how", ENFORCED)
@few(4)
@given(style=st.sampled_from(["delta", "none"]), seed=SEEDS)
def test_headers_alone_give_the_rate(how: str, style: str, seed: int) -> None:
    """Told nothing, with X headers (no period in them): no storm of refusals, and half of the quota or more.

    Mostly it is 70 to 95 %; where refusals name no wait either, a guess may settle lower for a while.
    """
    limit = Limit(100, 2)
    run = client([], limit, how, seed, items=2500, headers="x", retry_after=style)
    course = run.run(until=run.begun + 500)
    assert len(course.refused) <= 25
    settled = run.begun + 10 * limit.period
    assert course.served_between(settled, course.ended) >= 0.5 * limit.rate * (course.ended - settled)


@pytest.mark.parametrize("how", ENFORCED)
@few(4)
@given(style=st.sampled_from(["delta", "none", "zero"]), seed=SEEDS)
def test_refusals_alone_give_a_rate(how: str, style: str, seed: int) -> None:
    """Told nothing by anybody: a rate is learned from refusals, grows again, and comes to 75 % of the quota or more."""
    limit = Limit(100, 2)
    run = client([], limit, how, seed, items=2500, headers="none", retry_after=style)
    course = run.run(until=run.begun + 500)
    # Twice as many where the server lies about its wait (0) and each pause has to be found by doubling.
    assert len(course.refused) <= (100 if style == "zero" else 50)
    settled = run.begun + 10 * limit.period
    assert course.served_between(settled, course.ended) >= 0.75 * limit.rate * (course.ended - settled)


@pytest.mark.parametrize("how", ENFORCED)
@few(3)
@given(headers=st.sampled_from(["ietf", "ietf03"]), style=st.sampled_from(["delta", "none"]), seed=SEEDS)
def test_a_quota_and_its_period_in_headers_are_a_limit(how: str, headers: str, style: str, seed: int) -> None:
    """Told nothing, with headers that name the period: hardly a refusal, and 90 % of the quota from the start."""
    limit = Limit(100, 2)
    run = client([], limit, how, seed, items=1000, headers=headers, retry_after=style)
    course = run.run(until=run.begun + 500)
    assert len(course.refused) <= 1
    assert pace(course, limit) >= 0.9
    assert [text for _, text in course.learned] == ["100/2s"]


@few(16)
@given(how=st.sampled_from(ENFORCED), headers=st.sampled_from(HEADERS), told=st.booleans(), seed=SEEDS)
def test_a_limit_raised_is_taken_up(how: str, headers: str, told: bool, seed: int) -> None:
    """A quota that doubles while it runs is used within a few minutes, at once where headers name it."""
    before, after = Limit(50, 2), Limit(100, 2)
    run = client([after] if told else [], before, how, seed, items=8000, headers=headers)
    run.at(run.begun + 20, lambda _: run.core.change(replace(run.core.settings, limits=(after,))))
    span = 40 if headers.startswith("ietf") else 240
    course = run.run(until=run.begun + span)
    assert course.served_between(course.ended - 20, course.ended) >= 0.7 * 50 * 20


@few(16)
@given(how=st.sampled_from(ENFORCED), headers=st.sampled_from(HEADERS), told=st.booleans(), seed=SEEDS)
def test_a_limit_lowered_is_drawn_down(how: str, headers: str, told: bool, seed: int) -> None:
    """A quota halved while it runs costs a few refusals, then half the rate goes on, at once where headers name it."""
    before, after = Limit(100, 2), Limit(50, 2)
    run = client([before] if told else [], before, how, seed, items=4000, headers=headers)
    run.at(run.begun + 20, lambda _: run.core.change(replace(run.core.settings, limits=(after,))))
    course = run.run(until=run.begun + 120)
    assert course.served_between(course.ended - 40, course.ended) >= 0.7 * 25 * 40
    assert course.refused_between(run.begun + 20, course.ended) <= (6 if told and headers != "none" else 30)
