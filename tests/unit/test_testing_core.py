"""The test server's core: who is let in, what is answered, which faults; all on a told clock."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime

import pytest

from paceline.errors import InputError
from paceline.testing import Core, Request, Settings, Verdict
from paceline.testing.paths import Filler


def core_of(
    *limits: str, enforce: str | list[str] | None = None, origin: float = 0.0, **options: object
) -> Core:
    return Core(Settings.of(list(limits), enforce, options), origin=origin)


def ask(core: Core, target: str, now: float, **headers: str) -> Verdict:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return core.decide(Request("GET", target, named, "127.0.0.1"), now)


def serve(core: Core, target: str, now: float) -> Verdict:
    verdict = ask(core, target, now)
    core.settle(verdict, now + verdict.delay, verdict.fault is None)
    return verdict


def field_of(verdict: Verdict, name: str) -> str | None:
    return dict(verdict.headers).get(name)


def test_a_refusal_says_how_long_to_wait_and_the_server_keeps_its_word() -> None:
    """The request after the told wait is accepted, the one just before it is not."""
    core = core_of("2/2s")
    assert [serve(core, f"/items/{n}", 0.25 * n).status for n in range(3)] == [200, 200, 429]
    assert field_of(ask(core, "/items/3", 1.99), "Retry-After") == "1"
    assert ask(core, "/items/3", 2.0).status == 200


@pytest.mark.parametrize(
    ("style", "name", "value"),
    [
        ("delta", "Retry-After", "2"),
        ("float", "Retry-After", "1.250"),
        ("ms", "retry-after-ms", "1250"),
        ("epoch", "Retry-After", "1000000003"),
        ("zero", "Retry-After", "0"),
        ("short", "Retry-After", "0"),
        ("junk", "Retry-After", "soon; try -1 or NaN"),
        ("date", "Retry-After", "Sun, 09 Sep 2001 01:46:43 GMT"),
    ],
)
def test_each_wording_of_a_wait(style: str, name: str, value: str) -> None:
    """A wait of 1.25 s, told at the epoch 1,000,000,001.75, in each style."""
    core = core_of("1/2s", origin=1_000_000_000.0, retry_after=style)
    ask(core, "/items/1", 1.0)
    verdict = ask(core, "/items/2", 1.75)
    assert field_of(verdict, name) == value
    if style == "date":
        assert parsedate_to_datetime(value).timestamp() == 1_000_000_003


def test_no_wait_told_where_none_is_wanted() -> None:
    """The style none leaves the header out."""
    core = core_of("1/2s", retry_after="none", headers="none")
    ask(core, "/items/1", 0.0)
    assert ask(core, "/items/1", 0.5).headers == ()


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("none", {}),
        ("x", {"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "2", "X-RateLimit-Reset": "1003"}),
        (
            "ietf",
            {
                "RateLimit-Policy": '"2s";q=3;w=2, "min";q=10;w=60, "concurrent";q=8;qu="concurrent-requests"',
                "RateLimit": '"2s";r=2;t=2, "min";r=9;t=6, "concurrent";r=7',
            },
        ),
        (
            "ietf03",
            {
                "RateLimit-Limit": '3, 3;w=2, 10;w=60, 8;qu="concurrent-requests"',
                "RateLimit-Remaining": "2",
                "RateLimit-Reset": "2",
            },
        ),
    ],
)
def test_each_style_of_quota_headers(style: str, expected: dict[str, str]) -> None:
    """After one request at second 1 of three limits, each style says what is left."""
    core = core_of("3/2s", "10/min bucket", "8 concurrent", origin=1000.0, headers=style)
    assert dict(ask(core, "/items/1", 1.0).headers) == expected


def test_a_period_below_a_second_is_left_out_of_the_ietf_policy() -> None:
    """`w` counts whole seconds, and a rounded one would be a lie."""
    assert (
        field_of(ask(core_of("3/500ms", headers="ietf"), "/items/1", 0.0), "RateLimit-Policy")
        == '"default";q=3'
    )


@pytest.mark.parametrize("status", [429, 403, 503, 200])
def test_a_refusal_by_any_status_is_counted_as_a_refusal(status: int) -> None:
    """Also a 200 with an error in its body serves nothing."""
    core = core_of("1/s", refuse_status=status)
    serve(core, "/items/1", 0.0)
    verdict = serve(core, "/items/2", 0.1)
    assert isinstance(verdict.body, bytes)
    assert (verdict.status, json.loads(verdict.body)["error"]) == (status, "rate_limited")
    account = core.account(0.2)
    assert (account.accepted, account.refused, account.served, account.distinct_items) == (1, 1, 1, 1)


def test_a_limit_in_flight_is_freed_when_the_answer_is_over() -> None:
    """The third of two at once is refused until one of them has ended."""
    core = core_of("2 concurrent")
    first = ask(core, "/items/1", 0.0)
    ask(core, "/items/2", 0.0)
    assert ask(core, "/items/3", 0.1).status == 429
    core.settle(first, 0.2, True)
    assert ask(core, "/items/3", 0.3).status == 200
    assert core.account(0.4).most_in_flight == 2


def test_charged_refusals_keep_a_hammering_client_out() -> None:
    """Where refusals cost quota, a client that goes on asking is never let in again."""
    free, charged = core_of("1/s"), core_of("1/s", charge_refused=True)
    moments = [0.25 * n for n in range(20)]
    assert sum(ask(free, "/items/1", moment).status == 200 for moment in moments) == 5
    assert sum(ask(charged, "/items/1", moment).status == 200 for moment in moments) == 1


def test_a_lockout_is_what_its_refusal_tells() -> None:
    """A refusal closes the gate for the lock-out, and says so."""
    core = core_of("1/s", lockout=30)
    ask(core, "/items/1", 0.0)
    assert field_of(ask(core, "/items/1", 0.5), "Retry-After") == "30"
    assert ask(core, "/items/1", 10.0).status == 429
    assert ask(core, "/items/1", 40.0).status == 200


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        (
            "header:X-Api-Key",
            Request("GET", "/items/1", {b"x-api-key": b"a"}),
            Request("GET", "/items/1", {b"x-api-key": b"b"}),
        ),
        ("query:k", Request("GET", "/items/1?k=a"), Request("GET", "/items/1?k=b")),
        ("address", Request("GET", "/items/1", {}, "10.0.0.1"), Request("GET", "/items/1", {}, "10.0.0.2")),
    ],
)
def test_each_key_has_limits_of_its_own(key: str, one: Request, other: Request) -> None:
    """One key's use leaves another key's quota whole, and no key stands in the account."""
    core = core_of("1/s", key=key)
    assert [core.decide(request, 0.0).status for request in (one, one, other)] == [200, 429, 200]
    account = core.account(0.0)
    assert account.keys == 2
    assert account.utilisation is None


def test_chance_follows_the_seed() -> None:
    """The same seed injects the same faults, another one others, and the shares are about those asked for."""

    def run(seed: int) -> list[tuple[int, str | None]]:
        core = core_of(fail_rate=0.1, cut_rate=0.1, refuse_rate=0.1, jitter=0.01, seed=seed)
        return [
            (verdict.status, verdict.fault) for verdict in (ask(core, "/items/1", 0.0) for _ in range(2000))
        ]

    runs = run(1)
    assert runs == run(1) != run(2)
    for kind in ((503, None), (0, "cut"), (429, None)):
        assert 140 < runs.count(kind) < 260


def test_injected_faults_are_charged_and_injected_refusals_are_not() -> None:
    """A failed or cut request has used up quota; one refused by chance has not."""
    failing = core_of("1/s", fail_rate=1.0)
    assert [ask(failing, "/items/1", 0.1 * n).status for n in range(2)] == [503, 429]
    refusing = core_of("1/s", refuse_rate=1.0, refuse_wait=3)
    verdict = ask(refusing, "/items/1", 0.0)
    assert (verdict.status, field_of(verdict, "Retry-After")) == (429, "3")
    assert field_of(verdict, "X-RateLimit-Remaining") == "1"
    assert (refusing.account(0.0).refused, refusing.account(0.0).injected) == (0, 1)


def test_another_consumer_uses_up_the_quota() -> None:
    """With noise as fast as the limit, about half of a full-speed client's requests are refused."""
    core = core_of("100/s", enforce="fixed", noise_rps=100)
    statuses = [ask(core, "/items/1", n / 100 + 0.001).status for n in range(2000)]
    account = core.account(20.0)
    assert statuses.count(200) + account.noise == pytest.approx(2000, abs=20)
    assert 700 < statuses.count(200) < 1300
    assert 700 < account.noise < 1300


