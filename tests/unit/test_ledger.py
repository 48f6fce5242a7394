"""The ledger: pauses, probes, ramps, tightening, headers, costs; one rule a test."""

from __future__ import annotations

from math import inf

import pytest

from paceline._meter import Meter
from paceline._tightening import Tightening
from paceline.errors import CostAboveQuota
from paceline.ledger import Ledger
from paceline.limits import Limit
from paceline.signals import Quota, Signal

SERVED = Signal()


def ledger(*texts: str) -> Ledger:
    """A ledger at moment 0."""
    return Ledger([Limit.parse(text) for text in texts], now=0.0, offset=1000.0)


def refused(wait: float | None = None, **more: object) -> Signal:
    """A refusal."""
    return Signal(True, wait, **more)  # type: ignore[arg-type]


def send(books: Ledger, now: float) -> float:
    """Takes and writes one tracked permit, which must be had now."""
    assert books.take(now, 1, True) <= now
    books.written(now, now, 1)
    return now


def test_nothing_goes_in_a_cooldown_and_little_after_it() -> None:
    """A refusal pauses the whole scope for the time asked, and a ramp follows."""
    books = ledger("100/s")
    send(books, 0.0)
    learned = books.learn(0.1, 0.0, 1, refused(2.0), 429)
    assert (learned.began, learned.wait) == (True, pytest.approx(2.01))
    assert learned.until == pytest.approx(1002.11)
    assert books.take(1.0, 1) == pytest.approx(2.11)
    assert books.held_by == "cooldown"
    assert books.take(2.11, 1) <= 2.11
    assert books.take(2.11, 1) >= 2.2  # a tenth of the rate


def test_requests_of_the_same_volley_add_nothing() -> None:
    """Refusals of what departed before the pause change neither rate nor count; a longer wait moves the end."""
    books = ledger("100/s")
    for _ in range(4):
        send(books, 0.0)
    first = books.learn(0.1, 0.0, 1, refused(1.0), 429)
    second = books.learn(0.2, 0.0, 1, refused(1.0), 429)
    third = books.learn(0.2, 0.0, 1, refused(3.0), 429)
    assert (first.began, second.began, third.began) == (True, False, False)
    assert first.mismatch == "one permit less a period, no bursts"
    assert second.mismatch is third.mismatch is None
    assert books.take(0.3, 1) == pytest.approx(3.21)


@pytest.mark.parametrize("asked", [3.0, None])
def test_who_departed_in_a_pause_had_not_heard_of_it(asked: float | None) -> None:
    """Refused one after another before they hear of each other, several workers make one pause and one decrease."""
    books = ledger("100/s")
    for at in (0.0, 0.11, 0.12, 0.13):
        send(books, at)
    first = books.learn(0.1, 0.0, 1, refused(asked), 429)
    others = [books.learn(at + 0.03, at, 1, refused(asked), 429) for at in (0.11, 0.12, 0.13)]
    assert first.mismatch == "one permit less a period, no bursts"
    assert [(each.began, each.mismatch) for each in others] == [(False, None)] * 3
    # The end is that of the last, not the sum, and not doubled for each.
    assert books.take(0.2, 1) == pytest.approx(1.1 if asked is None else 3.17)


def test_exactly_one_probes() -> None:
    """A refusal that names no wait: doubling pauses with a single request between them, until one is served."""
    books = ledger("100/s")
    send(books, 0.0)
    send(books, 0.0)
    books.learn(0.1, 0.0, 1, refused(), 429)
    assert books.take(0.1, 1) == pytest.approx(1.1)
    send(books, 1.1)
    assert books.take(1.2, 1, True) == inf
    books.learn(1.25, 0.0, 1, SERVED)  # departed before the pause: says nothing about now
    books.release(0.0, 1, True, True, 1.25)
    assert books.take(1.3, 1, True) == inf
    books.learn(1.4, 1.1, 1, refused(), 429)
    books.release(1.1, 1, True, True, 1.4)
    assert books.take(1.4, 1) == pytest.approx(3.4)
    send(books, 3.4)
    books.learn(3.5, 3.4, 1, SERVED)
    books.release(3.4, 1, True, True, 3.5)
    assert books.take(3.6, 1, True) <= 3.6


