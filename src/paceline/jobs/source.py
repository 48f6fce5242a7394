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
from typing import TYPE_CHECKING

from ..errors import InputError, OutputError
from .content import Content
from .duplicates import Duplicates
from .reader import Form, Reader, form_of
from .spec import BadInput, Defaults, Request

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

__all__ = ["BadInput", "Defaults", "Request", "Source", "SourceMark"]


@dataclass(frozen=True, slots=True)
class SourceMark:
    """What tells one content from another: its form, size in bytes, SHA-256 and number of inputs.

    ended: whether it ends with a newline; closed: whether no quote is open at its end. Both tell whether lines
    behind its end are new inputs or a part of the last.
    """

    form: str
    size: int
    sha256: str
    count: int
    ended: bool
    closed: bool


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
        form = form_of(content)
        digest, size, last = hashlib.sha256(), 0, b"\n"

        def hashed() -> Iterator[bytes]:
            nonlocal size, last
            for block in content.blocks():
                digest.update(block)
                size += len(block)
                last = block[-1:]
                yield block

        reader = Reader(content.name, form, defaults)
        with Duplicates() as ids:
            counted = reader.count(hashed(), ids)
            if counted.integers and counted.named < counted.count:
                # The number of an input without an id could be the id of another one: compare those too.
                with Duplicates() as all_ids:
                    reader.count(content.blocks(), all_ids, unnamed=True)
                    reader.refuse_twice(content, all_ids, unnamed=True)
            else:
                reader.refuse_twice(content, ids)
        mark = SourceMark(form, size, digest.hexdigest(), counted.count, last == b"\n", counted.closed)
        return cls(content.name, content.path, form, counted.count, counted.named, mark, defaults, content)

    def items(self, skip: Container[int] = ()) -> Iterator[Request | BadInput]:
        """The inputs in order, without those whose number is in `skip`.

        Raises OutputError where SOURCE cannot be read on, or is not any more what `open` saw.
        """
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for block in self.content.blocks():
                digest.update(block)
                yield block

        try:
            yield from Reader(self.name, self.form, self.defaults).items(hashed(), skip)
        except InputError as error:
            raise OutputError(f"{error}; put it back as it was and run again to go on") from None
        if digest.hexdigest() != self.mark.sha256:
            raise OutputError(
                f"{self.name} changed while it was read: put it back as it was and run again to go on"
            )

    def ids(self) -> Iterator[tuple[int, str | int]]:
        """Number and id of each input, in order, as in the records."""
        for number, _, identity in Reader(self.name, self.form, self.defaults).ids(self.content.blocks()):
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
        return before.closed and (before.ended or following.removeprefix(b"\r")[:1] == b"\n")

    def close(self) -> None:
        """Closes the file behind it."""
        self.content.close()
