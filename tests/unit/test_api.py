"""Records, and the arguments of `fetch` and `afetch`, without a server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paceline
from paceline import InputError, LimitSyntaxError, Policy, Record
from paceline.jobs.flow import Window, read_input
from paceline.jobs.spec import BadInput, Defaults, Request


def record(**changes: Any) -> Record[str]:
    facts: dict[str, Any] = {
        "id": 1, "url": "https://example.com/a", "status": 200, "attempts": 1, "waited_s": 0.0, "elapsed_s": 0.1,
        "headers": {}, "body": b"", "error": None, "item": "https://example.com/a",
    }  # fmt: skip
    return Record(**{**facts, **changes})


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", "é".encode(), "é"),
        ("text/plain; charset=latin-1", b"\xe9", "é"),
        ('text/plain; charset="UTF-16"', "é".encode("utf-16"), "é"),
        ("text/plain; charset=rot13", b"a", "a"),
        ("text/plain; charset=no-such", b"\xff", "�"),
        ("application/json", b'"\xc3\xa9"', '"é"'),
        ("", b"\xff", "�"),
    ],
)
def test_text_by_charset(content_type: str, body: bytes, text: str) -> None:
    """The text of a record follows the charset that the answer names, and never fails."""
    assert record(headers={"content-type": content_type}, body=body).text == text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_json_reads_exactly(value: Any) -> None:
    """Whatever JSON can hold comes out of a record as it went in, integers of any size too."""
    assert record(body=json.dumps(value).encode()).json() == value


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000], ids=["empty", "html", "bytes", "deep"])
def test_json_that_is_none(body: bytes) -> None:
    """A body that is not JSON is a ValueError, however deep it is."""
    with pytest.raises(ValueError, match=r"."):
        record(body=body).json()


@pytest.mark.parametrize(
    ("status", "error", "ok"),
    [(200, None, True), (399, None, True), (404, None, False), (503, "gave up", False), (None, "broken", False)],
)
def test_ok(status: int | None, error: str | None, ok: bool) -> None:
    """A record is ok with a final answer below 400, and only then."""
    assert record(status=status, error=error).ok is ok


def test_record_is_frozen_pickles_and_keeps_secrets_off_its_print() -> None:
    """A record cannot be changed, crosses process pools whole, and prints neither headers nor body nor item."""
    one = record(headers={"set-cookie": "sid=s3cret"}, body=b"s3cret", item="https://me:s3cret@example.com/a")
    assert pickle.loads(pickle.dumps(one)) == one
    assert "s3cret" not in repr(one)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.status = 404  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"urls": "https://example.com/"}, r"single one; write it in a list"),
        ({"urls": {"url": "https://example.com/"}}, r"single one"),
        ({"urls": 7}, r"type int, which cannot be iterated"),
        ({"concurrency": 0}, r"concurrency must be a whole number of at least 1, not 0"),
        ({"concurrency": True}, r"concurrency"),
        ({"max_body": -1}, r"max_body"),
        ({"redirects": 1.5}, r"redirects"),
        ({"timeout": 0}, r"timeout must be a number of seconds above 0"),
        ({"timeout": float("nan")}, r"timeout"),
        ({"timeout": float("inf")}, r"timeout"),
        ({"proxy": "socks5://example.com"}, r"proxy must be an HTTP proxy"),
        ({"headers": {"Bad Name": "x"}}, r"not a header's name"),
        ({"headers": {"Content-Length": "3"}}, r"set by the connection itself"),
        ({"headers": {"X-Key": "s3cret\r\nHost: evil"}}, r"value of the header 'X-Key'"),
        ({"bearer": "s3cret\nx"}, r"value of the header 'Authorization'"),
    ],
)
@pytest.mark.parametrize("call", [paceline.fetch, paceline.afetch])
def test_arguments_that_cannot_be_used(call: Any, arguments: dict[str, Any], message: str) -> None:
    """Wrong arguments are told at the call, before anything is begun, without what may be secret."""
    with pytest.raises(InputError, match=message) as raised:
        call(**{"urls": [], **arguments})
    assert "s3cret" not in str(raised.value)


def test_wrong_limit_is_told_at_the_call() -> None:
    """A limit that cannot be read is told at the call."""
    with pytest.raises(LimitSyntaxError, match=r"cannot read the limit '100/fortnight'"):
        paceline.fetch([], "100/fortnight")


def test_certificates_that_cannot_be_read(tmp_path: Any) -> None:
    """A file of certificates that cannot be read is told when the first record is asked for, sync and async."""
    missing = str(tmp_path / "none.pem")
    with pytest.raises(InputError, match=r"cannot read certificates"):
        list(paceline.fetch(["https://localhost/"], ca_file=missing))

    async def main() -> None:
        async for _ in paceline.afetch(["https://localhost/"], ca_file=missing):
            pass

    with pytest.raises(InputError, match=r"cannot read certificates"):
        asyncio.run(main())


def test_never_begun_costs_nothing() -> None:
    """A fetch that is never iterated starts no thread, and closing it does nothing."""
    import threading

    before = threading.active_count()
    paceline.fetch(["https://example.com/"]).close()
    assert threading.active_count() == before


def test_a_missing_extra_is_named() -> None:
    """Without aiohttp the name can still be imported, and the call says what to install."""
    code = (
        "import sys; sys.modules['aiohttp'] = None; from paceline import Record, fetch\n"
        "try: fetch([])\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "MissingExtra aiohttp is not installed; install it with: pip install 'paceline[cli]'\n"


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (None, "type NoneType"),
        (b"https://example.com/", "type bytes"),
        ("example.com", "not an absolute URL"),
        ({}, "it has no url"),
        ({"url": 7}, "its url is a number"),
        ({"url": "https://example.com/", "data": b"x"}, "what JSON cannot"),
        ({"url": "https://example.com/", "cost": float("nan")}, "what JSON cannot"),
        ({"url": "https://example.com/", "parms": {}}, "did you mean 'params'"),
    ],
)
def test_unusable_inputs(item: object, why: str) -> None:
    """An input that cannot be used says why, without a line's number, which it has not."""
    read = read_input(item, 3, Defaults())
    assert isinstance(read, BadInput)
    assert why in read.why
    assert not read.why.startswith("line")


