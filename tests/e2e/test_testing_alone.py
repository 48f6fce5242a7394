"""What `pip install paceline[testing]` promises holds with nothing else installed: the commands of the kit, and its Python."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# What is not of the extra cannot be imported, as if it were not installed.
BLOCK = """
import json, sys
blocked = frozenset(json.loads(sys.argv.pop(1)))
class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing)
"""


def blocked() -> list[str]:
    """The packages installed here that the extra does not bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [Requirement(each) for each in (*project["dependencies"], *project["optional-dependencies"]["testing"])]
    brought = {"paceline"}
    while waiting:
        each = waiting.pop()
        name = canonicalize_name(each.name)
        if name not in brought and (each.marker is None or each.marker.evaluate({"extra": ""})):
            brought.add(name)
            waiting += map(Requirement, requires(name) or ())
    return sorted(
        package for package, owners in packages_distributions().items() if not brought & set(map(canonicalize_name, owners))
    )


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """How to run code where only the extra is installed."""
    names = blocked()
    assert {"aiohttp", "httpx", "requests", "structlog", "pytest"} <= set(names)
    return [sys.executable, "-c", names_of(names)]


def names_of(names: list[str]) -> str:
    return BLOCK.replace("sys.argv.pop(1)", repr(json.dumps(names)))


def command(alone: list[str], *words: str) -> list[str]:
    return [*alone[:-1], alone[-1] + "from paceline.cli import main\nsys.exit(main())", *words]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("serve", "--limit", "100/2s"), "Verdict on the client"),
        (("proxy", "http://127.0.0.1:9", "--refuse", "first:1"), "What the proxy saw"),
    ],
    ids=["serve", "proxy"],
)
def test_the_servers_run(alone: list[str], words: tuple[str, ...], told: str) -> None:
    """`serve` and `proxy` listen, and at the end print what they saw."""
    process = subprocess.Popen(command(alone, *words, "--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=60)[0]
    assert re.match(r"listening on http://127\.0\.0\.1:\d+", first), first + rest
    assert told in rest
    assert process.returncode == 0


def test_check_grades_a_program(alone: list[str]) -> None:
    """`check` runs a program and prints its report card."""
    code = "import sys, urllib.request; [urllib.request.urlopen(u).read() for u in sys.stdin.read().split()]"
    words = ("check", "--items", "3", "--scenario", "window", "--", sys.executable, "-c", code)
    done = subprocess.run(command(alone, *words), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "Grade A; --grade B is reached" in done.stdout) == (0, True), done.stdout + done.stderr


def test_what_needs_more_says_what(alone: list[str]) -> None:
    """A command that is not of the kit names the extra to install."""
    done = subprocess.run(command(alone, "fetch", "x", "-o", "y"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "pip install 'paceline[cli]'" in done.stderr


def test_the_kit_in_python(alone: list[str]) -> None:
    """Server, proxy, scripts and virtual time need no client's package."""
    code = """
import time, urllib.request
from paceline.testing import Proxy, Server, script, virtual_time
with virtual_time() as clock, Server("1/h") as server, Proxy(server.url) as proxy:
    assert urllib.request.urlopen(proxy.url + "/items/1").status == 200
    time.sleep(3600)
    assert clock.now == 3600
assert [script(429, 200).answer("GET", "http://x/")[0]] == [429]
"""
    done = subprocess.run([*alone[:-1], alone[-1] + code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
