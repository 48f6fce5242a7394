"""`paceline.compat.requests_ratelimiter` beside the real one, on real servers that count what arrives."""

from __future__ import annotations

import inspect
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
import requests
import requests_ratelimiter as theirs
from requests.adapters import HTTPAdapter

from paceline.compat import requests_ratelimiter as ours
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

both = pytest.mark.parametrize("library", [theirs, ours], ids=["requests-ratelimiter", "paceline"])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.mark.parametrize("name", ["LimiterSession", "LimiterAdapter", "LimiterMixin"])
def test_the_same_arguments(name: str) -> None:
    """By the same names, in the same order."""
    mine, real = getattr(ours, name), getattr(theirs, name)
    assert list(inspect.signature(mine).parameters) == list(inspect.signature(real).parameters)


@both
def test_a_session_is_a_session_and_an_adapter_an_adapter(library: Any, server: Server) -> None:
    """Either way of using it gets its answers."""
    with library.LimiterSession(per_second=500) as session:
        assert isinstance(session, requests.Session)
        assert session.get(f"{server.url}/items/1").json() == {"id": "1"}
        assert session.get(f"{server.url}/redirect/2").history
    adapter = library.LimiterAdapter(per_second=500, pool_maxsize=3)
    assert isinstance(adapter, HTTPAdapter)
    with requests.Session() as session:
        session.mount(server.url, adapter)
        assert session.get(f"{server.url}/items/1").json() == {"id": "1"}


@both
def test_a_wait_beyond_the_longest_is_requests_timeout(library: Any, server: Server) -> None:
    """`max_delay` bounds the wait; another host is not kept waiting, unless all hosts share."""
    other = server.url.replace("127.0.0.1", "localhost")
    with library.LimiterSession(per_hour=1, max_delay=0.05) as session:
        assert session.get(f"{server.url}/items/1").ok
        with pytest.raises(requests.exceptions.Timeout, match=r"Rate limit not cleared within max_delay=0\.05s"):
            session.get(f"{server.url}/items/1")
        assert session.get(f"{other}/items/1").ok
    with library.LimiterSession(per_hour=1, max_delay=0.05, per_host=False) as session:
        assert session.get(f"{server.url}/items/1").ok
        with pytest.raises(requests.exceptions.Timeout):
            session.get(f"{other}/items/1")


@both
def test_a_refused_answer_is_handed_out(library: Any) -> None:
    """It is not tried again."""
    with Server("1/min") as server, library.LimiterSession(per_second=50) as session:
        assert [session.get(f"{server.url}/items/{number}").status_code for number in (1, 2)] == [200, 429]
        assert server.account().arrived == 2


@both
def test_all_limits_hold(library: Any, server: Server) -> None:
    """The first that is used up decides."""
    with library.LimiterSession(per_second=20, burst=0.1, per_minute=3, max_delay=0.3) as session:
        for number in range(3):
            assert session.get(f"{server.url}/items/{number}").ok
        with pytest.raises(requests.exceptions.Timeout):
            session.get(f"{server.url}/items/4")


def test_fractions_are_one_in_longer_periods() -> None:
    """Half a request a second is one in two."""
    with ours.LimiterSession(per_second=0.5, per_day=2.5) as session:
        assert [str(limit) for limit in session.policy.limits] == ["1/2s sliding", "5/2d sliding"]
    with ours.LimiterSession(per_second=5, burst=4) as session:
        assert [str(limit) for limit in session.policy.limits] == ["20/4s sliding"]


@pytest.mark.parametrize("wrong", ["bucket_class", "bucket_kwargs", "limiter"])
def test_what_a_store_replaces_says_so(wrong: str) -> None:
    """PyrateLimiter's own objects cannot be honoured, and are not ignored."""
    given: dict[str, Any] = {wrong: {"some": "object"}}
    with pytest.raises(TypeError, match=f"there is no {wrong} here; state beyond this process lives in a store"):
        ours.LimiterSession(per_second=5, **given)


def test_sessions_and_adapters_pickle() -> None:
    """As those of requests do."""
    session = pickle.loads(pickle.dumps(ours.LimiterSession(per_second=5, bucket_name="crm")))
    assert (str(session.policy.limits[0]), session.bucket_name) == ("5/s sliding", "crm")
    adapter = pickle.loads(pickle.dumps(ours.LimiterAdapter(per_minute=7)))
    assert str(adapter.policy.limits[0]) == "7/min sliding"


# ---- what is better ---------------------------------------------------------------------------


def early_retries(library: Any) -> tuple[int, int]:
    """Refusals, and retries before the time that the server told, of four requests where two a second are allowed."""
    with Server("2/s", enforce="sliding") as server, library.LimiterSession(per_second=40, burst=0.2) as session:
        for _ in range(4):
            session.get(f"{server.url}/items/1")
        account = server.account()
        return account.refused, account.early_retries


def test_what_a_refusal_says_is_heard() -> None:
    """The server asks for a second; requests-ratelimiter waits until its own bucket is empty, and comes too early."""
    refused, early = early_retries(ours)
    assert (refused, early) == (1, 0)
    refused, early = early_retries(theirs)
    assert (refused, early) == (2, 1)


def test_a_status_of_ones_own_pauses_too(server: Server) -> None:
    """`limit_statuses` makes a refusal of what is none by itself."""
    with ours.LimiterSession(per_second=500, limit_statuses={404}, max_delay=0.01) as session:
        assert session.get(f"{server.url}/status/404?retry_after=60").status_code == 404
        with pytest.raises(requests.exceptions.Timeout):
            session.get(f"{server.url}/items/1")


def test_threads_share_one_limit() -> None:
    """Twelve requests from four threads, three in 0.2 s: nothing is refused, nothing lost."""
    with Server("3/150ms") as server, ours.LimiterSession(per_second=15, burst=0.2) as session:
        threads = [
            threading.Thread(
                target=lambda start: [session.get(f"{server.url}/items/{start + n}") for n in range(3)], args=(10 * each,)
            )
            for each in range(1, 5)
        ]
        before = threading.active_count()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        account = server.account()
        assert (account.distinct_items, account.refused) == (12, 0)
        assert threading.active_count() <= before
