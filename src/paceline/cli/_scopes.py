"""How scopes stand, as lines for the terminal: the state, the limits as a table, the workers as another."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Final

import click

from ..telemetry.words import duration, moment, number, one_line, rate
from ._text import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..operating import LimitReport, ScopeReport, WorkerReport

__all__ = ["block", "page", "state"]

_MOST_SCOPES: Final = 100
_MOST_WORKERS: Final = 20
_LONGEST: Final = 100
_ORIGINS: Final = {"policy": "policy", "set": "set by hand", "learned": "the server"}


def page(reports: Sequence[ScopeReport], store: str, colour: bool = False) -> str:
    """All scopes, one below the other, with the store named above."""
    if not reports:
        return (
            f"no scopes in {store}: nothing has been sent through it lately; jobs are seen here that name it, "
            "like paceline fetch --store sqlite:"
        )
    scopes = f"{len(reports):,} scope{'' if len(reports) == 1 else 's'}"
    lines = [f"{scopes} in {store}, at {moment(reports[0].at, reports[0].at)}"]
    for report in reports[:_MOST_SCOPES]:
        lines += ["", *block(report, colour)]
    if len(reports) > _MOST_SCOPES:
        lines += ["", f"and {len(reports) - _MOST_SCOPES:,} more: name one, or use --json"]
    return "\n".join(lines)


def block(report: ScopeReport, colour: bool = False) -> list[str]:
    """One scope: its state, its limits, its workers."""
    name = one_line(report.scope, _LONGEST)
    lines = [f"{click.style(name, bold=True) if colour else name}  {_styled(report, colour)}"]
    if report.trouble:
        lines.append(f"  {one_line(report.trouble)}")
        if not report.limits and not report.workers:
            return lines
    if report.limits:
        rows = [["limit", "used", "left", "from"], *(_limit_row(each) for each in report.limits)]
        lines += [f"  {line}" for line in table(rows, right=[1, 2])]
    else:
        lines.append("  no limit told or learned yet")
    workers = sorted(report.workers, key=lambda worker: worker.gone)
    if workers:
        rows = [["worker", "rate", "waiting", "in flight", "last seen"]]
        rows += [_worker_row(worker) for worker in workers[:_MOST_WORKERS]]
        lines += [f"  {line}" for line in table(rows, right=[1, 2, 3])]
        if len(workers) > _MOST_WORKERS:
            lines.append(f"  and {len(workers) - _MOST_WORKERS:,} more workers: --json has all")
    return lines


def state(report: ScopeReport) -> str:
    """In one sentence: whether it goes, how fast, who waits.

    >>> from paceline import ScopeReport
    >>> state(ScopeReport("crm", 0.0, waiting=3, paused_until=90.0, paused_for="refused by the server"))
    'paused until 00:01:30 UTC (1 min 30 s more): refused by the server; 0/s, 0 in flight, 3 waiting, no worker seen lately'
    """
    if report.trouble and not report.limits and not report.workers:
        return "unknown"
    here = sum(not worker.gone for worker in report.workers)
    who = f"{here:,} worker{'' if here == 1 else 's'}" if here else "no worker seen lately"
    work = f"{rate(report.rate)}, {report.in_flight:,} in flight, {report.waiting:,} waiting, {who}"
    if report.paused_until is None:
        return f"open; {work}"
    if not isfinite(report.paused_until):
        return f"paused until it is resumed: {one_line(report.paused_for)}; {work}"
    left = duration(report.paused_until - report.at)
    return f"paused until {moment(report.paused_until, report.at)} ({left} more): {one_line(report.paused_for)}; {work}"


def _styled(report: ScopeReport, colour: bool) -> str:
    text = state(report)
    if not colour:
        return text
    return click.style(text, fg="yellow" if report.paused_until is not None or report.trouble else "green")


def _limit_row(each: LimitReport) -> list[str]:
    origin = _ORIGINS[each.origin]
    if each.full is not None:
        origin += f", told {each.full}"
    if each.limit.period and each.scale < 1:
        origin += f"; at {each.scale:.0%} after refusals"
    return [str(each.limit), number(round(each.used, 2)), number(round(each.left, 2)), origin]


def _worker_row(worker: WorkerReport) -> list[str]:
    seen = f"{duration(worker.seen)} ago" + (": ended, or cut off from the store" if worker.gone else "")
    name = one_line(worker.name, 60) or f"unknown ({one_line(worker.worker, 20)})"
    return [name, rate(worker.rate), number(worker.waiting), number(worker.in_flight), seen]
