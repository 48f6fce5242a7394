"""What every example runs on: a test server of its own or the one at --url, a list of items, and the server's account.

None of it is needed in a program of yours, which has a real API and a real list.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass
class Stage:
    """Where an example runs: the server's URL, how many items it fetches, the limit it is told."""

    url: str
    items: int
    limit: str
    options: argparse.Namespace
    status: int = 0
    account: dict[str, Any] = field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        """The URLs of all items."""
        return [f"{self.url}/items/{number}" for number in range(1, self.items + 1)]

    def close(self, ids: Sequence[Any]) -> None:
        """Compares the ids of the records that came with what was asked for, and prints the server's account."""
        wanted = {str(number) for number in range(1, self.items + 1)}
        came = [str(each) for each in ids]
        twice, lost = len(came) - len(set(came)), len(wanted - set(came))
        print(f"records       {len(came)} of {self.items}, {lost} lost, {twice} twice")
        self.status = 1 if lost or twice else 0
        try:
            with urllib.request.urlopen(f"{self.url}/-/account", timeout=30) as response:
                self.account = json.load(response)
        except (URLError, ValueError):
            print("account       none: this is not the test server of paceline")
            return
        for name in ("limits", "arrived", "accepted", "refused", "failed", "early_retries", "duplicates", "connections"):
            value = self.account[name]
            print(f"{name:<13} {', '.join(value) if isinstance(value, list) else value}")
        if self.account["makespan"] is not None:
            print(f"{'took':<13} {self.account['makespan']:.2f} s from the first to the last")


@contextmanager
def stage(
    about: str | None,
    argv: Sequence[str] | None,
    *,
    limit: str,
    items: int,
    add: Callable[[argparse.ArgumentParser], Any] = bool,
    **server: Any,
) -> Iterator[Stage]:
    """Reads the command line, starts a server where no --url is given, and leaves it all in order.

    limit: what the server enforces and the example is told. add: gives the parser options of the example's own.
    server: how the example's own server behaves, see `paceline serve --help`.
    """
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--url", help="a server like `paceline serve` (without it, one is started)")
    parser.add_argument("--items", type=int, default=items, help="how many items to fetch (%(default)s)")
    parser.add_argument("--limit", default=limit, help="the limit that the program is told (%(default)s)")
    add(parser)
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        url = options.url
        if url is None:
            url = stack.enter_context(Server(options.limit, **server)).url
            print(f"started a server with the limit {options.limit} at {url}", file=sys.stderr)
        yield Stage(url.rstrip("/"), options.items, options.limit, options)