@given(
    st.none() | st.text() | st.integers() | st.binary()
    | st.dictionaries(st.sampled_from(["url", "id", "json", "data", "cost"]), st.text() | st.integers())
)  # fmt: skip
def test_reading_never_raises(item: object) -> None:
    """Whatever stands for an input, it becomes a request or says why not."""
    assert isinstance(read_input(item, 1, Defaults()), Request | BadInput)


def test_large_numbers_in_a_spec_stay_exact() -> None:
    """A number beyond 64 bits in a spec's JSON is sent digit by digit."""
    read = read_input({"url": "https://example.com/", "json": {"n": 10**30}}, 1, Defaults())
    assert isinstance(read, Request)
    assert read.body == b'{"n":1' + b"0" * 30 + b"}"


@given(st.lists(st.integers(0, 1 << 27)), st.integers(1, 500))
def test_window_bounds_number_and_weight(weights: list[int], concurrency: int) -> None:
    """What is open when another input is let in stays below the bounds, and all that left leaves room."""
    window = Window(concurrency)
    entered: list[int] = []
    for weight in weights:
        if window.full:
            assert sum(entered) >= 64 << 20 or len(entered) >= max(1000, 4 * concurrency)
            break
        window.enter(weight)
        entered.append(weight)
    for weight in entered:
        window.leave(weight)
    assert not window.full


def test_a_policy_is_taken_as_it_is() -> None:
    """A Policy given is the one that is used, so that several fetches can share it."""
    policy = Policy("100/s")
    generator = paceline.fetch([], policy)
    assert list(generator) == []
    assert policy.lines == {}
