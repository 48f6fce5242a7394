"""Presets: what each makes, where its token may go, what its requests cost, and how the command line tells of it."""

from __future__ import annotations

import json
import pickle
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import paceline.policies
from paceline import Policy
from paceline.cli import main
from paceline.errors import InputError
from paceline.policies import PRESETS, Preset, find_preset
from paceline.policies._costs import (
    anthropic_cost,
    anthropic_settled,
    github_cost,
    github_settled,
    openai_cost,
    openai_settled,
    shopify_cost,
    shopify_settled,
)
from paceline.signals import DIALECTS

SECRET = "s3cr3t-t0k3n"
WANTED = [
    "github", "gitlab", "shopify", "stripe", "hubspot", "salesforce", "slack", "notion", "airtable", "zendesk", "jira", "openai",
    "anthropic", "google", "azure", "discord", "reddit", "okta", "xero", "sec", "wikimedia", "crossref", "ncbi",
]  # fmt: skip
WITH_TOKEN = sorted(name for name, preset in PRESETS.items() if preset.credential is not None)


def made(preset: Preset, **told: Any) -> Policy:
    """The preset's policy with a token, and a host of one's own where it asks for one."""
    return preset(SECRET, site=None if preset.site is None else f"mine.{preset.site}", **told)


def test_each_file_of_the_folder_is_a_row_of_the_table() -> None:
    """Files in `policies/`, rows of PRESETS and public names are the same set, and no provider is missing."""
    folder = Path(paceline.policies.__file__).parent
    files = {path.stem[1:] for path in folder.glob("_*.py")} - {"_init__", "preset", "costs"}
    assert files == set(PRESETS) >= set(WANTED)
    assert all(getattr(paceline.policies, name) is preset and preset.name == name for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_tier_of_a_preset_makes_a_policy(name: str) -> None:
    """Limits and buckets of each tier are read, its dialect exists and tells the buckets apart, its pages are named."""
    preset = PRESETS[name]
    assert preset.dialect in DIALECTS
    assert preset.sources
    assert all(source.url.startswith("https://") for source in preset.sources)
    assert all(source.read is None or re.fullmatch(r"20\d\d-\d\d-\d\d", source.read) for source in preset.sources)
    assert preset.shares
    assert preset.refused
    assert bool(preset.hosts) is (preset.site is None)
    for tier in preset.tiers:
        policy = preset(tier=tier)
        assert policy.dialect == preset.dialect
        assert [str(limit) for limit in policy.limits_of("some-host:443")] or tier == "learn"
        if preset.tiers[tier].buckets:
            assert policy.scope_by_url


@pytest.mark.parametrize("name", WITH_TOKEN)
def test_a_token_goes_to_the_provider_s_hosts_alone(name: str) -> None:
    """It is sent to them over https, to nobody else, not in the clear, not to hosts that only look like them."""
    preset = PRESETS[name]
    policy = made(preset)
    (header,) = (each for each, value in policy.headers.items() if SECRET in value)
    for host in preset.hosts or (f"mine.{preset.site}",):
        assert SECRET in policy.headers_for(f"https://{host}/a?b=c")[header]
        assert SECRET in policy.headers_for(f"https://{host.upper()}:8443/a")[header]
        for other in (
            f"http://{host}/a",
            f"https://{host}.evil.example/a",
            f"https://evil-{host}/a",
            f"https://evil.example/{host}",
            f"https://{host}@evil.example/",
            f"https://user:password@{host}/",
            f"https://evil.example\\.{host}/",
            f"https://evil.example\t.{host}/",
            f"https:\n//{host}/",
            f"//{host}/a",
            "https://[broken/",
        ):
            assert not policy.headers_for(other), other


@pytest.mark.parametrize("name", WITH_TOKEN)
def test_a_token_shows_nowhere_and_survives_pickling(name: str) -> None:
    """No repr and no scope's name shows it; a policy that was pickled sends it all the same."""
    policy = made(PRESETS[name])
    again = pickle.loads(pickle.dumps(policy))
    url = f"https://{(PRESETS[name].hosts or (f'mine.{PRESETS[name].site}',))[0]}/v1/items"
    assert SECRET not in repr(policy) + str(vars(policy)["limits"]) + policy.scope_of(url) + repr(policy.line(policy.scope_of(url)))
    assert again.headers_for(url) == policy.headers_for(url) != {}
    assert again.scope_of(url) == policy.scope_of(url)


def test_a_request_s_own_headers_come_first() -> None:
    """What a request brings stays; the program's own User-Agent gives way to the policy's."""
    policy = paceline.policies.sec(contact="Example Co admin@example.com")
    assert policy.headers_for("https://www.sec.gov/a", {"user-agent": "paceline/0.1", "Accept": "*/*"}) == {
        "Accept": "*/*",
        "User-Agent": "Example Co admin@example.com",
    }
    own = {"user-agent": "mine/1.0"}
    assert policy.headers_for("https://www.sec.gov/a", own) == own
    github = paceline.policies.github(SECRET)
    mine = {"AUTHORIZATION": "Bearer mine"}
    assert github.headers_for("https://api.github.com/", mine) == mine


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: paceline.policies.hubspot(tier="profesional"), "hubspot has no tier 'profesional': did you mean professional?"),
        (lambda: paceline.policies.github(tier="x"), "github has no tier 'x': the tiers are authenticated, anonymous, enterprise"),
        (lambda: paceline.policies.shopify(SECRET), "name yours, like site='your-shop.myshopify.com'"),
        (lambda: paceline.policies.ncbi(SECRET), "takes no token in a header: The key goes into each URL"),
        (lambda: paceline.policies.github(""), "must be printable ASCII text, and not empty"),
        (lambda: paceline.policies.github(SECRET + "\r\nX: y"), "must be printable ASCII text, and not empty"),
        (lambda: paceline.policies.github(contact="me"), "GitHub asks for no contact"),
        (lambda: paceline.policies.sec(contact="a\nb"), "contact must be a name and an e-mail address"),
        (lambda: find_preset("zzz"), "there is no preset 'zzz': the presets are airtable, anthropic,"),
        (lambda: Policy(dialect="githup"), "there is no dialect 'githup'; the dialects are"),
        (lambda: Policy(buckets={"search": "1/s"}), "buckets need a dialect that tells them apart"),
        (lambda: Policy(buckets={"search": "1/s"}, dialect="gitlab"), "buckets need a dialect that tells them apart"),
    ],
)
def test_what_cannot_be_used_is_told(make: Any, message: str) -> None:
    """One message that names the input, shows a right form, and holds no token."""
    with pytest.raises(InputError, match=re.escape(message)) as told:
        make()
    assert SECRET not in str(told.value)


