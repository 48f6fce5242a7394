"""Runs the published test suites of requests and httpx with paceline's clients in the place of theirs.

    python bench/upstream.py [requests] [httpx]      or: make upstream

It makes a virtual environment in a folder of its own, takes the source distributions, which carry the tests, from the
package registry that pip is set up for, and runs each suite twice: as it is, and with `Session` (`Client`,
`AsyncClient`) replaced by paceline's, under a policy that paces at 1000/s and tries what failed once more. What counts
are the tests that pass as they are and do not with a policy: each is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {
    "requests": ["pytest<10", "pytest-mock", "pytest-httpbin==2.1.0", "httpbin~=0.10.0", "trustme", "PySocks"],
    "httpx": [
        "pytest<9", "anyio>=4", "trio", "trustme", "uvicorn", "chardet", "cryptography", "click", "rich", "pygments", "h2",
        "socksio", "brotli", "zstandard",
    ],
}  # fmt: skip

PLUGIN = '''
from tenacity import stop_after_attempt, wait_none
from paceline import Policy, Retry

def policy():
    return Policy(limits="1000/s", retry=Retry(stop=stop_after_attempt(2), wait=wait_none(), budget=1))

def requests_in_place():
    import requests, requests.api, requests.sessions, paceline.requests
    class Session(paceline.requests.Session):
        def __init__(self):
            super().__init__(policy())
    Session.__qualname__ = "Session"  # where pickle looks for it
    globals()["Session"] = Session
    requests.Session = requests.sessions.Session = Session

def httpx_in_place():
    import httpx, httpx._api, httpx._client, httpx._main, paceline.httpx
    class Client(paceline.httpx.Client):
        def __init__(self, **options):
            super().__init__(policy(), **options)
    class AsyncClient(paceline.httpx.AsyncClient):
        def __init__(self, **options):
            super().__init__(policy(), **options)
    for module in (httpx, httpx._api, httpx._client, httpx._main):
        module.Client = Client
        if hasattr(module, "AsyncClient"):
            module.AsyncClient = AsyncClient

import os
globals()[os.environ["IN_PLACE"] + "_in_place"]()
'''


def run(*command: str | Path, **options: object) -> None:
    subprocess.run([str(word) for word in command], check=True, **options)  # type: ignore[call-overload]


def outcomes(report: Path) -> dict[str, str]:
    """How each test of a junit report ended."""
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[f"{case.get('classname')}::{case.get('name')}"] = kinds.pop() if kinds else "passed"
    return found


def suite(library: str, folder: Path) -> bool:
    venv = folder / f"venv-{library}"
    python = venv / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "venv", venv)
    run(python, "-m", "pip", "install", *quiet, f"{ROOT}[{library}]", *NEEDS[library])
    version = subprocess.run(
        [python, "-c", f"import {library}; print({library}.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    run(
        python, "-m", "pip", "download", *quiet, "--no-deps", "--no-binary", library, "--dest", folder, f"{library}=={version}",
    )  # fmt: skip
    with tarfile.open(next(folder.glob(f"{library}-{version}*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    source = folder / f"{library}-{version}"
    (folder / "in_place.py").write_text(PLUGIN, "utf-8")
    results = []
    for name, plugin in (("bare", ()), ("paceline", ("-p", "in_place"))):
        report = folder / f"{library}-{name}.xml"
        subprocess.run(
            [
                python, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestWarning",
                *plugin, "--junitxml", report, "--tb=short", "tests",
            ],
            cwd=source,
            env={**os.environ, "IN_PLACE": library, "PYTHONPATH": f"{folder}"},
            stdout=(folder / f"{library}-{name}.txt").open("w"),
            stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        results.append(outcomes(report))
    bare, paced = results
    passed = [test for test, outcome in bare.items() if outcome == "passed"]
    lost = [test for test in passed if paced.get(test) != "passed"]
    print(
        f"{library} {version}: {len(bare)} tests; {len(passed)} pass as they are, "
        f"{len(passed) - len(lost)} of them with paceline in place"
    )
    for test in lost:
        print(f"  {paced.get(test, 'missing')}: {test}")
    return not lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", nargs="*", choices=[*NEEDS, []], default=[])
    parser.add_argument("--keep", type=Path, help="a folder for all of it, with pytest's own reports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        fine = [suite(library, folder) for library in options.library or NEEDS]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
