"""Laws of the test server's core under all switches at once: sums come out, verdicts repeat, nothing is ever raised."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import InputError
from paceline.testing import Core, Request, Settings, Verdict
from paceline.testing.enforcers import ENFORCEMENTS
from paceline.testing.settings import HEADER_STYLES, RETRY_AFTER_STYLES
from paceline.testing.styles import STYLES

shares = st.one_of(st.just(0.0), st.floats(0, 1))
limits = st.lists(st.sampled_from(["1/s", "5/2s", "20/min", "3/10s bucket burst 2", "7/min fixed", "2 concurrent"]), max_size=3)
options = st.fixed_dictionaries(
    {},
    optional={
        "retry_after": st.sampled_from(RETRY_AFTER_STYLES),
        "headers": st.sampled_from(HEADER_STYLES),
        "dialect": st.sampled_from(sorted(STYLES)),
        "refuse_status": st.sampled_from([429, 403, 503, 200]),
        "fail_status": st.sampled_from([500, 502, 503, 504]),
        **dict.fromkeys(("fail_rate", "cut_rate", "reset_rate", "truncate_rate", "slow_rate", "refuse_rate"), shares),
        **{name: st.sampled_from([0.0, 0.2, 30.0]) for name in ("latency", "jitter", "lockout", "slow_seconds")},
        "noise_rps": st.sampled_from([0.0, 1.0, 50.0]),
        "charge_refused": st.booleans(),
        "key": st.sampled_from(["all", "address", "header:k", "query:k"]),
        "seed": st.integers(0, 5),
    },
)
targets = st.sampled_from(["/items/1", "/items/2?k=a", "/items/x%20y?bytes=50000&k=b", "/status/429?n=2", "/stream/9", "/free", "/big", "/nowhere"])
steps = st.lists(
    st.tuples(st.floats(0, 3), targets, st.sampled_from(["GET", "POST", "HEAD"]), st.sampled_from([b"a", b"b"]), st.booleans()),
    max_size=60,
)


def play(core: Core, arrivals: list[tuple[float, str, str, bytes, bool]]) -> list[Verdict]:
    """Sends the arrivals in order; some requests are settled at once, the others at the end."""
    now, verdicts, open_ones = 0.0, [], []
    for gap, target, method, key, at_once in arrivals:
        now += gap
        verdict = core.decide(Request(method, target, {b"k": key}, key.decode()), now)
        verdicts.append(verdict)
        if at_once:
            core.settle(verdict, now + verdict.delay, verdict.fault is None)
        else:
            open_ones.append(verdict)
    for verdict in open_ones:
        core.settle(verdict, now + verdict.delay, False)
    return verdicts


def seen(verdict: Verdict) -> tuple[Any, ...]:
    return (verdict.status, verdict.headers, verdict.body, verdict.delay, verdict.fault, verdict.refused)


@settings(max_examples=150, deadline=None)
@given(limit=limits, chosen=options, arrivals=steps)
def test_every_request_is_counted_once(limit: list[str], chosen: dict[str, Any], arrivals: list[Any]) -> None:
    """Arrived is accepted, refused and injected together; what is over is not in flight; and a card can be drawn."""
    core = Core(Settings.of(limit, None, chosen), origin=1.7e9)
    verdicts = play(core, arrivals)
    account = core.account(1e6)
    assert account.arrived == account.accepted + account.refused + account.injected
    assert account.refused + account.injected == sum(verdict.refused for verdict in verdicts)
    assert account.arrived + account.free == len(verdicts)
    assert core.tally.in_flight == 0
    assert account.failed + account.cut + account.truncated + account.served <= account.accepted
    assert account.utilisation is None or account.utilisation >= 0
    assert core.report(1e6).text()
    for verdict in verdicts:
        assert verdict.delay >= 0
        assert verdict.status in (0, 200, 403, 404, 429, 503, 500, 502, 504, 400)
        assert all(name.isascii() and value.isprintable() for name, value in verdict.headers)


@settings(max_examples=60, deadline=None)
@given(limit=limits, chosen=options, arrivals=steps)
def test_the_same_seed_and_arrivals_have_the_same_verdicts(limit: list[str], chosen: dict[str, Any], arrivals: list[Any]) -> None:
    """Two cores that are told the same say the same; so does one core after a reset at the same moment."""
    first, second = (Core(Settings.of(limit, None, chosen), origin=1.7e9) for _ in range(2))
    assert [seen(verdict) for verdict in play(first, arrivals)] == [seen(verdict) for verdict in play(second, arrivals)]


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(["limit", "enforce", "latency", "seed", "key", "token", "dialect", "headers", "refuse_status", "speed", ""]),
            st.one_of(st.text(max_size=12), st.sampled_from(["1/s", *ENFORCEMENTS, "github", "1e9", "-1", "nan", "429"])),
        ),
        max_size=4,
    )
)
def test_any_change_is_made_or_refused_in_words(changes: list[tuple[str, str]]) -> None:
    """Settings from any names and texts are settings, or an InputError that says what is wrong."""
    try:
        changed = Settings.of("5/s").changed(changes)
    except InputError as error:
        assert len(str(error)) > 10  # noqa: PT017 - many changes are right
    else:
        Core(changed).decide(Request("GET", "/items/1"), 0.0)