def test_a_user_and_a_token_make_basic_credentials() -> None:
    """`name:token` is sent as RFC 7617 says, where the provider takes it beside bearer tokens."""
    policy = paceline.policies.jira("you@example.com:t", site="x.atlassian.net")
    assert policy.headers["Authorization"] == "Basic eW91QGV4YW1wbGUuY29tOnQ="
    assert paceline.policies.okta("a:b", site="x.okta.com").headers["Authorization"] == "SSWS a:b"


def test_arguments_change_a_preset() -> None:
    """Limits given replace the tier's, buckets given those of the same name, headers given the preset's own."""
    policy = paceline.policies.github(SECRET, limits="7/s", buckets={"search": "1/s"}, headers={"authorization": "token x"})
    told = {url: [str(limit) for limit in policy.limits_of(policy.scope_of(f"https://api.github.com{url}"))] for url in ("/a", "/search/issues", "/search/code")}
    assert told == {"/a": ["7/s"], "/search/issues": ["1/s"], "/search/code": ["10/min", "900 secondary-points/min"]}
    assert policy.headers == {"authorization": "token x"}
    assert paceline.policies.stripe().retry.idempotency_header == "Idempotency-Key"


# ---- costs --------------------------------------------------------------------------------------------------------


def test_costs_are_reckoned_from_requests() -> None:
    """Points, tokens and writes are reckoned before sending; what has no cost of its own counts one."""
    assert github_cost("DELETE", "https://api.github.com/a", None) == {"secondary-points": 5}
    assert github_cost("POST", "https://api.github.com/graphql?x", b'{"query": "mutation { a }"}') == {"points": 1, "secondary-points": 5}
    assert shopify_cost("POST", "https://x.myshopify.com/admin/api/2026-01/graphql.json", b"{}") == {"points": 50}
    assert shopify_cost("GET", "https://x.myshopify.com/admin/api/2026-01/shop.json", None) is None
    assert openai_cost("GET", "https://api.openai.com/v1/models", None) is None
    assert openai_cost("POST", "", b"x" * 400) == {"tokens": 356}
    assert openai_cost("POST", "", b'{"max_output_tokens": 50, "max_tokens": true}') == {"tokens": 61}
    assert anthropic_cost("POST", "", b'{"max_tokens": 1024}') == {"input-tokens": 5, "output-tokens": 1024}


