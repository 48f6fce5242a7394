"""CSV read row by row from bounded lines (RFC 4180): bytes in, cells out, any file size."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from .content import MAX_LINE, TooLong

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Row", "cells", "rows"]

_CLOSED: Final = re.compile(rb'[^"]*+(?:""[^"]*+)*+"[^,]*+(?:,|\Z)')
_PLAIN: Final = re.compile(rb"[^,]*+(?:,|\Z)")
_QUOTED_CELL: Final = re.compile(rb'"([^"]*+(?:""[^"]*+)*+)"([^,]*+)(?:,|\Z)')
_EXCERPT: Final = 200


class Row(NamedTuple):
    """One record as bytes, the line it begins on, and whether its quotes were closed."""

    text: bytes
    line: int
    closed: bool


def rows(batches: Iterator[list[bytes]]) -> Iterator[Row]:
    """The records of a CSV file; blank lines are none; a quoted cell may run over lines.

    >>> [row.text for row in rows(iter([[b"url,note", b'https://example.com/,"a', b'b"', b""]]))]
    [b'url,note', b'https://example.com/,"a\\nb"']
    """
    number = 0
    held: list[bytes] = []
    size = 0
    begun = 0
    for batch in batches:
        for line in batch:
            number += 1
            if not held:
                if b'"' not in line:
                    if line and not line.isspace():
                        yield Row(line if type(line) is TooLong else line.removesuffix(b"\r"), number, True)
                    continue
                begun = number
            open_quote = _still_open(line.removesuffix(b"\r"), bool(held))
            size += len(line) + 1
            if size <= MAX_LINE:
                held.append(line)
            elif type(held[0] if held else line) is not TooLong:
                held = [TooLong(b"\0" + b"\n".join([*held, line])[:_EXCERPT])]
            if not open_quote:
                yield Row(_joined(held), begun, True)
                held, size = [], 0
    if held:
        yield Row(_joined(held), begun, False)


def _joined(lines: list[bytes]) -> bytes:
    return lines[0] if type(lines[0]) is TooLong else b"\n".join(lines).removesuffix(b"\r")


def _still_open(line: bytes, opened: bool) -> bool:
    """Whether a quote is open at the line's end; a quote opens only where a cell begins."""
    at = 0
    while True:
        if opened or line.startswith(b'"', at):
            end = _CLOSED.match(line, at if opened else at + 1)
            if end is None:
                return True
            opened = False
        else:
            end = _PLAIN.match(line, at)
        if end is None or end.end() == len(line):
            return False
        at = end.end()


def cells(text: bytes) -> list[bytes]:
    """The cells of one record.

    >>> cells(b'a,"b, ""c"" d",')
    [b'a', b'b, "c" d', b'']
    """
    if b'"' not in text:
        return text.split(b",")
    found: list[bytes] = []
    at = 0
    while True:
        quoted = _QUOTED_CELL.match(text, at)
        if quoted is not None:
            found.append(quoted[1].replace(b'""', b'"') + quoted[2])
            end = quoted.end()
        else:
            comma = text.find(b",", at)
            end = len(text) if comma < 0 else comma + 1
            found.append(text[at : comma if comma >= 0 else len(text)])
        if end == len(text):
            if text.endswith(b",") and (quoted is None or quoted[0].endswith(b",")):
                found.append(b"")
            return found
        at = end
