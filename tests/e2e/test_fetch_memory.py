"""The memory of `paceline fetch` does not grow with the number of inputs: a small version of bench/memory.py."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "memory.py"


def test_ten_times_the_inputs_take_hardly_more_memory() -> None:
    """15,000 URLs peak less than 8 MB above 1,500; a hundred bytes kept of each input would show from a million on."""
    done = subprocess.run(
        [sys.executable, str(BENCH), "--few", "1500", "--many", "15000", "--allowed", "8"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 15,000 URLs: 15,000 records" in done.stdout


def test_whole_lines_are_counted(tmp_path: Path) -> None:
    """The bench counts newlines, so a half-written record is none."""
    spec = importlib.util.spec_from_file_location("bench_memory", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    path = tmp_path / "out"
    path.write_bytes(b"{}\n{}\n{")
    assert module.lines_in(path) == 2
