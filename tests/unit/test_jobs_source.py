"""SOURCE: forms, numbering, ids, compression, damage, and what counts as the same content."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import zstandard

from paceline.errors import InputError, OutputError
from paceline.jobs.bitmap import Bitmap
from paceline.jobs.source import BadInput, Defaults, Request, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Opener = Callable[..., Source]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Writes a file and opens it as SOURCE; closes what it opened."""
    sources: list[Source] = []

    def open_source(content: bytes | str, name: str = "in.txt", defaults: Defaults | None = None) -> Source:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        sources.append(Source.open(str(path), defaults))
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def test_blank_lines_and_comments_are_no_inputs(opened: Opener) -> None:
    """Inputs are numbered from 1 without blank lines and comments; `line` is the place in the file."""
    source = opened("# head\n\nhttps://a.example/1\r\n  \n  # no\n https://a.example/2 \nhttps://a.example/3")
    assert source.count == 3
    assert [(item.number, item.line, item.given) for item in source.items()] == [
        (1, 3, "https://a.example/1"),
        (2, 6, "https://a.example/2"),
        (3, 7, "https://a.example/3"),
    ]


def test_a_plain_url_costs_no_new_headers(opened: Opener) -> None:
    """Inputs that add no header share the one object of the defaults."""
    defaults = Defaults(method="HEAD", headers={"Accept": "text/csv"})
    (item,) = opened("https://a.example/1", defaults=defaults).items()
    assert isinstance(item, Request)
    assert item.headers is defaults.headers
    assert (item.method, item.body, item.cost, item.id, item.raw) == (
        "HEAD",
        None,
        1.0,
        1,
        b"https://a.example/1",
    )


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n"])
@pytest.mark.parametrize("name", ["in.txt", "in.jsonl", "in"])
def test_zero_inputs_are_fine(content: str, name: str, opened: Opener) -> None:
    """A source without inputs opens and gives none."""
    source = opened(content, name)
    assert (source.count, list(source.items())) == (0, [])


def test_an_empty_csv_is_zero_inputs(opened: Opener) -> None:
    """An empty CSV, or one with only its header, has no inputs."""
    assert opened("", "in.csv").count == 0
    assert opened("id,url\n", "in.csv").count == 0


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ('\n# c\n{"url": "https://a.example/"}\n', "jsonl"),
        ("name,URL\nx,https://a.example/\n", "csv"),
        ("url\nhttps://a.example/\n", "csv"),
        ("https://a.example/?a=1,2\n", "urls"),
        ("\ufeffhttps://a.example/\n", "urls"),
        ("\ufeffurl,id\nhttps://a.example/,7\n", "csv"),
    ],
)
def test_without_a_known_suffix_the_first_line_decides(content: str, form: str, opened: Opener) -> None:
    """The form is sniffed from the first line that says something; a byte order mark is no part of it."""
    source = opened(content, "in.data")
    assert source.form == form
    (item,) = source.items()
    assert isinstance(item, Request)


@pytest.mark.parametrize("name", ["in.jsonl", "in.txt"])
def test_urls_and_specs_may_stand_in_one_file(name: str, opened: Opener) -> None:
    """A list of failed inputs can hold both, so both are read whatever the file is called."""
    source = opened('https://a.example/1\n{"url": "https://a.example/2", "id": "b"}\n', name)
    assert [(item.id, item.given) for item in source.items()] == [
        (1, "https://a.example/1"),
        ("b", "https://a.example/2"),
    ]


def test_skipped_inputs_keep_the_numbers_of_the_rest(opened: Opener) -> None:
    """Inputs whose number is done are left out, the others keep theirs."""
    lines = [f"https://a.example/{n}" for n in range(1, 20)] + [
        '{"url": "https://a.example/20"}',
        "nothing",
    ]
    source = opened("\n".join(lines))
    done = Bitmap()
    for number in (1, 2, 5, 20):
        done.add(number)
    assert [item.number for item in source.items(done)] == [3, 4, *range(6, 20), 21]


