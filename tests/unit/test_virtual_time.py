"""Virtual time: waits pass at once and in order, and never past anything that is on its way."""

from __future__ import annotations

import asyncio
import datetime
import gc
import queue
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import sleep as early_sleep
from typing import Any

import httpx
import pytest
import trustme
import uvloop

import paceline
from paceline.errors import InputError
from paceline.stores.clock import SystemClock
from paceline.testing import Server
from paceline.testing.virtual_clock import Stalled, virtual_time

HOUR = 3600.0


def default_sleep(seconds: float, sleep: Any = time.sleep) -> None:
    sleep(seconds)


class Holder:
    clock = time.monotonic
    __slots__ = ("sleep",)

    def __init__(self) -> None:
        self.sleep = time.sleep


def test_an_hour_of_sleep_is_over_at_once() -> None:
    """Every clock shows the hour, and the sleep is told with its exact length."""
    steady, wall, exact = time.monotonic(), time.time(), time.perf_counter_ns()
    with virtual_time() as clock:
        time.sleep(HOUR)
        assert clock.now == HOUR
        assert clock.slept == (HOUR,)
        assert HOUR <= time.monotonic() - steady < HOUR + 60
        assert HOUR <= time.time() - wall < HOUR + 60
        assert time.perf_counter_ns() - exact >= HOUR * 10**9
        assert time.time() == clock.start + HOUR == time.time_ns() / 1e9
        assert datetime.datetime.now(datetime.UTC).timestamp() == time.time()
    assert time.time() - wall < HOUR / 2


def test_names_held_before_the_block_are_virtual_in_it_and_real_after_it() -> None:
    """A name imported early, a default, a partial, an attribute of a class, of an instance, a closure: all are found."""
    held = Holder()
    boot = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    listed = [time.sleep]
    closed = time.sleep

    def closure(seconds: float) -> None:
        closed(seconds)

    originals = (early_sleep, default_sleep.__defaults__, held.sleep, boot.func, Holder.__dict__["clock"], listed[0])
    with virtual_time() as clock:
        began = boot(), held.clock(), SystemClock().now()
        early_sleep(1)
        default_sleep(2)
        held.sleep(4)
        listed[0](8)
        closure(16)
        assert clock.slept == (1, 2, 4, 8, 16)
        assert [boot() - began[0], held.clock() - began[1]] == [31, 31]
        assert SystemClock().now() - began[2] == pytest.approx(31, abs=1)
    assert originals == (early_sleep, default_sleep.__defaults__, held.sleep, boot.func, Holder.__dict__["clock"], listed[0])
    assert originals[0] is time.sleep
    assert time.sleep is originals[0]


def test_what_is_imported_in_the_block_is_real_after_it() -> None:
    """Stand-ins caught in the block by a module, an instance or a default go back to the originals with it."""
    with virtual_time():
        held = Holder()
        namespace: dict[str, Any] = {"__name__": "late", "__loader__": None}
        exec("from time import sleep, monotonic\nfrom datetime import datetime", namespace)
        assert namespace["sleep"] is not early_sleep or time.sleep is early_sleep
    assert held.sleep is time.sleep
    assert namespace["sleep"] is time.sleep
    assert namespace["monotonic"] is time.monotonic
    assert namespace["datetime"] is datetime.datetime


def test_everything_is_put_back() -> None:
    """After the block no stand-in is left where the originals were."""
    watched = [
        (time, ["time", "sleep", "monotonic", "perf_counter", "clock_gettime", "gmtime", "strftime"]),
        (threading, ["Lock", "_allocate_lock", "_start_new_thread", "_CRLock"]),
        (threading.Thread, ["join"]),
        (select, ["select", "poll", "epoll"]),
        (queue, ["SimpleQueue"]),
        (datetime, ["datetime", "date"]),
        (asyncio.BaseEventLoop, ["call_at"]),
        (ssl.SSLSocket, ["read", "write", "do_handshake"]),
        (uvloop, ["new_event_loop", "run"]),
    ]
    watched = [(owner, [name for name in names if hasattr(owner, name)]) for owner, names in watched]
    before = [getattr(owner, name) for owner, names in watched for name in names]
    own = set(vars(socket.socket))
    with pytest.raises(ZeroDivisionError), virtual_time():
        _ = 1 / 0
    assert [getattr(owner, name) for owner, names in watched for name in names] == before
    assert set(vars(socket.socket)) == own


