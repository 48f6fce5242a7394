"""Scripts through every mock library: the same answers, the same times and the same verdict, whatever sends."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import AsyncMock, patch

import aiohttp
import aioresponses
import httpx
import httpx2
import pytest
import requests
import responses
import respx
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_attempt
from tests.clocks import FakeClock

import paceline
import paceline.httpx
import paceline.httpx2
import paceline.requests
from paceline.errors import InputError
from paceline.testing import Script, script

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

URL = "https://api.example.com/items/1"


class Seen(NamedTuple):
    """What a client saw of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def seen(response: Any) -> Seen:
    return Seen(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)


def by_responses(played: Script, _: Any) -> Callable[[], Seen]:
    def send() -> Seen:
        with responses.RequestsMock() as mock:
            played.responses(mock, URL)
            return seen(requests.get(URL, timeout=5))

    return send


def by_respx(played: Script, _: Any) -> Callable[[], Seen]:
    def send() -> Seen:
        with respx.mock() as router:
            played.respx(router, URL)
            return seen(httpx.get(URL))

    return send


def by_pytest_httpx(played: Script, request: pytest.FixtureRequest) -> Callable[[], Seen]:
    played.pytest_httpx(request.getfixturevalue("httpx_mock"), URL)
    return lambda: seen(httpx.get(URL))


def by_aioresponses(played: Script, _: Any) -> Callable[[], Seen]:
    async def fetch() -> Seen:
        with aioresponses.aioresponses() as mock:
            played.aioresponses(mock, URL)
            async with aiohttp.ClientSession() as session, session.get(URL) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Seen(response.status, headers, await response.read())

    return lambda: asyncio.run(fetch())


def by_mock(played: Script, _: Any) -> Callable[[], Seen]:
    def send() -> Seen:
        with patch.object(requests.Session, "request", side_effect=played.mock()):
            return seen(requests.get(URL, timeout=5))

    return send


def by_mock_of_httpx(played: Script, _: Any) -> Callable[[], Seen]:
    effect = played.mock("httpx")

    def send() -> Seen:
        with patch("httpx.get", side_effect=effect):
            return seen(httpx.get(URL))

    return send


def by_mock_of_httpx2(played: Script, _: Any) -> Callable[[], Seen]:
    effect = played.mock("httpx2")

    async def fetch() -> Seen:
        with patch.object(httpx2.AsyncClient, "get", AsyncMock(side_effect=effect)):
            async with httpx2.AsyncClient() as client:
                return seen(await client.get(URL))

    return lambda: asyncio.run(fetch())


def by_httpx_transport(played: Script, _: Any) -> Callable[[], Seen]:
    def send() -> Seen:
        with httpx.Client(transport=played.httpx_transport()) as client:
            return seen(client.get(URL))

    return send


def by_httpx2_transport(played: Script, _: Any) -> Callable[[], Seen]:
    async def fetch() -> Seen:
        async with httpx2.AsyncClient(transport=played.httpx2_transport()) as client:
            return seen(await client.get(URL))

    return lambda: asyncio.run(fetch())


def by_answer(played: Script, _: Any) -> Callable[[], Seen]:
    def send() -> Seen:
        reply = played.answer("GET", URL)
        return Seen(reply.status, {name.lower(): value for name, value in reply.headers}, reply.body)

    return send


WAYS = [
    by_responses, by_respx, by_pytest_httpx, by_aioresponses, by_mock, by_mock_of_httpx, by_mock_of_httpx2,
    by_httpx_transport, by_httpx2_transport, by_answer,
]  # fmt: skip


def persist(send: Callable[[], Seen], clock: FakeClock, wait: Callable[[RetryCallState], float]) -> Seen:
    """Tries again with tenacity until it is served, on a clock that sleeping moves."""

    def sleep(seconds: float) -> None:
        clock.time += seconds

    return Retrying(
        stop=stop_after_attempt(10),
        wait=wait,
        sleep=sleep,
        retry=retry_if_result(lambda got: got.status == 429) | retry_if_exception_type(ConnectionResetError),
        reraise=True,
    )(send)


