"""OUT.state: what a job remembers between runs, saved whole or not at all.

OUT itself is the truth. The state only says how far OUT had been looked through (`offset`, with a hash of the
bytes before it), so that a run that goes on need not read all of OUT; where the two do not fit together, OUT is
read from its beginning. So a state that is old, or was saved before OUT reached the disk, loses and doubles nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
import zlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError, OutputError
from ..paging import is_kept
from .bitmap import Bitmap
from .fastjson import orjson
from .source import SourceMark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .paging import Places

__all__ = ["MARKED", "RequestMark", "State", "load", "mark_of", "save"]

VERSION: Final = 1
MARKED: Final = 4096
_MAX_STATE: Final = 1 << 30
_KIND: Final = "paceline job"


@dataclass(frozen=True, slots=True)
class RequestMark:
    """The request options of a job as salted hashes, so that a change is noticed and no value is stored."""

    salt: str
    options: Mapping[str, str]

    @classmethod
    def of(cls, options: Mapping[str, str], salt: str | None = None) -> RequestMark:
        """Hashes the values (HMAC-SHA256, RFC 2104); `salt` is a state's own, or new.

        >>> before = RequestMark.of({"header Accept": "text/csv"})
        >>> before.changed({"header Accept": "text/html", "method": "PUT"})
        ['header Accept', 'method']
        """
        salt = secrets.token_hex(16) if salt is None else salt
        key = salt.encode()
        return cls(
            salt, {n: hmac.new(key, v.encode(), hashlib.sha256).hexdigest() for n, v in options.items()}
        )

    def changed(self, options: Mapping[str, str]) -> list[str]:
        """The names of options whose values are not those of this mark, or that only one side has."""
        now = RequestMark.of(options, self.salt).options
        return sorted(name for name in {*now, *self.options} if now.get(name) != self.options.get(name))


@dataclass(slots=True)
class State:
    """What stands in OUT.state.

    offset: how many bytes of OUT the two sets tell of; mark: hash of the bytes before it (`mark_of`).
    recorded: numbers of the inputs that have a record there; failed: those of them whose record has an error.
    places: the lists that are under way or broke off in the middle: by number, the last page that has a record, and
    what going on after it needs.
    failed_file: the path given with --failed, which is the job's own from then on.
    extra: what the runner keeps (small JSON).
    """

    source: SourceMark
    request: RequestMark
    offset: int = 0
    mark: str = ""
    recorded: Bitmap = field(default_factory=Bitmap)
    failed: Bitmap = field(default_factory=Bitmap)
    places: Places = field(default_factory=dict)
    failed_file: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def mark_of(fd: int, offset: int) -> str:
    """A hash of the last bytes before `offset`; no line stands twice, so it fits one content at one place only."""
    start = max(0, offset - MARKED)
    return hashlib.sha256(os.pread(fd, offset - start, start)).hexdigest()


def _packed(compact: tuple[int, bytes]) -> dict[str, Any]:
    full, rest = compact
    return {"full": full, "rest": base64.b64encode(zlib.compress(rest, 1)).decode("ascii")}


def _unpacked(value: Mapping[str, Any], count: int) -> Bitmap:
    full, most = value["full"], (count >> 3) + 1
    if not isinstance(full, int) or not 0 <= full <= most:
        raise ValueError("a set of numbers is damaged")
    inflate = zlib.decompressobj()
    rest = inflate.decompress(base64.b64decode(value["rest"], validate=True), most + 1)
    if not inflate.eof or full + len(rest) > most:
        raise ValueError("a set of numbers is damaged")
    return Bitmap.from_compact(full, rest)


def _places(value: Mapping[str, Any], count: int) -> Places:
    places: Places = {}
    for number, (page, so_far) in value.items():
        if not 1 <= int(number) <= count or not is_kept(page, so_far):
            raise ValueError("a place in a list is damaged")
        places[int(number)] = (page, so_far)
    return places


def save(
    path: str,
    state: State,
    *,
    recorded: tuple[int, bytes],
    failed: tuple[int, bytes],
    places: bytes = b"{}",
    extra: bytes,
) -> None:
    """Writes a state beside its place, syncs it to disk and renames it over the old one; mode 0600.

    recorded, failed: the sets as `Bitmap.compact` gave them at the moment the state speaks of (the sets
    themselves may have gone on: this may run in a thread). places, extra: JSON, in the place of the state's own.
    Raises OutputError.
    """
    content = orjson.dumps(
        {
            "kind": _KIND,
            "version": VERSION,
            "source": asdict(state.source),
            "request": {"salt": state.request.salt, "options": dict(state.request.options)},
            "output": {"offset": state.offset, "mark": state.mark},
            "recorded": _packed(recorded),
            "failed": _packed(failed),
            "places": orjson.Fragment(places),
            "failed_file": state.failed_file,
            "extra": orjson.Fragment(extra),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
    fresh = path + ".new"
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(fresh, path)
        sync_folder(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise OutputError(
            f"cannot save the job's state in {path}: {error.strerror or error}; every record that is in OUT counts: "
            "make room or mend the folder, then run the same command again to go on"
        ) from None


def sync_folder(path: str) -> None:
    """Makes a rename in a file's folder last through a power cut, where the file system offers it."""
    with contextlib.suppress(
        OSError
    ):  # some file systems cannot sync a folder: the rename is atomic all the same
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def load(path: str) -> State | None:
    """Reads a state; None where there is none. Raises InputError for one that is damaged, newer or not ours."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_STATE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    again = "begin again with --fresh, or name another OUT"
    try:
        found = orjson.loads(content)
        if not isinstance(found, dict) or found.get("kind") != _KIND:
            raise InputError(f"{path} is not the state of a paceline job: {again}")
        if found["version"] > VERSION:
            raise InputError(
                f"{path} was written by a newer paceline (format {found['version']}, this one reads {VERSION}): "
                f"upgrade paceline, or {again}"
            )
        source = SourceMark(**found["source"])
        return State(
            source=source,
            request=RequestMark(found["request"]["salt"], found["request"]["options"]),
            offset=found["output"]["offset"],
            mark=found["output"]["mark"],
            recorded=_unpacked(found["recorded"], source.count),
            failed=_unpacked(found["failed"], source.count),
            places=_places(found["places"], source.count),
            failed_file=found["failed_file"],
            extra=found["extra"],
        )
    except (ValueError, TypeError, KeyError, zlib.error, binascii.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({type(error).__name__}): {again}") from None
