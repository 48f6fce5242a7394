"""Peak memory of `paceline fetch`: many URLs beside few, on the project's own test server.

    python bench/memory.py [--few 10000] [--many 1000000] [--allowed 60] [--concurrency 32]

The server runs in a process of its own (/free: no limit). Each job is a whole process; its peak resident memory is
read from the operating system when it has ended (ru_maxrss). Ends with 1 where the large job's peak is more than
`--allowed` MB above the small one's, or a record is missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """One job: inputs, records, peak memory in MB (10^6 bytes), wall and CPU seconds."""

    count: int
    records: int
    peak: float
    wall: float
    cpu: float


def lines_in(path: Path) -> int:
    """Whole lines of a file, read in blocks."""
    lines = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
    return lines


def measure(base: str, count: int, folder: Path, concurrency: int) -> Measured:
    """Fetches `count` URLs in a process of its own."""
    source, out = folder / f"urls-{count}.txt", folder / f"out-{count}.jsonl"
    with source.open("w") as file:
        file.writelines(f"{base}/free?i={number}\n" for number in range(count))
    command = [
        sys.executable, "-m", "paceline", "fetch", str(source), "-o", str(out), "--fresh",
        "--concurrency", str(concurrency), "--progress", "none",
    ]  # fmt: skip
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"paceline fetch ended with {process.returncode}")
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    measured = Measured(count, lines_in(out), peak, wall, usage.ru_utime + usage.ru_stime)
    for path in folder.iterdir():
        path.unlink()
    return measured


def main() -> int:
    """Measures, prints, judges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--allowed", type=float, default=60.0, help="MB that the large job may take more")
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-c", "from paceline.cli.serve import command; command(['--port', '0'])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        base = server.stdout.readline().split()[-1]
        found = []
        with tempfile.TemporaryDirectory() as folder:
            for count in (options.few, options.many):
                one = measure(base, count, Path(folder), options.concurrency)
                print(
                    f"{one.count:>9,} URLs: {one.records:,} records, peak {one.peak:.1f} MB, "
                    f"{one.wall:.1f} s, {one.cpu / one.count * 1e6:.0f} µs of CPU each",
                    flush=True,
                )
                found.append(one)
    finally:
        server.terminate()
        server.communicate()
    more = found[1].peak - found[0].peak
    whole = all(one.records == one.count for one in found)
    good = whole and more <= options.allowed
    print(f"{more:+.1f} MB for {found[1].count - found[0].count:,} more URLs (allowed: {options.allowed:g}): {'ok' if good else 'FAILED'}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
