"""Writes `docs/reference/commands.md` from the program's own commands, so that the page cannot tell anything else.

    python docs/commands.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

import click

from paceline.cli._group import COMMANDS, group

PAGE: Final = Path(__file__).parent / "reference" / "commands.md"

_HEAD: Final = """\
# The command line

This page is written by the program itself (`make docs`); `paceline COMMAND --help` says the same.

Every command ends with one of these statuses. Where several would be right, it is the first of this table that is:

| status | means |
| --- | --- |
| 2 | wrong usage; nothing was begun |
| 130 | interrupted (Ctrl-C, SIGTERM); what was in flight has ended, all is saved |
| 75 | stopped by `--deadline` or `--max-wait`: run the same command again later to go on |
| 74 | an input or an output failed (a full disk, a vanished file): run the same command again to go on |
| 1 | done, but some failed for good |
| 0 | done |
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    with click.Context(group, info_name="paceline") as context:
        for name in COMMANDS:
            command = group.get_command(context, name)
            assert command is not None
            parts.append(_section(name, command, context))
            if isinstance(command, click.Group):
                with click.Context(command, info_name=name, parent=context) as inner:
                    parts += [_section(f"{name} {each}", below, inner) for each, below in command.commands.items()]
    return "\n".join(parts)


def _section(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    usage = " ".join(["paceline", name, *command.collect_usage_pieces(context)])
    lines = [f"## paceline {name}", "", f"    {usage}", ""]
    lines += [_prose(command.help or ""), ""]
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    rows = [_row(option, context) for option in options if "--help" not in option.opts]
    lines += ["| option | default | |", "| --- | --- | --- |", *rows] if rows else []
    if command.epilog:
        lines += ["", "```text", inspect.cleandoc(command.epilog.replace("\b\n", "\n").strip("\n")), "```"]
    return "\n".join(lines) + "\n"


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
    if not option.is_flag:
        if isinstance(option.type, click.Choice):
            names += " " + " \\| ".join(f"`{choice}`" for choice in option.type.choices)
        else:
            metavar = option.metavar or {"integer": "N", "float": "X", "text": "TEXT"}.get(
                option.type.name.partition(" ")[0], option.type.name.upper()
            )
            names += f" `{metavar}`"
    if option.multiple:
        names += " (repeatable)"
    help_text = _prose(option.help or "").replace("|", "\\|")
    return f"| {names} | {_default(option, context)} | {help_text} |"


def _default(option: click.Option, context: click.Context) -> str:
    default = option.get_default(context)
    if option.required:
        return "required"
    if not option.show_default or default is None:
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def _prose(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split()) if "\n\n" not in text else inspect.cleandoc(text)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
