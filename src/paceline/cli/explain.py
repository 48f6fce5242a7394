"""`paceline explain`: says in plain words what a response means for whoever must wait or go on."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..errors import InputError
from ..signals import DIALECTS, read_signal
from ._responses import Response, from_words, read_responses, read_time
from ._text import as_json, explanation

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["command"]

_BODY_BYTES: Final = 64 * 1024  # what a dialect ever reads

_EXAMPLES = """
\b
Examples:
  paceline explain 429 'Retry-After: 7' 'X-RateLimit-Remaining: 0'
  paceline explain 403 'X-RateLimit-Reset: 1700000600' --url https://api.github.com/user --body @answer.json
  curl -si https://api.github.com/rate_limit | paceline explain
  paceline explain --json < responses.jsonl
\b
JSON lines: {"status": 429, "headers": {"Retry-After": "7"}, "body": "...", "url": "...", "received_at": 1700000000};
all but `status` may be missing, and the records that `paceline fetch` writes will do.
"""


@click.command(
    name="explain",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("status", required=False)
@click.argument("headers", nargs=-1, metavar="['NAME: VALUE']...")
@click.option("--body", metavar="TEXT", help="The body; @FILE reads it from a file.")
@click.option("--url", help="The request's URL: tells whose dialect it is.")
@click.option("--method", help="The request's method, where the provider counts them apart.")
@click.option("--dialect", metavar="NAME", help="Read it as this provider's, whatever it looks like.")
@click.option(
    "--received-at",
    metavar="TIME",
    help="When it arrived: epoch seconds, RFC 3339 or an HTTP-date. By default its Date header, else now.",
)
@click.option("--json", "machine", is_flag=True, help="One JSON object a response, one a line.")
def command(
    status: str | None,
    headers: tuple[str, ...],
    body: str | None,
    url: str | None,
    method: str | None,
    dialect: str | None,
    received_at: str | None,
    machine: bool,
) -> None:
    """Say what a response means: refused or not, wait until when, by which rule, and what is left of the quotas.

    The response comes as arguments (its STATUS, then its headers, each in quotes), or on standard input: what
    `curl -i` printed, one or several in a row, or JSON lines.
    """
    if dialect is not None and dialect not in DIALECTS:
        near = get_close_matches(dialect, DIALECTS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the dialects are {', '.join(DIALECTS)}"
        raise InputError(f"there is no dialect {dialect!r}: {hint}")
    received = None if received_at is None else read_time(received_at)
    changes = {
        name: value
        for name, value in (
            ("body", _body(body)),
            ("url", url),
            ("method", method),
            ("received_at", received),
        )
        if value is not None
    }
    responses: Iterable[Response]
    if status is not None and status != "-":
        responses = [from_words(status, headers)]
    elif sys.stdin.isatty():
        raise click.UsageError(
            "give a status and headers, or pipe a response in: curl -si URL | paceline explain"
        )
    else:
        responses = read_responses(sys.stdin.buffer)
    for index, response in enumerate(responses):
        _tell(replace(response, **changes), dialect, machine, first=index == 0)  # type: ignore[arg-type]


def _body(text: str | None) -> bytes | None:
    if text is None or not text.startswith("@"):
        return None if text is None else text.encode("utf-8", "surrogateescape")
    try:
        with Path(text[1:]).open("rb") as file:
            return file.read(_BODY_BYTES)
    except OSError as error:
        raise InputError(f"cannot read the body from {text[1:]!r}: {error.strerror or error}") from None


def _tell(response: Response, dialect: str | None, machine: bool, first: bool) -> None:
    now, known_by = response.moment(time.time())
    body = None if response.body is None else response.body[:_BODY_BYTES]
    signal = read_signal(
        response.status,
        response.headers,
        body,
        now=now,
        dialect=dialect,
        method=response.method,
        url=response.url,
    )
    if machine:
        click.echo(json.dumps(as_json(response, signal, now, dialect)))
        return
    width = min(110, max(60, shutil.get_terminal_size().columns))
    heading, *rest = explanation(response, signal, now, known_by, width, dialect=dialect)
    colour = "red" if signal.refused else "yellow" if signal.retry_after is not None else "green"
    plain = False if os.environ.get("NO_COLOR") else None
    click.echo(("" if first else "\n") + click.style(heading, fg=colour, bold=True), color=plain)
    click.echo("\n".join(rest))
