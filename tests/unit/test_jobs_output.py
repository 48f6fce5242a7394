"""OUT: beginning, going on, refusing, failing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import stat
from typing import TYPE_CHECKING, Any

import pytest

from paceline.errors import InputError, OutputError
from paceline.jobs.output import Output
from paceline.jobs.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST = {"method": "GET", "header accept": "text/csv"}


class Job:
    """A folder with a source, and what the runner would do with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out.jsonl"
        self.state = folder / "out.jsonl.state"
        self.failed = folder / "failed.jsonl"
        self.source_file = folder / "in.jsonl"
        self.sources: list[Source] = []
        self.outputs: list[Output] = []
        self.inputs(5)

    def inputs(self, count: int) -> None:
        self.source_file.write_text(
            "".join(f'{{"url": "https://a.example/{n}", "id": "k{n}"}}\n' for n in range(1, count + 1))
        )

    def open(
        self, *, failed: bool = False, source: Path | None = None, out: Path | None = None, **changes: Any
    ) -> Output:
        self.sources.append(Source.open(str(source or self.source_file)))
        options: dict[str, Any] = {
            "request": REQUEST,
            "failed_path": str(self.failed) if failed else None,
        } | changes
        self.outputs.append(Output.open(str(out or self.out), source=self.sources[-1], **options))
        return self.outputs[-1]

    def put(self, output: Output, *numbers: int, fail: bool = False) -> None:
        for item in self.sources[-1].items(output.done):
            if item.number in numbers:
                error = {"error": "gone"} if fail else {}
                line = json.dumps({"id": item.id, "status": 200, "attempts": 2} | error).encode() + b"\n"
                output.write(item.number, line, item.raw if fail else None)
        output.flush()

    def ids(self) -> list[Any]:
        return [json.loads(line)["id"] for line in self.out.read_text().splitlines()]

    def close(self) -> None:
        for output in self.outputs:
            output.abandon()
        for source in self.sources:
            source.close()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    job.close()


def test_a_job_begins_and_ends(job: Job) -> None:
    """A first run writes each record once, and a run after the end has nothing left to do."""
    output = job.open()
    assert (output.resumed, output.extra, len(output.done)) == (False, {}, 0)
    job.put(output, 2, 1, 3, 5, 4)
    output.close({"departed": [1.5]})
    assert job.ids() == ["k1", "k2", "k3", "k4", "k5"]
    again = job.open()
    assert (again.resumed, again.extra, list(again.done)) == (True, {"departed": [1.5]}, [1, 2, 3, 4, 5])
    assert again.replayed.records == 0


def test_out_exists_from_the_beginning(job: Job) -> None:
    """A job without inputs leaves an empty OUT and a state, private to the user."""
    job.source_file.write_text("")
    job.open().close({})
    assert job.out.read_text() == ""
    assert stat.S_IMODE(job.state.stat().st_mode) == 0o600


def test_what_was_flushed_is_found_again_without_a_checkpoint(job: Job) -> None:
    """Records that no checkpoint noted are counted by the next run, with what they cost."""
    output = job.open()
    job.put(output, 1)
    output.checkpoint({"n": 1})
    job.put(output, 3, 4)
    output.abandon()
    again = job.open()
    assert list(again.done) == [1, 3, 4]
    assert (again.replayed.records, again.replayed.attempts, again.replayed.failed) == (2, 4, 0)
    assert again.extra == {"n": 1}


def test_a_half_written_line_is_cut(job: Job) -> None:
    """What stands behind the last newline is taken away, and its input is done again."""
    output = job.open()
    job.put(output, 1, 2)
    output.abandon()
    with job.out.open("ab") as file:
        file.write(b'{"id": "k3", "sta')
    again = job.open()
    assert list(again.done) == [1, 2]
    job.put(again, 3, 4, 5)
    again.close({})
    assert job.ids() == ["k1", "k2", "k3", "k4", "k5"]