@pytest.mark.parametrize("lost", ["released", "cancelled", "resumed"])
def test_a_lost_probe_frees_the_scope(lost: str) -> None:
    """A probe that broke off without an answer lets the next one go."""
    books = ledger("100/s")
    send(books, 0.0)
    books.learn(0.1, 0.0, 1, refused(), 429)
    assert books.take(1.1, 1, True) <= 1.1
    assert books.take(1.3, 1, True) == inf
    if lost == "released":
        books.release(1.1, 1, True, False, 1.3)
    elif lost == "cancelled":
        books.cancel(1.1, 1, True)
    else:
        books.resume(1.3)
    assert books.take(1.4, 1, True) <= 1.4


def test_a_wait_that_did_not_help_is_doubled() -> None:
    """Sat out and refused again with nothing served between, the pause is twice what is asked, then four times."""
    books = ledger("100/s")
    now, waits = 0.0, []
    for _ in range(4):
        send(books, now)
        learned = books.learn(now + 0.1, now, 1, refused(2.0), 429)
        books.release(now, 1, True, True, now + 0.1)
        waits.append(learned.wait)
        now = books.take(now + 0.1, 1)
    assert waits == pytest.approx([2.01, 4.01, 8.01, 16.01])


def test_a_5xx_pauses_and_tightens_nothing() -> None:
    """503 with Retry-After is a wish to pause; only a quota shown as used up makes it proof of a wrong limit."""
    books = ledger("100/s")
    send(books, 0.0)
    learned = books.learn(0.1, 0.0, 1, refused(1.0), 503)
    assert learned.began
    assert learned.mismatch is None
    assert books.look(0.2, 0, None).limits[0].scale == 1.0
    books = ledger("100/s")
    send(books, 0.0)
    assert books.learn(0.1, 0.0, 1, refused(1.0, limits=(Quota(limit=50, remaining=0),)), 503).mismatch


def test_a_served_answer_may_ask_for_a_pause_once() -> None:
    """A backoff wish on served answers pauses the scope; those of one volley begin one pause."""
    books = ledger("100/s")
    send(books, 0.0)
    send(books, 0.0)
    assert books.learn(0.1, 0.0, 1, Signal(retry_after=5.0)).began
    assert not books.learn(0.2, 0.0, 1, Signal(retry_after=5.0)).began
    assert books.take(1.0, 1) == pytest.approx(5.2)
    assert books.look(1.0, 0, None).paused_for == "asked by the server"


def test_a_pause_by_hand_shortens_no_cooldown() -> None:
    """The later end of both holds, `resume` ends both, and the state tells which one it is."""
    books = ledger("100/s")
    send(books, 0.0)
    books.learn(0.0, 0.0, 1, refused(10.0), 429)
    books.pause(5.0)
    assert books.take(6.0, 1) == pytest.approx(10.01)
    assert books.look(6.0, 0, None).paused_for == "refused by the server"
    books.pause(20.0)
    assert books.take(11.0, 1) == 20.0
    assert books.held_by == "paused"
    assert books.look(11.0, 0, None).paused_for == "paused by hand"
    assert books.resume(11.0) == pytest.approx(9.0)
    assert books.take(11.0, 1) <= 11.0


def test_a_cooldown_learned_during_a_pause_by_hand_is_kept() -> None:
    """What the server asks for while the scope is paused by hand holds after that pause."""
    books = ledger("100/s")
    send(books, 0.0)
    books.pause(30.0)
    books.learn(1.0, 0.0, 1, refused(60.0), 429)
    assert books.take(31.0, 1) == pytest.approx(61.01)


def test_a_closed_gate_hides_no_cooldown() -> None:
    """Under a pause the wait is the pause's, also while a limit waits for what is under way."""
    books = ledger("1 concurrent")
    books.take(0.0, 1, True)
    assert books.take(0.0, 1, True) == inf
    books.learn(0.1, 0.0, 1, refused(50.0), 429)
    assert books.take(0.2, 1, True) == pytest.approx(50.11)
    assert books.held_by == "cooldown"


def test_too_many_at_once_lowers_the_number_in_flight_once() -> None:
    """Refusals for concurrency: one ceiling for a volley, no change of the rate, one place more after clean seconds."""
    books = ledger("100/s")
    for _ in range(10):
        send(books, 0.0)
    for now in (0.1, 0.11, 0.12, 0.13):
        books.learn(now, 0.0, 1, refused(concurrency=True), 429)
        books.release(0.0, 1, True, True, now)
    state = books.look(0.2, 0, None)
    assert [str(each.limit) for each in state.limits] == ["100/s", "7 concurrent"]
    assert state.limits[0].scale == 1.0
    assert state.limits[1].left == 1
    for _ in range(6):
        books.release(0.0, 1, True, True, 0.2)
    for second in (1, 6, 12, 20):
        books.learn(float(second), float(second), 1, SERVED)
    assert books.limits[1].quota == 10


