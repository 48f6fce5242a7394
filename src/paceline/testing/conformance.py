"""What every store must do, as checks that any store's tests can run: `STORE_LAWS`, each a function of a store.

    import pytest
    from paceline.testing.conformance import STORE_LAWS

    @pytest.mark.parametrize("law", STORE_LAWS, ids=lambda law: law.__name__)
    def test_my_store(law):
        law(MyStore(...))
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from typing import TYPE_CHECKING, Final

from ..limits import Limit
from ..stores.line import Line
from ..stores.protocol import Message, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stores.protocol import Store

__all__ = [
    "STORE_LAWS",
    "a_repeated_call_is_taken_in_once",
    "a_snapshot_takes_the_place_of_what_was_before",
    "another_log_is_told_apart",
    "async_is_the_same",
    "calls_at_once_are_all_taken_in",
    "check_store",
    "entries_come_back_in_order",
    "one_of_those_who_begin_wins",
    "scopes_are_apart_and_can_be_forgotten",
    "workers_share_one_limit",
]


def _begun(store: Store, log: str = "log") -> tuple[str, Reply]:
    """A new scope with a log."""
    scope = f"conformance-{secrets.token_hex(4)}"
    none = store.call(scope, Message())
    _is(none.kind, "none")
    reply = store.call(scope, Message(found=log, snapshot="{}", base=none.clock))
    _is(reply.kind, "ok")
    return scope, reply


def _is(found: object, right: object) -> None:
    if found != right:
        raise AssertionError(f"the store gave {found!r}, not {right!r}")


def _say(store: Store, scope: str, text: str, *, worker: str = "w", seq: int = 1, since: int = 0, log: str = "log") -> Reply:
    return store.call(scope, Message(log=log, since=since, worker=worker, seq=seq, text=text))


def entries_come_back_in_order(store: Store) -> None:
    """What was said comes back to all, numbered without gaps, in the same order, at moments that never go back."""
    scope, _ = _begun(store)
    for number in range(1, 21):
        _say(store, scope, f"said {number} é\n", worker=f"w{number % 3}", seq=number, since=number - 1)
    reply = store.call(scope, Message(log="log"))
    _is([entry.index for entry in reply.entries], list(range(1, 21)))
    _is([entry.text for entry in reply.entries], [f"said {number} é\n" for number in range(1, 21)])
    moments = [entry.at for entry in reply.entries]
    _is(moments, sorted(moments))
    _is(moments[0] >= 0, True)
    _is([entry.index for entry in _say(store, scope, "more", seq=21, since=18).entries], [19, 20, 21])


def a_repeated_call_is_taken_in_once(store: Store) -> None:
    """A call with the same worker and number is appended once, however often it comes, and answered the same."""
    scope, _ = _begun(store)
    first = _say(store, scope, "once")
    again = _say(store, scope, "once")
    _is(again.entries, first.entries)
    _is(_say(store, scope, "other", worker="v").last, 2)


def one_of_those_who_begin_wins(store: Store) -> None:
    """A log is begun once: whoever comes second is told of the first, and a lost one is replaced once."""
    scope, _ = _begun(store, "first")
    second = store.call(scope, Message(found="second", snapshot="{}"))
    _is((second.kind, second.log, second.snapshot), ("other", "first", "{}"))
    third = store.call(scope, Message(log="first", found="third", snapshot="[3]", snapshot_at=7, base=5))
    _is((third.kind, third.log, third.last), ("ok", "third", 7))
    late = store.call(scope, Message(log="first", found="fourth", snapshot="{}"))
    _is((late.kind, late.log, late.snapshot, late.snapshot_at, late.base), ("other", "third", "[3]", 7, 5))


def another_log_is_told_apart(store: Store) -> None:
    """A call for a log that is not there any more, or for entries that never were, is not taken in."""
    scope, _ = _begun(store)
    _is(_say(store, scope, "lost", log="before").kind, "other")
    _is(_say(store, scope, "ahead", since=5).kind, "other")
    _is(store.call(scope, Message(log="log")).last, 0)


def a_snapshot_takes_the_place_of_what_was_before(store: Store) -> None:
    """After a snapshot only what follows is kept; who is behind gets the snapshot, others only what is new to them."""
    scope, _ = _begun(store)
    for number in range(1, 7):
        _say(store, scope, str(number), seq=number)
    store.call(scope, Message(log="log", since=6, worker="w", seq=7, text="7", snapshot="books", snapshot_at=4))
    behind = store.call(scope, Message(log="log", since=2))
    _is((behind.snapshot, behind.snapshot_at, [entry.text for entry in behind.entries]), ("books", 4, ["5", "6", "7"]))
    near = store.call(scope, Message(log="log", since=5))
    _is((near.snapshot, [entry.text for entry in near.entries]), (None, ["6", "7"]))
    older = Message(log="log", since=7, worker="w", seq=8, text="8", snapshot="older", snapshot_at=3)
    _is(store.call(scope, older).last, 8)
    _is(store.call(scope, Message(log="log", since=0)).snapshot, "books")


def scopes_are_apart_and_can_be_forgotten(store: Store) -> None:
    """Scopes do not mix, are listed, and are gone when forgotten."""
    one, _ = _begun(store)
    other, _ = _begun(store)
    _say(store, one, "mine")
    _is(store.call(other, Message(log="log")).last, 0)
    _is({one, other} <= set(store.scopes()), True)
    _is((store.forget(one), store.forget(one)), (True, False))
    _is(store.call(one, Message(log="log")).kind, "none")
    _is(one in store.scopes(), False)
    _is(store.key(), store.key())


def async_is_the_same(store: Store) -> None:
    """`acall` does what `call` does."""
    scope, _ = _begun(store)

    async def main() -> Reply:
        try:
            return await store.acall(scope, Message(log="log", worker="w", seq=1, text="from a task"))
        finally:
            await store.aclose()

    _is([entry.text for entry in asyncio.run(main()).entries], ["from a task"])
    _is(store.call(scope, Message(log="log")).last, 1)


def calls_at_once_are_all_taken_in(store: Store) -> None:
    """Threads that call at the same time get numbers of their own, and none is lost."""
    scope, _ = _begun(store)

    def talk(worker: str) -> None:
        for number in range(1, 26):
            _say(store, scope, f"{worker}{number}", worker=worker, seq=number)

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [entry.text for entry in store.call(scope, Message(log="log")).entries]
    _is(sorted(texts), sorted(f"{name}{number}" for name in "abcd" for number in range(1, 26)))
    for name in "abcd":
        _is([text for text in texts if text[0] == name], [f"{name}{number}" for number in range(1, 26)])


def workers_share_one_limit(store: Store) -> None:
    """Three lines on one scope send no more together than the limit allows in any period."""
    scope = f"conformance-{secrets.token_hex(4)}"
    limit = Limit.parse("20/250ms sliding")
    lines = [Line(scope, [limit], store=store) for _ in range(3)]
    moments: list[float] = []

    def work(line: Line) -> None:
        for _ in range(20):
            permit = line.acquire(timeout=30)
            moments.append(line.now())
            permit.release()

    threads = [threading.Thread(target=work, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moments.sort()
    _is(len(moments), 60)
    for first, next_one in zip(moments, moments[20:], strict=False):
        if next_one - first < 0.25:
            raise AssertionError(f"21 permits within {next_one - first:.4f} s, where 20 may go in 0.25 s")


STORE_LAWS: Final[tuple[Callable[[Store], None], ...]] = (
    entries_come_back_in_order,
    a_repeated_call_is_taken_in_once,
    one_of_those_who_begin_wins,
    another_log_is_told_apart,
    a_snapshot_takes_the_place_of_what_was_before,
    scopes_are_apart_and_can_be_forgotten,
    async_is_the_same,
    calls_at_once_are_all_taken_in,
    workers_share_one_limit,
)


def check_store(store: Store) -> None:
    """Runs every law on a store; raises AssertionError for the first that does not hold.

    >>> from paceline.stores.memory import MemoryStore
    >>> check_store(MemoryStore())
    """
    for law in STORE_LAWS:
        law(store)
