"""What every client with a policy keeps: attempts, bodies, redirects, places in flight, and what is handed out."""

from __future__ import annotations

import asyncio
import pickle
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tenacity import stop_after_attempt, wait_none
from tests.conformance.clients import KINDS, Kind, scripted

import paceline
from paceline import Policy, Retry, RetryLater, history, options
from paceline.errors import AcquireTimeout, CostAboveQuota, GaveUp, UnreplayableBody

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = {"status": 429, "headers": {"Retry-After-Ms": "20"}, "body": b"slow down"}
BROKEN = {"status": 503, "body": b"later"}


def quick(limits: Any = (), attempts: int = 3, **more: Any) -> Policy:
    """A policy that waits next to nothing between attempts."""
    known = {"max_wait", "deadline", "budget"}
    retry = Retry(
        stop=stop_after_attempt(attempts),
        wait=wait_none(),
        zero_wait_floor=0.01,
        **{name: more.pop(name) for name in known & set(more)},
    )
    return Policy(limits=limits, retry=retry, **more)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


def only(fits: Callable[[Kind], bool]) -> pytest.MarkDecorator:
    """The kinds that a test is of; what it asks does not exist in the others."""
    return pytest.mark.parametrize("kind", list(filter(fits, KINDS)), indirect=True, ids=lambda kind: kind.name)


def test_served_at_once(kind: Kind) -> None:
    """An answer is handed out as the client itself does, with the one attempt that it took."""
    with scripted({"body": b"hello"}) as script:

        async def act(send: Any) -> None:
            reply = await send("GET", f"{script.url}/items/1")
            assert (reply.status, reply.body) == (200, b"hello")
            [attempt] = history(reply.response)
            assert (attempt.number, attempt.status, attempt.refused, attempt.kind) == (1, 200, False, None)

        kind.run("1000/s", act)
    assert [(each.method, each.path) for each in script.seen] == [("GET", "/items/1")]


def test_a_refused_post_is_sent_again_whole_over_the_same_connection(kind: Kind) -> None:
    """A refusal is repeated for any method, with the same body; its answer is drained, so its connection is reused."""
    with scripted(REFUSED, {}) as script:

        async def act(send: Any) -> None:
            reply = await send("POST", f"{script.url}/orders", body=b"one order")
            assert reply.status == 200
            first, second = history(reply.response)
            assert first.refused
            assert first.retry_after == pytest.approx(0.02)
            assert (first.status, second.status, second.refused) == (429, 200, False)
            assert second.waited > 0

        kind.run(quick("1000/s"), act)
    assert [each.body for each in script.seen] == [b"one order", b"one order"]
    assert len({each.peer for each in script.seen}) == 1


@pytest.mark.parametrize("way", ["at once", "after waiting"])
def test_a_refusal_that_comes_as_a_200_is_seen(kind: Kind, way: str) -> None:
    """A good status with a wait in its headers and an error in its body is a refusal: no row is lost to it."""
    hidden = {
        "headers": {"Retry-After-Ms": "20", "Content-Type": "application/json"},
        "body": b'{"error":"rate_limited","message":"API rate limit exceeded"}',
    }
    with scripted(*[{}] * (way != "at once"), hidden, {"body": b"a row"}) as script:

        async def act(send: Any) -> None:
            if way != "at once":
                await send("GET", script.url)
            reply = await send("GET", script.url)
            assert reply.body == b"a row"
            assert [attempt.refused for attempt in history(reply.response)] == [True, False]

        kind.run(quick("1000/s" if way == "at once" else "1/20ms steady"), act)


@pytest.mark.parametrize(("method", "arrivals"), [("GET", 2), ("PUT", 2), ("POST", 1)])
def test_a_failure_is_repeated_only_where_that_does_no_harm(kind: Kind, method: str, arrivals: int) -> None:
    """A 503 is tried again for idempotent methods; a POST's is handed out as it is."""
    with scripted(BROKEN, {}) as script:

        async def act(send: Any) -> None:
            reply = await send(method, script.url, body=None if method == "GET" else b"x")
            assert reply.status == (200 if arrivals == 2 else 503)
            assert len(history(reply.response)) == arrivals

        kind.run(quick(), act)
    assert len(script.seen) == arrivals


