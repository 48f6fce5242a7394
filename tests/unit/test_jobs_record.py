"""The lines of OUT."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest

from paceline.jobs.record import encode


def line(body: bytes | None = None, content_type: str | None = None, **changes: Any) -> bytes:
    headers = [("Content-Type", content_type)] if content_type is not None else []
    facts: dict[str, Any] = {
        "identity": 1, "url": "https://a.example/", "status": 200, "attempts": 1, "waited_s": 0.0,
        "elapsed_s": 0.5, "headers": headers, "body": body, "error": None,
    }  # fmt: skip
    text = encode(**(facts | changes))
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    return text


def record(*args: Any, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line(*args, **changes))
    return found


def test_the_fields_stand_in_their_order() -> None:
    """A record has the documented fields, and `error` only where there is one."""
    text = line(b"hi", "text/plain", error="gone")
    names = ["id", "url", "status", "attempts", "waited_s", "elapsed_s", "headers", "text", "error"]
    assert list(json.loads(text)) == names
    assert list(record(status=None)) == names[:7]


def test_json_keeps_its_bytes() -> None:
    """Numbers, key order, doubled keys and spaces stay as the server wrote them; newlines between tokens go."""
    body = (
        b'{"n": 1.10,\r\n "big": 123456789012345678901234567890,\n"a": 0.10000000000000000001, "a": "x\\ny"}'
    )
    text = line(body, "application/json; charset=utf-8")
    assert b'"json":' + body.replace(b"\r\n", b"  ").replace(b"\n", b" ") + b"}" in text


@pytest.mark.parametrize("kind", ["application/json", "Application/Problem+JSON", "application/hal+json;v=1"])
def test_what_says_json_and_is_comes_as_json(kind: str) -> None:
    """All JSON media types count."""
    assert record(b"[1]", kind)["json"] == [1]


@pytest.mark.parametrize(
    "kind", ["text/html", "application/jsonlines", "application/x-ndjson", "text/json-ish", "", None]
)
def test_what_does_not_say_json_comes_as_text(kind: str | None) -> None:
    """A body is not guessed to be JSON."""
    assert record(b"[1]", kind)["text"] == "[1]"


@pytest.mark.parametrize("body", [b"<html>", b"", b"{", b"\xef\xbb\xbf{}", b"NaN", b"[" * 5000, b'"a\nb"'])
def test_what_says_json_and_is_not_comes_as_text(body: bytes) -> None:
    """A body that only claims to be JSON breaks nothing."""
    assert record(body, "application/json")["text"] == body.decode()


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("ä".encode("latin-1"), "text/plain; charset=ISO-8859-1", "ä"),
        ("ä".encode("utf-16"), 'text/plain; charset="utf-16"', "ä"),
        ("ä".encode(), "text/plain; charset=nonsense", "ä"),
        ("ä".encode(), "text/plain; charset=rot13", "ä"),
        (b"a\\u0041", "text/plain; charset=unicode_escape", "a\\u0041"),
        ("a\nb\u2028\0".encode(), "text/plain", "a\nb\u2028\0"),
        (b"x", "text/plain; charset=a\0b", "x"),
    ],
)
def test_text_is_decoded_by_its_charset(body: bytes, kind: str, text: str) -> None:
    """The charset named counts where Python has it as a charset, else UTF-8."""
    assert record(body, kind)["text"] == text


def test_the_rest_comes_as_base64() -> None:
    """What does not decode is kept byte for byte."""
    body = bytes(range(256))
    assert base64.b64decode(record(body, "image/png")["base64"]) == body
    assert base64.b64decode(record(b"\xff", "application/json")["base64"]) == b"\xff"


def test_headers_are_lower_case_joined_and_masked() -> None:
    """Fields of one name are joined; cookies, which are credentials, are masked."""
    pairs = [
        ("Vary", "a"),
        ("VARY", "b"),
        ("Set-Cookie", "sid=secret"),
        ("set-cookie", "b=secret"),
        ("Link", "<x>"),
    ]
    assert record(headers=pairs)["headers"] == {"vary": "a, b", "set-cookie": "***, ***", "link": "<x>"}


def test_the_url_shows_no_credential() -> None:
    """Userinfo and secret query values are masked, what tells inputs apart stays."""
    shown = record(url="https://me:pw@a.example/x?page=2&api_key=secret&z=1")["url"]
    assert "pw" not in shown
    assert "secret" not in shown
    assert "page=2" in shown
    assert shown.endswith("z=1")
    assert record(url="https://a.example/x?page=2")["url"] == "https://a.example/x?page=2"


def test_undecodable_headers_break_nothing() -> None:
    """Bytes beyond UTF-8, which clients keep as surrogates, are replaced."""
    assert (
        record(b"[1]", headers=[("X-A", "a\udce4"), ("content-type", "application/json")])["headers"]["x-a"]
        == "a�"
    )
    assert record(headers=[("X-A", "\ud800ä")])["headers"]["x-a"] == "?ä"


def test_seconds_are_rounded_to_microseconds() -> None:
    """Times carry no digits that mean nothing."""
    found = orjson.loads(line(waited_s=0.1 + 0.2, elapsed_s=1 / 3))
    assert (found["waited_s"], found["elapsed_s"]) == (0.3, 0.333333)
