"""Heads on their way through the proxy: targets, references, nominated fields, and heads that would split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.testing.proxy_heads import Upstream, head_bytes, hop_by_hop, own_target, rewrite_links

API = Upstream.parse("https://api.example.com/v2")
PROXY = b"http://127.0.0.1:8430"


@pytest.mark.parametrize(
    ("reference", "behind"),
    [
        (b"https://api.example.com/v2/a?b=c#d", b"http://127.0.0.1:8430/a?b=c#d"),
        (b"HTTPS://API.example.com:443/v2/a", b"http://127.0.0.1:8430/a"),
        (b"https://api.example.com/v2", b"http://127.0.0.1:8430/"),
        (b"https://api.example.com/v2?page=2", b"http://127.0.0.1:8430/?page=2"),
        (b"//api.example.com/v2/a", b"http://127.0.0.1:8430/a"),
        (b"/v2/a", b"/a"),
        (b"/v2", b"/"),
        (b"a?b", b"a?b"),
        (b"?page=2", b"?page=2"),
        (b"/v20/a", b"/v20/a"),
        (b"https://api.example.com/v20/a", b"https://api.example.com/v20/a"),
        (b"https://api.example.com:8443/v2/a", b"https://api.example.com:8443/v2/a"),
        (b"http://api.example.com/v2/a", b"http://api.example.com/v2/a"),
        (b"https://api.example.com.evil.example/v2/a", b"https://api.example.com.evil.example/v2/a"),
        (b"https://u:p@api.example.com/v2/a", b"https://u:p@api.example.com/v2/a"),
        (b"https://[broken/v2", b"https://[broken/v2"),
        (b"mailto:a@api.example.com", b"mailto:a@api.example.com"),
    ],
)
def test_references_to_the_upstream_lead_to_the_proxy(reference: bytes, behind: bytes) -> None:
    """What names the upstream, scheme, host, port and path, names the proxy; all else stays as it is."""
    assert API.behind(reference, PROXY) == behind


@given(st.binary(max_size=60))
def test_no_reference_is_too_strange(reference: bytes) -> None:
    """Any bytes in a Location or Link come back as bytes, and without a line end where there was none."""
    [(_, location), (_, link)] = rewrite_links([(b"Location", reference), (b"LINK", reference)], API, PROXY)
    assert b"\n" in reference or b"\n" not in location + link


@pytest.mark.parametrize(
    ("target", "method", "own"),
    [
        (b"/a?b", "GET", b"/a?b"),
        (b"//a", "GET", b"//a"),
        (b"*", "OPTIONS", b"*"),
        (b"*", "GET", None),
        (b"HTTP://x/a?b", "GET", b"/a?b"),
        (b"https://x", "GET", b"/"),
        (b"https://x?a=/b", "GET", b"/?a=/b"),
        (b"ftp://x/a", "GET", None),
        (b"x:443", "GET", None),
        (b"", "GET", None),
    ],
)
def test_targets_become_those_of_an_origin(target: bytes, method: str, own: bytes | None) -> None:
    """Absolute targets lose their host, whatever it is: requests go to the upstream and nowhere else."""
    assert own_target(target, method) == own


def test_nominated_fields_end_here_but_not_the_words_of_connection_itself() -> None:
    """Fields named in any Connection field are dropped with it; close and keep-alive are no fields."""
    dropped = hop_by_hop([(b"CONNECTION", b"close, X-A ,"), (b"connection", b"keep-alive, x-b")])
    assert {b"x-a", b"x-b", b"connection", b"transfer-encoding"} <= dropped
    assert b"close" not in dropped


@pytest.mark.parametrize("value", [b"a\r\nX: y", b"a\ny", b"a\ry"])
def test_a_head_with_a_line_end_in_a_field_is_none(value: bytes) -> None:
    """No field can add another one, or end the head."""
    assert head_bytes(b"GET / HTTP/1.1", [(b"X", value)]) is None
    assert head_bytes(b"GET / HTTP/1.1", [(value, b"x")]) is None
