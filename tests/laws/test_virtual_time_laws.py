"""Laws of virtual time: every wait takes exactly its time, in threads and in tasks, and no response is ever overtaken."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.testing import virtual_time

# Milliseconds, so that sums are exact.
PAUSES = st.lists(st.integers(1, 10_000_000), min_size=1, max_size=5)
PLANS = st.lists(PAUSES, min_size=1, max_size=6)


def sums(pauses: list[int]) -> list[int]:
    return list(accumulate(pauses))


@settings(max_examples=20)
@given(PLANS)
def test_threads_wake_at_the_sums_of_their_sleeps(plans: list[list[int]]) -> None:
    """Whatever several threads sleep, each sees exactly its own sums, all together the events are in order, and time ends at the last."""
    seen: list[list[int]] = [[] for _ in plans]
    order: list[int] = []
    with virtual_time() as clock:

        def live(number: int) -> None:
            for pause in plans[number]:
                time.sleep(pause / 1000)
                seen[number].append(round(clock.now * 1000))
                order.append(seen[number][-1])

        threads = [threading.Thread(target=live, args=(number,)) for number in range(len(plans))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [sums(pauses) for pauses in plans]
        assert order == sorted(order)
        assert round(clock.now * 1000) == max(sums(pauses)[-1] for pauses in plans)
        assert sorted(clock.slept) == sorted(pause / 1000 for pauses in plans for pause in pauses)


@settings(max_examples=20)
@given(PLANS)
def test_tasks_wake_as_threads_do(plans: list[list[int]]) -> None:
    """The same in one event loop: each task sees its own sums, and every sleep is told with its exact length."""
    seen: list[list[int]] = [[] for _ in plans]
    with virtual_time() as clock:

        async def live(number: int) -> None:
            for pause in plans[number]:
                await asyncio.sleep(pause / 1000)
                seen[number].append(round(clock.now * 1000))

        async def main() -> None:
            await asyncio.gather(*(live(number) for number in range(len(plans))))

        asyncio.run(main())
        assert seen == [sums(pauses) for pauses in plans]
        assert sorted(clock.slept) == sorted(pause / 1000 for pauses in plans for pause in pauses)


@settings(max_examples=20)
@given(PLANS, st.integers(500_000, 10_000_000))
def test_news_comes_before_time(plans: list[list[int]], timeout: int) -> None:
    """What is put at a moment is got at that moment by one who waits so long, and else the wait ends at its own, exactly."""
    with virtual_time() as clock:
        news: queue.Queue[int] = queue.Queue()

        def produce(pauses: list[int]) -> None:
            for pause in pauses:
                time.sleep(pause / 1000)
                news.put(round(clock.now * 1000))

        threads = [threading.Thread(target=produce, args=(pauses,)) for pauses in plans]
        for thread in threads:
            thread.start()
        moments = sorted(moment for pauses in plans for moment in sums(pauses))
        now = 0
        while moments:
            try:
                got = news.get(timeout=timeout / 1000)
            except queue.Empty:
                assert moments[0] >= now + timeout
                now += timeout
            else:
                assert got == moments.pop(0)
                assert got <= now + timeout
                now = max(now, got)
            assert round(clock.now * 1000) == now
        for thread in threads:
            thread.join()


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 9_999)), min_size=1, max_size=6))
def test_no_response_is_overtaken(exchanges: list[tuple[int, int]]) -> None:
    """A reader with a timeout gets what is sent before it, at the moment of the sending, and never a timeout too early."""
    with virtual_time() as clock, socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for delay, _ in exchanges:
                    assert connection.recv(1) == b"?"
                    time.sleep(delay / 1000)
                    connection.sendall(b"!")

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listening.getsockname()) as client:
            now = 0
            for delay, patience in exchanges:
                client.sendall(b"?")
                client.settimeout(patience / 1000)
                try:
                    assert client.recv(1) == b"!"
                    assert delay <= patience
                except TimeoutError:
                    assert patience <= delay
                    assert round(clock.now * 1000) == now + patience
                    client.settimeout(None)
                    assert client.recv(1) == b"!"
                now += delay
                assert round(clock.now * 1000) == now
        thread.join()
