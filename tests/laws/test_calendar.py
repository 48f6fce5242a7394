"""Laws of calendar windows: they tile time, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.ledger import Ledger
from paceline.limits import Limit
from paceline.schedules._calendar import window_at

ZONES = st.sampled_from(["UTC", "America/Los_Angeles", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"])
PERIODS = st.sampled_from([60.0, 900.0, 3600.0, 6 * 3600.0, 86400.0, 2 * 86400.0, 604800.0])
EPOCHS = st.floats(1.5e9, 2.0e9)


@given(zone=st.none() | ZONES, period=PERIODS, epoch=EPOCHS)
def test_windows_tile_time(zone: str | None, period: float, epoch: float) -> None:
    """Every moment lies in its window, and the next window begins where this one ends."""
    window = window_at(period, zone)
    start, end = window(epoch)
    assert start <= epoch < end
    assert window(start) == (start, end)
    assert window(end)[0] == end
    assert window(end - 1e-3) == (start, end)


@given(zone=ZONES, epoch=EPOCHS, days=st.sampled_from([1, 7]))
def test_days_and_weeks_begin_at_local_midnight(zone: str, epoch: float, days: int) -> None:
    """A zone's day begins at its midnight, its week on Monday."""
    start, _ = window_at(days * 86400.0, zone)(epoch)
    wall = datetime.fromtimestamp(start, UTC).astimezone(ZoneInfo(zone))
    assert (wall.hour, wall.minute, wall.second) == (0, 0, 0)
    assert days == 1 or wall.weekday() == 0


@pytest.mark.parametrize(
    ("noon", "hours"),
    [("2026-03-08T20:00", 23), ("2026-11-01T20:00", 25), ("2026-07-01T20:00", 24)],
)
def test_a_day_has_the_hours_it_has(noon: str, hours: int) -> None:
    """Los Angeles: 23 hours when the clocks go forward, 25 when they go back."""
    epoch = datetime.fromisoformat(noon).replace(tzinfo=UTC).timestamp()
    start, end = window_at(86400.0, "America/Los_Angeles")(epoch)
    assert (end - start) / 3600 == hours


def test_a_daily_quota_opens_at_local_midnight() -> None:
    """Once a day's quota is used, the next permit is to be had just after the zone's next midnight."""
    noon = datetime(2026, 3, 8, 20, tzinfo=UTC).timestamp()
    ledger = Ledger([Limit.parse("2/day fixed@America/Los_Angeles")], now=0.0, offset=noon)
    assert ledger.take(0.0, 1) <= 0.0
    assert ledger.take(1.0, 1) <= 1.0
    midnight = datetime(2026, 3, 9, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()
    assert ledger.take(2.0, 1) == pytest.approx(midnight - noon + 0.005)


@given(jump=st.sampled_from([-7200.0, -3600.0, -61.0, 61.0, 3600.0]))
def test_a_stepped_wall_clock_gives_no_quota(jump: float) -> None:
    """The server's clock has not stepped with ours: what was used in its window counts on."""
    ledger = Ledger([Limit.parse("5/h fixed")], now=0.0, offset=1_700_000_000.0)
    for moment in range(5):
        assert ledger.take(float(moment), 1) <= moment
    ledger.offset += jump
    assert ledger.take(6.0, 1) > 6.0