def test_a_told_number_in_flight_comes_back_and_no_higher() -> None:
    """A told number in flight that was lowered rises again, to what was told."""
    books = ledger("4 concurrent")
    for _ in range(4):
        send(books, 0.0)
    books.learn(0.1, 0.0, 1, refused(concurrency=True), 429)
    assert books.limits[0].quota == 2
    for second in range(1, 100):
        books.learn(float(second), float(second), 1, SERVED)
    assert books.limits[0].quota == 4


def test_other_limits_while_places_were_fewer() -> None:
    """Limits changed after a refusal for concurrency: nothing of it is left, and nothing breaks."""
    books = ledger("4 concurrent")
    send(books, 0.0)
    books.learn(0.1, 0.0, 1, refused(concurrency=True), 429)
    books.update([Limit(10, 1)], 0.2)
    books.learn(10.0, 9.0, 1, SERVED)
    assert [str(limit) for limit in books.limits] == ["10/s"]


def test_places_in_flight_count_what_was_there_before() -> None:
    """A number in flight told in the middle counts what is under way, and gives back no more than it took."""
    books = ledger("100/s")
    for _ in range(3):
        send(books, 0.0)
    books.update([Limit(2, shape="concurrent")], 0.5)
    assert books.take(0.5, 1, True) == inf
    books.release(0.0, 1, True, True, 0.6)
    assert books.take(0.6, 1, True) == inf
    books.release(0.0, 1, True, True, 0.7)
    assert books.take(0.7, 1, True) <= 0.7


def test_a_call_holds_one_place_whatever_it_costs() -> None:
    """A number in flight counts calls, not their cost; a call of cost 0 takes none and gives none back."""
    books = ledger("90000 tokens/min", "2 concurrent")
    assert books.take(0.0, 500, True) <= 0.0
    assert books.take(0.0, 0, True) <= 0.0
    books.release(0.0, 0, True, False, 0.0)
    assert books.look(0.0, 0, None).limits[1].left == 1
    assert books.take(0.0, 40000, True) <= 0.0
    assert books.take(0.0, 1, True) == inf


def test_costs_by_unit() -> None:
    """A mapping says what a call costs in each unit; one request where it does not say, no tokens."""
    books = ledger("10/min sliding", "1000 tokens/min sliding")
    assert books.take(0.0, {"tokens": 400}) <= 0.0
    assert books.take(0.0, {"tokens": 500, "requests": 3}) <= 0.0
    assert [each.left for each in books.look(0.0, 0, None).limits] == [6, 100]
    assert books.take(0.0, {"tokens": 200}) > 0.0
    assert [each.left for each in books.look(0.0, 0, None).limits] == [6, 100]
    with pytest.raises(CostAboveQuota):
        books.take(0.0, {"tokens": 1001})


@pytest.mark.parametrize("shape", ["sliding", "bucket", "fixed", "steady"])
@pytest.mark.parametrize("when", ["granted", "written", "later"])
def test_settling_gives_back_what_was_not_used(shape: str, when: str) -> None:
    """A reservation settled at any moment leaves the limit as if its true cost had been taken."""
    books, plain = ledger(f"100 tokens/min {shape}"), ledger(f"100 tokens/min {shape}")
    for each, cost in ((books, 90), (plain, 30)):
        each.take(0.0, cost, True)
    wrote = None if when == "granted" else 0.0
    if wrote is not None:
        books.written(0.0, 0.0, 90)
        plain.written(0.0, 0.0, 30)
    now = 5.0 if when == "later" else 0.0
    books.adjust(now, 0.0, wrote, True, 90, 30)
    if wrote is None:
        books.written(0.0, 0.0, 30)
        plain.written(0.0, 0.0, 30)
    assert books.look(now, 0, None).limits[0].left == plain.look(now, 0, None).limits[0].left
    assert books.take(now, 40) == pytest.approx(plain.take(now, 40))


