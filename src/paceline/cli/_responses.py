"""Responses as people have them: words on a command line, a pasted `curl -i`, or JSON lines."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from ..telemetry.words import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

__all__ = ["Response", "from_words", "read_responses", "read_time"]

MOST_BYTES: Final = 32 * 1024 * 1024
_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t][^\r\n]*)?\r?(?:\n|\Z)")
_COLOURS: Final = re.compile(rb"\x1b\[[0-9;]*m")  # curl prints header names in bold on a terminal
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_RIGHT_WORDS: Final = "write it like: paceline explain 429 'Retry-After: 7' 'X-RateLimit-Remaining: 0'"
_RIGHT_JSON: Final = (
    'write it like {"status": 429, "headers": {"Retry-After": "7"}, "body": "", "received_at": 1700000000}'
)
_RIGHT_STDIN: Final = (
    "pipe in what `curl -i URL` prints (it begins with HTTP/), or JSON lines with status and headers, "
    "or give the status and headers as arguments"
)
_RIGHT_TIME: Final = "write it like 1700000000, 2023-11-14T22:13:20Z or 'Tue, 14 Nov 2023 22:13:20 GMT'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response; `where` it stood, for messages. received_at: epoch seconds, None where nobody said."""

    where: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes | None = None
    url: str | None = None
    method: str | None = None
    received_at: float | None = None

    def moment(self, clock: float) -> tuple[float, str]:
        """When it arrived (epoch seconds), and how that is known: told, by its Date header, or `clock`.

        >>> Response(where="", status=200, headers=[("date", "Tue, 14 Nov 2023 22:13:20 GMT")]).moment(0.0)
        (1700000000.0, 'its Date header')
        """
        if self.received_at is not None:
            return self.received_at, "as told"
        for name, value in self.headers:
            if name.lower() == "date":
                try:
                    return read_time(value), "its Date header"
                except InputError:
                    break
        return clock, "now"


