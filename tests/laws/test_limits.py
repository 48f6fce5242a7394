"""Laws of a limit's text form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import LimitSyntaxError
from paceline.limits import Limit

QUOTAS = st.one_of(
    st.integers(1, 10**12),
    st.decimals(min_value="0.001", max_value=10**6, places=3, allow_nan=False).map(float),
)
PERIODS = st.one_of(
    st.sampled_from([0.001, 1, 60, 3600, 86400, 604800]).flatmap(lambda unit: st.integers(1, 40).map(lambda n: min(unit * n, 366 * 86400.0))),
    st.decimals(min_value="0.001", max_value=10**5, places=6, allow_nan=False).map(float),
)
UNITS = st.sampled_from(["requests", "tokens", "points", "cost-units"])


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    """Any limit that can be written."""
    shape = draw(st.sampled_from(["steady", "sliding", "fixed", "bucket", "concurrent"]))
    if shape == "concurrent":
        return Limit(draw(st.integers(1, 10**6)), shape="concurrent")
    return Limit(
        draw(QUOTAS),
        draw(PERIODS),
        shape,
        draw(UNITS),
        draw(st.none() | st.integers(1, 10**6)) if shape == "bucket" else None,
        draw(st.none() | st.sampled_from(["UTC", "America/Los_Angeles", "Asia/Kathmandu"])) if shape == "fixed" else None,
    )


@given(limits())
def test_text_reads_back(limit: Limit) -> None:
    """What a limit prints is read back as an equal limit."""
    assert Limit.parse(str(limit)) == limit


@given(st.text(max_size=60))
def test_any_text_is_a_limit_or_a_clear_error(text: str) -> None:
    """No text does anything but parse or raise LimitSyntaxError with a right form in it."""
    why = None
    try:
        limit = Limit.parse(text)
    except LimitSyntaxError as error:
        why = str(error)
    if why is None:
        assert Limit.parse(str(limit)) == limit
    else:
        assert "write it like 100/2s" in why


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("100/2s", "100/2s"),
        ("10/second", "10/s"),
        ("10 / SECONDS", "10/s"),
        ("5000/hour", "5000/hour"),
        ("5000/60min", "5000/hour"),
        ("90000 tokens/min", "90000 tokens/min"),
        ("50/s bucket burst 20", "50/s bucket burst 20"),
        ("1000/day fixed@UTC", "1000/day fixed@UTC"),
        ("100/min sliding", "100/min sliding"),
        ("8 concurrent", "8 concurrent"),
        ("5/250 milliseconds", "5/250ms"),
        ("1/2 weeks", "1/2w"),
        ("0.5/s", "0.5/s"),
        ("7 requests/90s", "7/90s"),
    ],
)
def test_forms(text: str, canonical: str) -> None:
    """Every way of writing has one canonical form."""
    assert str(Limit.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "part", "why"),
    [
        ("", "", "it is empty"),
        ("100", "100", "there is no '/' and no period"),
        ("ten/s", "ten", "'ten' is not a quota"),
        ("1_000/s", "1_000", "'1_000' is not a quota"),
        ("１０/s", "１０", "is not a quota"),
        ("-1/s", "-1", "'-1' is not a quota"),
        ("0/s", "0", "a quota of 0"),
        ("10/fortnight", "fortnight", "there is no period 'fortnight'"),
        ("10/0s", "0", "is not between 1 ms and 366 days"),
        ("10/0.5ms", "0.0005", "is not between 1 ms and 366 days"),
        ("10/400d", "34560000.0", "is not between 1 ms and 366 days"),
        ("10/s round", "round", "'round' is not understood"),
        ("10/s burst", "burst", "no number behind 'burst'"),
        ("10/s burst 5", "5", "only the shape bucket has a burst, not steady"),
        ("10/s bucket burst 0", "0", "a burst of 0"),
        ("10/s bucket@UTC", "bucket@UTC", "only the shape fixed has a zone"),
        ("10/day fixed@Mars/Base", "Mars/Base", "there is no time zone 'Mars/Base'"),
        ("0 concurrent", "0", "a quota of 0"),
        ("0.5 concurrent", "0.5", "at least 1"),
    ],
)
def test_bad_texts(text: str, part: str, why: str) -> None:
    """A bad text gets an error that names the part at fault."""
    with pytest.raises(LimitSyntaxError) as caught:
        Limit.parse(text)
    assert part in caught.value.part
    assert why in str(caught.value)
