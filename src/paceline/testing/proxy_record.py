"""The record of what passed through the proxy: one JSON line a request, without credentials, in bounded size."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from ..masking import mask_headers, mask_text, mask_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Passage", "Record", "passage"]

_MOST_URL: Final = 4096
_MOST_FIELDS: Final = 100
_MOST_VALUE: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One request's way through the proxy. No field holds a credential, nor anything of a body.

    at: epoch seconds of its arrival; seconds: from there to its end. status: what the client was given, None where
    its connection was closed instead. upstream_status: what the upstream answered, None where it was not asked or
    gave none. fault: what was injected; when: before or after the upstream acted. error: what went wrong by itself.
    whole: the client got its answer in full. sent_bytes, received_bytes: of bodies, to and from the upstream.
    """

    at: float
    method: str
    url: str
    status: int | None
    upstream_status: int | None
    fault: str | None
    when: str | None
    error: str | None
    whole: bool
    seconds: float
    sent_bytes: int
    received_bytes: int
    request_headers: tuple[tuple[str, str], ...]
    response_headers: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def passage(
    *,
    url: str,
    error: str | None,
    request_headers: Sequence[tuple[object, object]],
    response_headers: Sequence[tuple[object, object]],
    **facts: Any,
) -> Passage:
    """A passage from raw facts: credentials in the URL, the headers and the error are masked, long texts cut.

    >>> facts = {"at": 0.0, "method": "GET", "status": 200, "upstream_status": 200, "fault": None, "when": None}
    >>> sizes = {"whole": True, "seconds": 0.1, "sent_bytes": 0, "received_bytes": 2}
    >>> made = passage(url="http://x/?api_key=k", error=None, request_headers=[(b"Authorization", b"Bearer s")],
    ...                response_headers=[], **facts, **sizes)
    >>> made.url, made.request_headers
    ('http://x/?api_key=***', (('Authorization', 'Bearer ***'),))
    """
    return Passage(
        url=mask_url(url)[:_MOST_URL],
        error=None if error is None else mask_text(error)[:_MOST_VALUE],
        request_headers=_shown(request_headers),
        response_headers=_shown(response_headers),
        **facts,
    )


def _shown(headers: Sequence[tuple[object, object]]) -> tuple[tuple[str, str], ...]:
    return tuple((name[:_MOST_VALUE], value[:_MOST_VALUE]) for name, value in mask_headers(headers[:_MOST_FIELDS]))


class Record:
    """A file of passages, one JSON object a line, appended to; only its owner can read it.

    path: where. most: bytes that may be added; what comes after that is counted, not written. Raises InputError
    where the file cannot be opened.
    """

    def __init__(self, path: str | Path, most: int = 1 << 30) -> None:
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(number, "wb", buffering=1 << 16)
        except OSError as error:
            raise InputError(f"cannot write the record {os.fspath(path)!r} ({error.strerror})") from error
        self._left = most
        self.left_out = 0
        self.error: str | None = None

    def add(self, one: Passage) -> bool:
        """Writes a passage; False where the record is full or its disk failed, and for all that follow."""
        line = json.dumps(one.as_dict(), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        if self.error is None and len(line) <= self._left:
            try:
                self._file.write(line)
            except OSError as error:
                self.error = error.strerror or str(error)
            else:
                self._left -= len(line)
                return True
        self._left = 0
        self.left_out += 1
        return False

    def flush(self) -> None:
        """Lets readers see what was written so far."""
        if self.error is None:
            try:
                self._file.flush()
            except OSError as error:
                self.error, self._left = error.strerror or str(error), 0

    def close(self) -> None:
        """Ends the record."""
        self.flush()
        with suppress(OSError):
            self._file.close()
