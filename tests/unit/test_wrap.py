"""`Policy.wrap`: functions of all kinds, whatever they return or raise."""

from __future__ import annotations

import asyncio
import inspect
import urllib.error
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import requests
import trio
from tenacity import stop_after_attempt, wait_none

from paceline import Policy, Retry, RetryLater, history, options
from paceline.errors import CostAboveQuota, GaveUp, InputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

RETRY = Retry(stop=stop_after_attempt(3), wait=wait_none(), zero_wait_floor=0.01)
REFUSED = SimpleNamespace(status=429, headers={"Retry-After-Ms": "20"})
BROKEN = SimpleNamespace(status_code=503, headers={})
SERVED = SimpleNamespace(status_code=200, headers={})


class Play:
    """Gives one outcome after another; exceptions are raised. `calls`: how often it was asked."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.calls = outcomes, 0

    def next(self) -> Any:
        self.calls += 1
        outcome = self.outcomes[min(self.calls, len(self.outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def carried(status: int, method: str = "GET") -> requests.HTTPError:
    """What `raise_for_status` of requests raises."""
    response = requests.Response()
    response.status_code = status
    request = requests.Request(method, "https://api.example.com/items").prepare()
    response.request = request
    response._content = b""
    return requests.HTTPError("an error", response=response, request=request)


def paced(play: Play, policy: Policy | None = None, **how: Any) -> Any:
    return (policy or Policy(retry=RETRY)).wrap(**how)(play.next)


def test_a_refused_call_is_made_again() -> None:
    """A response that refuses, of whatever client, is waited out; the one that is served is returned."""
    play = Play(REFUSED, SERVED)
    answer = paced(play)()
    assert answer is SERVED
    assert [attempt.status for attempt in history(answer)] == [429, 200]


def test_a_failed_call_is_made_again_only_where_that_is_safe() -> None:
    """A 503 is final for a function of which nothing is known; not if its method is told, or it is idempotent."""
    for how, calls in (({}, 1), ({"method": "get"}, 2), ({"idempotent": True}, 2), ({"method": "POST"}, 1)):
        play = Play(BROKEN, SERVED)
        paced(play, **how)()
        assert play.calls == calls, how


def test_an_exception_that_carries_a_response_is_one() -> None:
    """HTTPError of requests: a GET's 503 is tried again, a POST's not, a 404 comes out as it was raised."""
    play = Play(carried(503), SERVED)
    assert paced(play)() is SERVED
    play = Play(carried(503, "POST"), SERVED)
    with pytest.raises(requests.HTTPError):
        paced(play)()
    assert play.calls == 1
    missing = carried(404)
    with pytest.raises(requests.HTTPError) as caught:
        paced(Play(missing))()
    assert caught.value is missing
    assert not hasattr(missing, "__notes__")


def test_botocore_s_errors_are_read() -> None:
    """A ClientError has a dictionary for a response: throttling in it is a refusal."""

    class ClientError(Exception):
        response: ClassVar[dict[str, Any]] = {
            "Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"},
            "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {}},
        }

    play = Play(ClientError(), {"Items": []})
    assert paced(play)() == {"Items": []}
    assert play.calls == 2


def test_what_is_no_matter_of_a_server_s_passes_through() -> None:
    """A bug in the function is raised as it is, once, and its permit is given back."""
    policy = Policy(limits="1 concurrent", retry=RETRY)
    play = Play(KeyError("a bug"))
    call = paced(play, policy)
    for _ in range(2):
        with pytest.raises(KeyError, match="a bug"):
            call()
    assert play.calls == 2
    assert paced(Play("no response"), policy)() == "no response"


def test_a_refused_connection_is_tried_again_whatever_the_method() -> None:
    """It certainly did not arrive; the last exception comes out with a note."""
    play = Play(ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError) as caught:
        paced(play)()
    assert play.calls == 3
    assert len(history(caught.value)) == 3
    assert "gave up after 3 attempts" in caught.value.__notes__[0]


def test_classify_has_the_last_word() -> None:
    """A hook says what a result means, in words that no header has."""

    def classify(result: Any) -> tuple[int, dict[str, str], bytes | None] | None:
        return (429, {"Retry-After-Ms": "20"}, None) if result == "busy" else None

    play = Play("busy", "done")
    assert paced(play, classify=classify)() == "done"
    assert play.calls == 2
    with pytest.raises(InputError, match="classify must be a function"):
        Policy().wrap(classify="busy")  # type: ignore[call-overload]


def test_giving_up_is_the_last_response_or_an_error() -> None:
    """By default what came last is returned; with gave_up="error" GaveUp is raised, with it."""
    assert paced(Play(BROKEN), idempotent=True)() is BROKEN
    with pytest.raises(GaveUp) as caught:
        paced(Play(BROKEN), idempotent=True, gave_up="error")()
    assert (caught.value.attempts, caught.value.last_status, caught.value.last_response) == (3, 503, BROKEN)
    with pytest.raises(InputError, match="gave_up is 'response' or 'error'"):
        Policy().wrap(gave_up="never")  # type: ignore[call-overload]


def test_a_long_pause_is_retry_later() -> None:
    """A pause beyond max_wait ends the call, and the next one in the same scope does not even begin."""
    play = Play(SimpleNamespace(status=429, headers={"Retry-After": "7200"}))
    call = paced(play)
    for _ in range(2):
        with pytest.raises(RetryLater):
            call()
    assert play.calls == 1


def test_scopes_and_costs() -> None:
    """A scope is a name, or made of the arguments; what calls cost is told to the wrapping or to one call."""
    policy = Policy(limits="10/min sliding", retry=RETRY)

    @policy.wrap(scope=lambda shop: f"shop:{shop}", cost=10)
    def call(shop: str) -> str:
        return shop

    assert (call("a"), call("b")) == ("a", "b")
    assert set(policy.lines) == {"shop:a", "shop:b"}
    with options(cost=11), pytest.raises(CostAboveQuota):
        call("a")
    policy.wrap(lambda: None)()
    assert any(scope.startswith("test_wrap.") or "test_wrap" in scope for scope in policy.lines)


def test_the_function_stays_what_it_was() -> None:
    """Name, docstring and kind are kept."""

    @Policy().wrap
    def call() -> int:
        """Calls."""
        return 1

    @Policy().wrap
    async def acall() -> int:
        return 1

    assert (call.__name__, call.__doc__) == ("call", "Calls.")
    assert inspect.iscoroutinefunction(acall)


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_coroutine_functions(run: Any) -> None:
    """The same for async functions, under both kinds of loops."""
    play = Play(REFUSED, SERVED)

    @Policy(limits="1000/s", retry=RETRY).wrap
    async def call() -> Any:
        return play.next()

    async def main() -> None:
        answer = await call()
        assert [attempt.status for attempt in history(answer)] == [429, 200]

    run(main())


def test_a_generator_is_begun_again_only_before_its_first_item() -> None:
    """What fails before anything came is tried again; what fails later is the caller's."""
    play = Play(carried(503), 1, carried(503))

    @Policy(retry=RETRY).wrap
    def items() -> Iterator[Any]:
        yield play.next()
        yield play.next()

    made = items()
    assert next(made) == 1
    with pytest.raises(requests.HTTPError):
        next(made)
    assert play.calls == 3


