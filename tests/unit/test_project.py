"""The project around the code: tables match folders, modules and tests say what they are, one command checks all."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import click

from paceline import __version__
from paceline.cli import _group
from paceline.schedules import SCHEDULES
from paceline.signals import DIALECTS
from paceline.stores import STORES
from paceline.telemetry import SINKS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "paceline"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def stems(folder: str) -> set[str]:
    return {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}


def test_every_schedule_has_its_file_and_its_line() -> None:
    """The folder of schedules and the table of shapes name the same."""
    assert {name for name in stems("schedules") if not name.startswith("_")} == set(SCHEDULES)
    for shape, schedule in SCHEDULES.items():
        assert schedule.__module__ == f"paceline.schedules.{shape}"


def test_every_dialect_has_its_file_and_its_line() -> None:
    """The folder of dialects and the table of dialects name the same, and each dialect knows its own name."""
    assert {name.removeprefix("_") for name in stems("signals/dialects")} == set(DIALECTS)
    for name, dialect in DIALECTS.items():
        assert dialect.name == name
        assert dialect is getattr(import_module(f"paceline.signals.dialects._{name}"), name.upper())


def test_every_store_has_its_file_and_its_line() -> None:
    """Each line of the table of stores leads to a file of the folder that makes one."""
    for target in STORES.values():
        module, _, attribute = target.partition(":")
        if module:
            assert callable(getattr(import_module(module), attribute))
            assert module.rpartition(".")[2] in stems("stores")


def test_every_sink_has_its_file_and_its_line() -> None:
    """Each file of the folder of sinks makes one sink of the table; `fan` joins them, `words` words them."""
    files = {target.partition(":")[0].rpartition(".")[2] for target in SINKS.values()}
    assert stems("telemetry") - {"fan", "words"} == files
    for target in SINKS.values():
        module, _, attribute = target.partition(":")
        assert callable(getattr(import_module(module), attribute))


def test_every_command_has_its_file_and_its_line() -> None:
    """The folder of commands and the table of commands name the same, and each line leads to a click command."""
    assert {name for name in stems("cli") if not name.startswith("_")} == set(_group.COMMANDS)
    for name, entry in _group.COMMANDS.items():
        module, _, attribute = entry.target.partition(":")
        assert module == f"paceline.cli.{name}"
        assert isinstance(getattr(import_module(module), attribute), click.Command)


def test_every_replacement_has_its_page_and_runs_beside_what_it_replaces() -> None:
    """Each module of `compat` has a how-to, a test that imports the real library, and that in the extra `dev`."""
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["dev"]
    packages = {re.split(r"[<>=\[; ]", each)[0] for each in dev}
    for name in stems("compat"):
        package = name.replace("_", "-")
        assert (ROOT / "docs" / "howto" / f"coming-from-{package}.md").exists()
        assert package in packages
        [test] = (ROOT / "tests").rglob(f"test_compat_{name}.py")
        assert re.search(rf"^import {name} as theirs$", test.read_text("utf-8"), re.MULTILINE), name


def test_a_module_opens_with_one_sentence() -> None:
    """Each module that holds anything begins with a docstring whose first paragraph ends as a sentence does."""
    wrong = []
    for path in MODULES:
        tree = ast.parse(path.read_text("utf-8"))
        docstring = ast.get_docstring(tree) or ""
        if tree.body and not docstring.partition("\n\n")[0].endswith((".", ":")):
            wrong.append(str(path.relative_to(PACKAGE)))
    assert wrong == []


def test_a_test_says_what_holds() -> None:
    """Every test has a docstring, so that its failure says which promise is broken."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    silent = [
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, functions) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_continuous_integration_runs_make_test_and_nothing_else() -> None:
    """`.ci/run` can be executed, and all it does is `make test`."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text("utf-8").splitlines()
    assert [line for line in lines if re.search(r"\b(make|python|pip|pytest|ruff|mypy)\b", line)] == [
        "exec make test"
    ]


def test_make_without_a_usable_python_says_what_is_missing(tmp_path: Path) -> None:
    """Where no Python is new enough, make ends with one clear message and no virtual environment."""
    old = tmp_path / "bin" / "python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    old.chmod(0o755)
    for name in ("python3.13", "python3.12", "python3.11", "python"):
        (old.parent / name).symlink_to(old)
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "VENV=venv", "venv/bin/python"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{old.parent}:{os.environ['PATH']}", "MAKEFLAGS": "", "PYTHON": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_changelog_has_the_version_that_is_released_next() -> None:
    """The changelog opens with what is unreleased; a release makes its heading the package's version."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings
    assert headings[0] == "Unreleased" or headings[0].startswith(__version__)


def test_extras_hold_together() -> None:
    """`all` names every extra but `dev`, itself and those that do not go together with others; nothing is forgotten."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = re.search(r"\[(.+)\]", extras["all"][0])
    assert named is not None
    # mitmproxy pins its own needs (h11 among them) to versions that httpx does not take.
    assert set(named[1].split(",")) == set(extras) - {"all", "dev", "mitmproxy"}


def test_layers_are_kept() -> None:
    """Imports point down only, floors 0 to 2 know no clock, the core needs no extra (import-linter's contracts)."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(program), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-3000:]