def test_an_idempotency_key_or_the_caller_s_word_makes_a_post_repeatable(kind: Kind) -> None:
    """A POST with an Idempotency-Key, or within `options(idempotent=True)`, is tried again after a 503."""
    with scripted(BROKEN, {}, BROKEN, {}) as script:

        async def act(send: Any) -> None:
            keyed = await send("POST", script.url, body=b"x", headers={"Idempotency-Key": "order-17"})
            assert keyed.status == 200
            with options(idempotent=True):
                assert (await send("POST", script.url, body=b"x")).status == 200

        kind.run(quick(), act)
    assert [each.headers.get("idempotency-key") for each in script.seen] == ["order-17", "order-17", None, None]


# httpx has no files as bodies of async requests.
@only(lambda kind: kind.name not in ("httpx-async", "httpx-trio", "httpx2-async"))
def test_a_file_is_sent_again_from_where_it_stood(kind: Kind) -> None:
    """A body that is a file is rewound to where it stood when the request was made."""
    # httpx itself takes the size of the whole file for the length of what is left of it.
    start = 0 if kind.name.startswith("httpx") else 2
    with scripted(REFUSED, {}) as script:

        async def act(send: Any) -> None:
            assert (await send("POST", script.url, body=kind.file(b"--content", start))).status == 200

        kind.run(quick(), act)
    assert [each.body for each in script.seen] == [b"--content"[start:]] * 2


def test_a_body_that_can_be_read_once_is_never_sent_twice(kind: Kind) -> None:
    """The first failure is final, and says so; no second request with an empty body leaves."""
    with scripted(REFUSED, {}) as script:

        async def act(send: Any) -> None:
            reply = await send("POST", script.url, body=kind.once_only(b"one ", b"order"))
            assert (reply.status, len(history(reply.response))) == (429, 1)

        kind.run(quick(), act)
    assert [each.body for each in script.seen] == [b"one order"]
    with scripted(REFUSED, {}) as script:

        async def fail(send: Any) -> None:
            with pytest.raises(GaveUp, match="its body was used up by the first attempt") as caught:
                await send("POST", script.url, body=kind.once_only(b"one ", b"order"))
            assert isinstance(caught.value.__cause__, UnreplayableBody)

        kind.run(quick(), fail, gave_up="error")
    assert [each.body for each in script.seen] == [b"one order"]


def test_a_cut_connection_is_an_exception_of_the_client_s_own(kind: Kind) -> None:
    """A GET is tried as often as told and no more; then comes the client's exception, with a note and its history."""
    with scripted({"cut": True}) as script:

        async def act(send: Any) -> None:
            with pytest.raises(kind.errors) as caught:
                await send("GET", script.url)
            assert any("gave up after 2 attempts" in note for note in caught.value.__notes__)
            assert [attempt.kind for attempt in history(caught.value)] == ["reset", "reset"]

        kind.run(quick(attempts=2), act)
    assert len(script.seen) == 2


def test_a_post_that_may_have_arrived_is_not_repeated(kind: Kind) -> None:
    """After a connection cut before the answer, a POST ends with the client's exception."""
    with scripted({"cut": True}, {}) as script:

        async def act(send: Any) -> None:
            with pytest.raises(kind.errors):
                await send("POST", script.url, body=b"x")

        kind.run(quick(), act)
    assert len(script.seen) == 1