def test_failed_records_are_replaced(job: Job) -> None:
    """What failed is tried again: its old record goes, and the list of the failed begins anew."""
    output = job.open(failed=True)
    job.put(output, 1, 3)
    job.put(output, 2, 4, fail=True)
    assert job.failed.read_text().splitlines() == [
        job.source_file.read_text().splitlines()[n] for n in (1, 3)
    ]
    output.close({})
    again = job.open(failed=True)
    assert (again.retrying, list(again.done), job.failed.read_text()) == (2, [1, 3], "")
    assert job.ids() == ["k1", "k3"]
    job.put(again, 2, 5)
    job.put(again, 4, fail=True)
    assert list(again.failed) == [4]
    again.close({})
    assert sorted(job.ids()) == ["k1", "k2", "k3", "k4", "k5"]
    assert job.failed.read_text().count("\n") == 1


def test_a_failure_no_checkpoint_noted_is_replaced_too(job: Job) -> None:
    """A failed record behind the last checkpoint is found by its `error`."""
    output = job.open()
    job.put(output, 1)
    job.put(output, 2, fail=True)
    output.abandon()
    again = job.open()
    assert (list(again.done), again.retrying, again.replayed.failed) == ([1], 1, 1)
    assert job.ids() == ["k1"]


def test_error_inside_a_record_is_no_failure(job: Job) -> None:
    """Only the record's own `error` counts, not one in the body it holds."""
    output = job.open()
    output.write(1, b'{"id":"k1","json":{"a":1,"error":"x"}}\n')
    output.write(2, b'{"id":"k2","error":"x"}\n', b"raw")
    output.close({})
    assert list(job.open().done) == [1]
    assert job.ids() == ["k1"]


