"""`paceline fetch` with what it cannot use: one clear message, exit 2, and nothing half-written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from paceline.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.helpers import Desk

URL = "http://127.0.0.1:9/a"

# What the command is given, and what its message must say. Every case is one process, so each shows one thing.
CASES = {
    "limit without period": (["--limit", "100"], r"cannot read the limit '100': there is no '/'.*write it like 100/2s"),
    "limit of an unknown period": (["--limit", "100/2x"], r"'100/2x': there is no period 'x', the periods are ms, s"),
    "limit of nothing": (["--limit", "0/s"], r"a quota of 0.* is not a number above 0"),
    "limit without host": (["--limit", "=10/s"], r"names no host before '='"),
    "limit of an unknown zone": (["--limit", "10/s fixed@Mars/Base"], r"there is no time zone 'Mars/Base'"),
    "header without colon": (["--header", "nocolon"], r"--header 'nocolon' has no ':'"),
    "header with a line break": (["--header", "X-A: a\r\nX-B: b"], r"--header X-A holds a line break"),
    "user agent with a line break": (["--user-agent", "a\nX-B: b"], r"--user-agent User-Agent holds a line break"),
    "variable without colon": (["--header-env", "nocolon"], r"--header-env 'nocolon' has no ':'; write it like X-Tenant:T"),
    "unknown variable": (["--header-env", "X-Key:NO_SUCH_VAR"], r"no variable 'NO_SUCH_VAR' for --header-env"),
    "no token": (["--bearer-env", "NO_SUCH_VAR"], r"no variable 'NO_SUCH_VAR' for --bearer-env"),
    "empty command": (["--bearer-command", ""], r"--bearer-command is empty"),
    "two tokens": (["--bearer-env", "HOME", "--bearer-command", "x"], r"exclude each other; use one of them"),
    "no seconds": (["--timeout", "nan"], r"'--timeout': nan is not a number of seconds"),
    "no deadline": (["--deadline", "-1"], r"'--deadline'"),
    "no concurrency": (["--concurrency", "0"], r"'--concurrency': 0 is not in the range"),
    "unknown scheme of a proxy": (["--proxy", "socks5://me:secret@p"], r"--proxy 'socks5://\*\*\*@p' is no HTTP proxy"),
    "broken proxy": (["--proxy", "http://:::"], r"--proxy 'http://:::' is no HTTP proxy"),
    "no such certificates": (["--ca-file", "none.pem"], r"cannot read certificates from --ca-file none.pem: No such file"),
    "no certificates": (["--ca-file", "urls.txt"], r"cannot read certificates from --ca-file urls.txt"),
    "unknown preset": (["--policy", "nosuch"], r"no (preset|policy) 'nosuch'"),
    "unknown store": (["--store", "nosuch:"], r"no store 'nosuch:'"),
    "unknown report": (["--report", "r.pdf"], r"'r.pdf': its name must end in \.html or \.json"),
    "report nowhere": (["--report", "none/r.json"], r"there is no folder 'none'"),
    "failed is the source": (["--failed", "urls.txt"], r"--failed is SOURCE itself"),
    "failed nowhere": (["--failed", "none/f"], r"the folder of the file of --failed, .*/none, does not exist"),
    "no such config": (["--config", "none.toml"], r"cannot read --config none.toml: No such file"),
    "config is no TOML": (["--config", "urls.txt"], r"--config urls.txt is not TOML"),
}  # fmt: skip


@pytest.fixture
def wrong(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `paceline fetch` in this process, which saves its start-up, and returns what it said, ending with 2."""
    monkeypatch.chdir(desk.folder)

    def run(source: str, *options: str, out: str = "out.jsonl") -> str:
        assert main(["fetch", source, "-o", out, "--progress", "none", *options]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        return told.err

    return run


@pytest.mark.parametrize("case", CASES)
def test_wrong_options(desk: Desk, wrong: Callable[..., str], case: str) -> None:
    """An option that cannot be used is named, a right one shown; nothing was begun."""
    options, message = CASES[case]
    source = desk.write("urls.txt", [URL])
    told = wrong(source, *options)
    assert re.search(message, told), told
    assert desk.files() == {"urls.txt"}


SOURCES = {
    "csv without url": ("in.csv", b"name,link\na,b\n", r"has no column 'url' \(it has 'name', 'link'\)"),
    "gzip by name alone": ("in.gz", b"http://a.example/\n", r"is not gzip data, as its name says"),
    "zstd by name alone": ("in.zst", b"http://a.example/\n", r"is not zstd data, as its name says"),
    "torn gzip": ("in.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03KL", r"cannot read .*in\.gz to its end"),
    "an id twice": ("in.jsonl", b'{"url":"http://a/","id":7}\n{"url":"http://b/","id":7}\n', r"the id 7 stands twice, in lines 1 and 2"),
    "UTF-16": ("in.txt", "http://a.example/\n".encode("utf-16"), r"is UTF-16, not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", SOURCES)
def test_wrong_sources(desk: Desk, wrong: Callable[..., str], case: str) -> None:
    """A SOURCE that is unusable as a whole is told so; nothing was begun."""
    name, content, message = SOURCES[case]
    told = wrong(desk.write(name, content))
    assert re.search(message, told), told
    assert desk.files() == {name}


def test_a_source_that_is_not_there(desk: Desk) -> None:
    """Missing, or a folder: the message says which."""
    for source, why in (("none.txt", "No such file or directory"), (str(desk.folder), "Is a directory")):
        ran = desk.fetch(source)
        assert (ran.status, ran.err) == (2, f"Error: cannot read {source}: {why}\n")
    assert desk.files() == set()


def test_an_out_that_cannot_be(desk: Desk, wrong: Callable[..., str]) -> None:
    """In a missing folder, a folder, SOURCE itself, a device, or another's file: refused, and that file untouched."""
    source = desk.write("urls.txt", [URL])
    desk.write("theirs.jsonl", "not ours\n")
    for out, message in (
        ("none/out.jsonl", r"the folder of OUT, .*/none, does not exist: create it"),
        (".", r"OUT \. is a folder: name a file in it"),
        ("urls.txt", r"SOURCE and OUT are the same file"),
        ("/dev/null", r"OUT /dev/null is not a regular file"),
        ("theirs.jsonl", r"theirs\.jsonl exists and was not written by such a job.*--fresh"),
        ("out.jsonl.gz", r"written as plain lines, uncompressed"),
    ):
        told = wrong(source, out=out)
        assert re.search(message, told), told
    assert desk.files() == {"urls.txt", "theirs.jsonl"}
    assert (desk.folder / "theirs.jsonl").read_text() == "not ours\n"


def test_wrong_configs(desk: Desk, wrong: Callable[..., str]) -> None:
    """A config's unknown option, wrong value and unknown table are named."""
    source = desk.write("urls.txt", [URL])
    for text, message in (
        ('[fetch]\nlimitt = "1/s"\n', r"has an unknown option 'limitt' under \[fetch\].*known are attempts, bearer_command"),
        ('[fetch]\nconcurrency = "many"\n', r"'--concurrency': 'many' is not a valid integer"),
        ('[fetch]\nlimit = [["a"]]\n', r"cannot read the limit"),
        ("[serve]\nport = 1\n", r"may only hold a table \[fetch\]"),
    ):  # fmt: skip
        told = wrong(source, "--config", desk.write("c.toml", text))
        assert re.search(message, told), told
    assert desk.files() == {"urls.txt", "c.toml"}


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_no_inputs(desk: Desk, content: str) -> None:
    """A SOURCE without inputs is said to have none; OUT is empty and the job is done."""
    ran = desk.fetch(desk.write("urls.txt", content))
    assert (ran.status, ran.err) == (0, "paceline: SOURCE holds no inputs, so there was nothing to fetch\n")
    assert desk.out.read_bytes() == b""
