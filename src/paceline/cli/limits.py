"""`paceline limits`: the scopes of a store, live, and steering them for all their workers."""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError, LimitSyntaxError
from ..limits import Limit
from ..stores import DEFAULT_STORE
from ..stores.protocol import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..operating import ScopeReport, Scopes

__all__ = ["command"]

_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_EXAMPLES: Final = """
\b
Examples:
  paceline limits show
  paceline limits show api.example.com:443 --watch 1
  paceline limits pause api.example.com:443 --for 10min --reason "their maintenance"
  paceline limits resume api.example.com:443
  paceline limits set api.example.com:443 50/2s "4 concurrent" --store redis://localhost:6379/0
  paceline limits reset api.example.com:443 --json
\b
What is told holds for all workers of the scope, in all processes that share the store; they hear it within half a
second. Exit status: 0 done, 1 the store cannot be reached, 2 wrong usage: no such scope, store or limit.
"""


@click.group(name="limits", epilog=_EXAMPLES, context_settings=_SETTINGS)
def command() -> None:
    """Look at the scopes of a store, live, and steer them: pause, resume, set other limits, reset.

    A scope is what shares a limit: host, port and credential (as a hash), or the name given by --scope or scope=.
    """


def _subcommand(name: str, examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """A subcommand that has --store and --json."""

    def make(act: Callable[..., None]) -> click.Command:
        @functools.wraps(act)
        def function(**options: Any) -> None:
            try:
                act(**options)
            except StoreUnavailable as error:
                error.add_note("start it, or name another with --store; whether a change was taken in, `paceline limits show` tells")
                raise

        function = click.option("--json", "machine", is_flag=True, help="One JSON object a scope, one a line.")(function)
        function = click.option(
            "--store", "url", default=DEFAULT_STORE, show_default=True, metavar="URL",
            help="The store: sqlite: (the file in your state folder), sqlite:///FILE or redis://HOST:PORT/0.",
        )(function)  # fmt: skip
        return command.command(name=name, epilog="\b\nExamples:\n" + examples, context_settings=_SETTINGS)(function)

    return make


@_subcommand(
    "show",
    '  paceline limits show\n  paceline limits show crm --watch 1\n  paceline limits show --json | jq "select(.paused)"',
)
@click.argument("scope", required=False)
@click.option("--watch", type=click.FloatRange(0.1, 3600), metavar="S", help="Look again every S seconds, until Ctrl-C.")
def _show(scope: str | None, watch: float | None, url: str, machine: bool) -> None:
    """Tell how the scopes stand: used, left, waiting, paused until when and why, and who works there."""
    scopes = _scopes_if_made(url, scope)
    if watch is not None:
        _watch(scopes, scope, watch, machine, url)
    elif machine:
        _print_json(_reports(scopes, scope))
    else:
        click.echo(_page(scopes, scope, url, sys.stdout.isatty()))


@_subcommand("pause", '  paceline limits pause crm --for 10min --reason "their maintenance"\n  paceline limits pause crm')
@click.argument("scope")
@click.option("--for", "length", metavar="DURATION", help="How long, like 90s, 10min or 2h; without it until `resume`.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for all who look; stands in the workers' logs too.")
def _pause(scope: str, length: str | None, reason: str, url: str, machine: bool) -> None:
    """Let nothing more depart, in any worker, for a time or until `resume`. What is in flight ends."""
    seconds = None if length is None else _seconds(length)
    _told(_scopes(url).pause(scope, seconds, reason=reason), machine)


@_subcommand("resume", "  paceline limits resume crm")
@click.argument("scope")
def _resume(scope: str, url: str, machine: bool) -> None:
    """End a pause, also one that the server asked for. Departures ramp up from a tenth of the rate."""
    _told(_scopes(url).resume(scope), machine)


@_subcommand("reset", "  paceline limits reset crm")
@click.argument("scope")
def _reset(scope: str, url: str, machine: bool) -> None:
    """Forget what was learned, counted and set, as at a first use: the limits of the policies hold again.

    Cooldown and tightening are gone, and what went in this period counts no more: use it where the server has
    forgotten it too. A pause by hand stays.
    """
    _told(_scopes(url).reset(scope), machine)


@_subcommand("set", '  paceline limits set crm 50/2s\n  paceline limits set crm 5000/hour "4 concurrent"')
@click.argument("scope")
@click.argument("limits", nargs=-1, required=True, metavar="LIMIT...")
def _set(scope: str, limits: tuple[str, ...], url: str, machine: bool) -> None:
    """Put other limits in force, for all workers, whatever their policies say, until `reset`."""
    _told(_scopes(url).set(scope, limits), machine)


def _scopes(url: str) -> Scopes:
    from ..operating import Scopes

    return Scopes(url)


def _scopes_if_made(url: str, scope: str | None) -> Scopes | None:
    """None where this user's own store is yet to be made: it holds no scopes then, which is no mistake."""
    try:
        return _scopes(url)
    except InputError:
        if scope is not None or url != DEFAULT_STORE:
            raise
        return None


def _reports(scopes: Scopes | None, scope: str | None) -> list[ScopeReport]:
    if scopes is None:
        return []
    return scopes.show_all() if scope is None else [scopes.show(scope)]


def _told(report: ScopeReport, machine: bool) -> None:
    if machine:
        _print_json([report])
    else:
        from ._scopes import block

        click.echo("\n".join(block(report, colour=sys.stdout.isatty())))


def _print_json(reports: list[ScopeReport]) -> None:
    for report in reports:
        click.echo(json.dumps(report.facts(), allow_nan=False))


def _page(scopes: Scopes | None, scope: str | None, url: str, colour: bool) -> str:
    from ..stores import in_full, plain_name
    from ._scopes import page

    return page(_reports(scopes, scope), plain_name(in_full(url)) if scopes is None else scopes.name, colour)


def _watch(scopes: Scopes | None, scope: str | None, every: float, machine: bool, url: str) -> None:
    """Looks again and again; a store that does not answer meanwhile is said, and asked again."""
    if machine or not sys.stdout.isatty():
        while True:
            try:
                if machine:
                    _print_json(_reports(scopes, scope))
                else:
                    click.echo(_page(scopes, scope, url, False) + "\n")
            except StoreUnavailable as error:
                click.echo(f"paceline: {error}", err=True)
            sys.stdout.flush()
            time.sleep(every)
            scopes = scopes or _scopes_if_made(url, scope)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # The screen's other side: what stood on the terminal is there again afterwards.
    with Live(console=Console(), auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            try:
                shown = _page(scopes, scope, url, True)
            except StoreUnavailable as error:
                shown = f"{error}\nasking again every {every:g} s"
            live.update(Text.from_ansi(shown), refresh=True)
            time.sleep(every)
            scopes = scopes or _scopes_if_made(url, scope)


def _seconds(text: str) -> float:
    """The length of a pause: a number of seconds, or a number and a period's name."""
    whole = text.strip().lower()
    try:
        return float(Limit.parse(f"1/{whole}s" if whole.replace(".", "", 1).isdecimal() else f"1/{whole.replace(' ', '')}").period)
    except LimitSyntaxError:
        raise InputError(f"--for {text!r} is no length of time: write it like 90s, 10min or 2h") from None