def read_time(text: str | float) -> float:
    """Epoch seconds from a number (seconds, or milliseconds by magnitude), RFC 3339 or an HTTP-date.

    Raises InputError, which names the text and right forms.

    >>> read_time("2023-11-14T22:13:20Z"), read_time(1700000000000)
    (1700000000.0, 1700000000.0)
    """
    for reader in (_from_number, _from_iso, _from_http_date):
        try:
            seconds = reader(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        if 0 <= seconds < 253402300800:
            return seconds
    raise InputError(f"cannot read the time {_short(text)}: {_RIGHT_TIME}")


def _from_number(text: str | float) -> float:
    number = float(text)
    return number / 1000 if number > 1e11 else number


def _from_iso(text: str | float) -> float:
    moment = datetime.fromisoformat(str(text).strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _from_http_date(text: str | float) -> float:
    moment = parsedate_to_datetime(str(text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def from_words(status: str, headers: Iterable[str]) -> Response:
    """A response from a status and headers given as arguments; raises InputError for what is neither.

    >>> from_words("429", ["Retry-After: 7"]).headers
    [('Retry-After', '7')]
    """
    if re.fullmatch(r"[1-9][0-9]{2}", status, re.ASCII) is None:
        raise InputError(f"{_short(status)} is not a status: {_RIGHT_WORDS}")
    pairs = []
    for text in headers:
        name, colon, value = text.partition(":")
        if not colon or _NAME.fullmatch(name.strip()) is None:
            raise InputError(f"{_short(text)} is not a header: {_RIGHT_WORDS} (each header in quotes)")
        pairs.append((name.strip(), value.strip()))
    return Response(where="the arguments", status=int(status), headers=pairs)


def read_responses(stream: BinaryIO) -> Iterator[Response]:
    """Every response of `stream`: one or several as `curl -i` prints them, or JSON lines.

    Interim answers (1xx) and a proxy's own `Connection established` are passed over. JSON lines may be the
    records of `paceline fetch`. Raises InputError, which names the place and a right form.
    """
    number, line = 0, b""
    while not line.strip():
        number += 1
        line = stream.readline(MOST_BYTES)
        if not line:
            raise InputError(f"there is nothing to read: {_RIGHT_STDIN}")
    line = line.removeprefix(b"\xef\xbb\xbf")
    if line.lstrip().startswith(b"{"):
        yield from _json_lines(stream, line, number)
        return
    rest = stream.read(MOST_BYTES)
    if len(rest) == MOST_BYTES:
        raise InputError(
            f"the input is longer than {MOST_BYTES // 2**20} MiB: give the headers without the body (curl -I)"
        )
    yield from _pasted(line + rest, number)


def _json_lines(stream: BinaryIO, line: bytes, number: int) -> Iterator[Response]:
    while line:
        if len(line) >= MOST_BYTES:
            raise InputError(f"input line {number} is longer than {MOST_BYTES // 2**20} MiB: {_RIGHT_JSON}")
        if line.strip():
            response = _from_json(line, f"input line {number}")
            if response is not None:
                yield response
        number += 1
        line = stream.readline(MOST_BYTES)


def _from_json(line: bytes, where: str) -> Response | None:
    def wrong(why: str) -> InputError:
        return InputError(f"{where}: {why}; {_RIGHT_JSON}")

    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else one_line(str(error), 120)
        raise wrong(f"no JSON ({why})") from None
    if not isinstance(told, dict):
        raise wrong(f"{_short(told)} is no object")
    status, url, method = told.get("status"), told.get("url"), told.get("method")
    if status is None and told.get("error"):
        return None  # a record of an input that never got an answer
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 999:
        raise wrong(f"the status {_short(status)} is not a number from 100 to 999")
    for name, value in (("url", url), ("method", method)):
        if value is not None and not isinstance(value, str):
            raise wrong(f"the {name} {_short(value)} is not text")
    try:
        received = None if told.get("received_at") is None else read_time(told["received_at"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    headers = _json_headers(told.get("headers"))
    if headers is None:
        raise wrong("the headers are neither an object nor pairs")
    try:
        body = _json_body(told)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise wrong("the body cannot be read") from None
    return Response(
        where=where, status=status, headers=headers, body=body, url=url, method=method, received_at=received
    )


def _json_headers(told: Any) -> list[tuple[str, str]] | None:
    pairs = told.items() if isinstance(told, dict) else told if told is not None else []
    if not isinstance(pairs, list) and not isinstance(told, dict):
        return None
    headers = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            return None
        for value in pair[1] if isinstance(pair[1], list) else [pair[1]]:
            if isinstance(value, dict | list):
                return None
            plain = isinstance(value, float) and math.isfinite(value) and value == int(value)
            headers.append((pair[0], "" if value is None else str(int(value) if plain else value)))
    return headers


def _json_body(told: dict[str, Any]) -> bytes | None:
    if told.get("base64") is not None:
        return base64.b64decode(told["base64"], validate=True)
    body = next((told[name] for name in ("body", "json", "text") if told.get(name) is not None), None)
    if body is None:
        return None
    return (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "surrogatepass")


def _pasted(text: bytes, number: int) -> Iterator[Response]:
    lines = text.split(b"\n")
    if any(line.startswith(b"< HTTP/") for line in lines[:1000]):
        # `curl -v`: what it received stands behind "< ".
        text = b"\n".join(line[2:] for line in lines if line.startswith(b"<"))
        number = 1
    elif _STATUS_LINE.match(_COLOURS.sub(b"", text[:1000])) is None:
        first = text[:1000].split(b"\n", 1)[0].decode("latin-1").strip()
        raise InputError(f"input line {number}, {_short(first)}, is no status line: {_RIGHT_STDIN}")
    found = False
    while text:
        response, text, number = _one_pasted(text, number)
        # A proxy's answer to CONNECT has no say about the API behind it (RFC 9110 section 9.3.6).
        tunnel = response.status == 200 and not response.headers and text
        if response.status >= 200 and not tunnel:
            found = True
            yield response
    if not found:
        raise InputError(f"there is no final answer in the input, only interim ones: {_RIGHT_STDIN}")


def _one_pasted(text: bytes, number: int) -> tuple[Response, bytes, int]:
    """The first response of `text`, what follows it, and the number of the line where that begins."""
    where, status, headers = f"input line {number}", 0, list[tuple[str, str]]()
    position = 0
    while position < len(text):
        end = text.find(b"\n", position)
        end = len(text) if end < 0 else end
        line = _COLOURS.sub(b"", text[position:end]).rstrip(b"\r")
        position, at, number = end + 1, number, number + 1
        if not status:
            matched = _STATUS_LINE.match(line)
            if matched is None:
                raise InputError(
                    f"input line {at}, {_short(line.decode('latin-1'))}, is no status line: {_RIGHT_STDIN}"
                )
            status = int(matched[1])
            continue
        if not line.strip():
            break
        plain = line.decode("utf-8", "replace")
        name, colon, value = plain.partition(":")
        if plain[0] in " \t" and headers:
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {plain.strip()}")  # RFC 9112 section 5.2
        elif colon and _NAME.fullmatch(name):
            headers.append((name, value.strip()))
        else:
            raise InputError(f"input line {at}, {_short(plain)}, is no header: write it like Retry-After: 7")
    rest = text[position:]
    size = _body_size(rest, headers)
    body, rest = rest[:size], rest[size:].lstrip(b"\r\n")
    number += text[position : len(text) - len(rest)].count(b"\n")
    return Response(where=where, status=status, headers=headers, body=body or None), rest, number


def _body_size(rest: bytes, headers: list[tuple[str, str]]) -> int:
    """Where the body ends: by its length where what follows agrees, else before the next status line."""
    told = next((value for name, value in headers if name.lower() == "content-length"), "")
    if told.isascii() and told.isdigit() and len(told) < 12 and int(told) <= len(rest):
        after = rest[int(told) :].lstrip(b"\r\n")
        if not after or _STATUS_LINE.match(after):
            return int(told)
    if _STATUS_LINE.match(rest):
        return 0
    position = rest.find(b"\nHTTP/")
    while position >= 0:
        if _STATUS_LINE.match(rest, position + 1):
            return position + 1
        position = rest.find(b"\nHTTP/", position + 1)
    return len(rest)


def _short(value: object) -> str:
    return one_line(repr(value), 80)
