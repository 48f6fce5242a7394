"""Shared credentials: the hook runs once for all who wait, and never again for one it has just renewed."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from paceline.credentials import AsyncCredential, Credential, Held
from paceline.events import CredentialRefreshed

if TYPE_CHECKING:
    from collections.abc import Callable


class Hook:
    """Returns key-1, key-2 …; counts its runs; the times in `fails` it raises."""

    def __init__(self, *fails: int) -> None:
        self.runs = 0
        self.fails = fails

    def __call__(self) -> str:
        self.runs += 1
        if self.runs in self.fails:
            raise ConnectionError("no token today")
        return f"key-{self.runs}"

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """Runs `work` in many threads that begin together; what each returned or raised."""
    came: list[Any] = []
    gate = threading.Barrier(count)

    def one() -> None:
        gate.wait(10)
        try:
            came.append(work())
        except ConnectionError as error:
            came.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(came) == count
    return came


def test_many_threads_share_one_renewal() -> None:
    """Twenty 401s with the old credential run the hook once, and all go on with the new one."""
    hook = Hook()
    credential = Credential(hook, "old")
    assert in_threads(20, lambda: credential.renew(0)) == [True] * 20
    assert (hook.runs, credential.get()) == (1, Held("key-1", 1))


def test_threads_that_come_while_the_hook_runs_wait_for_it() -> None:
    """They get its result, or its exception, and start no second run."""
    going, running = threading.Event(), threading.Event()
    runs = []

    def slow() -> str:
        runs.append(1)
        running.set()
        assert going.wait(10)
        raise ConnectionError("no token today")

    credential = Credential(slow, "old")
    came: list[Any] = []

    def renew() -> None:
        with pytest.raises(ConnectionError) as error:
            credential.renew(0)
        came.append(error.value)

    threads = [threading.Thread(target=renew) for _ in range(4)]
    threads[0].start()
    assert running.wait(10)
    flight = credential._flight
    assert flight is not None
    flight.result = joined(flight.result, going, 3)  # type: ignore[method-assign]
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(came) == 4
    assert len(set(map(id, came))) == 1
    assert runs == [1]


def joined(result: Callable[[], Any], going: threading.Event, count: int) -> Callable[[], Any]:
    """The flight's result, which lets the hook end when `count` threads have asked for it."""
    asked: list[int] = []

    def counted() -> Any:
        asked.append(1)
        if len(asked) == count:
            going.set()
        return result()

    return counted


def test_an_interrupted_run_of_the_hook_is_not_the_others_business() -> None:
    """KeyboardInterrupt is raised where it struck; the next one asks the hook again."""
    strikes = iter([KeyboardInterrupt()])

    def hook() -> str:
        for strike in strikes:
            raise strike
        return "key"

    credential = Credential(hook)
    with pytest.raises(KeyboardInterrupt):
        credential.get()
    assert credential.get() == Held("key", 1)


def test_a_fresh_credential_that_is_refused_is_refused_for_good() -> None:
    """The hook is not asked again within `shortest_life`, and is asked after it."""
    now = [0.0]
    hook = Hook()
    credential = Credential(hook, "old", shortest_life=30, now=lambda: now[0])
    assert credential.renew(0) is True
    now[0] = 29.9
    assert credential.renew(1) is False
    now[0] = 30.0
    assert credential.renew(1) is True
    assert (hook.runs, credential.get().value) == (2, "key-2")


def test_a_late_401_of_an_older_version_finds_the_fresh_one() -> None:
    """It was sent before the renewal: nothing is asked, the request goes again."""
    hook = Hook()
    credential = Credential(hook, "old")
    credential.renew(0)
    assert credential.renew(0) is True
    assert hook.runs == 1


def test_a_failed_renewal_is_raised_and_tried_anew_by_the_next() -> None:
    """An exception of the hook is its caller's to see; it leaves the old credential in place."""
    credential = Credential(Hook(1), "old")
    with pytest.raises(ConnectionError, match="no token today"):
        credential.renew(0)
    assert credential.get() == Held("old", 0)
    assert credential.renew(0) is True


def test_without_a_first_value_the_hook_gives_it() -> None:
    """Sync and async alike, once."""
    hook = Hook()
    credential = Credential(hook)
    assert in_threads(8, lambda: credential.get().value) == ["key-1"] * 8
    assert hook.runs == 1


def test_a_renewal_is_told_without_the_credential() -> None:
    """The event has the seconds; no text form shows the value."""
    told: list[Any] = []
    now = iter([1.0, 3.5])
    credential = Credential(
        Hook(), "old", emit=told.append, scope="api", now=lambda: next(now), clock=lambda: 99.0
    )
    credential.renew(0)
    assert told == [CredentialRefreshed(at=99.0, scope="api", seconds=2.5)]
    assert (repr(credential), repr(Credential(Hook()))) == (
        "Credential(Held(***, version=1))",
        "Credential(none yet)",
    )


@pytest.mark.parametrize("life", [-1, float("inf"), float("nan")])
def test_a_wrong_shortest_life_is_named(life: float) -> None:
    """A bound on how often the hook runs must be a number of seconds."""
    with pytest.raises(
        ValueError, match="shortest_life must be a number of seconds of at least 0, like 30, not"
    ):
        Credential(Hook(), shortest_life=life)


def test_many_tasks_share_one_renewal_and_its_failure() -> None:
    """One flight at a time, its result or its exception is everyone's."""

    async def main() -> None:
        hook = Hook(1)
        credential = AsyncCredential(hook.later, "old")
        came = await asyncio.gather(*(credential.renew(0) for _ in range(20)), return_exceptions=True)
        assert {str(error) for error in came} == {"no token today"}
        assert hook.runs == 1
        assert await asyncio.gather(*(credential.renew(0) for _ in range(20))) == [True] * 20
        assert (hook.runs, await credential.get()) == (2, Held("key-2", 1))
        assert await credential.renew(1) is False
        assert await credential.renew(0) is True

    asyncio.run(main())


def test_a_cancelled_task_does_not_end_the_renewal_of_the_others() -> None:
    """Even the one that began it; and where all are cancelled the result is kept for the next."""

    async def main() -> None:
        hook = Hook()
        credential = AsyncCredential(hook.later)
        first, second = asyncio.create_task(credential.get()), asyncio.create_task(credential.get())
        await asyncio.sleep(0)
        first.cancel()
        assert await second == Held("key-1", 1)
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (hook.runs, first.cancelled()) == (1, True)

    asyncio.run(main())


def test_an_async_renewal_that_fails_unseen_makes_no_noise() -> None:
    """Where everyone who waited was cancelled, the exception is nobody's: no warning at exit."""

    async def main() -> None:
        credential = AsyncCredential(Hook(1).later, "old")
        task = asyncio.create_task(credential.renew(0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while credential._flight is not None:
            await asyncio.sleep(0)
        assert await credential.renew(0) is True

    asyncio.run(main())
