"""The documentation holds what it says: its Python runs, its commands work, its links lead somewhere.

What a page's blocks are, by the word behind the three backticks: `python` and `pycon` run in the page's own
namespace, in order; `sh` runs in bash, in a folder that all blocks of the page share; of `console`, a session shown
with its prompts, each `paceline` line must be usage that the program accepts; `json` and `toml` must be that.
https://api.example.com and the address of `paceline serve` are a test server on loopback, which allows a hundred
times the `--limit 20/s` of the tutorial.
"""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import pytest

from paceline.cli._group import group
from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
KINDS = {"python", "pycon", "sh", "console", "json", "toml", "text"}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ADDRESSES = ("https://api.example.com", "http://127.0.0.1:8429")


class Block(NamedTuple):
    kind: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def parse(words: list[str]) -> None:
    """Lets the command line read these words, as far as a command gets before it acts."""
    with click.Context(group, info_name="paceline") as context:
        command = group.get_command(context, words[0])
        assert command is not None, words
        command.make_context(words[0], words[1:], parent=context)


def commands_in(session: str) -> Iterator[list[str]]:
    """The words of each `paceline` line behind a prompt, without pipes and redirections."""
    joined = session.replace("\\\n", " ")
    for line in re.findall(r"^\$ (.+)$", joined, re.MULTILINE):
        for part in re.split(r"\s(?:\||&&|&|;|[<>].*)(?:\s|$)", line):
            words = shlex.split(part, comments=True)
            if words and words[0] == "paceline" and words[1:] and not words[1].startswith("-"):
                yield words[1:]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("2000/s") as running:
        yield running


@pytest.mark.parametrize("page", PAGES, ids=name_of)
@pytest.mark.usefixtures("capsys")  # what the examples print is for readers
def test_a_page_does_what_it_says(
    page: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks of a page work, in order, as a reader would try them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("API_TOKEN", "an-example-token")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    Path("urls.txt").write_text("".join(f"{server.url}/items/{n}\n" for n in range(1, 13)), "utf-8")
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        assert block.kind in KINDS, f"{where}: say what the block is"
        text = block.text
        for address in ADDRESSES:
            text = text.replace(address, server.url)
        text = text.replace("--limit 20/s", "--limit 2000/s")
        if block.kind == "python":
            exec(compile("\n" * block.line + text, str(page), "exec"), namespace)
        elif block.kind == "pycon":
            test = doctest.DocTestParser().get_doctest(text, namespace, where, str(page), block.line)
            out: list[str] = []
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            runner.run(test, out=out.append, clear_globs=False)
            assert runner.failures == 0, "".join(out)
            namespace.update(test.globs)
        elif block.kind == "sh":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, f"{where}: status {done.returncode}\n{done.stdout}{done.stderr}"
        elif block.kind == "console":
            for words in commands_in(block.text):
                parse(words)
        elif block.kind == "json":
            for line in text.splitlines():
                json.loads(line)
        elif block.kind == "toml":
            tomllib.loads(text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Links to other pages lead to files, and to headings, that are there."""
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        path, _, heading = target.partition("#")
        if "://" in path:
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, target


def test_every_page_is_linked() -> None:
    """The index in docs/README.md names every page below docs."""
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text("utf-8"))}
    assert {page for page in PAGES if page.is_relative_to(index.parent)} - linked == {index}


def docs_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["check", "commands", "presets"])
def test_a_written_page_is_what_the_program_says(name: str) -> None:
    """Written pages are current; `make docs` writes them anew (what check finds: from the figures kept beside it)."""
    script = docs_script(name)
    assert script.PAGE.read_text("utf-8") == script.page()


@pytest.mark.parametrize("wrong", ["fetch urls.txt", "serve --no-such-option", "explain --dialect"])
def test_wrong_usage_in_a_session_would_be_noticed(wrong: str) -> None:
    """The parser used for shown sessions refuses what the program refuses."""
    [words] = commands_in(f"$ paceline {wrong}  # a comment\nits output\n")
    with pytest.raises(click.UsageError):
        parse(words)
