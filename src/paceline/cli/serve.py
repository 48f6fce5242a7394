"""`paceline serve`: the test server on the command line, with its account and its verdict on the client at the end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError

if TYPE_CHECKING:
    from ..testing import Account, ReportCard, Scenario, Settings

__all__ = ["command", "print_account"]

_EXAMPLES = """
\b
Examples:
  paceline serve --limit 100/2s
  paceline serve --limit 100/2s --enforce counter --charge-refused
  paceline serve --limit "50/s bucket burst 20" --limit "8 concurrent" --latency 0.2 --jitter 0.08
  paceline serve --limit 100/2s --fail-rate 0.02 --cut-rate 0.01 --noise 5 --seed 7
  paceline serve --limit 5000/hour --dialect github
  paceline serve --scenario halved
  paceline serve --scenario ./mine.toml --latency 0.1
\b
Then, from elsewhere:
  curl -i http://127.0.0.1:8429/items/17
  curl http://127.0.0.1:8429/-/account
  curl 'http://127.0.0.1:8429/-/set?limit=50/2s'
\b
Paths: /items/ID?bytes=N  /status/N?n=3&retry_after=2  /redirect/N?to=URL  /redirect/loop  /stream/N?seconds=S
       /drip?duration=S&bytes=N  /big?bytes=N  /gzip  /lie?declared=N&sent=M  /json-lie  /unauthorized
       /pages/LIST?style=link|cursor|page|offset&total=N&size=N&fault=empty|repeated|shrinking|loop|missing|…&at=N
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
    "--scenario", metavar="NAME|FILE", help="Behaviour in phases: one of --list-scenarios, or a TOML file."
)
@click.option("--list-scenarios", is_flag=True, help="Name the scenarios that come with paceline, and end.")
@click.option(
    "--retry-after",
    help="How a refusal tells its wait: delta (the default), date, ms, float, epoch, none, zero, short or junk.",
)
@click.option("--headers", help="How limits are told: x (the default), ietf, ietf03 or none.")
@click.option("--refuse-status", type=int, help="429 (the default), 403, 503 or 200.")
@click.option(
    "--dialect",
    metavar="NAME",
    help="Tell quotas and refuse as this provider does: github, openai, shopify … (any that `explain --dialect` knows).",
)
@click.option("--latency", type=float, default=0.0, help="Seconds until an answer is given.")
@click.option("--jitter", type=float, default=0.0, help="Seconds around the latency, either way.")
@click.option("--fail-rate", type=float, default=0.0, help="Share of accepted requests answered with a 5xx.")
@click.option(
    "--fail-status", type=int, default=503, show_default=True, help="Which: 500, 502, 503 or 504."
)
@click.option(
    "--cut-rate",
    type=float,
    default=0.0,
    help="Share of accepted requests cut off: after charging, before answering.",
)
@click.option(
    "--reset-rate", type=float, default=0.0, help="Share of accepted requests whose connection is reset (RST)."
)
@click.option(
    "--truncate-rate", type=float, default=0.0, help="Share of accepted requests that get half of their body."
)
@click.option("--slow-rate", type=float, default=0.0, help="Share of accepted requests with a slow body.")
@click.option(
    "--slow-seconds", type=float, default=1.0, show_default=True, help="Seconds that a slow body takes."
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
@click.pass_context
def command(
    context: click.Context,
    /,
    port: int,
    host: str,
    limits: tuple[str, ...],
    enforce: tuple[str, ...],
    scenario: str | None,
    list_scenarios: bool,
    noise: float,
    token_env: str | None,
    **options: Any,
) -> None:
    """Run a server that enforces rate limits, and judge the clients that use it.

    It prints its address when it is ready, and on Ctrl-C or SIGTERM what it saw and its verdict on the client.
    """
    from ..testing import scenarios
    from ..testing.server import behaviour

    if list_scenarios:
        for each in scenarios():
            click.echo(f"{each.name:11}  {each.about}")
        return
    token = None
    if token_env is not None:
        token = os.environ.get(token_env)
        if not token:
            raise InputError(f"--token-env names the variable {token_env!r}, which is not set")
    given = {**options, "noise_rps": noise, "token": token}
    if scenario is not None:
        # What was not said is the scenario's to say.
        names = {"noise_rps": "noise", "token": "token_env"}
        default = click.core.ParameterSource.DEFAULT
        given = {
            name: value
            for name, value in given.items()
            if context.get_parameter_source(names.get(name, name)) is not default
        }
    account, report = _run(behaviour(limits, enforce, scenario, given), host, port)
    print_account(account)
    click.echo(report.text())


def _run(settings: Settings | Scenario, host: str, port: int) -> tuple[Account, ReportCard]:
    from ..testing.loop_thread import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(settings, host, port))


async def _serve(settings: Settings | Scenario, host: str, port: int) -> tuple[Account, ReportCard]:
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
    return listener.account(), listener.report()


def print_account(account: Account) -> None:
    """Prints the server's account as a table: what was looked at, and what was found."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title="What the server saw", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("found", justify="right")
    for what, found in account.rows():
        table.add_row(Text(what), Text(found))
    Console().print(table)
