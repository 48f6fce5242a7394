"""The group of commands: a literal table, and a command's module is imported only when it is used."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from .. import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "Entry", "group", "run"]

_COMPLETE: Final = "_PACELINE_COMPLETE"  # click's own name for it: set by the shell's completion script


class Entry(NamedTuple):
    """Where a command stands ("module:attribute"), and its line in `paceline --help`."""

    target: str
    help: str


COMMANDS: Final[dict[str, Entry]] = {
    "fetch": Entry(
        "paceline.cli.fetch:command", "Fetch every URL of a list, at the full quota, losing nothing."
    ),
    "demo": Entry(
        "paceline.cli.demo:command",
        "See it work, whole, on this machine.",
    ),
    "serve": Entry(
        "paceline.cli.serve:command", "Run a test server that enforces real limits and judges its clients."
    ),
    "proxy": Entry(
        "paceline.cli.proxy:command", "Pass requests on to an API, with faults and limits in between."
    ),
    "check": Entry(
        "paceline.cli.check:command", "Grade any program: run it against servers that limit, refuse and break."
    ),
    "explain": Entry(
        "paceline.cli.explain:command", "Say what a response means: refused or not, and wait until when."
    ),
    "limits": Entry(
        "paceline.cli.limits:command", "Look at the scopes of a store, live; pause, resume, set, reset them."
    ),
    "policies": Entry("paceline.cli.policies:command", "List the providers' presets, their limits and where these are from."),
}

_EPILOG: Final = """
\b
Examples:
  paceline demo
  paceline fetch urls.txt --limit 100/2s -o out.jsonl
  curl -i https://api.github.com/rate_limit | paceline explain

`paceline COMMAND --help` tells more.
"""


class _LazyGroup(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.target} is no click command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(n, help=e.help) for n, e in COMMANDS.items() if n.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    name="paceline",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="paceline", message="%(prog)s %(version)s")
def group() -> None:
    """HTTP data pipelines at the full speed an API allows, never over it, losing nothing."""


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit status: what it returned or gave to `ctx.exit`, else 0.

    Wrong usage is told on standard error and is 2; click's Abort becomes KeyboardInterrupt; all other errors
    pass through.

    >>> run(["--version"])
    paceline 0.1.0
    0
    """
    # Not `group.main`, which ends the process itself where standard output's reader went away.
    try:
        if (instruction := os.environ.get(_COMPLETE)) is not None:
            from click.shell_completion import shell_complete

            return shell_complete(group, {}, "paceline", _COMPLETE, instruction)
        with group.make_context("paceline", list(arguments)) as context:
            result: Any = group.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else 0
