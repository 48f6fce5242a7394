"""The forms of SOURCE read from blocks of bytes: URLs and JSON lines (in any mixture), and CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ..errors import InputError
from .content import MAX_LINE, Content, TooLong, split_lines
from .csv_rows import Row, cells, rows
from .fastjson import orjson
from .spec import BadInput, Defaults, Request, own_id, read_spec, url_request
from .urls import MAX_URL, Unusable, is_plain_url, shown

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .duplicates import Duplicates

__all__ = ["Counted", "Form", "Reader", "form_of"]

Form = Literal["urls", "jsonl", "csv"]
_BY_NAME: Final[dict[str, Form]] = {".txt": "urls", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_HASH: Final = ord("#")
_BRACE: Final = ord("{")
_SNIFFED: Final = 1024 * 1024
# tuple.__new__ skips a layer of Python that would cost as much as all the rest of a plain line.
_new: Final = tuple.__new__


def form_of(content: Content) -> Form:
    """The form of a content, by its name, else by its first line that is not blank or a comment.

    Raises InputError for UTF-16.
    """
    dot = content.stem.rfind(".")
    named = _BY_NAME.get(content.stem[dot:].lower()) if dot >= 0 else None
    seen = 0
    for batch in split_lines(content.blocks()):
        if seen == 0 and batch[0][:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{content.name} is UTF-16, not UTF-8: convert it (iconv -f utf-16 -t utf-8)")
        for line in batch:
            seen += 1 + len(line)
            text = line.strip()
            if named is not None or not text or text[0] == _HASH:
                continue
            if text[0] == _BRACE:
                return "jsonl"
            header = [name.strip().lower() for name in cells(text)]
            return "csv" if b"url" in header else "urls"
        if named is not None or seen > _SNIFFED:
            break
    return named or "urls"


@dataclass(slots=True)
class Counted:
    """What pass one found: inputs, those that name an id, whether an id is an integer, whether all quotes close."""

    count: int = 0
    named: int = 0
    integers: bool = False
    closed: bool = True


class Reader:
    """One form of input, read from blocks; it holds no place in the file, so any number of passes can be made."""

    def __init__(self, name: str, form: Form, defaults: Defaults) -> None:
        self.name, self.form, self.defaults = name, form, defaults
        self.closed = True

    # --- pass one -----------------------------------------------------------------------------------------

    def count(self, blocks: Iterator[bytes], ids: Duplicates, *, unnamed: bool = False) -> Counted:
        """Counts the inputs and feeds their own ids to `ids` (with `unnamed`: their numbers, too)."""
        if self.form == "urls" and not unnamed:
            return self._count_lines(blocks, ids)
        counted = Counted()
        for number, _, identity in self.ids(blocks):
            counted.count = number
            if identity is not None:
                counted.named += 1
                counted.integers = counted.integers or isinstance(identity, int)
                ids.add(identity)
            elif unnamed:
                ids.add(number)
        counted.closed = self.closed
        return counted

    def _count_lines(self, blocks: Iterator[bytes], ids: Duplicates) -> Counted:
        counted = Counted()
        count = 0
        for batch in split_lines(blocks):
            for line in batch:
                if line[:1] == b"h":
                    count += 1
                    continue
                text = line.strip()
                if not text or text[0] == _HASH:
                    continue
                count += 1
                identity = _id_in(text) if text[0] == _BRACE else None
                if identity is not None:
                    counted.named += 1
                    counted.integers = counted.integers or isinstance(identity, int)
                    ids.add(identity)
        counted.count = count
        return counted

    def refuse_twice(self, content: Content, ids: Duplicates, *, unnamed: bool = False) -> None:
        """Raises InputError where an id stands twice: what the hashes suspect, the ids themselves must show."""
        for suspects in ids.candidates():
            lines: dict[str | int, int] = {}
            for number, line, identity in self.ids(content.blocks()):
                key = number if identity is None and unnamed else identity
                if key is None or hash(key) not in suspects:
                    continue
                if key in lines:
                    shown_id = repr(key) if len(repr(key)) <= 80 else repr(key)[:79] + "…"
                    why = "" if identity is not None else " (an input without an id has its number for one)"
                    raise InputError(
                        f"{self.name}: the id {shown_id} stands twice, in lines {lines[key]} and {line}{why}; "
                        "give each input its own id, or none"
                    )
                lines[key] = line

    def ids(self, blocks: Iterator[bytes]) -> Iterator[tuple[int, int, str | int | None]]:
        """Number, line and own id (None: it names none) of each input."""
        if self.form == "csv":
            for number, (row, _, id_at, _) in enumerate(self._csv(blocks), 1):
                yield number, row.line, _row_id(row, id_at)
            return
        number = 0
        for line_number, line in enumerate((line for batch in split_lines(blocks) for line in batch), 1):
            text = line.strip()
            if text and text[0] != _HASH:
                number += 1
                yield number, line_number, _id_in(text) if text[0] == _BRACE else None

    # --- the inputs ---------------------------------------------------------------------------------------

    def items(self, blocks: Iterator[bytes], skip: Container[int]) -> Iterator[Request | BadInput]:
        if self.form == "csv":
            for number, (row, url_at, id_at, width) in enumerate(self._csv(blocks), 1):
                if number not in skip:
                    yield self._row(row, number, url_at, id_at, width)
            return
        method, headers, paging = self.defaults.method, self.defaults.headers, self.defaults.paging
        number = line_number = 0
        any_skipped = skip != ()
        for batch in split_lines(blocks):
            for line in batch:
                line_number += 1
                if len(line) <= MAX_URL and is_plain_url(line):
                    number += 1
                    if any_skipped and number in skip:
                        continue
                    url = line.decode("ascii")
                    yield _new(
                        Request, (number, number, method, url, headers, None, 1.0, url, line, line_number, paging)
                    )
                    continue
                text = line if type(line) is TooLong else line.strip()
                if not text or text[0] == _HASH:
                    continue
                number += 1
                if any_skipped and number in skip:
                    continue
                if text[0] == _BRACE:
                    yield read_spec(text, number, line_number, self.defaults)
                else:
                    yield self._line(text, number, line_number)

    def _line(self, text: bytes, number: int, line: int) -> Request | BadInput:
        if type(text) is TooLong:
            return _too_long(text, number, line)
        url = ""
        try:
            if self.form == "jsonl" and not text[:8].lower().startswith((b"http://", b"https://")):
                raise Unusable(
                    'it is not a JSON object; write it like {"url": "https://api.example.com/items/1"}'
                )
            url = _text(text)
            return url_request(url, number, number, text, line, self.defaults)
        except Unusable as error:
            return BadInput(number, number, f"line {line}: {error}", shown(url), text, line)

    def _csv(self, blocks: Iterator[bytes]) -> Iterator[tuple[Row, int, int | None, int]]:
        """Each row with the places of `url` and `id` and the number of columns."""
        found = rows(split_lines(blocks))
        header = next(found, None)
        if header is None:
            return
        names = [name.decode("utf-8", "replace").strip().lower() for name in cells(header.text)]
        if names.count("url") != 1 or names.count("id") > 1:
            seen = ", ".join(repr(name) for name in names[:8]).replace("\0", "")[:200]
            what = "has no column" if "url" not in names else "has more than one column"
            which = "url" if names.count("url") != 1 else "id"
            raise InputError(
                f"{self.name}: its first line {what} {which!r} (it has {seen}); "
                "the first line of a CSV names the columns, with commas between, one of them url"
            )
        id_at = names.index("id") if "id" in names else None
        for row in found:
            self.closed = row.closed
            yield row, names.index("url"), id_at, len(names)

    def _row(self, row: Row, number: int, url_at: int, id_at: int | None, width: int) -> Request | BadInput:
        if type(row.text) is TooLong:
            return _too_long(row.text, number, row.line)
        found = cells(row.text)
        own = _cell(found, id_at)
        identity: str | int = own or number
        given = found[url_at].decode("utf-8", "replace").strip() if url_at < len(found) else ""
        raw = orjson.dumps({"url": given, "id": own} if own else {"url": given})
        try:
            if len(found) > width and any(found[width:]):
                raise Unusable(
                    f"the row has {len(found)} cells, the header {width}; put a url with a comma in quotes"
                )
            if not given:
                raise Unusable("its url is empty")
            if not row.closed:
                raise Unusable("a quote in this row is never closed")
            return url_request(_text(found[url_at].strip()), number, identity, raw, row.line, self.defaults)
        except Unusable as error:
            return BadInput(number, identity, f"line {row.line}: {error}", shown(given), raw, row.line)


def _cell(found: list[bytes], at: int | None) -> str:
    return found[at].decode("utf-8", "replace").strip() if at is not None and at < len(found) else ""


def _row_id(row: Row, at: int | None) -> str | None:
    if at is None or type(row.text) is TooLong:
        return None
    return _cell(cells(row.text), at) or None


def _text(url: bytes) -> str:
    try:
        return url.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable(
            f"it is not valid UTF-8 (byte {error.start + 1}); save SOURCE as UTF-8, or encode the URL"
        ) from None


def _id_in(text: bytes) -> str | int | None:
    # Without the name, or an escape that could spell it, there is no id: most lines need no parsing.
    if b'"id"' not in text and b"\\u" not in text:
        return None
    try:
        fields = orjson.loads(text)
        return own_id(fields) if isinstance(fields, dict) else None
    except (orjson.JSONDecodeError, Unusable):
        return None


def _too_long(text: bytes, number: int, line: int) -> BadInput:
    start = text[1:].decode("utf-8", "replace")
    beginning = "".join(char if char.isprintable() else "." for char in shown(start)[:80])
    why = f"line {line}: it is longer than {MAX_LINE // 2**20} MiB; send long data in smaller parts"
    # Not kept whole, so it cannot be given back whole: a comment says so where the failed inputs are listed.
    raw = f"# line {line} of SOURCE was too long to be kept, it began with: {beginning}".encode()
    return BadInput(number, number, why, beginning, raw, line)
