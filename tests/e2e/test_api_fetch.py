"""`paceline.fetch` and `paceline.afetch` against the test server: records, back-pressure, stopping early."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tenacity import stop_after_attempt

import paceline
from paceline import Policy, Record, Retry, RetryLater
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ONCE = Retry(stop=stop_after_attempt(1))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits for what another thread brings about; fails after ten seconds."""
    give_up = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < give_up, "it never came to be"
        time.sleep(0.005)


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "paceline-fetch"]


def sync_records(urls: Any, *arguments: Any, **options: Any) -> list[Record[Any]]:
    return list(paceline.fetch(urls, *arguments, **options))


def async_records(urls: Any, *arguments: Any, **options: Any) -> list[Record[Any]]:
    async def main() -> list[Record[Any]]:
        records = [record async for record in paceline.afetch(urls, *arguments, **options)]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return records

    return asyncio.run(main())


both = pytest.mark.parametrize("records_of", [sync_records, async_records])


@both
def test_one_record_for_each_input(server: Server, records_of: Any) -> None:
    """Every input, in whatever form, ends as exactly one record that carries it."""
    specs = [{"url": f"{server.url}/items/{n}", "id": f"spec-{n}"} for n in range(40)]
    inputs = [*(f"{server.url}/items/{n}" for n in range(100, 140)), *specs]
    records = records_of(iter(inputs))
    assert sorted(map(str, (record.item for record in records))) == sorted(map(str, inputs))
    assert {record.id for record in records} == {*range(1, 41), *(f"spec-{n}" for n in range(40))}
    for record in records:
        url = record.item if isinstance(record.item, str) else record.item["url"]
        assert record.json() == {"id": url.rpartition("/")[2]}
        assert (record.ok, record.status, record.attempts, record.url) == (True, 200, 1, url)
        assert record.headers["content-type"] == "application/json"
    assert server.account().duplicates == 0


@both
def test_what_goes_wrong_is_a_record(server: Server, records_of: Any) -> None:
    """Unusable inputs, broken servers and bodies too large are records with an error; a 404 is an answer."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        inputs = ["nonsense", None, {"url": "x"}, dead, f"{server.url}/status/404", f"{server.url}/big?bytes=5000"]
        records = {record.id: record for record in records_of(inputs, Policy(retry=ONCE), max_body=1000)}
    assert [records[n].error is None for n in range(1, 7)] == [False, False, False, False, True, False]
    assert "not an absolute URL" in records[1].error
    assert "type NoneType" in records[2].error
    assert records[4].attempts == 1
    assert (records[5].status, records[5].ok) == (404, False)
    assert "over the limit of 1000 bytes" in records[6].error


@both
def test_credentials_in_urls_are_masked(server: Server, records_of: Any) -> None:
    """A record's url shows no credential; the input it carries is as it was given."""
    url = server.url.replace("http://", "http://me:s3cret@") + "/items/1?api_key=s3cret"
    (record,) = records_of([url])
    assert "s3cret" not in record.url
    assert record.item == url


@both
def test_no_input_no_record(records_of: Any) -> None:
    """Without inputs there are no records, and nothing fails."""
    assert records_of([]) == []


@both
def test_redirects(server: Server, records_of: Any) -> None:
    """Redirects are followed as often as was said; with 0 they are answers like any other."""
    assert records_of([f"{server.url}/redirect/3"])[0].status == 200
    assert records_of([f"{server.url}/redirect/3"], redirects=0)[0].status == 302
    assert "more than 2 in a row" in records_of([f"{server.url}/redirect/3"], redirects=2)[0].error


@both
def test_a_credential_stays_with_its_host(server: Server, records_of: Any) -> None:
    """A redirect to another host carries no credential with it."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            connection, _ = door.accept()
            with connection:
                heads.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        elsewhere = f"{server.url}/redirect/1?to=http://localhost:{door.getsockname()[1]}/"
        (record,) = records_of([elsewhere], bearer="s3cret", headers={"X-Api-Key": "s3cret", "X-Plain": "kept"})
        thread.join()
    assert record.status == 200
    assert b"s3cret" not in heads[0]
    assert b"X-Plain: kept" in heads[0]


@both
def test_keeps_the_limit(records_of: Any) -> None:
    """The limit told is kept: a strict server refuses nothing."""
    with Server("50/s", enforce="sliding", charge_refused=True) as strict:
        records = records_of((f"{strict.url}/items/{n}" for n in range(80)), "50/s")
        account = strict.account()
    assert (len(records), account.refused, account.served) == (80, 0, 80)


@both
def test_bearer_is_renewed_once_for_all(records_of: Any) -> None:
    """After a 401 the policy's hook is asked once, however many requests met it."""
    asked: list[int] = []

    def refresh() -> str:
        asked.append(1)
        return "fresh"

    with Server(token="fresh", latency=0.02) as guarded:
        urls = [f"{guarded.url}/items/{n}" for n in range(40)]
        records = records_of(urls, Policy(refresh=refresh), bearer="stale")
    assert [record.status for record in records] == [200] * 40
    assert len(asked) == 1


