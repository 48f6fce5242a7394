"""`paceline proxy`: the fault-injecting reverse proxy on the command line, with its account at the end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..testing import Passage, ProxyAccount, ProxySettings

__all__ = ["command"]

_EXAMPLES = """
\b
Examples:
  paceline proxy https://api.example.com --refuse first:3 --refuse every:7 --refuse-wait 2
  paceline proxy http://127.0.0.1:8000 --limit 100/2s --enforce sliding
  paceline proxy http://127.0.0.1:8000 --cut share:0.05 --when after --record passed.jsonl
  paceline proxy http://127.0.0.1:8000 --fail-rate 0.02 --truncate every:50 --slow share:0.1 --seed 7
\b
Then, from elsewhere, with the proxy's address as the base URL:
  curl -i http://127.0.0.1:8430/v1/items?page=2
  curl http://127.0.0.1:8430/-/account
\b
RULE: first:N (the first N), every:N (every Nth), share:P (that share of all, by chance). Several for one fault
add up. --rule-key says what they count by.
"""
_ABOUT: Final = {
    "refuse": "Requests to refuse, with --refuse-status and a wait of --refuse-wait.",
    "fail": "Requests to answer with --fail-status.",
    "cut": "Requests whose connection is closed instead of answered.",
    "reset": "Requests whose connection is reset (RST).",
    "truncate": "Answers to break off in the middle of their body.",
    "slow": "Requests to answer --slow-seconds later.",
}


def _faults(function: Callable[..., Any]) -> Callable[..., Any]:
    """The two options of each fault: its rules, and its share, named as in `paceline serve`."""
    for name, about in reversed(_ABOUT.items()):
        function = click.option(
            f"--{name}-rate", type=float, help=f"The same as --{name} share:P.", metavar="P"
        )(function)
        function = click.option(f"--{name}", multiple=True, metavar="RULE", help=f"{about} May be repeated.")(function)
    return function


@click.command(
    name="proxy",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("url")
@click.option("--port", type=click.IntRange(0, 65535), default=8430, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@_faults
@click.option(
    "--when",
    default="before",
    show_default=True,
    help="When faults strike: before the upstream hears of the request, or after it has acted, so that its answer is lost.",
)
@click.option(
    "--rule-key",
    default="all",
    show_default=True,
    help="What rules count by: all, target, address, header:NAME, query:NAME.",
)
@click.option("--refuse-status", type=int, help="429 (the default), 403, 503 or 200.")
@click.option("--refuse-wait", type=float, default=1.0, show_default=True, help="Seconds that a refusal by rule tells.")
@click.option("--fail-status", type=int, default=503, show_default=True, help="From 500 to 599.")
@click.option("--slow-seconds", type=float, default=1.0, show_default=True, help="Seconds for --slow.")
@click.option("--latency", type=float, default=0.0, help="Seconds by which every answer comes later.")
@click.option("--jitter", type=float, default=0.0, help="Seconds around the latency, either way.")
@click.option("--limit", "limits", multiple=True, help="A limit in front of the upstream, like 100/2s; several hold together.")
@click.option("--enforce", multiple=True, help="How the limit is enforced, as for `paceline serve`. One for each --limit.")
@click.option(
    "--retry-after",
    help="How a refusal tells its wait: delta (the default), date, ms, float, epoch, none, zero, short or junk.",
)
@click.option("--headers", help="How --limit is told: x (the default), ietf, ietf03 or none.")
@click.option(
    "--dialect",
    metavar="NAME",
    help="Tell --limit and refuse as this provider does: github, openai, shopify … (any that `explain --dialect` knows).",
)
@click.option("--noise", type=float, default=0.0, help="Requests a second of another consumer of the limits.")
@click.option("--charge-refused", is_flag=True, help="Refused requests use quota too.")
@click.option("--lockout", type=float, default=0.0, help="Seconds for which one refusal refuses all.")
@click.option(
    "--key", default="all", show_default=True, help="What has limits of its own: all, address, header:NAME, query:NAME."
)
@click.option("--keep-host", is_flag=True, help="Pass on the client's Host instead of the upstream's.")
@click.option(
    "--keep-links", is_flag=True, help="Leave the upstream's own address in Location, Content-Location and Link."
)
@click.option("--ca-file", help="Certificates to trust an https upstream by, instead of the system's.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds of silence, from either side.")
@click.option("--control", default="/-/", show_default=True, help="The path of the proxy's own answers; '' for none.")
@click.option("--record", metavar="FILE", help="Add a JSON line for each request; credentials are masked.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all chance.")
def command(
    url: str,
    port: int,
    host: str,
    limits: tuple[str, ...],
    enforce: tuple[str, ...],
    noise: float,
    record: str | None,
    **options: Any,
) -> None:
    """Pass requests on to URL, with faults and limits in between.

    It prints its address when it is ready, a line for each upstream that fails, and on Ctrl-C or SIGTERM its account
    of what it saw. It listens on plain HTTP; URL may be https.
    """
    from ..testing import ProxySettings

    for name in _ABOUT:
        share = options.pop(f"{name}_rate")
        options[name] = (*options[name], *(() if share is None else (f"share:{share}",)))
    settings = ProxySettings.of(url, limits, enforce, {**options, "noise_rps": noise})
    _print(_run(settings, host, port, record))


def _run(settings: ProxySettings, host: str, port: int, record: str | Path | None) -> ProxyAccount:
    from ..testing.loop_thread import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(settings, host, port, record))


async def _serve(settings: ProxySettings, host: str, port: int, record: str | Path | None) -> ProxyAccount:
    from ..testing import open_proxy

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows' loop has no signal handlers: there Ctrl-C ends the command without an account.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    opened = await open_proxy(settings, host, port, record=record, on_failure=_Failures(loop.time))
    if host not in ("127.0.0.1", "::1", "localhost"):
        click.echo(f"{host} may be reached from other machines, and {settings.upstream} through it", err=True)
    click.echo(f"listening on {opened.url}, passing on to {settings.upstream}")
    await stop.wait()
    await opened.close()
    return opened.account()


class _Failures:
    """Tells of an upstream that fails, each kind once in ten seconds: a flood of the same line helps nobody."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def __call__(self, passed: Passage) -> None:
        error = passed.error or ""
        now = self._clock()
        if now - self._told.get(error, float("-inf")) >= 10.0:
            if len(self._told) >= 100:
                self._told.clear()
            self._told[error] = now
            click.echo(f"{passed.method} {passed.url}: {error}", err=True)


def _print(account: ProxyAccount) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title="What the proxy saw", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("found", justify="right")
    table.add_column("")
    marks = {True: Text("good", style="green"), False: Text("bad", style="red"), None: Text("")}
    for what, found, good in account.rows():
        table.add_row(Text(what), Text(found), marks[good])
    Console().print(table)
