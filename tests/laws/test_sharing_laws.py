"""What workers that share a limit through a store may count on: never over it, nearly all of it, each its part, few trips."""

from __future__ import annotations

import pytest
from tests.workers_sim import World


@pytest.mark.parametrize("rtt", [0.001, 0.08])
@pytest.mark.parametrize(
    ("limit", "workers", "trips"),
    [("2000/s", 4, 0.05), ("100/s", 4, 0.5), ("10/s", 4, 2.0), ("100/s", 16, 2.0), ("100/s sliding", 4, 0.5), ("10/s fixed", 4, 2.0)],
)
def test_all_of_the_limit_in_equal_parts(limit: str, workers: int, trips: float, rtt: float) -> None:
    """Workers that always want are within the limit in any period, use 96 % of it and more, are given the same, and call seldom."""
    with World(limit, [1.0] * workers, rtt=rtt, tasks=32 if rtt < 0.01 else 400) as world:
        world.run(20.0)
    if "fixed" not in limit:  # whose periods are the clock's
        assert world.most <= world.limit.quota
    assert world.used >= (0.97 if rtt < 0.01 else 0.96)
    assert world.jain >= 0.997
    assert world.trips <= trips


@pytest.mark.parametrize("limit", ["500/s", "20/s", "10/s"])
def test_each_by_its_weight(limit: str) -> None:
    """Workers of other weights are given permits by their weights, and nothing of the limit is left unused for it."""
    with World(limit, [1.0, 1.0, 0.3, 0.1]) as world:
        world.run(60.0)
    assert world.used >= 0.97
    whole = sum(world.permits)
    for permits, weight in zip(world.permits, world.weights, strict=True):
        assert permits / whole == pytest.approx(weight / 2.4, rel=0.1, abs=0.015)


def test_who_comes_later_has_its_part_at_once() -> None:
    """A worker that others were alone before is given its part from then on, and does not have to wait for what they had."""
    with World("50/s", [1.0] * 3) as world:
        before = world.run(10.0).permits
        world.join(1.0)
        late = world.run(20.0)
    since = [now - then for now, then in zip(late.permits[:3], before, strict=True)]
    assert before == pytest.approx([163] * 3, rel=0.1)
    assert late.permits[3] == pytest.approx(122, rel=0.1)
    assert since == pytest.approx([122] * 3, rel=0.1)


@pytest.mark.parametrize("jumps", [[1.5], [-1.5], [3600.0], [-3600.0], [1.5, 0.0, 3600.0, 0.0]])
def test_a_store_whose_clock_jumps(jumps: list[float]) -> None:
    """Wherever the store's clock jumps to, soon after all goes on: never over the limit, nobody waits for that moment to come."""
    with World("100/s", [1.0] * 4) as world:
        world.run(2.0)
        for jump in jumps:
            world.store.ahead = jump
            world.run(world.time + 1.5)
        before = sum(world.permits)
        world.run(world.time + 5.0)
    assert sum(world.permits) - before >= 460
    assert world.most <= 100