def test_what_never_left_is_repeated_for_any_method(kind: Kind) -> None:
    """Where nobody listens, a POST is tried again: it certainly did not arrive."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]

    async def act(send: Any) -> None:
        with pytest.raises(kind.errors) as caught:
            await send("POST", f"http://127.0.0.1:{port}/", body=b"x")
        assert [attempt.kind for attempt in history(caught.value)] == ["connect"] * 3

    kind.run(quick(), act)


# aiohttp hands a response out before its body is read.
@only(lambda kind: kind.name != "aiohttp")
def test_a_body_cut_half_way_is_asked_for_again(kind: Kind) -> None:
    """Where the client reads the whole body, one that breaks off is a failed attempt."""
    with scripted({"body": b"half", "promise": 8}, {"body": b"complete"}) as script:

        async def act(send: Any) -> None:
            reply = await send("GET", script.url)
            assert reply.body == b"complete"
            assert [attempt.kind for attempt in history(reply.response)] == ["protocol", None]

        kind.run(quick(), act)


def test_a_redirect_to_another_host_takes_no_credential_along(kind: Kind) -> None:
    """On the same host headers stay; another host sees none that holds a credential, and has a scope of its own."""
    secrets = {"Authorization": "Bearer abc", "X-API-Key": "k", "X-Shop-Access-Token": "t", "X-Plain": "kept"}
    with scripted({}) as other, scripted({}, {}) as script:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        script.answers[:] = [
            script.answers[0]._replace(status=302, headers={"Location": "/there"}),
            script.answers[0]._replace(status=307, headers={"Location": f"{elsewhere}/away"}),
        ]
        policy = quick("1000/s")

        async def act(send: Any) -> None:
            assert (await send("GET", f"{script.url}/here", headers=secrets)).status == 200

        kind.run(policy, act)
    kept = [{name.lower() for name in secrets} & set(each.headers) for each in [*script.seen, *other.seen]]
    everything = {name.lower() for name in secrets}
    assert kept == [everything, everything, {"x-plain"}]
    assert len(policy.lines) == 2


def test_a_streamed_answer_holds_its_place(kind: Kind) -> None:
    """Under a limit of what is in flight a place is held until the body is read or closed, and then is free again."""
    with scripted({"body": b"x" * 3_000_000}) as script:

        async def act(send: Any) -> None:
            async with kind.stream(send.client, script.url):
                with options(deadline=0.05), pytest.raises(AcquireTimeout):
                    await send("GET", script.url)
            with options(deadline=5):
                assert (await send("GET", script.url)).status == 200
                assert (await send("GET", script.url)).status == 200

        kind.run(quick("1 concurrent"), act)
    assert len(script.seen) == 3


def test_a_time_limit_is_an_attempt_like_any_other(kind: Kind) -> None:
    """An attempt over its time is repeated where it may be, and ends as the client's own time-out."""
    gate = threading.Event()
    with scripted({"gate": gate}) as script:

        async def act(send: Any) -> None:
            with pytest.raises(kind.timeouts) as caught:
                await send("GET", script.url)
            assert [attempt.kind for attempt in history(caught.value)] == ["timeout", "timeout"]
            assert all(attempt.elapsed >= 0.09 for attempt in history(caught.value))

        kind.run(quick(attempts=2), act, timeout=0.1)
        gate.set()


def test_a_deadline_bounds_the_attempt_under_way(kind: Kind) -> None:
    """`options(deadline=…)` cuts the time limit of an attempt, too."""
    gate = threading.Event()
    with scripted({"gate": gate}) as script:

        async def act(send: Any) -> None:
            with options(deadline=0.1), pytest.raises((*kind.errors, *kind.timeouts)):
                await send("GET", script.url)

        kind.run(quick(), act, timeout=30)
        gate.set()
    assert len(script.seen) == 1


def test_a_longer_pause_than_max_wait_is_not_slept_on(kind: Kind) -> None:
    """RetryLater says until when, crosses processes, and the next request hears it at once."""
    with scripted({"status": 429, "headers": {"Retry-After": "7200"}}) as script:

        async def act(send: Any) -> None:
            for _ in range(2):
                with pytest.raises(RetryLater) as caught:
                    await send("GET", script.url)
                copy = pickle.loads(pickle.dumps(caught.value))
                assert copy.until == caught.value.until
                assert 7100 < copy.wait <= 7201

        kind.run(quick("1000/s", max_wait=60), act)
    assert len(script.seen) == 1