def as_told(state: RetryCallState, fallback: float = 5.0) -> float:
    """The wait that an answer asks for, else five seconds."""
    assert state.outcome is not None
    if state.outcome.failed:
        return fallback
    got = state.outcome.result()
    wait = paceline.read_signal(got.status, got.headers, got.body, now=0).retry_after
    return fallback if wait is None else wait


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize("way", WAYS)
def test_a_script_is_played_to_a_client_that_does_as_it_is_told(
    way: Callable[..., Any], clock: FakeClock, request: pytest.FixtureRequest
) -> None:
    """Two seconds told, five not told: seven waited, nothing too early, and the last answer is whole and repeats."""
    played = script([429, {"Retry-After": "2"}], 429, [200, {"X-One": "1"}, {"id": 1}], clock=clock.now, wall=clock.epoch)
    send = way(played, request)
    got = persist(send, clock, as_told)
    assert (got.status, json.loads(got.body), got.headers["x-one"]) == (200, {"id": 1}, "1")
    assert got.headers["content-type"] == "application/json"
    played.assert_waited(7, at_most=7)
    played.assert_no_early_retry()
    assert [(call.number, call.status, call.retry_after) for call in played.calls] == [
        (1, 429, 2.0),
        (2, 429, None),
        (3, 200, None),
    ]
    assert {(call.method, call.url.rstrip("/")) for call in played.calls} == {("GET", URL)}
    assert [send().status, send().status] == [200, 200]


@pytest.mark.parametrize("way", WAYS)
def test_a_script_tells_on_a_client_that_does_not(
    way: Callable[..., Any], clock: FakeClock, request: pytest.FixtureRequest
) -> None:
    """A client that waits half of what it was told fails the assertion, which says which call and by how much."""
    played = script([429, {"Retry-After": "2"}], 200, clock=clock.now, wall=clock.epoch)
    persist(way(played, request), clock, lambda _: 1.0)
    with pytest.raises(AssertionError, match=r"call 2 came 1 s too early: call 1 was answered 429 and asked to wait 2 s"):
        played.assert_no_early_retry()
    with pytest.raises(AssertionError, match=r"waited 1 s over 2 calls, less than 2 s"):
        played.assert_waited(2)
    with pytest.raises(AssertionError, match=r"more than 0\.5 s"):
        played.assert_waited(1, at_most=0.5)


@pytest.mark.parametrize("way", WAYS)
def test_exceptions_are_raised_as_they_are(
    way: Callable[..., Any], clock: FakeClock, request: pytest.FixtureRequest
) -> None:
    """An exception of a script, made or only named, reaches the caller through every library, and counts as a call."""
    played = script(ConnectionResetError("gone"), ConnectionResetError, 200, clock=clock.now)
    assert persist(way(played, request), clock, as_told).status == 200
    assert [call.error or call.status for call in played.calls] == ["ConnectionResetError", "ConnectionResetError", 200]
    played.assert_waited(10, at_most=10)


@pytest.mark.parametrize("way", WAYS)
def test_a_function_answers_what_it_is_asked(
    way: Callable[..., Any], clock: FakeClock, request: pytest.FixtureRequest
) -> None:
    """A function of the call returns any entry, and is asked again where it is the last."""
    played = script(lambda call: [200, {}, f"{call.number} {call.method}"], clock=clock.now)
    send = way(played, request)
    assert [send().body, send().body] == [b"1 GET", b"2 GET"]


def test_dates_are_read_by_the_wall_clock(clock: FakeClock) -> None:
    """A wait told as a date is measured from the script's own epoch."""
    played = script([429, {"Retry-After": "Tue, 14 Nov 2023 22:13:30 GMT"}], 200, clock=clock.now, wall=clock.epoch)
    played.answer("GET", URL)
    assert played.calls[0].retry_after == 10.0
    clock.time += 9
    played.answer("GET", URL)
    with pytest.raises(AssertionError, match="1 s too early"):
        played.assert_no_early_retry()


