"""What the tests of `paceline fetch` share: the command as a process, its records, and waiting for a condition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

PATIENCE = 60.0


@dataclass(frozen=True)
class Ran:
    """How a process ended: status, standard output and standard error."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """A folder in which jobs are run; `out` is where the records of most of them go."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out.jsonl"

    def write(self, name: str, content: str | bytes | Iterable[str]) -> str:
        """Writes a file of text, bytes or lines, and returns its path."""
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else "".join(f"{line}\n" for line in content))
        return str(path)

    def begin(
        self, source: str, *options: str, out: str | None = None, env: Mapping[str, str] | None = None, **popen: Any
    ) -> subprocess.Popen[bytes]:
        """Starts `paceline fetch`."""
        return subprocess.Popen(
            [
                sys.executable, "-m", "paceline", "fetch", source,
                "-o", out if out is not None else str(self.out), "--progress", "none", *options,
            ],
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **popen},
        )  # fmt: skip

    def fetch(
        self,
        source: str,
        *options: str,
        out: str | None = None,
        env: Mapping[str, str] | None = None,
        given: bytes | None = None,
        **popen: Any,
    ) -> Ran:
        """Runs `paceline fetch` to its end; `given` is its standard input."""
        if given is not None:
            popen["stdin"] = subprocess.PIPE
        return end_of(self.begin(source, *options, out=out, env=env, **popen), given)

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def records(self, out: str | None = None) -> list[dict[str, Any]]:
        return records(self.out if out is None else self.folder / out)

    def by_id(self, count: int | None = None) -> dict[Any, dict[str, Any]]:
        """The records by their id, each there once; `count`: how many there must be."""
        found = self.records()
        assert max(Counter(record["id"] for record in found).values(), default=1) == 1
        if count is not None:
            assert len(found) == count
        return {record["id"]: record for record in found}


def end_of(process: subprocess.Popen[bytes], given: bytes | None = None) -> Ran:
    """Waits for a process's end."""
    try:
        out, err = process.communicate(given, timeout=PATIENCE)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Ran(process.returncode, out.decode() if out else "", err.decode() if err else "")


def records(out: Path) -> list[dict[str, Any]]:
    """The records of an OUT, every line whole."""
    *lines, rest = out.read_bytes().split(b"\n")
    assert rest == b""
    return [json.loads(line) for line in lines]


def once_each(found: Iterable[Mapping[str, Any]], ids: Iterable[Any]) -> None:
    """Asserts that each id has exactly one record, and nothing else is there."""
    assert Counter(record["id"] for record in found) == Counter(ids)


def urls(base: str, count: int, path: str = "/items/") -> list[str]:
    """The URLs of items 1 to `count`."""
    return [f"{base}{path}{number}" for number in range(1, count + 1)]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Looks until a condition holds and returns its value; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.002)
    return value