@both
def test_bearer_without_a_hook(records_of: Any) -> None:
    """A bearer token alone is sent with every request, in place of another Authorization."""
    with Server(token="t0ken") as guarded:
        records = records_of([f"{guarded.url}/items/1"], bearer="t0ken", headers={"authorization": "Basic x"})
    assert records[0].status == 200


@both
@pytest.mark.parametrize("answer", [None, "", "two\nlines", b"bytes"])
def test_a_hook_that_gives_no_token(server: Server, records_of: Any, answer: object) -> None:
    """A hook that returns no token is a bug, and raised."""
    server.change(token="fresh")
    with pytest.raises(paceline.InputError, match="refresh gave no token"):
        records_of([f"{server.url}/items/1"], Policy(refresh=lambda: answer), bearer="stale")
    assert workers() == []


@both
def test_an_async_hook(server: Server, records_of: Any) -> None:
    """The hook may be a coroutine function."""

    async def refresh() -> str:
        return "fresh"

    server.change(token="fresh")
    assert records_of([f"{server.url}/items/1"], Policy(refresh=refresh))[0].status == 200


@both
def test_a_bug_is_raised(server: Server, records_of: Any) -> None:
    """What the hook raises is raised where the records are taken."""

    def refresh() -> str:
        raise ZeroDivisionError("a bug")

    server.change(token="fresh")
    with pytest.raises(ZeroDivisionError):
        records_of([f"{server.url}/items/1"], Policy(refresh=refresh), bearer="stale")


@both
def test_a_pause_too_long_is_raised_after_what_was_in_flight(server: Server, records_of: Any) -> None:
    """A pause beyond `max_wait` gives out what was in flight, sends nothing more, and raises RetryLater."""
    seen: list[Record[Any]] = []
    slow = [f"{server.url}/drip?duration=0.4&bytes=4&n={n}" for n in range(3)]
    refused = f"{server.url}/status/429?retry_after=4000"

    def urls() -> Iterator[str]:
        yield from slow
        yield refused
        yield from (f"{server.url}/items/{n}" for n in range(5000))

    async def take_async() -> None:
        async for record in paceline.afetch(urls(), concurrency=4):
            seen.append(record)

    def take() -> None:
        if records_of is async_records:
            asyncio.run(take_async())
        else:
            seen.extend(paceline.fetch(urls(), concurrency=4))

    began = time.time()
    with pytest.raises(RetryLater) as raised:
        take()
    assert raised.value.until == pytest.approx(began + 4000, abs=5)
    assert {record.item for record in seen} >= set(slow)
    assert refused not in {record.item for record in seen}
    assert server.account().arrived < 100


def test_a_slow_consumer_stops_reading_and_sending(server: Server) -> None:
    """Whoever takes no records has a bounded number of inputs read and requests sent, however many there are."""
    read = 0

    def urls() -> Iterator[str]:
        nonlocal read
        for n in range(1_000_000):
            read += 1
            yield f"{server.url}/items/{n}"

    with contextlib.closing(paceline.fetch(urls())) as records:
        next(records)
        wait_until(lambda: server.account().arrived >= read - 1)
        assert read <= 1000
        for taken in range(2, 1500):
            next(records)
            assert read <= 1000 + taken
        wait_until(lambda: server.account().arrived >= read - 1)
        assert read > 1400


def test_a_slow_consumer_of_an_async_fetch_stops_reading(server: Server) -> None:
    """The same holds for `afetch`, whose inputs are read in a task of its own."""
    read = 0

    async def urls() -> AsyncIterator[str]:
        nonlocal read
        for n in range(1_000_000):
            read += 1
            yield f"{server.url}/items/{n}"

    async def main() -> None:
        async with contextlib.aclosing(paceline.afetch(urls())) as records:
            taken = 0
            async for _ in records:
                taken += 1
                if taken % 100 == 0:
                    await asyncio.sleep(0.01)
                assert read <= 1000 + taken
                if taken == 1500:
                    break

    asyncio.run(main())
    assert read > 1400


def test_large_bodies_hold_back_what_is_sent(server: Server) -> None:
    """Bodies that nobody takes are bounded in bytes, and all still arrive once they are taken."""
    size, count = 4 << 20, 60
    urls = [f"{server.url}/big?bytes={size}&n={n}" for n in range(count)]
    with contextlib.closing(paceline.fetch(urls, concurrency=4)) as records:
        first = next(records)
        wait_until(lambda: server.account().served >= 17)
        # 64 MiB are 16 bodies; besides, each of the four places may have had one more under way.
        quiet = threading.Event()
        assert not quiet.wait(0.3)
        assert server.account().accepted <= 1 + 17 + 2 * 4
        rest = list(records)
    assert [len(record.body) for record in [first, *rest]] == [size] * count