def test_csv_cells_may_hold_commas_quotes_and_newlines(opened: Opener) -> None:
    """Quoted cells are read as RFC 4180 says; blank lines are no rows; `#` means nothing."""
    content = (
        'note,url,id\r\n"a, ""b""\r\nc","https://a.example/?x=1,2",#7\r\n\r\n5" pipe,https://a.example/2,\r\n'
    )
    source = opened(content, "in.csv")
    assert [(item.number, item.line, item.id, item.given) for item in source.items()] == [
        (1, 2, "#7", "https://a.example/?x=1,2"),
        (2, 5, 2, "https://a.example/2"),
    ]
    assert [item.raw for item in source.items()] == [
        b'{"url":"https://a.example/?x=1,2","id":"#7"}',
        b'{"url":"https://a.example/2"}',
    ]


def test_bad_csv_rows_are_bad_inputs(opened: Opener) -> None:
    """A row without a url, with a comma too many or with an open quote cannot be sent, and says why."""
    rows = 'url,id\n,1\nhttps://a.example/?x=1,2,3\n\xff,4\nhttps://a.example/,"5\n'
    items = list(opened(rows.encode("latin-1"), "in.csv").items())
    assert all(isinstance(item, BadInput) for item in items)
    assert [getattr(item, "why", "") for item in items] == [
        "line 2: its url is empty",
        "line 3: the row has 3 cells, the header 2; put a url with a comma in quotes",
        "line 4: it is not valid UTF-8 (byte 1); save SOURCE as UTF-8, or encode the URL",
        "line 5: a quote in this row is never closed",
    ]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("id,link", "has no column 'url'"),
        ("id;url", "has no column 'url'"),
        ("url,url", "more than one column 'url'"),
    ],
)
def test_csv_without_one_url_column_is_wrong_usage(header: str, why: str, opened: Opener) -> None:
    """A CSV must have exactly one column url."""
    with pytest.raises(InputError, match=why):
        opened(header + "\nx,y\n", "in.csv")


@pytest.mark.parametrize("name", ["in.txt.gz", "in.jsonl.zst", "packed"])
def test_compressed_sources_read_like_plain_ones(name: str, opened: Opener) -> None:
    """Gzip (members one after another) and Zstandard (frames likewise) are read by name or first bytes."""
    pack = zstandard.compress if name.endswith("zst") else gzip.compress
    source = opened(pack(b"https://a.example/1\nhttps://a.ex") + pack(b"ample/2\n"), name)
    assert [item.given for item in source.items()] == ["https://a.example/1", "https://a.example/2"]
    plain = opened(
        "https://a.example/1\nhttps://a.example/2\n", "in.jsonl" if name.endswith("zst") else "in.txt"
    )
    assert source.mark == plain.mark


@pytest.mark.parametrize("name", ["in.gz", "in.zst"])
def test_damaged_compression_is_told_before_anything_begins(name: str, opened: Opener) -> None:
    """A cut, garbled or wrongly named file is an input error, never a shorter input."""
    pack = gzip.compress if name.endswith("gz") else zstandard.ZstdCompressor(write_checksum=True).compress
    whole = pack(os.urandom(300_000).hex().encode())
    for content in (
        whole[:-200_000],
        whole[:100_000] + b"\0" * 1000 + whole[101_000:],
        b"https://a.example/\n",
        b"",
    ):
        with pytest.raises(InputError, match=r"cannot read|is not (gzip|zstd) data"):
            opened(content, name)