@pytest.mark.parametrize(
    ("settle", "reserved", "status", "body", "cost"),
    [
        (shopify_settled, {"points": 50}, 200, b'{"extensions": {"cost": {"actualQueryCost": null, "throttleStatus": {}}}}', {"points": 0}),
        (shopify_settled, {"points": 50}, 200, b'{"data": {}}', None),
        (shopify_settled, {"points": 50}, 200, b'{"a": "' + b"x" * 70000 + b'", "extensions": {"cost": {"actualQueryCost": 12}}}', {"points": 12}),
        (shopify_settled, {"points": 50}, 200, b"x" * 70000, None),
        (shopify_settled, 1, 200, b'{"extensions": {"cost": {"actualQueryCost": 9}}}', None),
        (github_settled, {"points": 1, "secondary-points": 1}, 200, b'{"data": {"rateLimit": {"cost": 7}}}', {"points": 7, "secondary-points": 1}),
        (github_settled, {"secondary-points": 1}, 200, b'{"data": {"rateLimit": {"cost": 7}}}', None),
        (openai_settled, {"tokens": 9}, 429, b'{"usage": {"total_tokens": 3}}', None),
        (openai_settled, {"tokens": 9}, 200, None, None),
        (openai_settled, {"tokens": 9}, 200, b'{"usage": {"total_tokens": -3}}', None),
        (openai_settled, {"tokens": 9}, 200, b'{"a": "' + b"x" * 70000 + b'", "usage": {"total_tokens": 4321}}', {"tokens": 4321}),
        (openai_settled, {"tokens": 9}, 200, b'{"a": "' + b"x" * 70000 + rb'\"total_tokens\": 5"}', None),
        (anthropic_settled, {"input-tokens": 9, "output-tokens": 9}, 200, b'{"usage": []}', None),
        (anthropic_settled, {"input-tokens": 9, "output-tokens": 9}, 200,
         b'{"a": "' + b"x" * 70000 + b'", "usage": {"input_tokens": 3, "output_tokens": 8}}', {"input-tokens": 3, "output-tokens": 8}),
    ],
)  # fmt: skip
def test_costs_are_settled_by_answers(settle: Any, reserved: Any, status: int, body: bytes | None, cost: Any) -> None:
    """The answer's own account counts, also at the end of a large one; what says nothing leaves the reservation."""
    assert settle(reserved, status, body) == cost


def test_what_is_reserved_fits_into_the_limits() -> None:
    """No default reservation is above a quota, which would end the request at once."""
    for name in ("github", "shopify", "openai", "anthropic"):
        preset = PRESETS[name]
        assert preset.cost_of is not None
        for tier in preset.tiers:
            policy = preset(tier=tier)
            for url in ("https://h/graphql", "https://h/graphql.json", "https://h/v1/messages"):
                cost = preset.cost_of("POST", url, b"{}")
                for limit in policy.limits_of(policy.scope_of(url)):
                    if isinstance(cost, Mapping) and limit.period:
                        assert cost.get(limit.unit, 1) <= limit.quota


