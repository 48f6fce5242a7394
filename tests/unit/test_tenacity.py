"""tenacity's own loops with the server's word: waits, refusals and events, for whatever client brought the answer."""

from __future__ import annotations

import asyncio
import logging
import pickle
import ssl
import time
import urllib.error
import urllib.request
from email.message import Message
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
import requests
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    wait_fixed,
    wait_none,
)

from paceline.errors import AcquireTimeout, GaveUp, RetryLater
from paceline.events import Retrying as RetryingEvent
from paceline.tenacity import before_sleep_event, retry_if_refused, wait_for_server
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def answer(status: int, method: str = "GET", url: str = "https://api.example.com/items/1", **headers: str) -> Any:
    """A response as requests and httpx shape it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = SimpleNamespace(method=method, url=url, headers={})
    return SimpleNamespace(status_code=status, headers=named, url=url, request=request)


def state_of(came: Any, number: int = 1) -> RetryCallState:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = number
    if isinstance(came, BaseException):
        state.set_exception((type(came), came, None))
    else:
        state.set_result(came)
    return state


def raised(came: Any) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("no", request=came.request, response=came)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


# ---- waits ------------------------------------------------------------------------------------


@given(
    asked=st.integers(0, 900),
    jitter=st.floats(0, 100),
    number=st.integers(1, 50),
    wrap=st.sampled_from([lambda came: came, raised]),
)
def test_the_servers_word_is_never_undercut(
    asked: int, jitter: float, number: int, wrap: Callable[[Any], Any]
) -> None:
    """Whatever the attempt, jitter and fallback: not before the time told, and not much after it."""
    wait = wait_for_server(wait_none(), jitter=jitter)(state_of(wrap(answer(429, Retry_After=str(asked))), number))
    floor = min(0.25 * 2.0 ** (number - 1), 60.0) if asked == 0 else 0.25
    assert max(asked, floor if asked == 0 else 0) <= wait
    assert wait <= max(asked, floor) * 1.1 + 0.25 + 1e-6


def test_random_time_is_added_so_that_not_all_come_back_at_once() -> None:
    """A hundred refused at once come back at many moments, none before the time told."""
    waits = {wait_for_server()(state_of(answer(429, Retry_After="10"))) for _ in range(100)}
    assert len(waits) > 90
    assert min(waits) >= 10
    assert max(waits) <= 11


@pytest.mark.parametrize(
    "headers",
    [{"Retry_After": "7"}, {"retry_after_ms": "7000"}, {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "7"}],
    ids=lambda headers: next(iter(headers)),
)
def test_every_way_of_saying_it_counts(headers: dict[str, str]) -> None:
    """Seconds, milliseconds and resets are read as `read_signal` reads them."""
    assert wait_for_server(jitter=0)(state_of(answer(429, **headers))) == pytest.approx(7, abs=0.01)


def test_the_fallback_speaks_where_the_server_is_silent() -> None:
    """Failures without a word wait by the strategy given; a silent refusal for at least the floor."""
    assert wait_for_server(wait_fixed(3))(state_of(answer(503))) == 3
    assert wait_for_server(wait_fixed(3))(state_of(ConnectionResetError())) == 3
    assert wait_for_server(wait_fixed(3))(state_of({"any": "result"})) == 3
    assert wait_for_server(wait_none())(state_of(answer(503))) == 0
    assert wait_for_server(wait_none())(state_of(answer(429))) == 0.25
    assert 1 <= wait_for_server()(state_of(answer(503))) <= 2


def test_a_failing_server_is_heard_too() -> None:
    """`Retry-After` beside a 503 goes before the fallback."""
    assert wait_for_server(wait_fixed(1), jitter=0)(state_of(answer(503, Retry_After="9"))) == 9


def test_a_wait_of_nothing_gets_a_floor_that_doubles() -> None:
    """`Retry-After: 0` again and again does not become a busy loop."""
    wait = wait_for_server(jitter=0)
    assert [wait(state_of(answer(429, Retry_After="0"), number)) for number in (1, 2, 3, 40)] == [0.25, 0.5, 1, 60]


def test_a_wait_beyond_the_longest_is_raised_and_not_slept() -> None:
    """The decorated call ends with RetryLater: when to come back, for whom, and what was refused."""
    slept: list[float] = []
    loop = Retrying(wait=wait_for_server(max_wait=60), retry=retry_if_refused, sleep=slept.append)
    before = time.time()
    with pytest.raises(RetryLater, match=r"api\.example\.com:443 is paused for another 3600 s") as caught:
        loop(lambda: answer(429, Retry_After="3600"))
    assert slept == []
    assert before + 3600 <= caught.value.until <= time.time() + 3600
    refused = answer(429, Retry_After="3600")
    with pytest.raises(RetryLater) as caught:
        Retrying(wait=wait_for_server(scope="crm"), retry=retry_if_refused)(_raiser(raised(refused)))
    assert caught.value.scope == "crm"
    assert isinstance(caught.value.__cause__, httpx.HTTPStatusError)
    assert wait_for_server(max_wait=3600, jitter=0)(state_of(refused)) == 3600


def _raiser(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


def test_a_pause_of_paceline_itself_is_kept_to_its_moment() -> None:
    """RetryLater from below is waited out where that is allowed, and passed on as it is where it is not."""
    soon = RetryLater("crm", time.time() + 5, 5)
    assert 4.9 <= wait_for_server(jitter=0)(state_of(soon)) <= 5
    assert wait_for_server(jitter=0)(state_of(RetryLater("crm", time.time() - 5, 5))) == 0
    far = RetryLater("crm", time.time() + 5000, 5000)
    with pytest.raises(RetryLater) as caught:
        wait_for_server()(state_of(far))
    assert caught.value is far


def test_strategies_can_be_added_and_pickled() -> None:
    """It is one of tenacity's strategies: `+` adds to it, and it crosses process pools."""
    refused = state_of(answer(429, Retry_After="7"))
    both: Any = wait_for_server(jitter=0) + wait_fixed(2)
    assert both(refused) == 9
    assert sum([wait_for_server(jitter=0), wait_fixed(1)])(refused) == 8  # type: ignore[operator, call-overload]
    again = pickle.loads(pickle.dumps(wait_for_server(wait_fixed(3), max_wait=60, jitter=0)))
    assert again(refused) == 7
    assert again(state_of(answer(503))) == 3
    assert repr(again) == "wait_for_server(wait_fixed(3.0), max_wait=60)"
    assert pickle.loads(pickle.dumps(retry_if_refused))(refused)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fallback": 3}, "fallback must be a wait strategy of tenacity"),
        ({"max_wait": -1}, "max_wait must be a number of seconds"),
        ({"jitter": True}, "jitter must be a number of seconds"),
        ({"floor": 61}, "floor must be a number of seconds"),
        ({"dialect": "klingon"}, "there is no dialect 'klingon'"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_at_once(wrong: dict[str, Any], says: str) -> None:
    """A wrong argument is told when the strategy is made, not at the first refusal."""
    with pytest.raises((TypeError, ValueError), match=says):
        wait_for_server(**wrong)


def test_a_forgotten_pair_of_brackets_is_told() -> None:
    """`wait=wait_for_server` is a class where a strategy should be; a bad fallback of one's own is told, too."""
    with pytest.raises(TypeError, match=r"write wait=wait_for_server\(\)"):
        Retrying(wait=wait_for_server, retry=retry_if_refused)(lambda: answer(429))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="which is no number of seconds"):
        wait_for_server(lambda _: float("nan"))(state_of(answer(503)))
    with pytest.raises(TypeError, match="by name"):
        retry_if_refused({429}, dialect="github")  # type: ignore[call-overload]


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "headers", "again"),
    [
        (429, "GET", {}, True),
        (429, "POST", {}, True),
        (403, "POST", {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "60"}, True),
        (403, "GET", {}, False),
        (503, "GET", {}, True),
        (503, "POST", {}, False),
        (500, "put", {}, True),
        (404, "GET", {}, False),
        (200, "GET", {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "60"}, False),
    ],
)
@pytest.mark.parametrize("wrap", [lambda came: came, raised], ids=["returned", "raised"])
def test_what_is_tried_again(
    status: int, method: str, headers: dict[str, str], again: bool, wrap: Callable[[Any], Any]
) -> None:
    """Refusals of any method; failures where sending twice does no harm; nothing else."""
    assert retry_if_refused(state_of(wrap(answer(status, method, **headers)))) is again


