"""`paceline serve`: the test server on the command line, with its verdict on the client at the end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError

if TYPE_CHECKING:
    from ..testing import Account, Settings

__all__ = ["command", "print_account"]

_EXAMPLES = """
\b
Examples:
  paceline serve --limit 100/2s
  paceline serve --limit 100/2s --enforce counter --charge-refused
  paceline serve --limit "50/s bucket burst 20" --limit "8 concurrent" --latency 0.2 --jitter 0.08
  paceline serve --limit 100/2s --fail-rate 0.02 --cut-rate 0.01 --noise 5 --seed 7
\b
Then, from elsewhere:
  curl -i http://127.0.0.1:8429/items/17
  curl http://127.0.0.1:8429/-/account
  curl 'http://127.0.0.1:8429/-/set?limit=50/2s'
\b
Paths: /items/ID?bytes=N  /status/N?n=3&retry_after=2  /redirect/N?to=URL  /redirect/loop
       /drip?duration=S&bytes=N  /big?bytes=N  /gzip  /lie?declared=N&sent=M  /json-lie  /unauthorized
       /free (no limit)  /-/account?items=1  /-/reset  /-/set?NAME=VALUE (the options' names, with _)
"""


@click.command(
    name="serve",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8429, show_default=True, help="0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--limit", "limits", multiple=True, help="A limit, like 100/2s; several hold together.")
@click.option(
    "--enforce",
    multiple=True,
    help="How the limit is enforced: sliding, fixed (of the epoch), anchored (at the first use), counter, "
    "counter-lenient, bucket, concurrent or none. One for each --limit; by default by the limit's own shape, "
    "and sliding where it has none.",
)
@click.option(
    "--retry-after",
    default="delta",
    show_default=True,
    help="How a refusal tells its wait: delta, date, ms, float, epoch, none, zero, short or junk.",
)
@click.option(
    "--headers", default="x", show_default=True, help="How limits are told: x, ietf, ietf03 or none."
)
@click.option("--refuse-status", type=int, default=429, show_default=True, help="429, 403, 503 or 200.")
@click.option("--latency", type=float, default=0.0, help="Seconds until an answer is given.")
@click.option("--jitter", type=float, default=0.0, help="Seconds around the latency, either way.")
@click.option("--fail-rate", type=float, default=0.0, help="Share of accepted requests answered 503.")
@click.option(
    "--cut-rate",
    type=float,
    default=0.0,
    help="Share of accepted requests cut off: after charging, before answering.",
)
@click.option(
    "--refuse-rate", type=float, default=0.0, help="Share of requests refused whatever the limits say."
)
@click.option(
    "--refuse-wait", type=float, default=1.0, show_default=True, help="Seconds that such a refusal tells."
)
@click.option("--noise", type=float, default=0.0, help="Requests a second of another consumer of the limits.")
@click.option("--charge-refused", is_flag=True, help="Refused requests use quota too.")
@click.option("--lockout", type=float, default=0.0, help="Seconds for which one refusal refuses all.")
@click.option(
    "--key",
    default="all",
    show_default=True,
    help="What has limits of its own: all, address, header:NAME, query:NAME.",
)
@click.option("--token-env", metavar="VAR", help="Let in only requests with the bearer token that VAR holds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all chance.")
def command(
    port: int,
    host: str,
    limits: tuple[str, ...],
    enforce: tuple[str, ...],
    noise: float,
    token_env: str | None,
    **options: Any,
) -> None:
    """Run a server that enforces rate limits, and judge the clients that use it.

    It prints its address when it is ready, and on Ctrl-C or SIGTERM its account of what it saw.
    """
    from ..testing import Settings

    token = None
    if token_env is not None:
        token = os.environ.get(token_env)
        if not token:
            raise InputError(f"--token-env names the variable {token_env!r}, which is not set")
    settings = Settings.of(limits, enforce, {**options, "noise_rps": noise, "token": token})
    print_account(_run(settings, host, port))


def _run(settings: Settings, host: str, port: int) -> Account:
    from ..testing.server import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(settings, host, port))


async def _serve(settings: Settings, host: str, port: int) -> Account:
    from ..testing import listen

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows' loop has no signal handlers: there Ctrl-C ends the command without an account.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    listener = await listen(settings, host, port)
    if host not in ("127.0.0.1", "::1", "localhost"):
        click.echo(f"{host} may be reached from other machines, and /-/set by anyone there", err=True)
    click.echo(f"listening on {listener.url}")
    await stop.wait()
    await listener.close()
    return listener.account()


def print_account(account: Account) -> None:
    """Prints the server's account as a table: what was looked at, what was found, and whether that is good."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title="What the server saw", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("found", justify="right")
    table.add_column("")
    marks = {True: Text("good", style="green"), False: Text("bad", style="red"), None: Text("")}
    for what, found, good in account.rows():
        table.add_row(Text(what), Text(found), marks[good])
    Console().print(table)
