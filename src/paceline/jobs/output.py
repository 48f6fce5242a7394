"""OUT: one record a line, each input exactly once, whatever happens in between.

How the runner uses it:

    output = Output.open(path, source=source, request={"method": "GET", "header accept": "…"},   # InputError = exit 2
                         failed_path=None, fresh=False)
    for item in source.items(skip=output.done): …
    output.write(number, line)                          # line: what record.encode gave; a failure: failed_raw=item.raw
    output.flush()                                      # once a tick of the event loop: the kernel has it then
    output.save(output.snapshot(extra))                 # every second or so; save may run in a thread
    output.close(extra)                                 # at the end; or output.abandon() after an OutputError

What is certain: a line that was flushed survives kill -9 of the process, with or without a checkpoint. What a
checkpoint has noted survives a power cut: `save` syncs OUT before the state that speaks of it. A record that
was written and not noted is found again when the next run begins, so nothing is fetched twice but what was in
flight. Only one process at a time can have an OUT open (flock on OUT itself, gone with the process).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError, OutputError
from .bitmap import Bitmap
from .checkpoint import RequestMark, State, load, mark_of, save
from .fastjson import orjson
from .places import check_place, keep_apart, open_locked
from .resume import Replayed, cut_half_line, replay, still_there, without_failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .paging import Places
    from .source import Source

__all__ = ["Output", "Replayed", "Snapshot"]

_HELD: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A checkpoint of one moment, not yet saved."""

    state: State
    recorded: tuple[int, bytes]
    failed: tuple[int, bytes]
    places: bytes
    extra: bytes