def test_threads_wake_in_the_order_of_their_moments() -> None:
    """Ten threads that sleep for other times wake each at its own moment, whatever the order of their starts."""
    woken: list[tuple[float, int]] = []
    with virtual_time() as clock:

        def sleeper(number: int) -> None:
            time.sleep(number * 60)
            woken.append((clock.now, number))

        threads = [threading.Thread(target=sleeper, args=(number,)) for number in (5, 3, 9, 1, 7, 2, 8, 4, 6, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert woken == [(60.0 * number, number) for number in range(1, 11)]
        assert clock.now == 600


def test_what_passes_between_threads_is_waited_for() -> None:
    """Queues, events, conditions, semaphores, barriers, futures and joins end at the moment of their news, or their timeout."""
    old_queue: queue.Queue[int] = queue.Queue()
    old_event = threading.Event()
    with virtual_time() as clock:
        simple: queue.SimpleQueue[int] = queue.SimpleQueue()

        def other() -> None:
            time.sleep(10)
            old_queue.put(1)
            time.sleep(10)
            old_event.set()
            time.sleep(10)
            simple.put(3)

        threading.Thread(target=other).start()
        assert (old_queue.get(timeout=100), clock.now) == (1, 10)
        assert (old_event.wait(100), clock.now) == (True, 20)
        assert (simple.get(timeout=100), clock.now) == (3, 30)
        with pytest.raises(queue.Empty):
            old_queue.get(timeout=100)
        assert clock.now == 130
        assert (threading.Event().wait(0.5), clock.now) == (False, 130.5)
        assert (threading.Semaphore(0).acquire(timeout=0.5), clock.now) == (False, 131)
        with pytest.raises(threading.BrokenBarrierError):
            threading.Barrier(2).wait(1)
        assert clock.now == 132
        with ThreadPoolExecutor(2) as pool:
            future = pool.submit(time.sleep, 50)
            with pytest.raises(TimeoutError):
                future.result(timeout=8)
            assert clock.now == 140
        assert clock.now == 182
        thread = threading.Thread(target=time.sleep, args=(18,))
        thread.start()
        thread.join(8)
        assert (thread.is_alive(), clock.now) == (True, 190)
        thread.join()
        assert (thread.is_alive(), clock.now) == (False, 200)


def test_locks_hand_over_between_threads() -> None:
    """A lock held over a sleep keeps the others waiting so long, and each in turn has it once."""
    with virtual_time() as clock:
        lock, rlock = threading.Lock(), threading.RLock()
        held: list[float] = []

        def hold() -> None:
            with lock, rlock, rlock:
                held.append(clock.now)
                time.sleep(10)

        threads = [threading.Thread(target=hold) for _ in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(5)
        assert not lock.acquire(timeout=2)
        assert lock.locked()
        for thread in threads:
            thread.join()
        assert held == [0, 10, 20, 30, 40]
        with pytest.raises(ValueError, match="timeout"):
            lock.acquire(False, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a thread sleeps on")
def test_a_lock_from_before_the_block_is_told_by_the_kernel() -> None:
    """A thread that blocks on an old lock, which has no stand-in, does not hold up the one that sleeps with it."""
    lock = threading.Lock()
    with virtual_time() as clock:
        seen: list[float] = []

        def hold() -> None:
            with lock:
                time.sleep(100)

        def want() -> None:
            with lock:
                seen.append(clock.now)

        first = threading.Thread(target=hold)
        first.start()
        while not lock.locked():
            time.sleep(0.001)
        second = threading.Thread(target=want)
        second.start()
        second.join()
        assert seen == [pytest.approx(100, abs=0.1)]


def test_tasks_wait_exactly() -> None:
    """asyncio's sleeps, timeouts and threads take their virtual time, and are told with their task."""

    async def main() -> None:
        await asyncio.sleep(HOUR)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 50)
        await asyncio.to_thread(time.sleep, 5)
        await asyncio.gather(*(asyncio.sleep(seconds) for seconds in (3, 1, 2)))

    with virtual_time() as clock:
        asyncio.run(main())
        assert clock.now == HOUR + 50 + 5 + 3
        assert clock.slept == (HOUR, 5, 1, 2, 3)
        first = clock.waits[0]
        assert (first.seconds, first.kind, first.began) == (HOUR, "sleep", 0.0)
        assert first.task is not None
        assert [wait.seconds for wait in clock.waits if wait.kind == "timer"] == [50]


def test_uvloop_gives_way() -> None:
    """Loops of uvloop made in the block are asyncio's; a running one is refused, with what to do."""
    with virtual_time() as clock:
        uvloop.run(asyncio.sleep(HOUR))
        assert clock.slept == (HOUR,)

    async def late() -> None:
        with virtual_time():
            pass

    with pytest.raises(InputError, match=r"running loop of uvloop, .*; run on asyncio\.SelectorEventLoop"):
        uvloop.run(late())


def test_a_slow_response_is_waited_for() -> None:
    """A response that takes three seconds is never too late for a timeout of four, and always for one of two."""
    with virtual_time() as clock, Server(latency=3) as server, httpx.Client() as client:
        assert client.get(f"{server.url}/items/1", timeout=4).status_code == 200
        assert clock.now == 3
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"{server.url}/items/1", timeout=2)
        assert clock.now == 5
        assert [wait.kind for wait in clock.waits] == ["io", "io"]
        assert clock.slept == ()


def test_tls_in_threads_waits_by_the_rule() -> None:
    """A blocking TLS client and a TLS server in a thread meet in virtual time, with the exact wait between."""
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    with virtual_time() as clock, socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with served.wrap_socket(connection, server_side=True) as secure:
                assert secure.recv(100) == b"ping"
                time.sleep(HOUR)
                secure.sendall(b"pong")

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            socket.create_connection(listening.getsockname(), timeout=2 * HOUR) as plain,
            trusted.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.sendall(b"ping")
            assert client.recv(100) == b"pong"
            assert clock.now == HOUR
            client.settimeout(1)
        thread.join()


def test_big_bodies_pass_both_ways() -> None:
    """Many more bytes than the kernel's buffers hold pass between two threads, with no time lost on the way."""
    data = bytes(range(256)) * 65536
    with virtual_time() as clock, socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(1)
                got = b"".join(iter(lambda: connection.recv(1 << 20), b""))
                assert got == data

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listening.getsockname(), timeout=1) as client:
            client.sendall(data)
        thread.join()
        assert clock.now == 0


def test_a_full_pipe_does_not_stop_the_clock() -> None:
    """Bytes that wait for a reader who sleeps are not on their way: he wakes at his moment and reads them."""
    data = bytes(16 << 20)
    with virtual_time() as clock, socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                time.sleep(HOUR)
                assert sum(map(len, iter(lambda: connection.recv(1 << 20), b""))) == len(data)

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listening.getsockname()) as client:
            client.sendall(data)
        thread.join()
        assert clock.now == HOUR