def test_an_idempotency_key_makes_any_method_repeatable() -> None:
    """A POST that carries its key may be sent twice."""
    came = answer(503, "POST")
    came.request.headers = {"idempotency-key": "order-17"}
    assert retry_if_refused(state_of(came))
    assert not retry_if_refused(idempotency_header="X-Once")(state_of(came))


def test_the_sets_can_be_others() -> None:
    """Statuses and methods are options; what is no status is told at once."""
    assert retry_if_refused(statuses={418})(state_of(answer(418)))
    assert not retry_if_refused(statuses={418})(state_of(answer(503)))
    assert retry_if_refused(methods={"POST"})(state_of(answer(503, "POST")))
    with pytest.raises(ValueError, match="status codes"):
        retry_if_refused(statuses={7})


def test_what_waiting_never_heals_is_not_tried_again() -> None:
    """A spent balance is a refusal for good."""
    came = answer(429, Content_Type="application/json")
    came._content = b'{"error": {"code": "insufficient_quota", "type": "insufficient_quota"}}'
    assert not retry_if_refused(state_of(came))
    came._content = b'{"error": {"code": "rate_limit_exceeded"}}'
    assert retry_if_refused(state_of(came))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (requests.ConnectionError(request=SimpleNamespace(method="GET", url="", headers={})), True),
        (requests.ConnectionError(request=SimpleNamespace(method="POST", url="", headers={})), False),
        (requests.ConnectTimeout(request=SimpleNamespace(method="POST", url="", headers={})), True),
        (requests.ReadTimeout(request=SimpleNamespace(method="PUT", url="", headers={})), True),
        (requests.exceptions.SSLError(request=SimpleNamespace(method="GET", url="", headers={})), False),
        (requests.exceptions.InvalidURL(request=SimpleNamespace(method="GET", url="", headers={})), False),
        (httpx.ReadTimeout("", request=httpx.Request("GET", "http://a")), True),
        (httpx.ReadTimeout("", request=httpx.Request("POST", "http://a")), False),
        (httpx.ConnectError("", request=httpx.Request("POST", "http://a")), True),
        (httpx.ReadTimeout("no request was set"), False),
        (aiohttp.ServerDisconnectedError(), False),
        (ConnectionResetError(), False),
        (ConnectionRefusedError(), True),
        (urllib.error.URLError(ConnectionRefusedError()), True),
        (AcquireTimeout("crm", 5), False),
        (ValueError(), False),
        (KeyboardInterrupt(), False),
        (asyncio.CancelledError(), False),
        (RetryLater("crm", 0, 5), True),
    ],
    ids=repr,
)
def test_broken_connections(error: BaseException, again: bool) -> None:
    """Idempotent methods, and whatever certainly never left; never what was cancelled, never a bug."""
    assert retry_if_refused(state_of(error)) is again


