"""Laws of policies: whatever a URL is made of, a policy's headers go to no host but its own."""

from __future__ import annotations

import urllib3
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import Policy

POLICY = Policy(headers={"X-Api-Key": "k"}, send_to=["api.example.com", "http://127.0.0.1:8429"])
pieces = st.sampled_from(
    [
        "api.example.com", "evil.example", "@", "\\", "/", "?", "#", ":", "443", ".", "%40", "%2e", "%2F", " ", "\t", "[", "]", "//",
        ";", "user", "\u3002", "API.EXAMPLE.COM", "-", "\n", "http://", "https://", "127.0.0.1", "8429", "\uff0e",
    ]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["https://", "http://", "https:", "https:///", "HTTPS://", "https:\\\\"]),
    st.lists(pieces, max_size=7),
)
def test_headers_reach_no_other_host_as_any_client_reads_the_url(scheme: str, rest: list[str]) -> None:
    """The parsers of two clients agree that it is the policy's own host, wherever its headers are given out."""
    url = scheme + "".join(rest)
    if not POLICY.headers_for(url):
        return
    for read in (lambda: yarl.URL(url).host, lambda: urllib3.util.parse_url(url).host):
        host = (read() or "").lower().rstrip(".")
        assert host in ("api.example.com", "127.0.0.1") or host.endswith(".api.example.com")