def test_out_keeps_its_mode_when_it_is_written_anew(job: Job) -> None:
    """Taking failed records out changes nothing else about the file."""
    output = job.open()
    job.out.chmod(0o640)
    job.put(output, 1, fail=True)
    output.close({})
    job.open()
    assert stat.S_IMODE(job.out.stat().st_mode) == 0o640
    assert sorted(path.name for path in job.folder.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.state"]


def test_a_state_older_than_out_loses_nothing(job: Job) -> None:
    """With an old copy of the state, even one from before OUT was written anew, each record is found."""
    output = job.open()
    job.put(output, 1, 2)
    job.put(output, 3, fail=True)
    output.checkpoint({})
    old = job.state.read_bytes()
    output.close({})
    again = job.open()
    job.put(again, 4)
    again.close({})
    job.state.write_bytes(old)
    last = job.open()
    assert list(last.done) == [1, 2, 4]
    assert job.ids() == ["k1", "k2", "k4"]


def test_a_state_from_before_a_rewrite_is_not_trusted(job: Job) -> None:
    """OUT that lost failed records and then grew past the old offset is read from its beginning."""
    output = job.open()
    job.put(output, 1, fail=True)
    job.put(output, 2)
    output.close({})
    old = job.state.read_bytes()
    again = job.open()
    job.put(again, 3, 4, 5)
    again.close({})
    job.state.write_bytes(old)
    last = job.open()
    assert list(last.done) == [2, 3, 4, 5]
    assert last.replayed.records == 4


def test_a_state_newer_than_out_loses_nothing(job: Job) -> None:
    """Where OUT lost its end (a power cut), what is missing is fetched again."""
    output = job.open()
    job.put(output, 1, 2, 3)
    output.close({})
    os.truncate(job.out, job.out.stat().st_size - 10)
    assert list(job.open().done) == [1, 2]


def test_a_missing_out_begins_again(job: Job) -> None:
    """OUT is the truth: without it nothing is done, whatever the state says."""
    output = job.open()
    job.put(output, 1, 2)
    output.close({"n": 1})
    job.out.unlink()
    again = job.open()
    assert (list(again.done), again.extra) == ([], {"n": 1})


def test_lost_blocks_are_taken_out(job: Job) -> None:
    """Lines that are no records any more, as a power cut can leave them, go; their inputs are done again."""
    output = job.open()
    job.put(output, 1, 2, 3)
    output.abandon()
    lines = job.out.read_bytes().splitlines(keepends=True)
    job.out.write_bytes(lines[0] + b"\0" * (len(lines[1]) - 1) + b"\n" + lines[2])
    assert list(job.open().done) == [1, 3]
    assert job.ids() == ["k1", "k3"]


def test_doubled_records_are_taken_out(job: Job) -> None:
    """A record that stands twice stays once; of a failed and a good one the good one stays."""
    output = job.open()
    output.checkpoint({})
    output.abandon()
    job.out.write_text(
        '{"id":"k1"}\n{"id":"k1"}\n{"id":"k2","error":"x"}\n{"id":"k2"}\n{"id":"k3"}\n{"id":"k3","error":"x"}\n'
    )
    again = job.open()
    assert list(again.done) == [1, 2, 3]
    assert (again.retrying, job.ids()) == (0, ["k1", "k2", "k3"])


def test_a_good_record_takes_the_place_of_a_failed_one_noted_before(job: Job) -> None:
    """Where a checkpoint knows a record as failed and a good one follows, the old one goes."""
    output = job.open()
    job.put(output, 1, fail=True)
    job.put(output, 2)
    output.close({})
    with job.out.open("a") as file:
        file.write('{"id":"k1"}\n')
    again = job.open()
    assert (list(again.done), again.retrying, job.ids()) == ([1, 2], 0, ["k2", "k1"])


def test_a_foreign_record_is_refused(job: Job) -> None:
    """A record whose id no input has shows that OUT is not this job's alone; nothing is taken from it."""
    job.open(failed=True).close({})
    job.out.write_text('{"id":"k1"}\n{"id":"z"}\nhalf')
    job.failed.write_text("kept\n")
    with pytest.raises(InputError, match="holds a record with the id 'z', which no input has"):
        job.open(failed=True)
    assert (job.out.read_text(), job.failed.read_text()) == ('{"id":"k1"}\n{"id":"z"}\nhalf', "kept\n")


def test_numbers_serve_as_ids(job: Job) -> None:
    """Inputs without ids are found again by their numbers; numbers beyond them are foreign."""
    job.source_file.write_text("https://a.example/\n" * 3)
    output = job.open()
    job.put(output, 2, 3)
    output.abandon()
    again = job.open()
    assert list(again.done) == [2, 3]
    again.abandon()
    with job.out.open("a") as file:
        file.write('{"id":4}\n')
    with pytest.raises(InputError, match="the id '4', which no input has"):
        job.open()


def test_lines_added_to_the_source_are_done_as_well(job: Job) -> None:
    """A source that only grew goes on with its new inputs, also twice."""
    output = job.open()
    job.put(output, 1, 2, 3, 4, 5)
    output.close({})
    for count in (7, 9):
        job.inputs(count)
        again = job.open()
        assert [item.number for item in job.sources[-1].items(again.done)] == [count - 1, count]
        job.put(again, count - 1, count)
        again.close({})
    assert job.ids() == [f"k{n}" for n in range(1, 10)]


def test_a_changed_source_is_refused(job: Job) -> None:
    """Other content, or the same content as another form, is another job; `fresh` begins it."""
    job.open().close({})
    job.source_file.write_text(job.source_file.read_text().replace("a.example", "b.example"))
    with pytest.raises(InputError, match=r"is not the SOURCE that .*out\.jsonl was begun with .*--fresh"):
        job.open()
    assert job.open(fresh=True).resumed is False


def test_a_changed_request_is_refused_by_name(job: Job) -> None:
    """Options that decide what is asked for must stay; the message names them and no value."""
    job.open().close({})
    changed = {"method": "PUT", "header accept": "text/csv", "header x-key": "secret"}
    with pytest.raises(InputError, match=r"the request changed .*\(header x-key, method\)") as caught:
        job.open(request=changed)
    assert "secret" not in str(caught.value)
    assert "text/csv" not in job.state.read_text()


def test_an_out_that_is_not_ours_is_refused(job: Job) -> None:
    """A file with content and no state beside it stays untouched, unless `fresh` says otherwise."""
    job.out.write_text("precious\n")
    with pytest.raises(InputError, match=r"was not written by such a job .*--fresh"):
        job.open()
    assert job.out.read_text() == "precious\n"
    assert not job.state.exists()
    assert job.open(fresh=True).resumed is False
    assert job.out.read_text() == ""


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b"[]", "is not the state of a paceline job"),
        (b'{"kind": "paceline job", "version": 2}', "written by a newer paceline"),
        (b'{"kind": "paceline job", "version": "x"}', "is damaged"),
        (b'{"kind": "paceline job", "version": 1}', "is damaged"),
    ],
)
def test_an_unreadable_state_is_refused(job: Job, state: bytes, why: str) -> None:
    """A damaged, foreign or newer state is told, and nothing is touched."""
    job.out.write_text("precious\n")
    job.state.write_bytes(state)
    with pytest.raises(InputError, match=why):
        job.open()
    assert (job.out.read_text(), job.state.read_bytes()) == ("precious\n", state)


