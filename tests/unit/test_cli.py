"""The command line: what it says, and the status it ends with."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import pytest

import paceline.cli
from paceline import __version__, errors
from paceline.cli import _group, main

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Puts a command `try` into the table that calls the function given."""

    def put(action: Callable[[], Any]) -> None:
        module = SimpleNamespace(command=click.command("try")(action))
        monkeypatch.setitem(sys.modules, "paceline_try", module)  # type: ignore[arg-type]
        monkeypatch.setitem(_group.COMMANDS, "try", _group.Entry("paceline_try:command", "Tries."))

    return put


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "paceline"]
    return subprocess.run(
        [sys.executable, *program, *arguments], capture_output=True, text=True, check=False, timeout=30
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`paceline --help` has each command of the table with its line, and ends with 0."""
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, entry in _group.COMMANDS.items():
        assert f"{name} {entry.help}" in text


def test_help_imports_no_command_and_nothing_heavy() -> None:
    """The help of the group costs click alone: no command, no rich, no aiohttp, no asyncio."""
    done = run(
        code="import sys; from paceline.cli import main; main(['--help']); print(*sys.modules, sep='\\n')"
    )
    modules = set(done.stdout.split())
    assert "click" in modules
    assert not modules & {
        "rich",
        "aiohttp",
        "asyncio",
        "structlog",
        "orjson",
        "tenacity",
        "uvloop",
        "logging",
    }
    assert not {
        name for name in modules if name.startswith("paceline.cli.") and name != "paceline.cli._group"
    }


def test_the_table_is_the_folder() -> None:
    """Every command's file has its line in the table, and a line whose file is there gives a click command."""
    files = {path.stem for path in Path(paceline.cli.__file__).parent.glob("[a-z]*.py")}
    assert files <= set(_group.COMMANDS)
    for entry in _group.COMMANDS.values():
        module, _, attribute = entry.target.partition(":")
        if find_spec(module) is not None:
            assert isinstance(getattr(import_module(module), attribute), click.Command)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` tells the package's own version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"paceline {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetsh"], "Error: there is no command 'fetsh': did you mean fetch?"),
        (["xyzzy"], "Error: there is no command 'xyzzy': the commands are fetch, demo, serve, proxy, check, explain"),
        (["--nonsense"], "Error: No such option"),
        ([], "Usage: paceline"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is told on standard error and ends with 2."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (errors.InputError("no such file: urls.txt"), 2, "Error: no such file: urls.txt\n"),
        (errors.LimitSyntaxError("x", "x", "it is odd"), 2, "Error: cannot read the limit 'x': it is odd\n"),
        (errors.OutputError("the disk is full: make room"), 74, "Error: the disk is full: make room\n"),
        (
            errors.RetryLater("api", 0.0, 60.0),
            75,
            "Error: api is paused for another 60 s, until 1970-01-01T00:00:00+00:00 (cooldown): run again then\n",
        ),
        (
            errors.GaveUp("attempts used up", 6, 503),
            1,
            "Error: gave up after 6 attempts: attempts used up; last: status 503\n",
        ),
        (
            errors.MissingExtra("zstandard", "cli"),
            2,
            "Error: zstandard is not installed; install it with: pip install 'paceline[cli]'\n",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "a.txt"),
            74,
            "Error: a.txt: No such file or directory\n",
        ),
        (OSError(28, "No space left on device"), 74, "Error: No space left on device\n"),
        (
            ModuleNotFoundError("No module named 'orjson'", name="orjson"),
            2,
            "Error: orjson is not installed; ",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
        (click.UsageError("that is wrong"), 2, "Error: that is wrong\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_end_has_its_status(
    error: BaseException,
    status: int,
    message: str,
    command: Callable[[Callable[[], Any]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An error that a user can do something about is one message on standard error and the status of its kind."""

    def action() -> None:
        raise error

    command(action)
    assert main(["try"]) == status
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_notes_are_told(
    command: Callable[[Callable[[], Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """What was noted on an error on its way is told with it."""

    def action() -> None:
        error = errors.InputError("wrong")
        error.add_note("input line 7")
        raise error

    command(action)
    main(["try"])
    assert capsys.readouterr().err == "Error: wrong\ninput line 7\n"


def test_messages_are_masked_and_plain(
    command: Callable[[Callable[[], Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """No message carries a credential, moves the cursor or fills the screen."""

    def action() -> None:
        raise errors.InputError("cannot use https://u:s3cr3t@h/?key=s3cr3t \x1b[2J" + "x" * 100_000)

    command(action)
    main(["try"])
    told = capsys.readouterr().err
    assert told.startswith("Error: cannot use https://***@h/?key=*** \\x1b[2Jxx")
    assert len(told) < 5000


def test_a_bug_is_not_hidden(command: Callable[[Callable[[], Any]], None]) -> None:
    """An error that is ours passes through, with its traceback."""

    def action() -> None:
        raise ZeroDivisionError

    command(action)
    with pytest.raises(ZeroDivisionError):
        main(["try"])


def test_a_missing_module_that_is_no_extra_is_a_bug(command: Callable[[Callable[[], Any]], None]) -> None:
    """Only the extras' packages are told as missing."""

    def action() -> None:
        raise ModuleNotFoundError("No module named 'paceline.nowhere'", name="paceline.nowhere")

    command(action)
    with pytest.raises(ModuleNotFoundError):
        main(["try"])


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (75, 75)])
def test_a_commands_result_is_the_status(
    result: int | None, status: int, command: Callable[[Callable[[], Any]], None]
) -> None:
    """A command may return its exit status."""
    command(lambda: result)
    assert main(["try"]) == status


def test_exit_through_the_context(command: Callable[[Callable[[], Any]], None]) -> None:
    """A command may end through click's own `ctx.exit`."""
    command(lambda: click.get_current_context().exit(74))
    assert main(["try"]) == 74


def test_without_click_a_plain_message() -> None:
    """Where click is not installed, the message names the extra, and there is no traceback."""
    done = run(
        code="import sys; sys.modules['click'] = None; from paceline.cli import main; sys.exit(main(['--help']))"
    )
    assert done.returncode == 2
    assert done.stderr == "Error: click is not installed; install it with: pip install 'paceline[cli]'\n"


def test_a_reader_that_goes_away() -> None:
    """`paceline --help | true` neither complains nor hangs."""
    with subprocess.Popen(
        [sys.executable, "-m", "paceline", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


def test_a_full_disk() -> None:
    """Output that cannot be written is an error of its own status."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "paceline", "--help"],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (74, "Error: No space left on device\n")


def test_shell_completion() -> None:
    """The shell's completion script asks through the environment and gets the commands."""
    code = (
        "import os, sys; os.environ.update(_PACELINE_COMPLETE='bash_complete', COMP_WORDS='paceline ', COMP_CWORD='1');"
        "from paceline.cli import main; sys.exit(main([]))"
    )
    done = run(code=code)
    assert {"plain,fetch", "plain,demo", "plain,serve", "plain,explain"} <= set(done.stdout.split())
