"""Policies: which scope a request belongs to, which limits a scope has, what is wrong usage, pickling."""

from __future__ import annotations

import pickle

import pytest

from paceline import Policy
from paceline.errors import InputError, LimitSyntaxError
from paceline.limits import Limit
from paceline.policy import credential_of, read_limits


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        ("https://api.example.com/a?b=1", "api.example.com:443"),
        ("http://API.Example.com", "api.example.com:80"),
        ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
        ("http://[::1]:8080/x", "::1:8080"),
        ("https://user:secret@api.example.com/", "api.example.com:443"),
    ],
)
def test_a_scope_is_host_and_port(url: str, scope: str) -> None:
    """Without a credential a scope is the host and the port, nothing else of the URL."""
    assert Policy().scope_of(url) == scope


@pytest.mark.parametrize("url", ["http://host:99999/", "http://host:port/", "http://[::1/"])
def test_a_url_without_a_readable_host_is_an_input_error(url: str) -> None:
    """A port or host that cannot be read is told as such, not as an error of urllib."""
    with pytest.raises(InputError, match="cannot tell the host"):
        Policy().scope_of(url)


def test_credentials_part_scopes_and_do_not_show() -> None:
    """Two credentials are two scopes, one credential is one; neither can be read from the scope's name."""
    policy, url = Policy(), "https://api.example.com/"
    one, two = policy.scope_of(url, "Bearer one"), policy.scope_of(url, "Bearer two")
    assert one != two
    assert one == policy.scope_of(url + "items/2", "Bearer one")
    assert "one" not in one.partition("#")[2]
    assert one != Policy().scope_of(url, "Bearer one")  # keyed: nobody can look it up


def test_the_first_header_that_is_a_credential_counts() -> None:
    """Header names in any case; Authorization before API keys before cookies; None where there is none."""
    assert credential_of([("COOKIE", "c"), ("X-Api-Key", "k")]) == "k"
    assert credential_of({"cookie": "c", "AUTHORIZATION": "a"}) == "a"
    assert credential_of({"Accept": "*/*"}) is None


def test_hosts_have_limits_of_their_own() -> None:
    """A host's own limits, with or without its port, come before the policy's, whatever the credential."""
    policy = Policy(limits="1/s", hosts={"A.example": "2/s", "b.example:8443": ["3/s", "4 concurrent"]})
    shown = {
        name: [str(limit) for limit in policy.limits_of(name)]
        for name in ("a.example:443", "a.example:443#c0ffee", "b.example:8443", "b.example:443")
    }
    assert shown == {
        "a.example:443": ["2/s"],
        "a.example:443#c0ffee": ["2/s"],
        "b.example:8443": ["3/s", "4 concurrent"],
        "b.example:443": ["1/s"],
    }


def test_a_named_scope_is_shared_by_all() -> None:
    """With a name, all hosts and credentials share one line."""
    policy = Policy(limits="1/s", scope="crm")
    assert policy.scope_of("https://a.example/") == policy.scope_of("https://b.example/", "x") == "crm"
    assert list(policy.lines) == []
    assert policy.line("crm") is policy.lines["crm"]


def test_wrong_usage_is_found_when_the_policy_is_made() -> None:
    """A bad limit, for all or for one host, and a store that there is not are errors at once."""
    with pytest.raises(LimitSyntaxError):
        Policy(limits="fast")
    with pytest.raises(LimitSyntaxError):
        Policy(hosts={"a.example": "1/fortnight"})
    with pytest.raises(InputError, match="no store 'mysql://localhost'"):
        Policy(store="mysql://localhost")


def test_limits_come_as_text_values_or_both() -> None:
    """One limit or several, as text or as values."""
    assert read_limits("1/s") == read_limits(Limit(1, 1)) == read_limits([Limit(1, 1)]) == (Limit(1, 1),)


def test_a_policy_pickles_without_its_lines() -> None:
    """In another process a policy has the same limits and scopes, and starts with no line."""
    policy = Policy(limits=["1/s", "2 concurrent"], hosts={"a.example": "5/s"})
    policy.line("x:1").acquire()
    copy = pickle.loads(pickle.dumps(policy))
    assert copy.limits == policy.limits
    assert copy.lines == {}
    assert copy.scope_of("https://a.example/", "s") == policy.scope_of("https://a.example/", "s")
    assert copy.line("x:1").try_acquire() is not None