# ---- command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_list_and_each_preset_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every preset is in the list; no line but an address is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["policies"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.split("\n\n")[0].splitlines() if line[0] != " "] == list(PRESETS)
    for name, preset in PRESETS.items():
        assert main(["policies", name]) == 0
        shown = capsys.readouterr().out
        assert preset.title in shown
        assert all(source.url in shown for source in preset.sources)
        assert all(tier in shown for tier in preset.tiers)
        listed += shown
    assert [line for line in listed.splitlines() if len(line) > columns and "https://" not in line] == []


def test_policies_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a preset, with limits, buckets, sources and days."""
    assert main(["policies", "--json"]) == 0
    told = {each["name"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(told) == list(PRESETS)
    assert told["github"]["tiers"]["anonymous"] == {"limits": ["60/hour"], "buckets": {"search": ["10/min"], "code_search": ["10/min"]}}
    assert told["stripe"]["sources"][0] == {"url": "https://docs.stripe.com/rate-limits", "read": "2026-11-24", "verified": True}


def test_an_unknown_preset_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists near names, and the status is 2."""
    assert main(["policies", "hubspt"]) == 2
    assert "there is no preset 'hubspt': did you mean hubspot?" in capsys.readouterr().err


@contextmanager
def listening(seen: list[tuple[str, dict[str, str]]], answer: tuple[int, dict[str, str]] = (200, {})) -> Iterator[str]:
    """A server on loopback that keeps what it is sent; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_fetch_with_a_preset_sends_its_token_to_its_site_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of --bearer-env goes out in the preset's header to the site named, to no other host and over no redirect."""
    monkeypatch.setenv("A_TOKEN", SECRET)
    mine: list[tuple[str, dict[str, str]]] = []
    others: list[tuple[str, dict[str, str]]] = []
    with listening(others) as other, listening(mine, (302, {"Location": f"{other}/moved"})) as site:
        source = tmp_path / "urls.txt"
        source.write_text(f"{site}/a\n{other}/b\n")
        options = ["--policy", f"shopify:plus@{site}", "--bearer-env", "A_TOKEN", "--progress", "none", "--store", "memory:"]
        assert main(["fetch", str(source), "-o", str(tmp_path / "out.jsonl"), *options]) == 0
    assert [headers.get("x-shopify-access-token") for _, headers in mine] == [SECRET]
    assert sorted(path for path, _ in others) == ["/b", "/moved"]
    assert all(SECRET not in str(headers) for _, headers in others)
    assert SECRET not in (tmp_path / "out.jsonl").read_text()
    assert all(SECRET.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policy", "githup"], "there is no preset 'githup': did you mean github?"),
        (["--policy", "github:bronze"], "github has no tier 'bronze': the tiers are authenticated, anonymous, enterprise"),
        (["--policy", "shopify@"], "breaks off; write it like hubspot:professional or shopify@your-shop.myshopify.com"),
        (["--policy", "sec"], "refuses programs that name nobody to ask: add --user-agent 'Example Co admin@example.com'"),
        (["--policy", "shopify", "--bearer-env", "A_TOKEN"], "name yours, like site='your-shop.myshopify.com'"),
    ],
)
def test_fetch_with_a_wrong_preset_is_wrong_usage(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told in one message with a right form; status 2, nothing begun."""
    monkeypatch.setenv("A_TOKEN", SECRET)
    (tmp_path / "urls.txt").write_text("http://127.0.0.1:9/a\n")
    assert main(["fetch", str(tmp_path / "urls.txt"), "-o", str(tmp_path / "out"), *options]) == 2
    told = capsys.readouterr()
    assert message in " ".join(told.err.split())
    assert SECRET not in told.err
    assert not (tmp_path / "out").exists()