def test_a_long_silence_costs_no_endless_noise() -> None:
    """After a day without requests, at most ten thousand of the other's are made up."""
    core = core_of("1000000/day", noise_rps=1000)
    ask(core, "/items/1", 86_000.0)
    assert core.account(86_000.0).noise <= 10_100


def test_latency_and_jitter_delay_the_answer() -> None:
    """Answers are given after latency ± jitter, never before the question; steering is not delayed."""
    core = core_of(latency=0.2, jitter=0.08)
    delays = [ask(core, "/items/1", 0.0).delay for _ in range(500)]
    assert 0.12 <= min(delays) < 0.14
    assert 0.26 < max(delays) <= 0.28
    assert ask(core, "/-/account", 0.0).delay == 0


def test_the_right_token_is_let_in_and_the_wrong_one_is_not_charged() -> None:
    """401 without the token, and after the token was changed while the server runs; the account shows no token."""
    core = core_of("1/s", token="first")
    assert ask(core, "/items/1", 0.0).status == 401
    assert field_of(ask(core, "/items/1", 0.0, authorization="Bearer wrong"), "WWW-Authenticate") == "Bearer"
    assert ask(core, "/-/set?token=an0ther", 0.0).status == 200
    assert ask(core, "/items/1", 0.0, authorization="Bearer first").status == 401
    assert ask(core, "/items/1", 0.0, authorization="Bearer an0ther").status == 200
    account = ask(core, "/-/account", 0.0).body
    assert isinstance(account, bytes)
    assert b"an0ther" not in account
    assert "an0ther" not in repr(core.settings)
    assert json.loads(account)["unauthorized"] == 3


