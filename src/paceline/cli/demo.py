"""`paceline demo`: the whole job on this machine, and the client's account beside the server's."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from ..errors import InputError
from ..events import Attempted
from ..limits import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from ..events import Event
    from ..jobs.batch import Ended
    from ..testing import Account, Settings

__all__ = ["Row", "command", "compare"]

_EXAMPLES: Final = """
\b
Examples:
  paceline demo
  paceline demo --items 500 --limit "50/s bucket burst 20"
  paceline demo --seed 7 --progress log
\b
Exit status: 0 where both accounts agree and every item was fetched exactly once, 1 where not, 130 interrupted.
"""
_PROGRESS: Final = ("auto", "bar", "log", "none")
_FAULTS: Final[dict[str, Any]] = {"fail_rate": 0.005, "cut_rate": 0.002, "refuse_rate": 0.0015, "refuse_wait": 1.0}
_KINDS: Final = {
    "sliding": "by a log of the last requests",
    "fixed": "in fixed windows",
    "bucket": "by a token bucket",
    "concurrent": "by counting those in flight",
}
_PATIENCE: Final = 30.0


@click.command(
    name="demo",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--items", type=click.IntRange(1, 100_000), default=2000, show_default=True, help="How many to fetch."
)
@click.option("--limit", default="100/s", show_default=True, help="What the server allows, and the client is told.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the faults that the server injects.")
@click.option(
    "--progress", type=click.Choice(_PROGRESS), default="auto", show_default=True, help="How to show progress."
)
@click.pass_context
def command(context: click.Context, /, items: int, limit: str, seed: int, progress: str) -> None:
    """See it work, whole, on this machine.

    Starts a server with a real limit that also fails now and then, fetches from it, and compares what the client
    counted with what the server counted.
    """
    context.exit(_run(items, Limit.parse(limit), seed, progress))


def _run(items: int, limit: Limit, seed: int, progress: str) -> int:
    from ..jobs.sender import AiohttpSender  # noqa: F401 - what is missing is said before anything else
    from ..testing import Settings

    settings = Settings.of([limit], (), {**_FAULTS, "charge_refused": True, "seed": seed})
    with TemporaryDirectory(prefix="paceline-demo-") as folder, _serving(settings) as (url, ask):
        click.echo(f"A server on {url} allows {limit}, {_kind(settings)}.")
        click.echo("Refusals use up quota. By chance it refuses, answers 503, cuts connections.")
        click.echo(f"Fetching {items:,} items from it, told only the limit.\n")
        source, out = Path(folder, "urls.txt"), Path(folder, "out.jsonl")
        source.write_text("".join(f"{url}/items/{number}\n" for number in range(1, items + 1)))
        failures = _Failures()
        ended = _fetch(str(source), str(out), limit, failures, progress)
        if ended.status == 130:
            click.echo("\nInterrupted: nothing is left behind.", err=True)
            return 130
        if ended.trouble is not None:
            click.echo(f"\n{ended.trouble}", err=True)
        theirs = ask()
        fetched = _read(out, items)
    rows = compare(ended, failures.count, fetched, theirs)
    lost = items - fetched.right
    _show(rows, ended, theirs)
    return _judge(rows, lost, fetched.again, items, theirs)


def _kind(settings: Settings) -> str:
    return _KINDS.get(settings.enforce[0], settings.enforce[0])


def _fetch(source: str, out: str, limit: Limit, failures: _Failures, progress: str) -> Ended:
    from .. import __version__
    from ..jobs.batch import Batch
    from ..jobs.progress import Progress
    from ..jobs.sender import AiohttpSender, SenderOptions
    from ..policy import Policy

    def display(view: Callable[[], Any]) -> Progress:
        return Progress(view, mode=progress)  # type: ignore[arg-type]

    return Batch(
        source=source,
        out=out,
        policy=Policy(limits=[limit]),
        make_sender=lambda common: AiohttpSender(SenderOptions(), common),
        headers={"User-Agent": f"paceline/{__version__}", "Accept": "*/*"},
        sinks=(failures,),
        progress=None if progress == "none" else display,
    ).run()


class _Failures:
    """Counts answers of 500 and more: the job's own account holds them only as causes of retries."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Attempted) and event.status is not None and event.status >= 500:
            self.count += 1


class _Fetched(NamedTuple):
    """What stands in OUT: records with their own item's body, each item once; and records of an item again."""

    right: int
    again: int


def _read(out: Path, items: int) -> _Fetched:
    seen: set[int] = set()
    right = again = 0
    with out.open("rb") as lines:
        for line in lines:
            record = json.loads(line)
            number = record["id"]
            if number in seen:
                again += 1
                continue
            seen.add(number)
            right += 1 <= number <= items and record.get("json") == {"id": str(number)}
    return _Fetched(right, again)


