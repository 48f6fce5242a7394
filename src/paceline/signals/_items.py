"""Counters as servers write them: `100`, `1,000`, `100;w=60`, `32/40`, `100:120`, `150/15m`, `name;46`, and lists of these."""

from __future__ import annotations

import re
from typing import Final

from ._names import Field, period_of
from ._structured import cut
from ._times import number

__all__ = ["Item", "label_of", "read_counts", "read_item", "shorten"]

_LARGEST: Final = 1e15
_LABEL: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,9})?")
_PER: Final = re.compile(
    r"([0-9]{1,15}) ?(?:requests? |calls? )?per ?([0-9]{0,4}) ?([a-z]{1,8})", re.IGNORECASE
)


class Item:
    """One member of a list of counters: `100;w=60`, `32/40`, `100:120`, `name;46`."""

    __slots__ = ("name", "of", "value", "window")

    def __init__(
        self,
        value: float | None,
        window: float | None = None,
        name: str | None = None,
        of: float | None = None,
    ) -> None:
        self.value, self.window, self.name, self.of = value, window, name, of


def read_counts(text: str, field: Field, what: str, notes: list[str], siblings: int = 1) -> list[Item]:
    if text.isdecimal() and text.isascii() and len(text) < 16:
        return [Item(int(text))]
    text = text.strip()
    if _THOUSANDS.fullmatch(text) is not None and siblings == 1:
        return [Item(number(text.replace(",", "")))]
    items = []
    for piece in cut(text, ","):
        item = read_item(piece)
        if item.value is not None and item.value < _LARGEST:
            items.append(item)
        elif piece.strip():
            notes.append(f"{field.name} says {shorten(piece)}, which is no {what}: ignored")
    if (
        len(items) > 1
        and all(item.value == items[0].value and item.window is None and item.name is None for item in items)
        and siblings == 1
    ):
        return items[:1]  # doubled on the way
    return items


def read_item(piece: str) -> Item:
    head, *params = cut(piece.strip(), ";")
    head = head.strip()
    value, window, name, of = number(head), None, None, None
    if value is None:
        left, slash, right = head.partition("/")
        if len(params) == 1 and head and number(params[0]) is not None and label_of(head) is not None:
            return Item(number(params[0]), name=head)  # name;46
        if slash and "/" not in right:
            value = number(left)
            of = number(right)
            if value is not None and of is None:
                window = period_of(right.strip().lower())  # 150/15m
                value = value if window is not None else None
        elif (told := _PER.fullmatch(head)) is not None:
            window = period_of(told[2] + told[3].lower())  # 10 per 1 minute
            value = number(told[1]) if window is not None else None
        elif ":" in head:
            left, _, right = head.partition(":")  # 100:120, a quota and its window
            value, window = number(left), number(right) or None
            value = value if window is not None else None
    for param in params:
        key, _, raw = param.partition("=")
        key = key.strip().lower()
        if key in ("w", "window") and window is None:
            window = number(raw) or None
        elif key == "name" and label_of(raw.strip(' "')) is not None:
            name = label_of(raw.strip(' "'))
    return Item(value, window, name, of)


def label_of(text: str) -> str | None:
    """A bucket's name: printable ASCII of at most 128 characters, else None.

    >>> label_of(" core "), label_of("\\x00"), label_of("")
    ('core', None, None)
    """
    text = text.strip()
    return text if _LABEL.fullmatch(text) is not None else None


def shorten(text: str) -> str:
    """A server's text, cut and escaped, for a note."""
    text = text.strip()
    return ascii(text[:40] + ("…" if len(text) > 40 else ""))
