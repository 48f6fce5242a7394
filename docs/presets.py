"""Writes `docs/reference/presets.md` from the table of presets, so that the page cannot tell anything else.

    python docs/presets.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from paceline.policies import PRESETS
from paceline.signals import DIALECTS

if TYPE_CHECKING:
    from paceline.policies import Preset

PAGE: Final = Path(__file__).parent / "reference" / "presets.md"

_HEAD: Final = """\
# Presets for providers

This page is written by the program itself (`make docs`); `paceline policies NAME` says the same, `paceline policies
--json` says it to programs. How presets are used: [Fetch from a known provider](../howto/providers.md).

Limits change, and plans differ: what your account shows comes before what stands here. A source that was *not read*
was not at hand when the preset was written, so its figures are those commonly known. Whatever the figures, the
answers' own headers and refusals correct them on the way.
"""


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_HEAD, *(_section(preset) for preset in PRESETS.values())])


def _section(preset: Preset) -> str:
    lines = [f"## {preset.title}", "", f"`--policy {preset.name}`, `paceline.policies.{preset.name}(…)`", ""]
    lines += ["| tier | limits | of a bucket |", "| --- | --- | --- |"]
    for name, tier in preset.tiers.items():
        limits = ", ".join(f"`{limit}`" for limit in tier.limits) or "learnt from the answers"
        buckets = "; ".join(f"{b}: {', '.join(f'`{limit}`' for limit in each)}" for b, each in tier.buckets.items())
        lines.append(f"| {name} | {limits} | {buckets} |")
    lines += ["", f"- Shared by: {preset.shares}.", f"- What a refused request costs: {preset.refused}."]
    if preset.credential is not None:
        where = f"your own host (like `{preset.site}`)" if preset.site is not None else ", ".join(f"`{h}`" for h in preset.hosts)
        lines.append(f"- Token: `{preset.credential.replace('{token}', '…')}`, to {where} alone.")
    if preset.contact is not None:
        lines.append(f"- Contact in the User-Agent: {'needed' if preset.contact_needed else 'asked for'}.")
    if preset.idempotency is not None:
        lines.append(f"- `{preset.idempotency}` makes a write safe to repeat.")
    retried = ", ".join(map(str, sorted(preset.retry().statuses)))
    lines.append(f"- Tried again: refusals, and {retried} where repeating is safe.")
    if preset.cost_of is not None:
        lines.append("- Costs are reckoned from each request and settled by its answer.")
    wait = DIALECTS[preset.dialect].default_wait
    if wait is not None:
        lines.append(f"- A refusal that names no wait is waited out for {wait:g} s.")
    lines += [f"- {note}" for note in preset.notes]
    for source in preset.sources:
        read = "not read" if source.read is None else f"read {source.read}{'' if source.verified else ', not all figures stood in it'}"
        lines.append(f"- Source: <{source.url}> ({read}).")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
