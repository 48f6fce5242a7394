"""What the test server writes in a provider's way, `read_signal` reads back right: the law of the round trip."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.limits import Limit
from paceline.signals import DIALECTS, read_signal
from paceline.testing import Core, Request, Settings
from paceline.testing.styles import STYLES, State, write
from paceline.testing.times import FORMS

# Facts that a style writes where its reader, rightly, sees no limit of ours in them.
UNREAD = {
    "binance": {"limit"},  # in prose
    "ncbi": {"limit"},  # in the body of an error
    "meta": {"reset"},
}
epochs = st.floats(1.6e9, 1.9e9).map(lambda moment: round(moment, 3))
waits = st.one_of(st.floats(0.05, 100), st.floats(100, 3000)).map(lambda wait: round(wait, 3))
quotas = st.integers(2, 10_000)
periods = st.sampled_from([1.0, 60.0, 3600.0, 86400.0])


def test_every_dialect_has_a_way_of_writing() -> None:
    """The table of styles and the table of dialects name the same; what can be read can be written."""
    assert set(STYLES) == set(DIALECTS)


@pytest.mark.parametrize("name", STYLES)
@settings(max_examples=15, deadline=None)
@given(quota=quotas, period=periods, wait=waits, now=epochs)
def test_a_refusal_is_read_as_one_and_its_wait_is_never_short(
    name: str, quota: int, period: float, wait: float, now: float
) -> None:
    """Refused, for no less than the true wait and no more than its form rounds up; or for an unknown time."""
    style = STYLES[name]
    words = write(style, [State(quota, 0, wait, period, quota / period)], 0, wait, now)
    signal = read_signal(style.status, words.headers, words.body, now=now, dialect=name)
    assert signal.refused
    assert not signal.terminal
    if words.told.wait is None:
        assert signal.retry_after is None
        return
    assert signal.retry_after is not None
    assert wait - 0.002 <= signal.retry_after
    # Of two waits in different forms, either is the provider's word.
    assert words.told.wait - 0.002 <= signal.retry_after <= words.told.wait + 1.002
    assert words.told.wait <= wait + 60.002


@pytest.mark.parametrize("name", STYLES)
@settings(max_examples=15, deadline=None)
@given(quota=quotas, period=periods, reset=waits, now=epochs, used=st.integers(1, 10_000), refused=st.booleans())
def test_quotas_are_read_as_they_were_written(
    name: str, quota: int, period: float, reset: float, now: float, used: int, refused: bool
) -> None:
    """Whatever a style tells of limit, remaining and reset comes back, and an answer that served is no refusal."""
    left = 0 if refused else max(1, quota - used)
    style = STYLES[name]
    words = write(style, [State(quota, left, reset, period, quota / period)], 0, reset if refused else None, now)
    body = words.body if refused else b'{"id":"1"}'
    signal = read_signal(style.status if refused else 200, words.headers, body, now=now, dialect=name)
    assert signal.refused == refused
    told = words.told.facts - UNREAD.get(name, set())
    for fact, value, off in (
        ("limit", quota, 0.001),
        ("remaining", left, 0.001),
        ("reset", reset, 60.0 if name == "atlassian" else 1.002),
    ):
        if fact in told:
            read = [getattr(each, "reset_after" if fact == "reset" else fact) for each in signal.limits]
            assert any(one is not None and -0.002 <= one - value <= off for one in read), (fact, words.headers, signal)


@pytest.mark.parametrize("name", [name for name in STYLES if STYLES[name].each])
def test_several_limits_come_back_one_by_one(name: str) -> None:
    """A style that tells every limit tells each with its own numbers."""
    now = 1_768_478_400.0
    states = [State(5, 0, 0.7, 1.0, 5.0), State(1000, 600, 1800.0, 3600.0, 1000 / 3600)]
    words = write(STYLES[name], states, 0, None, now)
    signal = read_signal(200, words.headers, b"{}", now=now, dialect=name)
    assert {each.remaining for each in signal.limits} >= {0, 600}, words.headers


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(wait=st.floats(0.0, 1e5), now=epochs)
def test_a_form_of_time_never_tells_less_than_the_wait(form: str, wait: float, now: float) -> None:
    """Every form rounds up, by less than the minute of the coarsest, and says what it truly tells."""
    text, told = FORMS[form](wait, now)
    assert text
    assert text.isascii()
    assert wait - 2e-6 <= told <= wait + 60.001


@pytest.mark.parametrize("name", STYLES)
def test_a_server_in_a_providers_way_keeps_the_word_it_gave(name: str) -> None:
    """Through the core: a client that waits as `read_signal` says is never early, and then it is let in."""
    core = Core(Settings.of("3/min", "fixed", {"dialect": name}), origin=1_768_478_430.0)
    for moment in (0.0, 0.1, 0.2):
        verdict = core.decide(Request("GET", f"/items/{moment}"), moment)
        assert verdict.status == 200
        core.settle(verdict, moment, True)
    verdict = core.decide(Request("GET", "/items/9"), 1.0)
    assert verdict.refused
    assert isinstance(verdict.body, bytes)
    signal = read_signal(verdict.status, verdict.headers, verdict.body, now=core.origin + 1.0, dialect=name)
    assert signal.refused
    wait = signal.retry_after if signal.retry_after is not None else 29.0
    assert wait >= 28.99
    assert core.decide(Request("GET", "/items/9"), 1.0 + wait + 0.001).status == 200
    assert core.account(100.0).early_retries == 0


@pytest.mark.parametrize("name", ["github", "openai", "meta", "slack"])
def test_chosen_words_come_instead_of_the_providers(name: str) -> None:
    """Status, headers and wait that are given replace the provider's; its body stays."""
    options = {"dialect": name, "refuse_status": 503, "headers": "ietf", "retry_after": "date"}
    core = Core(Settings.of("1/min", "fixed", options), origin=1_768_478_400.0)
    core.decide(Request("GET", "/items/1"), 0.0)
    verdict = core.decide(Request("GET", "/items/1"), 0.5)
    assert verdict.status == 503
    names = [name.lower() for name, _ in verdict.headers]
    assert "ratelimit" in names
    assert not any("x-ratelimit" in each for each in names)
    assert dict(verdict.headers)["Retry-After"].endswith("GMT")
    plain = Core(Settings.of("1/min", "fixed", {"dialect": name}), origin=1_768_478_400.0)
    plain.decide(Request("GET", "/items/1"), 0.0)
    assert verdict.body == plain.decide(Request("GET", "/items/1"), 0.5).body


@pytest.mark.parametrize("name", STYLES)
def test_a_number_in_flight_and_no_limit_at_all_are_told_too(name: str) -> None:
    """Where a style has nothing to tell of, it tells nothing, and a refusal is a refusal all the same."""
    core = Core(Settings.of("1 concurrent", None, {"dialect": name}))
    core.decide(Request("GET", "/items/1"), 0.0)
    verdict = core.decide(Request("GET", "/items/2"), 0.0)
    assert isinstance(verdict.body, bytes)
    assert read_signal(verdict.status, verdict.headers, verdict.body, now=0.0, dialect=name).refused
    assert Core(Settings.of(None, None, {"dialect": name})).decide(Request("GET", "/items/1"), 0.0).status == 200


def test_limit_objects_with_odd_periods_are_told_in_whole_seconds() -> None:
    """A window of half a second is told as the least that the words have."""
    limit = Limit(3, 0.5)
    core = Core(Settings.of(limit, None, {"dialect": "bluesky"}))
    assert dict(core.decide(Request("GET", "/items/1"), 0.0).headers)["RateLimit-Policy"] == "3;w=1"