def test_the_first_refusal_costs_the_bursts_later_ones_the_rate() -> None:
    """Tightening: no bursts, then times 0.7, at most one decrease a period."""
    tight = Tightening()
    assert tight.refused(0.0, 2.0) == "one permit less a period, no bursts"
    assert tight.refused(1.9, 2.0) is None
    assert tight.refused(2.0, 2.0) == "rate lowered to 70%"
    assert tight.refused(4.0, 2.0) == "rate lowered to 49%"


def test_clean_periods_give_everything_back() -> None:
    """After refusals the rate rises to below the level refused, stays, feels its way up, and in the end all is back."""
    tight = Tightening()
    for now in (0.0, 1.0, 2.0):
        tight.refused(now, 1.0)
    scales = []
    for now in range(3, 300):
        tight.clean(float(now), 1.0)
        scales.append(tight.scale)
    assert scales == sorted(scales)
    assert scales[10] == pytest.approx(0.95 * 0.7)
    assert (tight.scale, tight.credit, tight.guard) == (1.0, True, 1.0)


def test_a_level_refused_again_is_kept_away_from() -> None:
    """A limit that is simply lower than told costs fewer and fewer refusals."""
    tight, refusals = Tightening(), []
    for now in range(1000):
        if tight.scale > 0.6 or (now == 0 and tight.credit):
            if tight.refused(float(now), 1.0):
                refusals.append(now)
        else:
            tight.clean(float(now), 1.0)
    assert len(refusals) <= 25
    assert tight.scale > 0.5


def test_agreeing_headers_change_nothing() -> None:
    """Headers that count what we count leave a told limit alone."""
    books = ledger("10/s")
    for sent in range(10):
        send(books, 0.0)
        quota = Quota(limit=10, remaining=9 - sent, reset_after=1.0)
        assert books.learn(0.0, 0.0, 1, Signal(limits=(quota,))).learned is None
        books.release(0.0, 1, True, True, 0.0)
    assert books.take(0.0, 1) == pytest.approx(1.02)
    assert books.held_by == "pace"


def test_headers_show_use_that_is_not_ours() -> None:
    """Where the server counts more than we sent, its remaining holds us up until its reset."""
    books = ledger("100/s")
    send(books, 0.0)
    books.learn(0.0, 0.0, 1, Signal(limits=(Quota(limit=100, remaining=0, reset_after=0.8),)))
    books.release(0.0, 1, True, True, 0.0)
    assert books.take(0.1, 1) == pytest.approx(0.8)
    assert books.held_by == "quota"
    assert books.take(0.8, 1) <= 0.8


def test_a_told_limit_follows_its_header_down_and_up_again() -> None:
    """A quota that the headers give for our period, lower than told, is heeded, and given up when it rises."""
    books = ledger("100/2s")
    lower = Signal(limits=(Quota(limit=60, remaining=50, reset_after=1.0, window=2.0),))
    higher = Signal(limits=(Quota(limit=500, remaining=450, reset_after=1.0, window=2.0),))
    send(books, 0.0)
    learned = books.learn(0.1, 0.0, 1, lower)
    assert (learned.learned, learned.before) == ("60/2s", "100/2s")
    assert books.learn(0.2, 0.0, 1, lower).learned is None
    learned = books.learn(0.3, 0.0, 1, higher)
    assert (learned.learned, learned.before) == ("100/2s", "60/2s")


def test_a_header_without_a_period_lowers_only_what_it_named_before() -> None:
    """An X-RateLimit-Limit other than ours is somebody else's, unless it stood for our limit until now."""
    books = ledger("100/2s")
    send(books, 0.0)
    other = Signal(limits=(Quota(limit=60, remaining=50, reset_after=1.0),))
    assert books.learn(0.1, 0.0, 1, other).learned is None
    books.learn(0.2, 0.0, 1, Signal(limits=(Quota(limit=100, remaining=99, reset_after=1.0),)))
    assert books.learn(0.3, 0.0, 1, other).learned == "60/2s"


def test_headers_of_one_unit_leave_limits_of_another_alone() -> None:
    """A quota of requests says nothing about a limit of tokens with the same period."""
    books = ledger("90000 tokens/min", "100/min")
    send(books, 0.0)
    quotas = (Quota(limit=100, remaining=99, reset_after=60, window=60.0, unit="requests"),)
    assert books.learn(0.1, 0.0, 1, Signal(limits=quotas)).learned is None
    assert [str(limit) for limit in books.limits] == ["90000 tokens/min", "100/min"]