def test_a_limit_changed_while_it_runs_keeps_what_was_used() -> None:
    """Lowered below what is used up, the limit refuses; raised again, it has room for the rest."""
    core = core_of("10/10s")
    for n in range(6):
        assert ask(core, "/items/1", float(n) / 10).status == 200
    assert ask(core, "/-/set?limit=5/10s", 1.0).status == 200
    assert ask(core, "/items/1", 1.0).status == 429
    ask(core, "/-/set?limit=8/10s", 1.0)
    assert [ask(core, "/items/1", 1.0).status for _ in range(4)].count(200) == 3
    assert core.account(2.0).utilisation is None


@pytest.mark.parametrize("kind", ["sliding", "fixed", "anchored", "counter", "bucket"])
def test_each_enforcer_keeps_its_count_over_a_change(kind: str) -> None:
    """Four of ten used, then the quota becomes six: two more are let in."""
    core = core_of("10/10s", enforce=kind)
    for _ in range(4):
        ask(core, "/items/1", 1.0)
    ask(core, f"/-/set?limit=6/10s&enforce={kind}", 1.0)
    assert [ask(core, "/items/1", 1.0).status for _ in range(4)] == [200, 200, 429, 429]


def test_in_flight_requests_survive_a_change_and_a_reset() -> None:
    """What is in flight frees its place after a change, and after a reset harms no count."""
    core = core_of("1 concurrent")
    held = ask(core, "/items/1", 0.0)
    ask(core, "/-/set?limit=2+concurrent", 0.0)
    other = ask(core, "/items/2", 0.0)
    assert (other.status, ask(core, "/items/3", 0.0).status) == (200, 429)
    core.settle(held, 0.1, True)
    assert ask(core, "/items/3", 0.1).status == 200
    ask(core, "/-/reset", 0.2)
    core.settle(other, 0.3, True)
    assert core.account(0.3).served == 0
    assert ask(core, "/items/4", 0.4).status == 200
    assert core.account(0.5).most_in_flight == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=fast", "cannot read the limit"),
        ("speed=3", "no setting 'speed'"),
        ("latency=soon", "latency is a number"),
        ("latency=-1", "from 0 to 3600"),
        ("fail_rate=nan", "from 0 to 1"),
        ("headers=loud", "headers is one of none, x, ietf, ietf03"),
        ("charge_refused=maybe", "true or false"),
        ("limit=8+concurrent&enforce=bucket", "cannot be enforced as bucket"),
        ("enforce=bucket&enforce=fixed", "2 ways to enforce for 1 limits"),
        ("key=header:", "header:NAME"),
        ("refuse_status=418", "refuse_status is one of"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_right_ones_named(query: str, said: str) -> None:
    """`/-/set` answers 400 with what is wrong, and changes nothing."""
    core = core_of("1/s")
    before = core.settings
    verdict = ask(core, f"/-/set?{query}", 0.0)
    assert verdict.status == 400
    assert isinstance(verdict.body, bytes)
    assert said in json.loads(verdict.body)["error"]
    assert core.settings == before


def test_status_n_times_then_200() -> None:
    """`/status/429?n=3` answers 429 three times, then 200; another query counts for itself."""
    core = core_of()
    target = "/status/429?n=3&retry_after=2"
    verdicts = [ask(core, target, 0.0) for _ in range(5)]
    assert [verdict.status for verdict in verdicts] == [429, 429, 429, 200, 200]
    assert field_of(verdicts[0], "Retry-After") == "2"
    assert ask(core, "/status/429?n=3&x", 0.0).status == 429


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/redirect/3", 302, "/redirect/2"),
        ("/redirect/2?to=http%3A%2F%2Fother%2F", 302, "/redirect/1?to=http%3A%2F%2Fother%2F"),
        ("/redirect/1?to=http%3A%2F%2Fother%2F&status=307", 307, "http://other/"),
        ("/redirect/loop", 302, "/redirect/loop"),
        ("/redirect/1?to=%0d%0aX-Evil:%201", 302, "X-Evil: 1"),
        ("/redirect/0", 200, None),
        ("/redirect/x", 400, None),
    ],
)
def test_redirects(target: str, status: int, location: str | None) -> None:
    """N hops to a 200 or to a place, a loop, and no way to smuggle a header line in."""
    verdict = ask(core_of(), target, 0.0)
    assert (verdict.status, field_of(verdict, "Location")) == (status, location)


