"""SOURCE: the job's inputs, looked through once before anything is sent, then given out in order.

How the runner uses it:

    source = Source.open(path_or_dash, Defaults(method="GET", headers={...}))   # pass one; InputError = exit 2
    for item in source.items(skip=output.done):                                # Request | BadInput, in order
        ...
    source.close()

Inputs are numbered from 1 in the order they stand; blank lines and lines that begin with `#` are none (in CSV,
blank lines and the header are none, and `#` means nothing). Memory does not grow with the number of inputs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ..errors import InputError, OutputError
from .content import MAX_LINE, Content, TooLong, split_lines
from .csv_rows import Row, cells, rows
from .duplicates import Duplicates
from .fastjson import orjson
from .spec import BadInput, Defaults, Request, own_id, read_spec, url_request
from .urls import MAX_URL, Unusable, is_plain_url, shown

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

__all__ = ["BadInput", "Defaults", "Request", "Source", "SourceMark"]

Form = Literal["urls", "jsonl", "csv"]
_BY_NAME: Final[dict[str, Form]] = {".txt": "urls", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_HASH: Final = ord("#")
_BRACE: Final = ord("{")
_SNIFFED: Final = 1024 * 1024
# tuple.__new__ skips a layer of Python that would cost as much as all the rest of a plain line.
_new: Final = tuple.__new__


@dataclass(frozen=True, slots=True)
class SourceMark:
    """What tells one content from another: its form, size in bytes, SHA-256 and number of inputs.

    growable: whether lines behind its end would be new inputs, not a part of the last.
    """

    form: str
    size: int
    sha256: str
    count: int
    growable: bool


@dataclass(slots=True)
class Source:
    """The inputs of one job; made by `Source.open`.

    name: for messages; path: the real path, None for standard input and pipes; form: urls, jsonl or csv;
    count: how many inputs; named: how many of them name an id; mark: what the checkpoint keeps of the content.
    """

    name: str
    path: str | None
    form: Form
    count: int
    named: int
    mark: SourceMark
    defaults: Defaults
    content: Content = field(repr=False)

    @classmethod
    def open(cls, path: str, defaults: Defaults | None = None) -> Source:
        """Opens SOURCE and looks through all of it: form, number of inputs, hash, ids that stand twice.

        path: a file (also `.gz`, `.zst`), or `-` for standard input, which is first copied to an unlinked
        temporary file. The form goes by the name (`.txt .jsonl .ndjson .csv`), else by the first line.
        Raises InputError for what makes the whole unusable (not readable, damaged, no `url` column, an id that
        stands twice), OutputError where the temporary folder is full. A bad line is not an error here:
        `items` gives it as BadInput.
        """
        content = Content.open(path)
        try:
            return cls._look_through(content, defaults or Defaults())
        except BaseException:
            content.close()
            raise

    @classmethod
    def _look_through(cls, content: Content, defaults: Defaults) -> Source:
        form = _form(content)
        digest, size, last = hashlib.sha256(), 0, b"\n"

        def hashed() -> Iterator[bytes]:
            nonlocal size, last
            for block in content.blocks():
                digest.update(block)
                size += len(block)
                last = block[-1:]
                yield block

        reader = _Reader(content.name, form, defaults)
        with Duplicates() as ids:
            counted = reader.count(hashed(), ids)
            if counted.integers and counted.named < counted.count:
                # The number of an input without an id could be the id of another one: compare those too.
                with Duplicates() as all_ids:
                    reader.count(content.blocks(), all_ids, unnamed=True)
                    reader.refuse_twice(content, all_ids, unnamed=True)
            else:
                reader.refuse_twice(content, ids)
        mark = SourceMark(form, size, digest.hexdigest(), counted.count, counted.closed and last == b"\n")
        return cls(content.name, content.path, form, counted.count, counted.named, mark, defaults, content)

    def items(self, skip: Container[int] = ()) -> Iterator[Request | BadInput]:
        """The inputs in order, without those whose number is in `skip`.

        Raises OutputError where SOURCE cannot be read on, or is not any more what `open` saw.
        """
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            left = self.mark.size
            for block in self.content.blocks():
                part = block[:left] if len(block) > left else block
                left -= len(part)
                digest.update(part)
                yield part

        try:
            yield from _Reader(self.name, self.form, self.defaults).items(hashed(), skip)
        except InputError as error:
            raise OutputError(f"{error}; put it back as it was and run again to go on") from None
        if digest.hexdigest() != self.mark.sha256:
            raise OutputError(
                f"{self.name} changed while it was read: put it back as it was and run again to go on"
            )

    def ids(self) -> Iterator[tuple[int, str | int]]:
        """Number and id of each input, in order, as in the records."""
        for number, _, identity in _Reader(self.name, self.form, self.defaults).ids(self.content.blocks()):
            yield number, number if identity is None else identity

    def continues(self, before: SourceMark) -> bool:
        """Whether this content is the one that `before` marks, perhaps with lines added behind its end."""
        if before.form != self.mark.form or before.size > self.mark.size:
            return False
        if before.size == self.mark.size:
            return before.sha256 == self.mark.sha256
        digest, left, following = hashlib.sha256(), before.size, b""
        for block in self.content.blocks():
            digest.update(block[:left])
            following = (following + block[left : left + 2])[:2]
            left = max(0, left - len(block))
            if len(following) == 2:
                break
        if digest.hexdigest() != before.sha256:
            return False
        return (
            before.growable
            or before.size == 0
            or (self.form != "csv" and following.lstrip(b"\r")[:1] == b"\n")
        )

    def close(self) -> None:
        """Closes the file behind it."""
        self.content.close()


def _form(content: Content) -> Form:
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
class _Counted:
    count: int = 0
    named: int = 0
    integers: bool = False
    closed: bool = True


class _Reader:
    """One form of input, read from blocks; it holds no place in the file, so any number of passes can be made."""

    def __init__(self, name: str, form: Form, defaults: Defaults) -> None:
        self.name, self.form, self.defaults = name, form, defaults
        self.closed = True

    # --- pass one -----------------------------------------------------------------------------------------

    def count(self, blocks: Iterator[bytes], ids: Duplicates, *, unnamed: bool = False) -> _Counted:
        """Counts the inputs and feeds their own ids to `ids` (with `unnamed`: their numbers, too)."""
        if self.form == "urls" and not unnamed:
            return self._count_lines(blocks, ids)
        counted = _Counted()
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

    def _count_lines(self, blocks: Iterator[bytes], ids: Duplicates) -> _Counted:
        counted = _Counted()
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
                yield number, row.line, _cell(row, id_at) or None
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
        method, headers = self.defaults.method, self.defaults.headers
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
                        Request, (number, number, method, url, headers, None, 1.0, url, line, line_number)
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
        own = _cell(row, id_at)
        identity: str | int = own or number
        found = cells(row.text)
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


def _cell(row: Row, at: int | None) -> str:
    if at is None or type(row.text) is TooLong:
        return ""
    found = cells(row.text)
    return found[at].decode("utf-8", "replace").strip() if at < len(found) else ""


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