def test_two_quotas_of_one_period_do_not_take_turns() -> None:
    """Of several quotas for one period the lowest holds, and is told once."""
    books = ledger()
    quotas = (Quota("user", 50, 49, 60, 60.0), Quota("app", 1000, 999, 60, 60.0))
    learned = [books.learn(now / 10, 0.0, 1, Signal(limits=quotas)).learned for now in range(5)]
    assert learned == ["50/min", None, None, None, None]


def test_remaining_alone_leads_where_nothing_is_told() -> None:
    """With no limit told, what headers leave is what goes, less what is under way; then it waits for the reset."""
    books = ledger()
    for _ in range(3):
        send(books, 0.0)
    books.learn(0.1, 0.0, 1, Signal(limits=(Quota(limit=10, remaining=5, reset_after=30.0),)))
    books.release(0.0, 1, True, True, 0.1)
    for _ in range(3):
        send(books, 0.1)
    assert books.take(0.1, 1, True) == pytest.approx(30.1)
    assert books.held_by == "quota"


def test_unlimited_scopes_ramp_too() -> None:
    """With no limit told, a pause is followed by a ramp up to the rate served before."""
    books = ledger()
    for _ in range(30):
        send(books, 0.0)
    books.learn(0.1, 0.0, 1, refused(1.0), 503)
    now, gone = 1.2, 0
    while now < 1.3:
        at = books.take(now, 1)
        gone += at <= now
        now = max(at, now + 0.001)
    assert gone <= 4


def test_a_rate_is_guessed_and_grows() -> None:
    """With no limit told a refusal gives a first rate, what was served a cycle; clean cycles make it grow, unbounded."""
    books = ledger()
    for number in range(50):
        send(books, number * 0.01)
        books.learn(number * 0.01, number * 0.01, 1, SERVED)
    send(books, 0.5)
    learned = books.learn(0.6, 0.5, 1, refused(4.39), 429)
    assert learned.mismatch is None
    assert str(books.limits[0]) == "10/s"
    assert not books.look(1.0, 0, None).limits[0].told
    for now in range(6, 60):
        books.learn(float(now), float(now), 1, SERVED)
    assert books.look(60.0, 0, None).limits[0].scale > 1.5


def test_export_and_restore_keep_what_was_spent() -> None:
    """A later ledger has no credit that this one spent, and sits out its cooldown; what was only learned is left out."""
    books = ledger("10/min sliding")
    for _ in range(10):
        send(books, 0.0)
    books.learn(1.0, 0.0, 1, refused(100.0), 429)
    saved = books.export(2.0)
    other = Ledger([Limit.parse("10/min sliding")], now=500.0, offset=502.0)
    other.restore(saved, 500.0)
    assert other.look(500.0, 0, None).limits[0].left == 0
    assert other.look(500.0, 0, None).paused_until == pytest.approx(1101.01)


@pytest.mark.parametrize("shape", ["steady", "sliding", "bucket", "fixed"])
def test_permits_known_to_have_gone_are_charged(shape: str) -> None:
    """A million permits charged at once cost no time, and a spent quota is spent."""
    books = Ledger([Limit(1_000_000, 3600, shape)], now=10.0, offset=0.0)
    books.charge(2_000_000, 10.0)
    assert books.take(10.0, 1) > 10.0


def test_a_meter_counts_as_strictly_as_any_server() -> None:
    """A burst that a log has forgotten may still count in a sliding counter, but no longer than two periods."""
    meter = Meter(1.0)
    meter.add(0.5, 100)
    assert meter.since(0.6, 1.0) == 0
    assert meter.most(1.55, 1.55) >= 45
    assert meter.most(2.6, 2.6) == 0


@pytest.mark.parametrize("shape", ["sliding", "fixed", "bucket"])
def test_a_slot_booked_ahead_and_written_late_counts_once(shape: str) -> None:
    """A late write moves a permit that is in the books already; it takes no second one, however few limits there are."""
    alone = Ledger([Limit(100, 2, shape)], now=0.0, offset=0.0)
    beside = Ledger([Limit(100, 2, shape), Limit(1_000_000, 2, shape)], now=0.0, offset=0.0)
    for books in (alone, beside):
        for _ in range(50):
            assert books.take(0.5, 1) <= 0.5
        for _ in range(50):
            books.written(0.5, 0.54, 1, pending=False)
    left = [books.look(0.54, 0, None).limits[0].left for books in (alone, beside)]
    assert left[0] == left[1]
    assert left[0] >= 49 or shape == "bucket"