@pytest.mark.parametrize("damage", ["full", "rest"])
def test_a_state_with_impossible_sets_is_refused(job: Job, damage: str) -> None:
    """A set that claims more inputs than there are takes no memory."""
    job.open().close({})
    state = json.loads(job.state.read_bytes())
    state["recorded"][damage] = (
        1 << 40 if damage == "full" else "eJztwTEBAAAAwqD1T20ND6AAAAAAAAAAAAAAAAAAAAAAAAAAAPBgQAABAA=="
    )
    job.state.write_text(json.dumps(state))
    with pytest.raises(InputError, match="is damaged"):
        job.open()


def test_only_one_at_a_time(job: Job) -> None:
    """A second job on the same OUT is refused, with `fresh` too, and the first goes on undisturbed."""
    output = job.open()
    job.put(output, 1)
    for fresh in (False, True):
        with pytest.raises(InputError, match="in use by another process"):
            job.open(fresh=fresh)
    job.put(output, 2)
    output.close({})
    assert job.ids() == ["k1", "k2"]
    job.open()


def test_the_lock_outlasts_a_rewrite(job: Job) -> None:
    """OUT written anew at the beginning is locked like the old one."""
    output = job.open()
    job.put(output, 1, fail=True)
    output.close({})
    job.open()
    with pytest.raises(InputError, match="in use by another process"):
        job.open()


def test_an_out_replaced_while_waiting_for_its_lock_is_opened_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock counts only on the file that stands at OUT, not on one that was just renamed over."""
    real = fcntl.flock
    calls: list[int] = []

    def flock(fd: int, operation: int) -> None:
        if not calls:
            (job.folder / "other").write_text("")
            (job.folder / "other").replace(job.out)
        calls.append(fd)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    output = job.open()
    assert len(calls) == 2
    job.put(output, 1)
    output.close({})
    assert job.ids() == ["k1"]


def test_a_state_is_private_whatever_stood_in_its_place(job: Job) -> None:
    """A left-over file of another mode does not make the state readable to others."""
    (job.folder / "out.jsonl.state.new").write_text("")
    (job.folder / "out.jsonl.state.new").chmod(0o644)
    job.open()
    assert stat.S_IMODE(job.state.stat().st_mode) == 0o600


def test_places_where_nothing_can_be_written_are_refused(job: Job) -> None:
    """Each impossible OUT has its own message, and none is created."""
    (job.folder / "folder").mkdir()
    os.mkfifo(job.folder / "pipe")
    for name, why in [
        ("missing/out.jsonl", "does not exist: create it"),
        ("folder", "is a folder"),
        ("pipe", "is not a regular file"),
        ("out.jsonl.gz", "uncompressed"),
        ("in.jsonl", "are the same file"),
    ]:
        with pytest.raises(InputError, match=why):
            job.open(out=job.folder / name)
    assert sorted(path.name for path in job.folder.iterdir()) == ["folder", "in.jsonl", "pipe"]


def test_a_hard_link_to_the_source_is_the_source(job: Job) -> None:
    """OUT under another name of SOURCE's file would destroy it."""
    os.link(job.source_file, job.folder / "alias")
    with pytest.raises(InputError, match="are the same file"):
        job.open(out=job.folder / "alias", fresh=True)


def test_a_symlink_stays_one(job: Job) -> None:
    """OUT that is a symbolic link is followed, not replaced."""
    (job.folder / "deep").mkdir()
    (job.folder / "link").symlink_to(job.folder / "deep" / "real.jsonl")
    output = job.open(out=job.folder / "link")
    job.put(output, 1, fail=True)
    output.close({})
    job.open(out=job.folder / "link")
    assert (job.folder / "link").is_symlink()
    assert (job.folder / "deep" / "real.jsonl.state").exists()


def test_the_file_of_the_failed_is_kept_apart(job: Job) -> None:
    """It may be none of the job's other files, no CSV, and not another job's list."""
    for name, why in [
        ("in.jsonl", "SOURCE itself"),
        ("out.jsonl", "OUT itself"),
        ("out.jsonl.state", "OUT's state itself"),
        ("failed.csv", r"\.jsonl"),
        ("missing/failed", "does not exist"),
    ]:
        with pytest.raises(InputError, match=why):
            job.open(failed_path=str(job.folder / name))
    job.failed.write_text("https://other.example/\n")
    with pytest.raises(InputError, match="is not empty and not this job's"):
        job.open(failed=True)
    assert job.failed.read_text() == "https://other.example/\n"
    assert sorted(path.name for path in job.folder.iterdir()) == ["failed.jsonl", "in.jsonl"]