def test_a_host_beyond_ascii_has_the_limits_it_was_given() -> None:
    """Limits of single hosts are found by the name that URLs are sent with (RFC 5891)."""
    policy = Policy(hosts={"Bücher.example": "2/s"})
    scope = policy.scope_of("https://xn--bcher-kva.example/1")
    assert [str(limit) for limit in policy.limits_of(scope)] == ["2/s"]
    with pytest.raises(InputError, match="is no host name"):
        Policy(hosts={"\u2488.example": "2/s"})


def test_buckets_of_a_dialect_are_scopes_of_their_own() -> None:
    """Host, port, bucket and credential make the scope; each bucket has its own limits, the rest the policy's."""
    policy = Policy(limits="5/s", dialect="github", buckets={"search": "30/min", "code*": ["10/min"]})
    told = {
        url: (scope := policy.scope_of(f"https://api.github.com{url}", "Bearer t"), str(policy.limits_of(scope)[0]))
        for url in ("/user", "/search/issues?q=a", "/search/code?q=a")
    }
    names = {url: scope.partition("#")[0].removeprefix("api.github.com:443") for url, (scope, _) in told.items()}
    assert names == {"/user": "/core", "/search/issues?q=a": "/search", "/search/code?q=a": "/code_search"}
    assert [limit for _, limit in told.values()] == ["5/s", "30/min", "10/min"]
    assert all("#" in scope for scope, _ in told.values())
    # Without a credential, too, and for a bucket that another character than a word's stands in.
    azure = Policy(limits="1/s", dialect="azure", buckets={"* reads": "25/s"})
    scope = azure.scope_of("https://management.azure.com/subscriptions/AB-1/resourceGroups")
    assert (scope, str(azure.limits_of(scope)[0])) == ("management.azure.com:443/ab-1 reads", "25/s")
    assert str(azure.limits_of(azure.scope_of("https://management.azure.com/subscriptions/AB-1/x", method="PUT"))[0]) == "1/s"
    assert azure.scope_of("https://management.azure.com/tenants") == "management.azure.com:443"


def test_one_scope_for_all_has_buckets_only_where_they_are_named() -> None:
    """A scope's name stands for all requests; buckets that are given part it all the same."""
    assert Policy(scope="crm/eu", dialect="github").scope_of("https://api.github.com/search/code") == "crm/eu"
    policy = Policy(scope="crm/eu", dialect="github", limits="9/s", buckets={"search": "1/s"})
    scope = policy.scope_of("https://api.github.com/search/issues")
    assert (scope, str(policy.limits_of(scope)[0])) == ("crm/eu/search", "1/s")
    assert str(policy.limits_of(policy.scope_of("https://api.github.com/user"))[0]) == "9/s"


def test_hosts_limits_hold_beside_buckets() -> None:
    """A host's own limits hold in all its buckets that have none."""
    policy = Policy(limits="9/s", hosts={"ghe.example": "2/s"}, dialect="github", buckets={"search": "1/s"})
    shown = [str(policy.limits_of(policy.scope_of(f"https://{url}"))[0]) for url in ("ghe.example/a", "ghe.example/search/x", "other.example/a")]
    assert shown == ["2/s", "1/s", "9/s"]


def test_a_bucket_s_name_is_bounded() -> None:
    """A path of any length makes a short name, and another path another one."""
    policy = Policy(dialect="x")
    one, two = (policy.scope_of(f"https://api.x.com/2/{'a' * 5000}/{tail}") for tail in "pq")
    assert one != two
    assert len(one) < 300


def test_a_documented_wait_stands_for_one_that_is_not_named() -> None:
    """A refusal that names no wait gets the provider's documented one, with a note; all else stays as it was read."""
    read = Policy(dialect="airtable").reader()
    signal = read(429, {}, now=0.0)
    assert (signal.retry_after, signal.notes[-1]) == (30.0, "Airtable documents 30 s for refusals that name no wait")
    assert read(429, {"Retry-After": "7"}, now=0.0).retry_after == 7
    assert read(200, {}, now=0.0).retry_after is None
    assert read(429, {}, b'{"errors": [{"error": "PUBLIC_API_BILLING_LIMIT_EXCEEDED"}]}', now=0.0).retry_after is None
    assert Policy().reader()(429, {}, now=0.0).retry_after is None
    assert Policy(dialect="gitlab").reader()(429, {}, now=0.0).dialect == "gitlab"
