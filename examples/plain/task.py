"""What the recipes share: the list to fetch, the limit that they are told, and what becomes of the rows."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

THREADS = 8


def urls() -> list[str]:
    """The URLs to fetch, one a line in the file that is named."""
    return Path(os.environ["PACELINE_LIST"]).read_text("utf-8").split()


def limit() -> tuple[int, float]:
    """Calls and seconds: 50 and 1.0 for `50/s`, 100 and 2.0 for `100/2s`."""
    calls, _, period = os.environ["PACELINE_LIMIT"].partition("/")
    return int(calls), float(period.removesuffix("s") or 1)


def in_threads(fetch: Callable[[str], Any]) -> int:
    """Fetches all URLs in a few threads; what fails is told, and does not stop the others."""

    def one(url: str) -> Any:
        try:
            return fetch(url)
        except Exception as error:  # noqa: BLE001 - any library's own
            return error

    with ThreadPoolExecutor(THREADS) as threads:
        return save(list(threads.map(one, urls())))


def save(rows: Sequence[Any]) -> int:
    """Writes the rows, tells what failed; 1 if anything did."""
    failed = [row for row in rows if isinstance(row, BaseException)]
    Path(os.environ["PACELINE_DIR"], "rows.jsonl").write_text(
        "".join(f"{json.dumps(row)}\n" for row in rows if not isinstance(row, BaseException)), "utf-8"
    )
    for error in failed[:3]:
        print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"{len(rows) - len(failed)} rows, {len(failed)} failed")
    return 1 if failed else 0
