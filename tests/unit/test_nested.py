"""Retries inside retries are found where they happen, and warned of once a place."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import backoff
import httpx
import httpx_retries
import pytest
import requests
import stamina
from requests.adapters import HTTPAdapter
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    stop_never,
    wait_none,
)
from urllib3.util import Retry as UrllibRetry

import paceline
import paceline.aiohttp
import paceline.httpx
import paceline.requests
from paceline import nested
from paceline.compat import backoff as compat_backoff
from paceline.nested import NestedRetryWarning, attempts_of, find_above, find_below, warn_above, warn_below
from paceline.tenacity import retry_if_refused, wait_for_server
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _nothing_warned_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nested, "_warned", set())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def session(retries: Any) -> requests.Session:
    made = requests.Session()
    made.mount("http://", HTTPAdapter(max_retries=retries))
    return made


@pytest.mark.parametrize(
    ("stop", "attempts"),
    [
        (stop_after_attempt(6), 6),
        (stop_after_attempt(6) | stop_after_delay(300), 6),
        (stop_after_attempt(6) | stop_after_attempt(4), 4),
        (stop_all(stop_after_attempt(6), stop_after_attempt(4)), 6),
        (stop_after_attempt(6) & stop_after_delay(300), None),
        (stop_never, None),
        (lambda state: True, None),
    ],
)
def test_the_attempts_that_a_stop_strategy_allows(stop: Any, attempts: int | None) -> None:
    """Counted where the strategy counts them, unknown where it does not."""
    assert attempts_of(stop) == attempts


@pytest.mark.parametrize(
    ("below", "attempts"),
    [
        (lambda: HTTPAdapter(max_retries=5), 6),
        (lambda: HTTPAdapter(max_retries=UrllibRetry(total=4, status_forcelist=[503])), 5),
        (lambda: HTTPAdapter(max_retries=UrllibRetry(total=None, connect=1, status=2)), 4),
        (lambda: HTTPAdapter(max_retries=UrllibRetry(total=False)), None),
        (HTTPAdapter, None),
        (requests.Session, None),
        (lambda: session(3), 4),
        (httpx.HTTPTransport, None),
        (lambda: httpx.HTTPTransport(retries=2), 3),
        (lambda: httpx_retries.RetryTransport(retry=httpx_retries.Retry(total=7)), 8),
        (lambda: {"total": 3}, None),
        (lambda: None, None),
    ],
)
def test_retries_below_are_found(below: Any, attempts: int | None) -> None:
    """On adapters, sessions and transports that would try again, and on no others."""
    found = find_below(below())
    assert (None if found is None else found.attempts) == attempts


def test_responses_and_errors_tell_of_the_retries_behind_them(server: Server) -> None:
    """What a client below handed out or raised is enough, whatever is left of its retries by then."""
    retries = UrllibRetry(total=3, status_forcelist=[503])
    served = session(retries).get(f"{server.url}/status/503?n=2&a=1")
    assert (served.status_code, find_below(served)) == (200, find_below(HTTPAdapter(max_retries=3)))
    with pytest.raises(requests.exceptions.RetryError) as caught:
        session(retries).get(f"{server.url}/status/503")
    assert find_below(caught.value) == find_below(HTTPAdapter(max_retries=3))
    with pytest.raises(requests.ConnectionError) as refused:
        requests.get("http://127.0.0.1:9/")
    assert find_below(refused.value) is None
    with httpx.Client(transport=httpx_retries.RetryTransport(retry=httpx_retries.Retry(total=4))) as client:
        found = find_below(client.get(f"{server.url}/status/503?n=2&b=1"))
    assert found is not None
    assert (found.name, found.attempts) == ("httpx-retries", 5)
    with httpx.Client() as client:
        assert find_below(client.get(f"{server.url}/items/1")) is None
    with httpx.Client(transport=httpx.HTTPTransport(retries=2)) as client:
        with pytest.raises(httpx.ConnectError) as cut:
            client.get("http://127.0.0.1:9/")
        for came in (client.get(f"{server.url}/items/1"), cut.value):
            found = find_below(came)
            assert found is not None
            assert (found.name, found.attempts) == ("httpx's transport", 3)


def test_urllib3_below_wait_for_server_is_warned_of_once(server: Server) -> None:
    """The warning says what multiplies and how to mend it, at the user's own line, once."""
    ours = session(UrllibRetry(total=4, status_forcelist=[503]))
    loop = Retrying(
        wait=wait_for_server(wait_none(), floor=0, jitter=0), retry=retry_if_refused, stop=stop_after_attempt(6)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert loop(ours.get, f"{server.url}/status/429?n=1").status_code == 200
    [warning] = caught
    assert warning.category is NestedRetryWarning
    assert warning.filename == __file__
    assert "6 x 5 = up to 30 requests for one call" in str(warning.message)
    assert "HTTPAdapter(max_retries=0)" in str(warning.message)


def test_a_plain_session_below_wait_for_server_is_not(server: Server) -> None:
    """Warnings are errors here: one loop of retries alone makes none."""
    loop = Retrying(wait=wait_for_server(wait_none()), retry=retry_if_refused, stop=stop_after_attempt(6))
    assert loop(requests.get, f"{server.url}/status/429?n=1&c=1").status_code == 200


class Probe:
    """What a client of paceline does at the moment of its first retry."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def __call__(self) -> None:
        self.found.append(find_above())

    @property
    def attempts(self) -> list[Any]:
        return [None if each is None else (each.name, each.attempts) for each in self.found]


def test_tenacity_above_is_found_on_the_stack() -> None:
    """As a decorator, called, as a loop of attempts, and as stamina; not where it has ended, or is switched off."""
    probe = Probe()

    @retry(stop=stop_after_attempt(5))
    def decorated() -> None:
        probe()

    decorated()
    Retrying(stop=stop_after_delay(5))(probe)
    for attempt in Retrying(stop=stop_after_attempt(4)):
        with attempt:
            probe()
    probe()  # the loop has ended, though its last attempt still stands in a variable
    stamina.retry(on=ZeroDivisionError, attempts=3)(lambda: probe())()
    for stamina_attempt in stamina.retry_context(on=ZeroDivisionError, attempts=2):
        with stamina_attempt:
            probe()
    Retrying(stop=stop_after_attempt(1))(probe)
    Retrying(stop=stop_after_attempt(5), enabled=False)(probe)
    assert probe.attempts == [
        ("tenacity", 5), ("tenacity", None), ("tenacity", 4), None, ("tenacity", 3), ("tenacity", 2), None, None,
    ]  # fmt: skip


def test_tenacity_above_is_found_from_a_task() -> None:
    """Coroutines that await each other stand on one stack; a task of its own does not see its maker's."""
    probe = Probe()

    async def call() -> None:
        await asyncio.sleep(0)
        probe()

    @retry(stop=stop_after_attempt(5))
    async def decorated() -> None:
        await call()

    async def main() -> None:
        await decorated()
        async for attempt in AsyncRetrying(stop=stop_after_attempt(4)):
            with attempt:
                await call()
        await AsyncRetrying(stop=stop_after_attempt(3))(lambda: asyncio.gather(call()))
        await call()

    asyncio.run(main())
    assert probe.attempts == [("tenacity", 5), ("tenacity", 4), None, None]


def test_a_client_below_tenacity_warns_once_a_place() -> None:
    """Each line that calls is warned of once, however often it is retried; another line is another place."""

    @retry(stop=stop_after_attempt(6))
    def first() -> bool:
        return warn_above("a Session of paceline", 5)

    @retry(stop=stop_after_delay(6))
    def second() -> bool:
        return warn_above("a Session of paceline", 5)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [first(), first(), second()] == [True, True, True]
    assert [str(warning.message) for warning in caught] == [
        "nested retries: tenacity tries again around a Session of paceline, which tries again too: "
        "6 x 5 = up to 30 requests for one call. Leave it to one of them: remove the decorator around the call, and "
        "give its stop and wait to paceline.Retry(stop=…, wait=…).",
        "nested retries: tenacity tries again around a Session of paceline, which tries again too: so that one call may "
        "send many times what either of them allows. Leave it to one of them: remove the decorator around the call, "
        "and give its stop and wait to paceline.Retry(stop=…, wait=…).",
    ]
    assert {warning.filename for warning in caught} == {__file__}
    assert not warn_above("a Session of paceline", 5)
    assert not warn_below(requests.Session(), "a Session of paceline", 5)


def test_the_memory_of_places_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that makes code as it goes does not fill the memory with places."""
    monkeypatch.setattr(nested, "_MOST_PLACES", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for line in range(20):
            layer = nested.Layer("urllib3's Retry", 2, "mend it")
            nested.warn_nested(layer, layer, (__file__, line))
    assert len(nested._warned) <= 3


# ---- paceline's own clients -------------------------------------------------------------------

QUICK = paceline.Retry(stop=stop_after_attempt(4), wait=wait_none(), zero_wait_floor=0.001, budget_floor=100)


def quick() -> paceline.Policy:
    return paceline.Policy(retry=QUICK)


def one_warning(act: Any) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    [warning] = [each for each in caught if each.category is NestedRetryWarning]
    assert warning.filename == __file__
    return str(warning.message)


def test_urllib3_below_an_adapter_of_paceline() -> None:
    """Told when the adapter is made."""
    told = one_warning(lambda: paceline.requests.Adapter(quick(), max_retries=2))
    assert "around urllib3's Retry, which tries again too: 4 x 3 = up to 12" in told


def test_an_adapter_with_retries_in_the_place_of_pacelines(server: Server) -> None:
    """The policy does not hold where it is mounted: that is said; one without retries is left alone."""
    with paceline.requests.Session(quick()) as ours:
        ours.mount("http://plain.example.com/", HTTPAdapter())
        told = one_warning(lambda: ours.mount("http://", HTTPAdapter(max_retries=UrllibRetry(total=2))))
    assert "mount paceline.requests.Adapter(policy) there" in told
    assert "keeps to no policy" in told


def test_retries_below_a_transport_of_paceline() -> None:
    """Of httpx itself, and of httpx-retries."""
    told = one_warning(lambda: paceline.httpx.Transport(quick(), retries=2))
    assert "httpx's transport" in told
    assert "4 x 3" in told
    below = httpx_retries.RetryTransport(retry=httpx_retries.Retry(total=4))
    assert "4 x 5" in one_warning(lambda: paceline.httpx.Transport(quick(), below))


def test_tenacity_above_a_session_of_paceline(server: Server) -> None:
    """Told at the first retry, with both numbers; a call that is served at once looks at nothing."""
    with paceline.requests.Session(quick()) as ours:

        @retry(stop=stop_after_attempt(6))
        def fetch(path: str) -> int:
            return ours.get(server.url + path).status_code

        assert fetch("/items/1") == 200
        told = one_warning(lambda: fetch("/status/503?n=2&e=1"))
        assert "tenacity tries again around a client of paceline" in told
        assert "6 x 4 = up to 24 requests" in told
        assert fetch("/status/503?n=2&e=2") == 200  # once a place
        with paceline.httpx.Client(quick()) as client:
            for attempt in Retrying(stop=stop_after_attempt(3)):
                with attempt:
                    told = one_warning(lambda: client.get(f"{server.url}/status/503?n=1&e=3"))
        assert "3 x 4 = up to 12 requests" in told


def test_loops_above_an_async_client_of_paceline(server: Server) -> None:
    """tenacity, backoff and httpx-retries, from a task."""

    async def main() -> None:
        async with paceline.httpx.AsyncClient(quick()) as client:
            get = client.get
            await AsyncRetrying(stop=stop_after_attempt(5))(get, f"{server.url}/status/503?n=1&f=1")
            wrapped = backoff.on_exception(backoff.constant, httpx.HTTPError, max_tries=7)(get)
            await wrapped(f"{server.url}/status/503?n=1&f=2")
            ours = compat_backoff.on_exception(compat_backoff.constant, httpx.HTTPError, max_tries=2)(get)
            await ours(f"{server.url}/status/503?n=1&f=4")
        async with paceline.aiohttp.session(quick()) as session:
            for path in ("/items/1", "/status/503?n=1&f=5"):
                async for attempt in AsyncRetrying(stop=stop_after_attempt(3)):
                    with attempt:
                        async with session.get(server.url + path) as response:
                            assert response.status == 200
        above = httpx_retries.RetryTransport(paceline.httpx.AsyncTransport(quick()), httpx_retries.Retry(total=8))
        async with httpx.AsyncClient(transport=above) as client:
            await client.get(f"{server.url}/status/503?n=1&f=3")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
    told = [str(each.message) for each in caught if each.category is NestedRetryWarning]
    assert [text.partition(" tries")[0] for text in told] == [
        "nested retries: tenacity", "nested retries: backoff", "nested retries: backoff",
        "nested retries: tenacity", "nested retries: httpx-retries",
    ]  # fmt: skip
    for text, attempts in zip(told, (5, 7, 2, 3, 9), strict=True):
        assert f"{attempts} x 4" in text


def test_a_client_of_paceline_alone_warns_of_nothing(server: Server) -> None:
    """Warnings are errors here."""
    with paceline.requests.Session(quick()) as ours:
        assert ours.get(f"{server.url}/status/503?n=2&g=1").status_code == 200