def test_the_failed_list_is_private_and_a_source(job: Job) -> None:
    """Inputs may hold credentials, so the list is the user's alone; it can be SOURCE at once."""
    output = job.open(failed=True)
    job.put(output, 2, 5, fail=True)
    output.close({})
    assert stat.S_IMODE(job.failed.stat().st_mode) == 0o600
    second = job.open(source=job.failed, out=job.folder / "second.jsonl")
    assert [item.id for item in job.sources[-1].items(second.done)] == ["k2", "k5"]


def test_a_full_disk_loses_nothing_before_it(job: Job) -> None:
    """The records that fitted stay whole, the error says what to do, and the next run goes on."""
    output = job.open()
    job.put(output, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (job.out.stat().st_size + 60, hard))
    try:
        with pytest.raises(OutputError, match=r"File too large; .*make room"):
            job.put(output, 2, 3, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(OutputError, match="run the same command again"):
        output.flush()
    with pytest.raises(OutputError):
        output.close({})
    assert job.ids() == ["k1", "k2"]
    again = job.open()
    assert list(again.done) == [1, 2]


def test_a_checkpoint_that_cannot_be_saved_loses_nothing(job: Job) -> None:
    """Where the state cannot be written, the old one stays and the records are in OUT."""
    output = job.open()
    job.put(output, 1)
    (job.folder / "out.jsonl.state.new").mkdir()
    with pytest.raises(OutputError, match=r"cannot save the job's state in .*out\.jsonl\.state"):
        output.checkpoint({})
    output.abandon()
    (job.folder / "out.jsonl.state.new").rmdir()
    assert list(job.open().done) == [1]


def test_a_removed_out_is_noticed_and_written_anew(job: Job) -> None:
    """The records of an OUT that was deleted under the job are put back before it stops."""
    output = job.open()
    job.put(output, 1, 2)
    job.out.unlink()
    with pytest.raises(OutputError, match="was removed, and has been written anew while the job ran"):
        output.checkpoint({})
    with pytest.raises(OutputError):
        output.close({})
    assert list(job.open().done) == [1, 2]


@pytest.mark.parametrize("replace", [True, False])
def test_a_moved_or_replaced_out_is_noticed(job: Job, replace: bool) -> None:
    """OUT that was moved away or replaced stops the job; put back, it counts."""
    output = job.open()
    job.put(output, 1, 2)
    job.out.rename(job.folder / "moved")
    if replace:
        job.out.write_text("other\n")
    with pytest.raises(OutputError, match="replaced by another file" if replace else "moved away"):
        output.checkpoint({})
    output.abandon()
    (job.folder / "moved").replace(job.out)
    assert list(job.open().done) == [1, 2]


def test_a_rewrite_that_fails_leaves_out_as_it_was(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the second copy, nothing changes, and the next run tries it again."""
    output = job.open()
    job.put(output, 1)
    job.put(output, 2, fail=True)
    output.close({})

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="room for a second copy"):
            job.open()
    assert job.ids() == ["k1", "k2"]
    assert not (job.folder / "out.jsonl.state.out").exists()
    assert list(job.open().done) == [1]


def test_a_large_batch_is_flushed_by_itself(job: Job) -> None:
    """Records taken without a flush never hold more than about a mebibyte of memory."""
    output = job.open()
    output.write(1, b'{"id":"k1","text":"' + b"x" * 2**20 + b'"}\n')
    assert job.out.stat().st_size > 2**20


def test_a_snapshot_is_of_its_moment(job: Job) -> None:
    """A checkpoint saved later, in a thread, tells of the moment it was taken."""
    output = job.open()
    job.put(output, 1)
    extra = {"n": 1}
    snapshot = output.snapshot(extra)
    extra["n"] = 2
    job.put(output, 2)
    output.save(snapshot)
    output.abandon()
    again = job.open()
    assert (again.extra, list(again.done), again.replayed.records) == ({"n": 1}, [1, 2], 1)
