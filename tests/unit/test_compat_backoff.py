"""`paceline.compat.backoff` beside the real `backoff`: the same calls, waits, handlers and log lines, and the server's word."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import random
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import backoff as theirs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.compat import backoff as ours
from paceline.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Callable

both = pytest.mark.parametrize("library", [theirs, ours], ids=["backoff", "paceline"])


class Broke(Exception):
    """What the function under test raises."""


def answering(outcomes: list[Any]) -> Callable[..., Any]:
    """A function that raises or returns one outcome after the other."""
    left = list(outcomes)

    def answer(*args: Any, **kwargs: Any) -> Any:
        came = left.pop(0) if left else "served"
        if isinstance(came, BaseException):
            raise came
        return came

    return answer


class Stage:
    """Runs a decorated function without sleeping, sync or as a task, and notes all that happens."""

    def __init__(self, library: Any, as_task: bool) -> None:
        self.library, self.as_task = library, as_task
        self.waits: list[float] = []
        self.told: list[tuple[Any, ...]] = []

    def note(self, kind: str) -> Any:
        def handler(details: dict[str, Any]) -> None:
            facts = {name: value for name, value in details.items() if name not in ("elapsed", "target", "exception")}
            self.told.append((kind, details["target"].__name__, sorted(facts.items(), key=str), str(details.get("exception"))))

        async def handler_task(details: dict[str, Any]) -> None:
            handler(details)

        return handler_task if self.as_task and kind != "backoff" else handler

    @property
    def handlers(self) -> dict[str, Any]:
        return {"on_success": self.note("success"), "on_backoff": [self.note("backoff")], "on_giveup": self.note("giveup")}

    def run(self, decorate: Callable[[Any], Any], outcomes: list[Any], seed: int = 0) -> Any:
        function = answering(outcomes)

        async def task(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        async def sleep_task(seconds: float) -> None:
            self.waits.append(seconds)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", self.waits.append)
            patch.setattr(asyncio, "sleep", sleep_task)
            random.seed(seed)
            try:
                if self.as_task:
                    return "returned", asyncio.run(decorate(task)(1, by=2))
                return "returned", decorate(function)(1, by=2)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
                return "raised", error


def test_all_their_names_are_here() -> None:
    """With the same arguments, in the same order, with the same defaults but for functions."""
    assert sorted(ours.__all__) == sorted(theirs.__all__)
    for name in theirs.__all__:
        mine = inspect.signature(getattr(ours, name)).parameters
        real = inspect.signature(getattr(theirs, name)).parameters
        assert [(each.name, each.kind) for each in mine.values()] == [(each.name, each.kind) for each in real.values()]
        for key, each in mine.items():
            assert callable(each.default) or each.default == real[key].default, (name, key)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("expo", {}), ("expo", {"base": 3, "factor": 0.5, "max_value": 20}), ("expo", {"max_value": 8}),
        ("fibo", {}), ("fibo", {"max_value": 5}), ("fibo", {"max_value": 4}), ("fibo", {"max_value": 1}),
        ("constant", {}), ("constant", {"interval": 3}), ("constant", {"interval": [1, 2, 3]}),
        ("runtime", {"value": lambda came: came * 2}),
    ],
)  # fmt: skip
def test_waits_are_the_same(name: str, options: dict[str, Any]) -> None:
    """Number for number, what is sent in as well."""

    def first(library: Any) -> list[float]:
        waits = getattr(library, name)(**options)
        waits.send(None)
        found = []
        for n in range(12):
            try:
                found.append(waits.send(n))
            except StopIteration:
                break
        return found

    assert first(ours) == first(theirs)


outcomes_of_exceptions = st.lists(
    st.sampled_from([Broke("once"), Broke("final"), ValueError("another"), "served", None]), min_size=12, max_size=12
)
settings_of_both = st.fixed_dictionaries(
    {},
    optional={
        "max_tries": st.one_of(st.integers(1, 5), st.integers(1, 5).map(lambda most: lambda: most)),
        "max_time": st.sampled_from([0, 1.5, 100]),
        "jitter": st.sampled_from([None, "full_jitter", "random_jitter"]),
    },
)


def with_jitter(library: Any, options: dict[str, Any]) -> dict[str, Any]:
    jitter = options.get("jitter")
    return {**options, "jitter": getattr(library, jitter)} if jitter else options


def rounded(waits: list[float]) -> list[float]:
    # Their waits are cut to what is left of max_time, by a clock that goes on.
    return [round(wait, 1) for wait in waits]


@given(outcomes=outcomes_of_exceptions, options=settings_of_both, as_task=st.booleans(), raises=st.booleans(), seed=st.integers(0, 9))
def test_on_exception_does_the_same(
    outcomes: list[Any], options: dict[str, Any], as_task: bool, raises: bool, seed: int
) -> None:
    """Whatever the outcomes and settings: the same result or exception, waits, handlers and details."""
    stages = []
    for library in (theirs, ours):
        stage = Stage(library, as_task)
        decorate = library.on_exception(
            library.expo, Broke, factor=0.5, raise_on_giveup=raises, giveup=lambda error: str(error) == "final",
            logger=None, **with_jitter(library, options), **stage.handlers,
        )  # fmt: skip
        stages.append((stage.run(decorate, outcomes, seed), rounded(stage.waits), rounded_details(stage.told)))
    assert stages[0] == stages[1]


@given(outcomes=st.lists(st.sampled_from([0, "", "served", None]), min_size=12, max_size=12), options=settings_of_both, as_task=st.booleans())
def test_on_predicate_does_the_same(outcomes: list[Any], options: dict[str, Any], as_task: bool) -> None:
    """The last result is returned when it gives up."""
    stages = []
    for library in (theirs, ours):
        stage = Stage(library, as_task)
        decorate = library.on_predicate(
            library.constant, interval=[0.25, 0.5, 1, 2], logger=None, **with_jitter(library, options), **stage.handlers
        )
        came = stage.run(decorate, outcomes, 3)
        # A wait generator that ends: backoff's sync loop forgets the value there, its async one does not.
        told = [(kind, name, [fact for fact in facts if fact[0] != "value"], error) for kind, name, facts, error in stage.told]
        stages.append((came, rounded(stage.waits), rounded_details(told)))
    assert stages[0] == stages[1]


def rounded_details(told: list[tuple[Any, ...]]) -> list[Any]:
    return [
        (kind, [(key, round(value, 1) if key == "wait" else value) for key, value in facts], error)
        for kind, _, facts, error in told
    ]


@both
def test_a_wait_is_cut_to_what_is_left_of_the_time(library: Any) -> None:
    """So that the last call begins when `max_time` is over."""
    stage = Stage(library, as_task=False)
    stage.run(library.on_exception(library.constant, Broke, interval=20, max_time=5, jitter=None, logger=None), [Broke()])
    assert rounded(stage.waits) == [5]


@both
def test_several_exceptions_and_a_custom_predicate(library: Any) -> None:
    """A tuple of exceptions; an async predicate of giving up."""

    async def hopeless(error: Exception) -> bool:
        return isinstance(error, KeyError)

    stage = Stage(library, as_task=True)
    decorate = library.on_exception(library.constant, (ValueError, KeyError), giveup=hopeless, jitter=None, logger=None)
    kind, error = stage.run(decorate, [ValueError(), KeyError("x"), "served"])
    assert (kind, repr(error), stage.waits) == ("raised", "KeyError('x')", [1])
    stage = Stage(library, as_task=False)
    decorate = library.on_predicate(library.constant, lambda came: came < 3, jitter=None, logger=None)
    assert stage.run(decorate, [1, 2, 3]) == ("returned", 3)


@both
def test_it_is_written_to_the_log(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The same lines, under the same logger, at the levels asked for."""
    stage = Stage(library, as_task=False)
    decorate = library.on_exception(
        library.constant, Broke, max_tries=2, jitter=None, backoff_log_level=logging.WARNING, interval=3
    )
    with caplog.at_level(logging.INFO, "backoff"), caplog.at_level(logging.INFO, "mine"):
        stage.run(decorate, [Broke("no"), Broke("no")])
        stage.run(library.on_predicate(library.constant, max_tries=2, jitter=None, logger=logging.getLogger("mine")), [0, 0])
    error = f"{__name__}.Broke: no"
    assert caplog.record_tuples == [
        ("backoff", logging.WARNING, f"Backing off answer(...) for 3.0s ({error})"),
        ("backoff", logging.ERROR, f"Giving up answer(...) after 2 tries ({error})"),
        ("mine", logging.INFO, "Backing off answer(...) for 1.0s (0)"),
        ("mine", logging.ERROR, "Giving up answer(...) after 2 tries (0)"),
    ]