# ---- the server, in a process of its own ---------------------------------------------------------------


@contextmanager
def _serving(settings: Settings) -> Iterator[tuple[str, Callable[[], Account]]]:
    """A test server for as long as the context lasts: its URL, and a function that ends it and gives its account."""
    # Fresh, not forked: it shares neither memory nor event loop with the client that it judges.
    fresh = multiprocessing.get_context("spawn")
    ours, its = fresh.Pipe()
    process = fresh.Process(target=_serve, args=(settings, its), name="paceline-demo-server", daemon=True)
    process.start()
    its.close()

    def told() -> Any:
        if not ours.poll(_PATIENCE):
            raise InputError("the server of the demo does not answer; try again")
        return ours.recv()

    def ask() -> Account:
        ours.send("account")
        account: Account = told()
        return account

    try:
        yield told(), ask
    except EOFError:
        raise InputError("the server of the demo ended by itself; try again") from None
    finally:
        ours.close()  # it ends when nobody listens any more
        process.join(_PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(settings: Settings, pipe: Connection) -> None:
    from ..testing.loop_thread import new_event_loop

    # Ctrl-C is for the client: it ends the job in order, and the server with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve_until_asked(settings, pipe))


async def _serve_until_asked(settings: Settings, pipe: Connection) -> None:
    from ..testing import listen

    listener = await listen(settings)
    # Where the client is gone, however it went, there is nobody to tell.
    with suppress(EOFError, OSError):
        pipe.send(listener.url)
        await asyncio.to_thread(pipe.recv)
        pipe.send(listener.account())
    await listener.close()


# ---- the comparison ------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One count, as the client has it and as the server has it."""

    what: str
    client: int
    server: int

    @property
    def agrees(self) -> bool:
        return self.client == self.server


def compare(ended: Ended, failures: int, fetched: _Fetched, theirs: Account) -> list[Row]:
    """The counts that both sides keep, each by itself.

    ended: the client's side; failures: answers of 500 and more that it saw; fetched: what stands in OUT.
    """
    ours = ended.account
    return [
        Row("requests", ours.attempts, theirs.arrived),
        Row("refused (429)", ours.refused_count, theirs.refused + theirs.injected),
        Row("failed (503)", failures, theirs.failed),
        Row("connections cut", sum(ours.broken_by_kind.values()), theirs.cut),
        Row("served (200)", ours.fetched_by_status.get(200, 0), theirs.served),
        Row("different items", fetched.right, theirs.distinct_items),
        Row("items again", fetched.again, theirs.duplicates),
    ]


def _show(rows: list[Row], ended: Ended, theirs: Account) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, header_style="bold")
    table.add_column("both counted")
    table.add_column("client", justify="right")
    table.add_column("server", justify="right")
    table.add_column("")
    for row in rows:
        verdict = Text("agree", style="green") if row.agrees else Text("disagree", style="bold red")
        table.add_row(row.what, f"{row.client:,}", f"{row.server:,}", verdict)
    console.print()
    console.print(Padding(table, (0, 0, 0, 1)) if console.is_terminal else table)
    if not console.is_terminal:
        console.print()
    for fact in _facts(ended, theirs):
        console.print(f" {fact}" if console.is_terminal else fact, soft_wrap=True)


def _facts(ended: Ended, theirs: Account) -> Iterator[str]:
    """What only one side can know, a sentence each."""
    from ..telemetry.words import duration

    account = ended.account
    limit, most = account.limits[0], theirs.most_in_window[0]
    what = f"{most:,} requests in any {duration(limit.period)}" if limit.period else f"{most:,} in flight at once"
    yield f"The server saw at most {what}, and refused {theirs.refused or 'none'} for going over {limit}."
    if account.end is not None:
        pauses = f", with {duration(sum(account.timeline.paused))} of pauses that it asked for" if account.cooldowns else ""
        yield f"It took {duration(account.end - account.started)}{pauses}."


def _judge(rows: list[Row], lost: int, again: int, items: int, theirs: Account) -> int:
    wrong = [row.what for row in rows if not row.agrees]
    if wrong or lost or again:
        reasons = [f"The accounts disagree on {', '.join(wrong)}"] if wrong else []
        reasons += [f"{lost:,} of {items:,} items were not fetched"] if lost else []
        reasons += [f"{again:,} record{'s stand' if again > 1 else ' stands'} there twice"] if again else []
        click.secho(f"\n{'; '.join(reasons)}.", fg="red", bold=True)
        return 1
    under = "and none over the limit" if not theirs.refused else "though some requests came too early"
    click.secho(f"\nBoth accounts agree: {items:,} items, each exactly once, {under}.", fg="green", bold=True)
    return 0