class Output:
    """An open OUT, made by `Output.open`.

    done: the numbers of the inputs that have a record (`source.items` skips them); it grows with `flush`.
    failed: those of them whose record has an error. extra: what the last run's checkpoint kept, {} at first.
    resumed: whether a run before this one had begun OUT. replayed: the records that were in OUT but not yet in
    that checkpoint. retrying: how many failed inputs of earlier runs are tried again.
    """

    def __init__(self, fd: int, path: str, state: State) -> None:
        self.path = path
        self.resumed = False
        self.replayed = Replayed()
        self.retrying = 0
        self._fd = fd
        self._state = state
        self._failed_fd = -1
        self._size = 0
        self._lines: list[bytes] = []
        self._numbers: list[int] = []
        self._failures: list[bytes] = []
        self._failed_numbers: set[int] = set()
        self._held = 0
        self._broken = False

    @property
    def done(self) -> Bitmap:
        return self._state.recorded

    @property
    def failed(self) -> Bitmap:
        return self._state.failed

    @property
    def places(self) -> Places:
        """Lists that are under way: an earlier run's, and this one's."""
        return self._state.places

    @property
    def extra(self) -> Mapping[str, Any]:
        return self._state.extra

    @classmethod
    def open(
        cls,
        path: str,
        *,
        source: Source,
        request: Mapping[str, str],
        failed_path: str | None = None,
        fresh: bool = False,
    ) -> Output:
        """Opens OUT to begin a job or to go on with it.

        path: OUT; its state stands beside it, in `path` + ".state".
        request: the options that decide what is asked for, by name; only salted hashes are kept. Leave credentials
        out that may be renewed between runs.
        failed_path: where failed inputs are listed as given, one a line, to be SOURCE again.
        fresh: overwrite OUT, and what stands in `failed_path`, and begin anew.

        Raises InputError, with nothing changed: OUT in a missing folder, a folder, not ours (not empty and no state
        beside it), in use, SOURCE or request changed since (lines added behind SOURCE's end are welcome), a
        damaged or newer state. Raises OutputError where the disk fails.
        """
        real = check_place(path, "OUT")
        failed_real = None if failed_path is None else check_place(failed_path, "the file of --failed")
        keep_apart(real, failed_real, source)
        existed = os.path.exists(real)
        fd = open_locked(real, "OUT")
        output: Output | None = None
        try:
            before = None if fresh else load(real + ".state")
            if before is None:
                if os.fstat(fd).st_size and not fresh:
                    raise InputError(
                        f"{path} exists and was not written by such a job (there is no {os.path.basename(real)}.state "
                        "beside it): name another OUT, or overwrite it with --fresh"
                    )
                output = cls(fd, real, State(source.mark, RequestMark.of(request)))
                output._open_failed(failed_real, None, fresh)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(real + ".state")
                os.ftruncate(fd, 0)
            else:
                _compare(before, source, request, path)
                output = cls(fd, real, before)
                output._open_failed(failed_real, before.failed_file, fresh)
                output._take_up(source)
            if output._failed_fd >= 0:
                # All that failed is tried again by this run, so the list begins anew and nothing stands in it twice.
                os.ftruncate(output._failed_fd, 0)
            output.save(output.snapshot(output.extra))
        except BaseException as error:
            if output is None:
                os.close(fd)
            else:
                output.abandon()
            if not existed:
                with contextlib.suppress(OSError):
                    os.unlink(real)
            if isinstance(error, OSError) and not isinstance(error, OutputError):
                raise OutputError(
                    f"cannot prepare {path}: {error.strerror or error}; nothing was lost"
                ) from None
            raise
        return output

    def _open_failed(self, path: str | None, before: str | None, fresh: bool) -> None:
        if path is None:
            self._state.failed_file = before
            return
        fd = open_locked(path, "the file of --failed", mode=0o600)
        self._failed_fd = fd
        if os.fstat(fd).st_size and path != before and not fresh:
            raise InputError(
                f"the file of --failed, {path}, is not empty and not this job's: name another one, or move it"
            )
        self._state.failed_file = path

    def _take_up(self, source: Source) -> None:
        state, self.resumed = self._state, True
        state.source = source.mark
        if state.offset > os.fstat(self._fd).st_size or mark_of(self._fd, state.offset) != state.mark:
            # Not the OUT this state speaks of: an older copy of either, or a kill between two steps below.
            state.recorded, state.failed, state.places, state.offset = Bitmap(), Bitmap(), {}, 0
        self.replayed = replay(
            self._fd, state.offset, source, state.recorded, state.failed, self.path, state.places
        )
        cut_half_line(self._fd)
        self.retrying = len(state.failed)
        if self.retrying or self.replayed.dropped:
            old, self._fd = self._fd, without_failed(self._fd, self.path, self.replayed.dropped)
            os.close(old)
            for number in state.failed:
                state.recorded.discard(number)
            state.failed = Bitmap()
        self._size = os.fstat(self._fd).st_size

    # --- while the job runs -------------------------------------------------------------------------------

    def write(self, number: int, line: bytes, failed_raw: bytes | None = None) -> None:
        """Takes one record; `flush` hands it on.

        number: the input's. line: one JSON object and a newline, with the input's `id`, and a member `error`
        that is not null exactly where `failed_raw` (the input as given) is not None. Raises OutputError.
        """
        self._lines.append(line)
        self._numbers.append(number)
        self._held += len(line)
        if failed_raw is not None:
            self._failures.append(failed_raw + b"\n")
            self._failed_numbers.add(number)
        if self._held >= _HELD:
            self.flush()

    def hand_on(self, number: int, line: bytes, failed_raw: bytes | None = None) -> None:
        """`write` and `flush` in one: the kernel has the record when this returns. Raises OutputError."""
        if failed_raw is None and not self._lines and not self._broken:
            self._size += self._append(self._fd, line, "OUT")
            self._state.recorded.add(number)
        else:
            self.write(number, line, failed_raw)
            self.flush()

    def hand_on_page(self, number: int, line: bytes, page: int, so_far: Mapping[str, Any], *, more: bool) -> None:
        """`hand_on` for a page of a list; `more`: another follows, so that the input has not ended yet.

        page, so_far: its number, and what `paceline.paging.Walk.keep` said; both stand in the line, too.
        """
        if more:
            self.flush()
            self._size += self._append(self._fd, line, "OUT")
            self._state.places[number] = (page, dict(so_far))
        else:
            self.hand_on(number, line)
            self._state.places.pop(number, None)

    def flush(self) -> None:
        """Hands all records taken so far to the kernel: a kill of the process cannot take them back.

        Raises OutputError (disk full): the records that fitted are whole and kept, the next run goes on.
        """
        if self._broken:
            raise OutputError(f"{self.path} could not be written before; run the same command again to go on")
        if not self._lines:
            return
        if self._failures and self._failed_fd >= 0:
            self._append(self._failed_fd, b"".join(self._failures), "the file of --failed")
        self._failures.clear()
        data = self._lines[0] if len(self._lines) == 1 else b"".join(self._lines)
        kept = self._append(self._fd, data, "OUT")
        self._note(kept)

    def _append(self, fd: int, data: bytes, what: str) -> int:
        try:
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError as error:
            self._broken = True
            with contextlib.suppress(OSError):  # the next run cuts a half line as well
                cut_half_line(fd)
            raise OutputError(
                f"cannot write {what}, {self.path}: {error.strerror or error}; every record before is kept: "
                "make room, then run the same command again to go on"
            ) from None
        return written

    def _note(self, size: int) -> None:
        add = self._state.recorded.add
        for number in self._numbers:
            add(number)
        for number in self._failed_numbers:
            self._state.failed.add(number)
        self._size += size
        self._lines.clear()
        self._numbers.clear()
        self._failed_numbers.clear()
        self._held = 0

    def snapshot(self, extra: Mapping[str, Any]) -> Snapshot:
        """Flushes, and takes down what a checkpoint needs; quick, to be called in the event loop.

        extra: small JSON of the runner's own, account totals included, to be found in `extra` by the next run.
        Raises OutputError, also where OUT was removed or replaced meanwhile.
        """
        self.flush()
        try:
            still_there(self._fd, self.path)
        except OutputError:
            self._broken = True
            raise
        state = self._state
        moment = State(state.source, state.request, self._size, "", failed_file=state.failed_file)
        places = orjson.dumps(state.places, option=orjson.OPT_NON_STR_KEYS)
        return Snapshot(moment, state.recorded.compact(), state.failed.compact(), places, orjson.dumps(dict(extra)))

    def save(self, snapshot: Snapshot) -> None:
        """Syncs OUT to disk, then saves the checkpoint; slow (a disk's time), may run in a thread, one at a time.

        Raises OutputError.
        """
        try:
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)
            snapshot.state.mark = mark_of(self._fd, snapshot.state.offset)
        except OSError as error:
            raise OutputError(
                f"cannot sync {self.path} to disk: {error.strerror or error}; run the same command again to go on"
            ) from None
        save(
            self.path + ".state",
            snapshot.state,
            recorded=snapshot.recorded,
            failed=snapshot.failed,
            places=snapshot.places,
            extra=snapshot.extra,
        )

    def checkpoint(self, extra: Mapping[str, Any]) -> None:
        """`snapshot` and `save` in one."""
        self.save(self.snapshot(extra))

    def close(self, extra: Mapping[str, Any]) -> None:
        """Flushes, saves a last checkpoint and lets go of OUT. Raises OutputError, and lets go all the same."""
        try:
            self.checkpoint(extra)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Lets go of OUT at once, as a kill would; nothing that was flushed is lost. May be called twice."""
        for fd in (self._fd, self._failed_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._failed_fd = -1
        self._broken = True


def _compare(before: State, source: Source, request: Mapping[str, str], path: str) -> None:
    again = "name another OUT, or begin again with --fresh"
    if not source.continues(before.source):
        raise InputError(
            f"{source.name} is not the SOURCE that {path} was begun with (lines may only be added behind its end): "
            f"put the old one back, {again}"
        )
    changed = before.request.changed(request)
    if changed:
        raise InputError(
            f"the request changed since {path} was begun ({', '.join(changed)}): undo that, {again}"
        )