# ---- what is better ---------------------------------------------------------------------------


def refused(asked: float | None, status: int = 429) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://api.example.com/items/1?api_key=abcdefgh")
    headers = {} if asked is None else {"Retry-After": str(asked)}
    return httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status, headers=headers, request=request))


@given(asked=st.integers(1, 900), seed=st.integers(0, 99), as_task=st.booleans())
def test_the_servers_word_is_never_undercut(asked: int, seed: int, as_task: bool) -> None:
    """Full jitter makes backoff come back at any moment before it."""
    stage = Stage(ours, as_task)
    decorate = ours.on_exception(ours.expo, httpx.HTTPError, max_tries=3, logger=None)
    assert stage.run(decorate, [refused(asked), refused(None), "served"], seed) == ("returned", "served")
    first, second = stage.waits
    assert asked <= first <= asked * 1.1
    assert second <= 2


def test_a_wait_that_there_is_no_time_for_ends_it() -> None:
    """backoff cuts it to what is left of max_time, and asks again too early."""
    stage = Stage(theirs, as_task=False)
    stage.run(theirs.on_exception(theirs.expo, httpx.HTTPError, max_time=30, max_tries=2, logger=None), [refused(60)] * 2)
    assert stage.waits[0] < 31
    for options, told in (({"max_time": 30}, 60), ({}, 3600)):
        stage = Stage(ours, as_task=False)
        decorate = ours.on_exception(ours.expo, httpx.HTTPError, max_tries=2, logger=None, **options, **stage.handlers)  # type: ignore[arg-type]
        kind, error = stage.run(decorate, [refused(told), "served"])
        assert kind == "raised"
        assert isinstance(error, httpx.HTTPStatusError)
        assert error.__notes__ == [f"paceline: the server asks for a pause of {told} s, which is longer than there is time for"]
        assert (stage.waits, [each[0] for each in stage.told]) == ([], ["giveup"])