def test_leaving_the_loop_stops_at_once(server: Server) -> None:
    """After a break no thread is left, though an answer was still to come."""
    urls = [f"{server.url}/items/1", f"{server.url}/drip?duration=60"]
    began = time.monotonic()
    for record in paceline.fetch(urls):
        assert record.status == 200
        break
    assert workers() == []
    assert time.monotonic() - began < 5


def test_an_exception_in_the_loop_stops_all(server: Server) -> None:
    """An exception where records are taken passes through, and nothing is left behind."""

    def take() -> None:
        for _ in paceline.fetch([f"{server.url}/items/1", f"{server.url}/drip?duration=60"]):
            raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        take()
    assert workers() == []


def test_ctrl_c_while_waiting_ends_all(server: Server) -> None:
    """Ctrl-C while a record is waited for is a KeyboardInterrupt, and nothing is left behind."""
    ringing = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    ringing.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(paceline.fetch([f"{server.url}/drip?duration=60"]))
    ringing.join()
    assert time.monotonic() - began < 5
    assert workers() == []


@both
def test_inputs_that_raise(server: Server, records_of: Any) -> None:
    """What the iterable of inputs raises is raised where the records are taken, and nothing is left behind."""

    def urls() -> Iterator[str]:
        yield f"{server.url}/items/1"
        raise ZeroDivisionError("the source broke")

    with pytest.raises(ZeroDivisionError, match="the source broke"):
        records_of(urls())
    assert workers() == []


def test_inputs_are_read_where_the_records_are_taken(server: Server) -> None:
    """The iterable of inputs runs in the caller's thread, so that it may hold what is bound to it."""
    threads: set[int] = set()

    def urls() -> Iterator[str]:
        for n in range(20):
            threads.add(threading.get_ident())
            yield f"{server.url}/items/{n}"

    assert len(sync_records(urls())) == 20
    assert threads == {threading.get_ident()}


def test_inside_a_running_event_loop(server: Server) -> None:
    """`fetch` can be used where an event loop runs already."""

    async def main() -> list[int | None]:
        return [record.status for record in paceline.fetch([f"{server.url}/items/1"])]

    assert asyncio.run(main()) == [200]


def test_several_at_once_share_a_policy() -> None:
    """Two fetches in two threads with one policy keep its limit together."""
    policy = Policy("50/s")
    with Server("50/s", enforce="sliding", charge_refused=True) as strict:
        counts: list[int] = []

        def run(start: int) -> None:
            urls = [f"{strict.url}/items/{n}" for n in range(start, start + 45)]
            counts.append(len(sync_records(urls, policy)))

        threads = [threading.Thread(target=run, args=(start,)) for start in (0, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        account = strict.account()
    assert counts == [45, 45]
    assert (account.refused, account.served, account.duplicates) == (0, 90, 0)


def test_an_async_source_that_lives_on_records(server: Server) -> None:
    """An async source may wait for a record before it gives the next input."""
    came: asyncio.Queue[None] = asyncio.Queue()

    async def urls() -> AsyncIterator[str]:
        for n in range(5):
            yield f"{server.url}/items/{n}"
            await came.get()

    async def main() -> int:
        count = 0
        async for _ in paceline.afetch(urls()):
            count += 1
            came.put_nowait(None)
        return count

    assert asyncio.run(main()) == 5


def test_cancelling_an_async_fetch(server: Server) -> None:
    """A cancelled task ends all that its fetch began, and no task is left."""

    async def take(began: asyncio.Event) -> None:
        async for _ in paceline.afetch([f"{server.url}/items/1", f"{server.url}/drip?duration=60"]):
            began.set()

    async def main() -> set[Any]:
        began = asyncio.Event()
        task = asyncio.create_task(take(began))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()


def test_leaving_an_async_loop(server: Server) -> None:
    """Leaving the loop of an async fetch ends all that it began, even without aclosing."""

    async def main() -> set[Any]:
        async for _ in paceline.afetch([f"{server.url}/items/1", f"{server.url}/drip?duration=60"]):
            break
        give_up = time.monotonic() + 10
        while (left := asyncio.all_tasks() - {asyncio.current_task()}) and time.monotonic() < give_up:
            await asyncio.sleep(0.005)
        return left

    assert asyncio.run(main()) == set()


def test_cancelled_while_the_hook_runs(server: Server) -> None:
    """A hook that still runs when its fetch is cancelled is cancelled with it."""
    ended: list[str] = []

    async def main() -> set[Any]:
        running = asyncio.Event()

        async def refresh() -> str:
            running.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return "never"

        task = asyncio.create_task(anext(paceline.afetch([f"{server.url}/items/1"], Policy(refresh=refresh))))
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()
    assert ended == ["cancelled"]
