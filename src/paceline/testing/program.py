"""A program of any language, run once: its command filled in, in a process group of its own, bounded in time and output."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError
from ..masking import mask_text
from ..telemetry.words import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

__all__ = ["PLACEHOLDERS", "Ending", "Program"]

# What a command may name, and the variable that says the same in its environment.
PLACEHOLDERS: Final[Mapping[str, str]] = {
    "url": "PACELINE_URL",
    "n": "PACELINE_ITEMS",
    "list": "PACELINE_LIST",
    "limit": "PACELINE_LIMIT",
    "dir": "PACELINE_DIR",
}
_GRACE: Final = 2.0  # seconds between asking a process group to end and making it
_KEPT: Final = 64 * 1024  # bytes of output
_LINE: Final = 300


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. status: the exit status, below 0 the signal that ended it, None where its time was over.

    seconds: how long it ran. tail: the last lines of its output, both streams, credentials masked.
    """

    status: int | None
    seconds: float
    tail: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether it ended by itself with exit status 0."""
        return self.status == 0

    def text(self) -> str:
        """How it ended, in words.

        >>> Ending(0, 1.24).text(), Ending(-9, 0.5).text(), Ending(None, 60.0).text()
        ('exit status 0 after 1.2 s', 'ended by SIGKILL after 0.5 s', 'still running after 60.0 s, and ended')
        """
        if self.status is None:
            return f"still running after {self.seconds:.1f} s, and ended"
        if self.status < 0:
            try:
                name = signal.Signals(-self.status).name
            except ValueError:
                name = f"signal {-self.status}"
            return f"ended by {name} after {self.seconds:.1f} s"
        return f"exit status {self.status} after {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Program:
    """A command whose words may hold {url}, {n}, {list}, {limit} and {dir}; with `shell`, one text for `/bin/sh -c`.

    >>> Program.of(["python job.py {url} --items {n}"]).filled({"url": "http://127.0.0.1:8429", "n": "200"})
    ['python', 'job.py', 'http://127.0.0.1:8429', '--items', '200']
    """

    words: tuple[str, ...]
    shell: bool = False

    @classmethod
    def of(cls, given: str | Sequence[str], *, shell: bool = False) -> Program:
        """A command as one text, split as a shell would split it but run without one, or as words.

        Raises InputError where it is empty, or its quotes do not close.
        """
        words = [given] if isinstance(given, str) else list(given)
        if not any(word.strip() for word in words):
            raise InputError("name a command to check, like 'python my_job.py {url}'")
        if shell:
            # Words that came apart already are kept apart.
            return cls((words[0] if len(words) == 1 else shlex.join(words),), True)
        if len(words) == 1:
            try:
                words = shlex.split(words[0])
            except ValueError as error:
                raise InputError(f"cannot read the command {words[0][:80]!r}: {str(error).lower()}") from None
        return cls(tuple(words))

    @property
    def text(self) -> str:
        """The command as one would type it, credentials masked."""
        return mask_text(self.words[0] if self.shell else " ".join(map(_shown, self.words)))

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """The words to run, each {name} replaced; other braces stay as they are."""
        filled = []
        for word in self.words:
            for name, value in values.items():
                word = word.replace(f"{{{name}}}", shlex.quote(value) if self.shell else value)
            filled.append(word)
        return ["/bin/sh", "-c", *filled] if self.shell else filled

    def look_for(self) -> None:
        """Raises InputError where there is no such program, or it cannot be run."""
        if self.shell:
            return
        name = self.words[0]
        if shutil.which(name) is not None:
            return
        path = Path(name)
        if (os.sep in name or path.exists()) and path.is_file():
            raise InputError(f"{name} cannot be run as it is: name what runs it, like 'python {name} {{url}}', or chmod +x it")
        hint = "" if not any(char in name for char in "|&;<>$=") else " (no shell reads it; --shell lets one)"
        raise InputError(f"there is no program {name[:80]!r} here{hint}; a command begins with one, like 'python my_job.py {{url}}'")

    def run(self, values: Mapping[str, str], *, timeout: float) -> Ending:
        """Runs it to its end, or for `timeout` seconds; whatever of its process group is left then is ended.

        values: what the placeholders stand for; `list` names the file that is its standard input, too.
        """
        environment = {**os.environ, **{PLACEHOLDERS[name]: value for name, value in values.items()}}
        for name in ("no_proxy", "NO_PROXY"):  # a proxy of the machine's would not find a server on loopback
            environment[name] = ",".join(filter(None, [environment.get(name), "127.0.0.1", "localhost"]))
        began = time.monotonic()
        with Path(values["list"]).open("rb") as stdin:
            try:
                process = subprocess.Popen(
                    self.filled(values),
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise InputError(f"cannot run {self.words[0][:80]!r}: {error.strerror or error}") from None
        assert process.stdout is not None
        tail = _Tail(process.stdout)
        status: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout)
            seconds = time.monotonic() - began
        finally:
            _end(process)
            lines = tail.close()
        return Ending(status, seconds, lines)


def _shown(word: str) -> str:
    return word if word and not any(char in word for char in " \t\n\"'\\") else shlex.quote(word)


class _Tail:
    """Reads a stream to its end, in a thread so that the writer never waits, and keeps the last of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, name="paceline-check-output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        # A pipe that somebody outside the process group holds open may be closed under the reader.
        with suppress(OSError, ValueError):
            while piece := os.read(self._stream.fileno(), 65536):
                self._kept += piece
                del self._kept[:-_KEPT]

    def close(self) -> tuple[str, ...]:
        self._thread.join(_GRACE)
        if not self._thread.is_alive():
            self._stream.close()
        lines = bytes(self._kept).decode("utf-8", "replace").splitlines()
        return tuple(one_line(mask_text(line), _LINE) for line in lines if line.strip())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of the process's group: asks, and after a while does not ask."""
    if sys.platform == "win32":
        process.kill()
        process.wait()
        return
    for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, _GRACE)):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):  # nobody is left (macOS says the latter of the dead)
            break
        until = time.monotonic() + patience
        while time.monotonic() < until and (process.poll() is None or _lives(process.pid)):
            time.sleep(0.02)
    process.wait()


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
