"""The command `paceline`: runs a command, and turns every end into one clear message and an exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from ..errors import InputError, MissingExtra, OutputError, PacelineError, RetryLater

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

FAILED: Final = 1
WRONG_USAGE: Final = 2
IO_FAILED: Final = 74  # EX_IOERR of sysexits.h
LATER: Final = 75  # EX_TEMPFAIL: run again
INTERRUPTED: Final = 130
NO_READER: Final = 141  # as a program that died of SIGPIPE: `paceline explain | head -1` is no failure
_LONGEST_MESSAGE: Final = 4000
_EXTRA_PACKAGES: Final = frozenset(
    {
        "aiohttp",
        "click",
        "httptools",
        "orjson",
        "rich",
        "structlog",
        "uvloop",
        "yarl",
        "multidict",
        "zstandard",
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command (by default the process's own arguments) and returns the exit status.

    0 done · 1 some failed for good · 2 wrong usage, nothing begun · 74 an input or output failed ·
    75 run again later · 130 interrupted. Errors are one message on standard error; only a bug shows a traceback.

    >>> main(["--version"])
    paceline 0.1.0
    0
    """
    try:
        status = _run(sys.argv[1:] if arguments is None else list(arguments))
        # Written here, where a reader that went away can still be told from a failure.
        sys.stdout.flush()
    except BrokenPipeError:
        _close_quietly()
        return NO_READER
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_PACKAGES:
            raise
        return _fail(MissingExtra(package, "cli"))
    except (PacelineError, OSError) as error:
        return _fail(error)
    return status


def _run(arguments: list[str]) -> int:
    from ._group import run  # click is an extra: its absence is told by main

    return run(arguments)


def _fail(error: PacelineError | OSError) -> int:
    # A click error's own form, so that all errors of the command line look the same.
    _say(f"Error: {_text_of(error)}")
    for note in getattr(error, "__notes__", ()):
        _say(note)
    if isinstance(error, RetryLater):
        return LATER
    if isinstance(error, OutputError):
        return IO_FAILED
    if isinstance(error, PacelineError):
        wrong = isinstance(error, InputError | ValueError | MissingExtra)
        return WRONG_USAGE if wrong else FAILED
    return IO_FAILED


def _text_of(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, PacelineError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return text or type(error).__name__


def _say(text: str) -> None:
    # Imported here, since `paceline --help` says nothing of the sort and must be there at once.
    from ..masking import mask_text
    from ..telemetry.words import one_line

    lines = mask_text(text[:_LONGEST_MESSAGE]).splitlines() or [""]
    try:
        sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))
        sys.stderr.flush()
    except BrokenPipeError:
        _close_quietly()


def _close_quietly() -> None:
    # The interpreter flushes at exit and would complain again (docs.python.org, signal, "Note on SIGPIPE").
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(null, stream.fileno())
    os.close(null)