def test_standard_input_can_be_read_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is spooled, so it can be looked through before it is read."""

    class Input:
        buffer = io.BytesIO(b'{"url": "https://a.example/1"}\n')

    monkeypatch.setattr(sys, "stdin", Input())
    source = Source.open("-")
    assert (source.form, source.count, source.path) == ("jsonl", 1, None)
    assert len(list(source.items())) == len(list(source.items())) == 1
    source.close()


def test_a_pipe_is_spooled_too(tmp_path: Path) -> None:
    """What cannot be read twice is copied first, as with process substitution."""
    reading, writing = os.pipe()
    os.write(writing, b"https://a.example/1\n")
    os.close(writing)
    source = Source.open(f"/dev/fd/{reading}")
    os.close(reading)
    assert source.count == 1
    source.close()


@contextmanager
def as_anybody() -> Iterator[None]:
    """Where root runs the tests, who may read everything: for a moment, a user who may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("make", ["missing", "folder", "secret"])
def test_what_cannot_be_read_is_wrong_usage(tmp_path: Path, make: str) -> None:
    """A missing file, a folder and an unreadable file are told with their name."""
    path = tmp_path / make
    if make == "folder":
        path.mkdir()
    if make == "secret":
        path.write_text("https://a.example/")
        path.chmod(0)
    with as_anybody(), pytest.raises(InputError, match=rf"cannot read .*{make}"):
        Source.open(str(path))


def test_utf_16_is_told(opened: Opener) -> None:
    """A file saved as UTF-16 is named as such."""
    with pytest.raises(InputError, match="UTF-16"):
        opened("https://a.example/\n".encode("utf-16"))


def test_a_line_over_the_bound_is_one_bad_input(tmp_path: Path) -> None:
    """A line over 16 MiB costs that input alone and bounded memory; the file of failed inputs gets a comment."""
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        file.write(b"https://a.example/1\nhttps://me:secret@a.example/?key=secret")
        for _ in range(40):
            file.write(b"x" * 2**20)
        file.write(b"\nhttps://a.example/3\n")
    tracemalloc.start()
    source = Source.open(str(path))
    first, bad, last = source.items()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.count == 3
    assert (first.given, last.given) == ("https://a.example/1", "https://a.example/3")
    assert isinstance(bad, BadInput)
    assert bad.why.startswith("line 2: it is longer than 16 MiB")
    assert bad.raw.startswith(b"# line 2 of SOURCE was too long")
    assert b"secret" not in bad.raw
    assert peak < 80 * 2**20
    source.close()


def test_a_too_long_line_may_be_the_first_the_last_or_a_csv_row(opened: Opener) -> None:
    """The bound holds wherever the line stands, also over the lines of one quoted cell."""
    long = "https://a.example/" + "x" * 17 * 2**20
    (only,) = opened(long).items()
    assert isinstance(only, BadInput)
    content = 'url,note\nhttps://a.example/1,"' + ("y" * 2**20 + "\n") * 18 + '"\nhttps://a.example/2,\n'
    bad, good = opened(content, "in.csv").items()
    assert isinstance(bad, BadInput)
    assert (bad.line, good.number, good.given) == (2, 2, "https://a.example/2")


def test_a_ten_megabyte_url_is_a_bad_input_and_kept_whole(opened: Opener) -> None:
    """No server takes such a URL; its line goes to the failed inputs as it was given."""
    line = b"https://a.example/" + b"x" * 10_000_000
    (bad,) = opened(line).items()
    assert isinstance(bad, BadInput)
    assert bad.raw == line
    assert "longer than" not in bad.why
    assert "more than 65,536" in bad.why
    assert len(bad.why) < 300


def test_duplicate_ids_name_both_lines(opened: Opener) -> None:
    """Two inputs with one id are wrong usage; the message names the id and both lines."""
    spec = '{"url": "https://a.example/", "id": "%s"}\n'
    with pytest.raises(InputError, match=r"the id 'b' stands twice, in lines 3 and 5"):
        opened(spec % "a" + "\n" + spec % "b" + spec % "c" + spec % "b", "in.jsonl")
    with pytest.raises(InputError, match=r"the id 'x' stands twice, in lines 2 and 4"):
        opened("id,url\nx,https://a.example/\n,https://a.example/\nx,https://a.example/\n", "in.csv")