@pytest.mark.parametrize(
    ("target", "status", "size"),
    [
        ("/items/17", 200, 11),
        ("/items/17?bytes=5", 200, 20),
        ("/items/17?bytes=100", 200, 100),
        ("/items/17?bytes=100000", 200, 100_000),
        ("/items/17?bytes=junk", 200, 20),
        ("/items/%22%0A", 200, 13),
        ("/items/", 404, None),
        ("/big?bytes=5000000", 200, 5_000_000),
        ("/big?bytes=999999999999", 200, 1 << 30),
        ("/drip?duration=0.2&bytes=7", 200, 7),
        ("/json-lie", 200, 29),
        ("/unauthorized", 401, None),
        ("/status/204", 204, 0),
        ("/status/99", 400, None),
        ("/status/1e3", 400, None),
        ("/status/", 400, None),
        ("/nowhere", 404, None),
        ("/-/nowhere", 404, None),
        ("*", 200, None),
        ("http://host:1/items/17?bytes=100", 200, 100),
        ("http://[/items/17", 200, None),
        ("host:443", 200, None),
    ],
)
def test_what_each_path_answers(target: str, status: int, size: int | None) -> None:
    """Status and size of the body of every path, of odd ones and of targets in absolute form."""
    verdict = ask(core_of(), target, 0.0)
    assert verdict.status == status
    if size is not None:
        assert len(verdict.body) == size