def test_what_stands_inside_a_connection_error_decides() -> None:
    """requests has one word for a refused connection and one cut half-way; httpx one for no host and a bad certificate."""
    post = requests.Request("POST", "http://127.0.0.1:9/").prepare()
    with requests.Session() as session, pytest.raises(requests.ConnectionError) as refused:
        session.send(post)
    assert retry_if_refused(state_of(refused.value))
    untrusted = httpx.ConnectError("", request=httpx.Request("GET", "https://a"))
    untrusted.__context__ = ssl.SSLCertVerificationError()
    assert not retry_if_refused(state_of(untrusted))


def test_a_cancelled_call_is_never_tried_again_whatever_it_was_cancelled_for() -> None:
    """A refusal as its cause makes no difference."""
    cancelled = asyncio.CancelledError()
    cancelled.__cause__ = raised(answer(429))
    assert not retry_if_refused(state_of(cancelled))


def test_a_method_that_nothing_says_can_be_told() -> None:
    """aiohttp's connection errors name no method: without a word of the user they are not tried again."""
    assert retry_if_refused(unknown_method="GET")(state_of(aiohttp.ServerDisconnectedError()))
    assert not retry_if_refused(unknown_method="POST")(state_of(ConnectionResetError()))


def test_an_error_of_ones_own_is_looked_through() -> None:
    """An exception raised from a client's one counts as that."""
    mine = RuntimeError("no rates today")
    mine.__cause__ = raised(answer(429, Retry_After="7"))
    assert retry_if_refused(state_of(mine))
    assert wait_for_server(jitter=0)(state_of(mine)) == 7
    mine.__cause__ = httpx.ConnectError("", request=httpx.Request("POST", "http://a"))
    assert retry_if_refused(state_of(mine))


