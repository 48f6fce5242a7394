"""`paceline policies`: the presets, their limits, what shares them, and the pages they are from."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

import click

from ..policies import PRESETS, find_preset
from ..signals import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..policies import Preset, Tier

__all__ = ["command"]

_EXAMPLES = """
\b
Examples:
  paceline policies
  paceline policies github
  paceline policies hubspot --json
  paceline fetch urls.txt -o out.jsonl --policy hubspot:professional --bearer-env HUBSPOT_TOKEN
"""


@click.command(
    name="policies",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("name", required=False)
@click.option("--json", "machine", is_flag=True, help="One JSON object a preset, one a line.")
def command(name: str | None, machine: bool) -> None:
    """List the presets for providers; with NAME, all that is known of one.

    A preset is a policy with the limits that the provider documents. `paceline fetch --policy NAME` uses it, and in
    Python `paceline.policies.NAME(token=…)` makes it.
    """
    chosen = list(PRESETS.values()) if name is None else [find_preset(name)]
    if machine:
        for preset in chosen:
            click.echo(json.dumps(_facts(preset)))
        return
    width = min(120, max(60, shutil.get_terminal_size().columns))
    click.echo("\n".join(_list(width) if name is None else _one(chosen[0], width)))


def _list(width: int) -> Iterator[str]:
    widest = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        tier, *others = preset.tiers
        text = ", ".join(preset.tiers[tier].limits) or "learnt from the answers"
        if preset.tiers[tier].buckets:
            text += f"; other limits for {_count(len(preset.tiers[tier].buckets), 'bucket')}"
        if others:
            text += f"; tiers {tier} (this one), {', '.join(others)}"
        yield from _hang(click.style(f"{name:<{widest}}", bold=True) + "  ", widest + 2, text, width)
    yield ""
    yield from textwrap.wrap(
        "`paceline policies NAME` says more: buckets, tokens, costs, sources and what of the figures was verified.", width
    )


def _one(preset: Preset, width: int) -> Iterator[str]:
    tier = next(iter(preset.tiers))
    use = f"--policy {preset.name}, paceline.policies.{preset.name}(…)"
    yield from _hang(click.style(preset.title, bold=True) + ": ", 2, use, width)
    yield ""
    for index, (name, each) in enumerate(preset.tiers.items()):
        yield from _row("limits" if not index else "", _tier_text(name, each, name == tier), width)
        for bucket, limits in each.buckets.items():
            yield from _hang(" " * 14, 14 + len(bucket) + 2, f"{bucket}: {', '.join(limits)}", width)
    yield from _row("shared by", preset.shares, width)
    yield from _row("refused", f"what a refused request costs: {preset.refused}", width)
    yield from _row("token", _token_text(preset), width)
    if preset.contact is not None:
        needed = "needed: others are refused" if preset.contact_needed else "asked for"
        yield from _row("contact", f"in the User-Agent ({needed}): contact='…', --user-agent", width)
    yield from _row("writes", _writes_text(preset), width)
    retried = ", ".join(map(str, sorted(preset.retry().statuses)))
    yield from _row("retries", f"refusals, and {retried} where repeating is safe", width)
    if preset.cost_of is not None:
        yield from _row("costs", "reckoned from each request, and settled by what its answer says", width)
    wait = DIALECTS[preset.dialect].default_wait
    if wait is not None:
        yield from _row("waits", f"{wait:g} s after a refusal that names no wait", width)
    for index, source in enumerate(preset.sources):
        yield from _row("sources" if not index else "", source.url, width)
        known = "the figures stand there" if source.verified else "not all figures stood in what was read"
        read = "not read: the figures are those commonly known" if source.read is None else f"read {source.read}; {known}"
        yield from _row("", read, width)
    for index, note in enumerate(preset.notes):
        yield from _row("notes" if not index else "", note, width)


def _tier_text(name: str, tier: Tier, default: bool) -> str:
    limits = ", ".join(tier.limits) or "none told; learnt from the answers"
    return f"{name}{' (the default)' if default else ''}: {limits}"


def _token_text(preset: Preset) -> str:
    if preset.credential is None:
        return "no header takes one"
    where = f"your own host, like @{preset.site}" if preset.site is not None else ", ".join(preset.hosts)
    return f"{preset.credential.replace('{token}', '…')}, to {where} alone"


def _writes_text(preset: Preset) -> str:
    if preset.idempotency is None:
        return "no header makes them safe to repeat: only refusals of them are tried again"
    return f"{preset.idempotency} makes them safe to repeat"


def _row(label: str, text: str, width: int) -> list[str]:
    return _hang(f"  {label:<10}", 12, text, width)


def _hang(begin: str, indent: int, text: str, width: int) -> list[str]:
    plain = click.unstyle(begin)
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=plain,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [begin + lines[0][len(plain) :], *lines[1:]] if lines else [begin.rstrip()]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _facts(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "title": preset.title,
        "dialect": preset.dialect,
        "tiers": {
            name: {"limits": list(tier.limits), "buckets": {b: list(limits) for b, limits in tier.buckets.items()}}
            for name, tier in preset.tiers.items()
        },
        "shares": preset.shares,
        "refused": preset.refused,
        "credential": preset.credential,
        "hosts": list(preset.hosts),
        "site": preset.site,
        "contact": preset.contact,
        "contact_needed": preset.contact_needed,
        "idempotency": preset.idempotency,
        "statuses": sorted(preset.retry().statuses),
        "costs": preset.cost_of is not None,
        "wait": DIALECTS[preset.dialect].default_wait,
        "sources": [{"url": each.url, "read": each.read, "verified": each.verified} for each in preset.sources],
        "notes": list(preset.notes),
    }