def test_a_head_serves_no_item() -> None:
    """Asked for its head and then whole, an item was served once."""
    core = core_of()
    for method in ("HEAD", "GET"):
        core.settle(core.decide(Request(method, "/items/7"), 0.0), 0.0, True)
    assert (core.account(0.0).served, core.account(0.0).distinct_items, core.account(0.0).duplicates) == (2, 1, 0)


def test_items_are_json_whatever_their_name() -> None:
    """Any id comes back as it was asked for, in a body that is JSON."""
    core = core_of()
    for name, target in (("17", "17"), ('a"b', "a%22b"), ("ü/x", "%C3%BC%2Fx")):
        body = ask(core, f"/items/{target}", 0.0).body
        assert isinstance(body, bytes)
        assert json.loads(body) == {"id": name}


def test_long_bodies_are_not_held_in_memory() -> None:
    """A body of a gigabyte is a few dozen bytes and a number."""
    body = ask(core_of(), "/items/1?bytes=1000000000", 0.0).body
    assert isinstance(body, Filler)
    assert len(body.before) + len(body.after) < 100


def test_keys_and_counts_are_bounded() -> None:
    """Fifteen thousand keys and as many counted targets leave no more than ten thousand of each."""
    core = core_of("1/s", key="query:k")
    for n in range(15_000):
        ask(core, f"/status/500?n=1&k={n}", 0.0)
    assert core.account(0.0).keys == 10_000
    assert len(core._asked) <= 10_000


def test_time_never_goes_back() -> None:
    """A reading before the last one counts as the last one."""
    core = core_of("1/s")
    assert ask(core, "/items/1", 5.0).status == 200
    assert ask(core, "/items/1", 3.0).status == 429
    assert ask(core, "/items/1", 6.0).status == 200


def test_fractions_of_a_request_are_whole_ones_over_longer() -> None:
    """Half a request a second is one in two seconds, for every enforcer."""
    for kind in ("sliding", "fixed", "anchored", "counter-lenient", "bucket"):
        core = core_of("0.5/s", enforce=kind)
        assert [ask(core, "/items/1", now).status for now in (0.0, 1.0)] == [200, 429], kind
        assert ask(core, "/items/1", 4.1).status == 200, kind


def test_another_key_or_seed_begins_anew() -> None:
    """A change of what has limits forgets what was used; a change of the seed repeats its chance."""
    core = core_of("1/s", fail_rate=0.5, seed=4)
    ask(core, "/items/1", 0.0)
    ask(core, "/-/set?key=query:k", 0.0)
    assert ask(core, "/items/1?k=a", 0.0).status != 429
    assert ask(core, "/items/1?k=a", 0.0).status == 429
    ask(core, "/-/set?key=all&limit=&seed=9", 0.0)
    first = [ask(core, "/items/1", 1.0).status for _ in range(50)]
    ask(core, "/-/set?seed=8", 1.0)
    ask(core, "/-/set?seed=9", 1.0)
    assert [ask(core, "/items/1", 1.0).status for _ in range(50)] == first


@pytest.mark.parametrize(
    ("limits", "enforce", "options", "said"),
    [
        (["1/s"] * 17, None, {}, "more than the 16"),
        (["1/s"], "guess", {}, "enforce is one of"),
        (["1/s"], "concurrent", {}, "cannot be enforced as concurrent"),
        ([], None, {"speed": 3}, "no setting 'speed'"),
        ([], None, {"latency": float("nan")}, "latency is a number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    limits: list[str], enforce: str | None, options: dict[str, object], said: str
) -> None:
    """Each is an InputError that says what is wrong."""
    with pytest.raises(InputError, match=said):
        Settings.of(limits, enforce, options)