def test_clients_without_a_response_object() -> None:
    """urllib, aiohttp and boto3 put the answer into the error itself; a GaveUp of paceline holds the last one."""
    headers = Message()
    headers["Retry-After"] = "7"
    info: Any = SimpleNamespace(method="POST", url="https://api.example.com/a", real_url="", headers={})
    gave_up = GaveUp("as told", 6, 429)
    gave_up.last_response = answer(429, Retry_After="7")
    aws: Any = RuntimeError("ThrottlingException")
    aws.response = {
        "Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"},
        "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {"retry-after": "7"}},
    }
    for error in (
        urllib.error.HTTPError("https://api.example.com/a", 429, "no", headers, None),
        aiohttp.ClientResponseError(info, (), status=429, headers={"Retry-After": "7"}),  # type: ignore[arg-type]
        gave_up,
        aws,
    ):
        assert retry_if_refused(state_of(error)), error
        assert wait_for_server(jitter=0)(state_of(error)) == 7, error


def test_strategies_combine_with_tenacitys_own() -> None:
    """`|` and `&` with retry_if_result and retry_if_exception_type, either way round."""
    empty = retry_if_result(lambda came: came == [])
    for either in (retry_if_refused | empty, empty | retry_if_refused(statuses=set())):
        assert either(state_of([]))
        assert either(state_of(answer(429)))
        assert not either(state_of(answer(404)))
    both: Any = retry_if_refused & retry_if_exception_type(httpx.HTTPStatusError)
    assert both(state_of(raised(answer(429))))
    assert not both(state_of(answer(429)))


# ---- whole loops, real clients ----------------------------------------------------------------


def test_a_session_of_requests_is_refused_and_served(server: Server) -> None:
    """Returned or raised, two refusals are waited out as told, and the third attempt is served."""
    slept: list[float] = []
    loop = Retrying(
        wait=wait_for_server(jitter=0), retry=retry_if_refused, stop=stop_after_attempt(3), sleep=slept.append
    )
    with requests.Session() as session:
        returned = loop(session.get, f"{server.url}/status/429?n=2&retry_after=7&a=1")

        def fetch() -> requests.Response:
            response = session.post(f"{server.url}/status/429?n=2&retry_after=3&a=2")
            response.raise_for_status()
            return response

        assert loop(fetch).status_code == returned.status_code == 200
    assert slept == [7, 7, 3, 3]