def test_results_and_pauses_of_paceline_are_heard_too() -> None:
    """A response that is returned, and RetryLater from a client below."""
    stage = Stage(ours, as_task=False)
    answer = SimpleNamespace(status_code=503, headers={"Retry-After": "20"})
    decorate = ours.on_predicate(ours.constant, lambda came: came is answer, interval=0, logger=None)
    assert stage.run(decorate, [answer, "served"]) == ("returned", "served")
    decorate = ours.on_exception(ours.constant, RetryLater, interval=0, logger=None)
    assert stage.run(decorate, [RetryLater("crm", time.time() + 40, 40), "served"]) == ("returned", "served")
    assert 20 <= stage.waits[0] <= 21
    assert 39 <= stage.waits[1] <= 41


def test_no_credential_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """backoff writes error texts as they are."""
    error = Broke("cannot reach https://ann:pw@api.example.com/?api_key=abcdefgh")
    with caplog.at_level(logging.INFO, "backoff"):
        Stage(ours, as_task=False).run(ours.on_exception(ours.constant, Broke, max_tries=2), [error, error])
    assert "Broke: cannot reach https://" in caplog.text
    for secret in ("abcdefgh", "ann:pw"):
        assert secret not in caplog.text


def test_cancellation_is_never_tried_again() -> None:
    """Not even where BaseException is asked for; StopIteration passes as it was."""

    @ours.on_exception(ours.constant, BaseException, interval=0, logger=None)  # type: ignore[arg-type]
    async def call() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())
    kind, error = Stage(ours, as_task=False).run(ours.on_exception(ours.constant, Broke, logger=None), [StopIteration(3)])
    assert (kind, repr(error)) == ("raised", "StopIteration(3)")


def test_one_decorator_may_decorate_several_functions() -> None:
    """backoff takes the handlers of the first for its own the second time."""
    told: list[Any] = []
    decorate = ours.on_predicate(ours.constant, interval=0, logger=None, on_success=told.append)
    for value in (1, 2):
        assert decorate(lambda value=value: value)() == value
    assert [details["value"] for details in told] == [1, 2]
    assert list(itertools.islice(ours.fibo(), 1, 3)) == [1, 1]