def test_an_id_may_not_be_the_number_of_an_input_without_one(opened: Opener) -> None:
    """The input 3 has no id, so its record's id is 3, which no other may take, before it or after it."""
    one, three = '{"url": "https://a.example/", "id": 3}\n', "https://a.example/\n"
    with pytest.raises(InputError, match=r"the id 3 stands twice, in lines 1 and 3 .*number"):
        opened(one + three + three, "in.jsonl")
    assert opened(three + three + one, "in.jsonl").count == 3


def test_text_and_number_ids_are_different(opened: Opener) -> None:
    """The ids 1 and "1" are two values of JSON, and so are the records'."""
    specs = '{"url": "https://a.example/", "id": 1}\n{"url": "https://a.example/", "id": "1"}\n'
    assert [item.id for item in opened(specs).items()] == [1, "1"]


def test_an_escaped_id_is_an_id(opened: Opener) -> None:
    """JSON may spell a field's name with escapes."""
    specs = '{"url": "https://a.example/", "\\u0069d": "a"}\n' * 2
    with pytest.raises(InputError, match="the id 'a' stands twice"):
        opened(specs, "in.jsonl")


def test_lines_added_behind_the_end_continue_a_source(opened: Opener) -> None:
    """Only growth by whole lines keeps a source the same job's."""
    before = opened("https://a.example/1\nhttps://a.example/2\n").mark
    assert opened("https://a.example/1\nhttps://a.example/2\n").continues(before)
    assert opened("https://a.example/1\nhttps://a.example/2\nhttps://a.example/3").continues(before)
    assert not opened("https://a.example/1\nhttps://a.example/X\nhttps://a.example/3\n").continues(before)
    assert not opened("https://a.example/1\n").continues(before)
    open_end = opened("https://a.example/1").mark
    assert opened("https://a.example/1\r\nhttps://a.example/2").continues(open_end)
    assert not opened("https://a.example/12\n").continues(open_end)
    nothing = opened("").mark
    assert opened("https://a.example/12\n").continues(nothing)


def test_an_open_quote_ties_the_end_of_a_csv_to_what_follows(opened: Opener) -> None:
    """Lines behind an unclosed quote would belong to the old last row, so that is another source."""
    content = 'url,id\nhttps://a.example/,"5\n'
    before = opened(content, "in.csv").mark
    assert not opened(content + "https://a.example/2,6\n", "in.csv").continues(before)
    closed = opened("url\nhttps://a.example/1", "in.csv").mark
    assert opened("url\nhttps://a.example/1\nhttps://a.example/2\n", "in.csv").continues(closed)


def test_a_source_that_changes_while_it_is_read_is_noticed(tmp_path: Path, opened: Opener) -> None:
    """Lines added meanwhile are left for the next run; any other change is an error, not a wrong record."""
    source = opened("https://a.example/1\nhttps://a.example/2\n")
    path = tmp_path / "in.txt"
    with path.open("a") as file:
        file.write("https://a.example/3\n")
    assert [item.number for item in source.items()] == [1, 2]
    path.write_text("https://a.example/1\nhttps://a.example/X\n")
    with pytest.raises(OutputError, match="changed while it was read"):
        list(source.items())
    path.write_text("https://a.example/1\n")
    with pytest.raises(OutputError, match="changed while it was read"):
        list(source.items())


def test_a_compressed_source_that_is_cut_while_it_is_read_is_noticed(tmp_path: Path, opened: Opener) -> None:
    """Damage after the first look is a failure on the way, which the next run can go on from."""
    source = opened(gzip.compress(os.urandom(300_000).hex().encode()), "in.txt.gz")
    os.truncate(tmp_path / "in.txt.gz", 100_000)
    with pytest.raises(OutputError, match=r"cannot read .* to its end: .*run again to go on"):
        list(source.items())


def test_a_deleted_source_is_read_to_its_end(tmp_path: Path, opened: Opener) -> None:
    """The file stays open, so it may go once the job has begun."""
    source = opened("https://a.example/1\n")
    (tmp_path / "in.txt").unlink()
    assert len(list(source.items())) == 1