SLOW_SERVER = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        with connection:
            while connection.recv(65536):
                time.sleep(0.15)
                connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nab")
                time.sleep(0.15)
                connection.sendall(b"cd")
"""


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_server_outside_is_waited_for_in_real_time(kind: str) -> None:
    """While another process works on an answer, the clock goes at its real pace; after it, an idle connection holds nobody up."""
    with (
        subprocess.Popen([sys.executable, "-c", SLOW_SERVER], stdout=subprocess.PIPE, text=True) as process,
        virtual_time() as clock,
    ):
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}/"
        try:
            if kind == "threads":
                other = threading.Thread(target=time.sleep, args=(HOUR,))
                other.start()
                with httpx.Client(timeout=30) as client:
                    assert client.get(url).text == "abcd"
                    assert 0.2 <= clock.now < 30
                    other.join()
            else:

                async def main() -> None:
                    hour = asyncio.create_task(asyncio.sleep(HOUR))
                    async with httpx.AsyncClient(timeout=30) as client:
                        assert (await client.get(url)).text == "abcd"
                        assert 0.2 <= clock.now < 30
                        await hour
                        assert (await client.get(url)).text == "abcd"
                        assert HOUR + 0.2 <= clock.now < HOUR + 30

                asyncio.run(main())
        finally:
            process.terminate()


ECHO_SERVER = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    connection, _ = listening.accept()
    with connection:
        while data := connection.recv(65536):
            time.sleep(0.15)
            connection.sendall(data)
"""


def test_another_protocol_is_waited_for_too() -> None:
    """An answer in a protocol that nobody can read along is waited for, and over after a second of silence."""
    with (
        subprocess.Popen([sys.executable, "-c", ECHO_SERVER], stdout=subprocess.PIPE, text=True) as process,
        virtual_time() as clock,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())

        async def main() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(b"\x00hello\n")
                assert await asyncio.wait_for(reader.readline(), 30) == b"\x00hello\n"
            assert 0.2 <= clock.now < 30
            await asyncio.sleep(HOUR)
            assert HOUR <= clock.now < HOUR + 30
            writer.close()

        try:
            asyncio.run(main())
        finally:
            process.terminate()


def test_a_child_of_an_event_loop_is_waited_for() -> None:
    """What a child process prints, and its end, come before a timeout that is longer."""

    async def main() -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import time; time.sleep(0.2); print('done')", stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(child.communicate(), 30)
        assert await asyncio.wait_for(child.wait(), 30) == 0
        return out

    with virtual_time() as clock:
        assert asyncio.run(main()) == b"done\n"
        assert clock.now < 30


def test_threads_from_before_live_in_real_time() -> None:
    """A thread begun outside of the block reads the real clocks while the block is an hour ahead."""
    asked, answered = queue.Queue(), queue.Queue()  # type: ignore[var-annotated]

    def outside() -> None:
        while asked.get() is not None:
            answered.put(time.time())

    thread = threading.Thread(target=outside)
    thread.start()
    with virtual_time() as clock:
        time.sleep(24 * HOUR)
        asked.put(1)
        assert time.time() - answered.get() > 23 * HOUR
        assert clock.now == 24 * HOUR
        asked.put(None)
    thread.join()