def test_an_async_generator_too() -> None:
    """As a generator; one without items has none."""
    play = Play(carried(503), 1, 2)
    policy = Policy(limits="1 concurrent", retry=RETRY)

    @policy.wrap(scope="x")
    async def items() -> AsyncIterator[Any]:
        yield play.next()
        yield play.next()

    @policy.wrap(scope="x")
    async def nothing() -> AsyncIterator[Any]:
        for each in ():
            yield each

    async def main() -> None:
        assert [item async for item in items()] == [1, 2]
        assert [item async for item in nothing()] == []

    asyncio.run(main())
    assert play.calls == 3


def test_a_generator_holds_its_place_until_it_ends() -> None:
    """Under a limit of what is in flight the next call waits for the last item, or for `close`."""
    policy = Policy(limits="1 concurrent", retry=RETRY)

    @policy.wrap(scope="x")
    def items() -> Iterator[int]:
        yield from (1, 2)

    made = items()
    next(made)
    assert policy.line("x").try_acquire() is None
    made.close()
    assert policy.line("x").try_acquire() is not None


def test_urllib_s_errors_are_read() -> None:
    """HTTPError of the standard library is response and error in one."""
    refused = urllib.error.HTTPError("https://api.example.com/", 429, "Too Many", {"Retry-After-Ms": "20"}, None)  # type: ignore[arg-type]
    play = Play(refused, "page")
    assert paced(play)() == "page"
    refused.close()