def test_what_was_given_up_is_the_last_response_or_gave_up(kind: Kind) -> None:
    """By default the last response comes out, fit for `raise_for_status`; `gave_up="error"` raises GaveUp with it."""
    with scripted(BROKEN) as script:

        async def act(send: Any) -> None:
            reply = await send("GET", script.url)
            assert (reply.status, reply.body, len(history(reply.response))) == (503, b"later", 2)
            with pytest.raises(kind.errors):
                reply.response.raise_for_status()

        kind.run(quick(attempts=2), act)

        async def fail(send: Any) -> None:
            with pytest.raises(GaveUp) as caught:
                await send("GET", script.url)
            error = caught.value
            assert (error.attempts, error.last_status, len(history(error))) == (2, 503, 2)
            assert error.last_response is not None
            copy = pickle.loads(pickle.dumps(error))
            assert (copy.attempts, copy.last_status, len(history(copy))) == (2, 503, 2)
            assert (copy.last_response is None) == (kind.name == "aiohttp")

        kind.run(quick(attempts=2), fail, gave_up="error")


def test_a_cost_above_the_quota_is_an_error_at_once(kind: Kind) -> None:
    """What can never be granted is not waited for, and nothing is sent."""
    with scripted({}) as script:

        async def act(send: Any) -> None:
            with options(cost=11), pytest.raises(CostAboveQuota):
                await send("GET", script.url)
            with options(cost=10):
                assert (await send("GET", script.url)).status == 200

        kind.run("10/min sliding", act)
    assert len(script.seen) == 1


def test_a_refused_token_is_renewed_once(kind: Kind) -> None:
    """After a 401 the hook's token takes the old one's place, for later requests as well."""
    asked = []

    def refresh() -> str:
        asked.append(1)
        return "fresh"

    with scripted({"status": 401}, {}) as script:

        async def act(send: Any) -> None:
            for _ in range(2):
                reply = await send("GET", script.url, headers={"Authorization": "Bearer stale"})
                assert reply.status == 200

        kind.run(quick("1000/s", refresh=refresh), act)
    assert [each.headers["authorization"] for each in script.seen] == ["Bearer stale", "Bearer fresh", "Bearer fresh"]
    assert len(asked) == 1


def test_events_tell_what_happened_and_no_secret(kind: Kind) -> None:
    """The sink of the policy hears of the refusal and of both attempts."""
    heard: list[Any] = []
    with scripted(REFUSED, {}) as script:

        async def act(send: Any) -> None:
            await send("GET", f"{script.url}/?api_key=hidden", headers={"Authorization": "Bearer hidden"})

        kind.run(quick("1000/s", events=heard.append), act)
    assert [each.status for each in heard if isinstance(each, paceline.events.Attempted)] == [429, 200]
    assert any(isinstance(each, paceline.events.Refused) for each in heard)
    assert "hidden" not in repr(heard)


@only(lambda kind: kind.is_async and not kind.on_trio)
@pytest.mark.parametrize("moment", ["waiting", "sending"])
def test_cancelling_is_not_retried_and_gives_everything_back(kind: Kind, moment: str) -> None:
    """A cancelled task leaves the line, or ends its attempt, and the next one goes on."""
    gate = threading.Event()
    with scripted({"gate": gate}, {}) as script:
        policy = quick("1 concurrent")

        async def act(send: Any) -> None:
            first = asyncio.create_task(send("GET", script.url))
            while not script.seen:
                await asyncio.sleep(0.001)
            [line] = policy.lines.values()
            second = asyncio.create_task(send("GET", script.url))
            while not line.waiting:
                await asyncio.sleep(0.001)
            doomed = second if moment == "waiting" else first
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
            gate.set()
            other = first if doomed is second else second
            assert (await other).status == 200
            assert (await send("GET", script.url)).status == 200
            assert line.waiting == 0

        kind.run(policy, act)
    assert len(script.seen) == (2 if moment == "waiting" else 3)


def test_all_clients_of_a_policy_share_its_limit(kind: Kind) -> None:
    """A pause that one client was told of holds another client's request back."""
    with scripted({"status": 429, "headers": {"Retry-After": "600"}}) as script:
        policy = quick("1000/s", max_wait=60)
        with paceline.requests.Session(policy) as session, pytest.raises(RetryLater):
            session.get(script.url)

        async def act(send: Any) -> None:
            with pytest.raises(RetryLater):
                await send("GET", script.url)

        kind.run(policy, act)
    assert len(script.seen) == 1