def test_a_thread_that_outlives_the_block_goes_on_in_real_time() -> None:
    """What still waits when the block ends waits on in real time, and ends as it should."""
    done = threading.Event()
    news: queue.Queue[int] = queue.Queue()
    with virtual_time():
        late = threading.Thread(target=lambda: (news.get(), time.sleep(0.01), done.set()))
        late.start()
    news.put(1)
    assert done.wait(30)
    late.join()


def test_a_clock_that_cannot_go_on_says_who_holds_it_up() -> None:
    """A thread that runs on and on while others sleep: they get an error that names it and shows where it is."""
    with virtual_time(patience=0.3):
        stop: list[bool] = []

        def spinning() -> None:
            while not stop:
                pass

        thread = threading.Thread(target=spinning, name="the spinner")
        thread.start()
        with pytest.raises(Stalled, match=r"(?s)stood still for 0\.3 real seconds.*the spinner.*in spinning"):
            time.sleep(1)
        stop.append(True)
        thread.join()


def test_time_is_advanced_by_hand() -> None:
    """`advance` lets all that is due on the way happen, at its moment, and is no wait of the program."""
    with virtual_time(start=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)) as clock:
        seen: list[float] = []
        timer = threading.Timer(30, lambda: seen.append(clock.now))
        timer.start()
        clock.advance(20)
        assert seen == []
        clock.advance(20)
        timer.join()
        assert (seen, clock.now, clock.slept) == ([30], 40, ())
        assert datetime.datetime.now(datetime.UTC).isoformat() == "2030-01-01T00:00:40+00:00"
        assert datetime.date.today().year == 2030
        assert time.gmtime().tm_sec == 40
        assert time.strftime("%S") == "40"
        assert isinstance(datetime.datetime.now(), datetime.datetime)
        with pytest.raises(InputError, match="from 0 on, like 3600, not -1"):
            clock.advance(-1)


def test_wrong_use_is_told() -> None:
    """A block in a block, a start without a zone and a sleep below zero get one clear message each."""
    with virtual_time(), pytest.raises(InputError, match="runs already"), virtual_time():
        pass
    with pytest.raises(InputError, match="without a zone"), virtual_time(datetime.datetime(2030, 1, 1)):
        pass
    with virtual_time(), pytest.raises(ValueError, match="non-negative"):
        time.sleep(-1)


def test_paceline_itself_lives_in_virtual_time() -> None:
    """Limiters, for threads and for tasks, made before the block or in it, give their permits at the exact moments."""
    early = paceline.Limiter("1/h sliding")
    with virtual_time() as clock:
        early.acquire()
        early.acquire()
        first = clock.now
        assert HOUR <= first < HOUR + 1

        async def main() -> None:
            limiter = paceline.AsyncLimiter("1/h fixed")
            await limiter.acquire()
            with pytest.raises(paceline.AcquireTimeout):
                await limiter.acquire(timeout=1)

        asyncio.run(main())
        assert clock.now == pytest.approx(first + 1, abs=0.01) or clock.now > first


def test_select_and_poll_wait_by_the_rule() -> None:
    """`select`, `poll` and `epoll` end with what comes, or with their own timeout, at the exact moment."""
    with virtual_time() as clock:
        one, two = socket.socketpair()
        with one, two:
            assert select.select([one], [], [], 5) == ([], [], [])
            assert clock.now == 5
            poll = select.poll()
            poll.register(one, select.POLLIN)
            assert poll.poll(5000) == []
            assert clock.now == 10
            threading.Timer(5, two.send, (b"x",)).start()
            assert select.select([one], [], [], 50)[0] == [one]
            assert clock.now == 15
            assert poll.poll(5000) == [(one.fileno(), select.POLLIN)]
            if hasattr(select, "epoll"):
                with select.epoll() as epoll:
                    epoll.register(one.fileno(), select.EPOLLIN)
                    assert epoll.poll(5) == [(one.fileno(), select.EPOLLIN)]
                    one.recv(1)
                    assert epoll.poll(5) == []
            assert clock.now == 20


def test_names_are_found_behind_a_frozen_heap() -> None:
    """A program that put its objects out of the collector's sight (gc.freeze) sleeps in virtual time all the same."""
    early = time.sleep
    holder = {"nap": early}
    gc.freeze()
    try:
        with virtual_time() as clock:
            holder["nap"](3600)
            time.sleep(1)
    finally:
        gc.unfreeze()
    assert clock.slept == (3600.0, 1.0)
    assert holder["nap"] is early