def test_a_client_of_httpx_is_refused_and_served_as_a_task(server: Server) -> None:
    """tenacity's async loop uses the same strategies."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def main() -> int:
        async with httpx.AsyncClient() as client:
            loop = AsyncRetrying(
                wait=wait_for_server(jitter=0),
                retry=retry_if_refused | retry_if_exception_type(ZeroDivisionError),
                stop=stop_after_attempt(3),
                before_sleep=before_sleep_event(events.append),
                sleep=sleep,
            )
            response = await loop(client.get, f"{server.url}/status/429?n=2&retry_after=7&b=1")
            return response.status_code

    events: list[Any] = []
    assert asyncio.run(main()) == 200
    assert slept == [7, 7]
    assert [(event.attempt, event.status, event.wait) for event in events] == [(1, 429, 7), (2, 429, 7)]


def test_urllib_is_refused_and_given_up(server: Server) -> None:
    """The stop strategy has the last word: the refusal is raised as tenacity raises it."""
    loop = Retrying(wait=wait_for_server(wait_none(), jitter=0), retry=retry_if_refused, stop=stop_after_attempt(2), sleep=bool)
    with pytest.raises(RetryError) as caught:
        loop(urllib.request.urlopen, f"{server.url}/status/429?retry_after=2&c=1")
    error = caught.value.last_attempt.exception()
    assert isinstance(error, urllib.error.HTTPError)
    error.close()


def test_a_stream_is_not_read_behind_its_readers_back(server: Server) -> None:
    """A response that is still to be streamed is judged by its status and headers alone."""
    with requests.Session() as session, session.get(f"{server.url}/status/429?retry_after=7&d=1", stream=True) as came:
        assert wait_for_server(jitter=0)(state_of(came)) == 7
        assert came.raw.tell() == 0
    with httpx.Client() as client, client.stream("GET", f"{server.url}/status/429?retry_after=7&d=1") as late:
        assert wait_for_server(jitter=0)(state_of(late)) == 7
        assert not late.is_stream_consumed


# ---- events -----------------------------------------------------------------------------------


def next_of(state: RetryCallState, wait: float) -> RetryCallState:
    state.upcoming_sleep = wait
    return state


def test_an_event_says_what_happens_and_no_secret() -> None:
    """The event has what the answer said, and neither a credential from the URL nor from an error's text."""
    seen: list[Any] = []
    emit = before_sleep_event(seen.append)
    url = "https://ann:pw@api.example.com/items/1?api_key=abcdefghij&page=2"
    emit(next_of(state_of(answer(429, "POST", url, Retry_After="7", X_RateLimit_Remaining="0"), 2), 7.5))
    emit(next_of(state_of(ConnectionResetError(f"{url} was cut")), 1.0))
    first, second = seen
    assert isinstance(first, RetryingEvent)
    assert (first.scope, first.method, first.attempt, first.status) == ("api.example.com:443", "POST", 2, 429)
    assert (first.retry_after, first.remaining, first.wait, first.error) == (7, 0, 7.5, None)
    assert (second.status, second.method, second.url) == (None, "call", "a block of code")
    assert second.error.startswith("reset: ConnectionResetError: https://")
    for secret in ("ann", "pw", "abcdefghij"):
        assert secret not in f"{first.url} {second.error}"


def test_a_sink_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The call goes on, the sink is reported once and dropped; what is no sink is told at once."""
    answers = [answer(429, Retry_After="1"), answer(429, Retry_After="1"), "served"]
    loop = Retrying(
        wait=wait_for_server(), retry=retry_if_refused, sleep=bool, before_sleep=before_sleep_event(_raise)
    )
    with caplog.at_level(logging.ERROR, "paceline"):
        assert loop(answers.pop, 0) == "served"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with pytest.raises(TypeError, match="sink must be a function of one event"):
        before_sleep_event("log")  # type: ignore[call-overload]


def _raise(event: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("before_sleep", [before_sleep_event, before_sleep_event()], ids=["bare", "called"])
def test_events_go_to_the_applications_log(
    before_sleep: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To logging as a sentence, or to structlog as keys where the application has configured it."""
    loop = Retrying(wait=wait_for_server(jitter=0), retry=retry_if_refused, sleep=bool, before_sleep=before_sleep)
    with caplog.at_level(logging.WARNING, "paceline"):
        assert loop([answer(429, Retry_After="7"), "served"].pop, 0) == "served"
    assert [record.message for record in caplog.records] == [
        "api.example.com:443: retrying GET https://api.example.com/items/1 in 7 s after status 429; the server asks for 7 s"
    ]
    structlog.configure(processors=[structlog.testing.LogCapture()])
    try:
        with structlog.testing.capture_logs() as lines:
            assert loop([answer(429, Retry_After="7"), "served"].pop, 0) == "served"
    finally:
        structlog.reset_defaults()
    assert [(line["event"], line["log_level"], line["wait"]) for line in lines] == [("retry", "warning", 7)]


def test_callbacks_pickle_with_their_sinks() -> None:
    """A decorator that crosses to another process brings its sink along, and makes its guard anew."""
    emit = before_sleep_event(print)
    emit(next_of(state_of(answer(429)), 1.0))
    assert pickle.loads(pickle.dumps(emit))._sink is print