def test_only_the_same_request_is_a_retry(clock: FakeClock) -> None:
    """Another URL, or another method, asked for in the meantime is no early retry."""
    played = script([429, {"Retry-After": "2"}], 200, clock=clock.now)
    played.answer("GET", URL)
    played.answer("GET", f"{URL}0")
    played.answer("POST", URL)
    played.assert_no_early_retry()


def test_what_a_script_shows_holds_no_credential(clock: FakeClock) -> None:
    """URLs are masked in calls and in what assertions say."""
    played = script([429, {"Retry-After": "2"}], 200, clock=clock.now)
    for _ in range(2):
        played.answer("GET", "https://u:sesame@api.example.com/?token=sesame")
    with pytest.raises(AssertionError) as caught:
        played.assert_no_early_retry()
    assert "sesame" not in str(caught.value) + repr(played.calls)
    assert "1. at 0 s GET https://***@api.example.com/?token=***: 429, asked to wait 2 s" in str(caught.value)


def test_modules_and_patterns_do_as_well(clock: FakeClock) -> None:
    """The modules `responses` and `respx` themselves, URL patterns and other methods plug in, too."""
    played = script(201, clock=clock.now)
    with responses.mock:
        played.responses(responses, re.compile(r"https://api\.example\.com/.*"), "POST")
        assert requests.post(f"{URL}?a=1", timeout=5).status_code == 201
    with respx.mock:
        played.respx(respx, "https://api.example.com/b", "PUT")
        assert httpx.put("https://api.example.com/b").status_code == 201
    assert [call.method for call in played.calls] == ["POST", "PUT"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("429", "cannot read the entry '429'"),
        (99, "cannot read the entry 99"),
        (True, "cannot read the entry True"),
        ([], r"cannot read the entry \[\]"),
        ([429, {}, "", 1], "cannot read the entry"),
        ([429, ["Retry-After"]], "neither a dictionary nor pairs"),
    ],
)
def test_what_is_no_entry_is_told_at_once(entry: Any, words: str) -> None:
    """A wrong entry is an error when the script is made, with the right forms in it."""
    with pytest.raises(InputError, match=words):
        script(200, entry)


def test_a_script_needs_an_entry_and_a_client_that_it_knows() -> None:
    """No entry, and an unknown client, are errors that show what is right."""
    with pytest.raises(InputError, match="a script needs an entry"):
        script()
    with pytest.raises(InputError, match="client is requests, httpx, httpx2"):
        script(200).mock("urllib")


def by_fetch(played: Script) -> Any:
    with aioresponses.aioresponses() as mock:
        played.aioresponses(mock, URL)
        [record] = paceline.fetch([URL])
    assert record.attempts == 2
    return record.json()


def by_a_session(played: Script) -> Any:
    with responses.RequestsMock() as mock, paceline.requests.Session("100/s") as session:
        return played.responses(mock, URL) and session.get(URL).json()


def by_a_client(played: Script) -> Any:
    with paceline.httpx.Client("100/s", transport=played.httpx_transport()) as client:
        return client.get(URL).json()


def by_a_mocked_client(played: Script) -> Any:
    with respx.mock() as router, paceline.httpx.Client("100/s") as client:
        return played.respx(router, URL) and client.get(URL).json()


def by_an_httpx2_client(played: Script) -> Any:
    with paceline.httpx2.Client("100/s", transport=played.httpx2_transport()) as client:
        return client.get(URL).json()


@pytest.mark.parametrize("way", [by_fetch, by_a_session, by_a_client, by_a_mocked_client, by_an_httpx2_client])
def test_what_paceline_sends_waits_as_the_script_asks(way: Callable[[Script], Any]) -> None:
    """The batch job and the clients with a policy, mocked, are refused once, wait as told and are served."""
    played = script([429, {"retry-after-ms": "60"}], [200, {}, {"id": 1}])
    assert way(played) == {"id": 1}
    assert [call.retry_after for call in played.calls] == [0.06, None]
    played.assert_no_early_retry()
    played.assert_waited(0.06)
