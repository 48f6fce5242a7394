"""The account of a run in words: its few lines for a terminal, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from ..telemetry.words import REASONS, duration, moment, rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .account import Account

__all__ = ["UNUSABLE", "counts_text", "next_steps", "ranked_by_count", "summary_lines"]

UNUSABLE: Final = "unusable input"

N = TypeVar("N", int, float)


def next_steps(account: Account) -> list[str]:
    """What to do now, a sentence each."""
    steps = []
    if account.how == "paused":
        when = (
            f" until {moment(account.until, account.end or account.until)}"
            if account.until is not None
            else ""
        )
        steps.append(
            f"paused by the server{when}: run the same command again then, it goes on where it stopped"
        )
    elif account.how in ("interrupted", "deadline", "broken"):
        why = {
            "interrupted": "interrupted",
            "deadline": "the deadline has come",
            "broken": "stopped by an error",
        }
        todo = f" with {inputs_text(account.left)} to go" if account.left else ""
        steps.append(f"{why[account.how]}{todo}: run the same command again to go on")
    unusable = account.failed_by_reason.get(UNUSABLE, 0)
    failed = account.failed_count - unusable
    if failed:
        steps.append(
            f"{inputs_text(failed)} failed: run the same command again to try only "
            f"{'that one' if failed == 1 else 'those'}"
        )
    if unusable:
        steps.append(
            f"{inputs_text(unusable)} could not be used: mend {'it' if unusable == 1 else 'them'}, then run again"
        )
    if account.pages and account.pages == account.fetched_count > 1:
        steps.append("each list had one page only: if that is not so, mend --paginate and begin again with --fresh")
    if account.mismatches:
        limit = next(iter(account.mismatches))
        steps.append(f"the server allows less than {limit}, or shares it with others: tell a lower limit")
    elif not account.limits and not account.hosts and account.learned:
        told = ", ".join(sorted(set(account.learned.values())))
        steps.append(f"the server names a limit: say --limit '{told}' to keep to it from the first request")
    elif account.refused_count and not account.limits and not account.hosts:
        steps.append("the server refused requests: tell its limit with --limit, and none will be refused")
    return steps


def summary_lines(account: Account) -> list[str]:
    """The account in a few lines for a terminal."""
    bad = {str(status): n for status, n in account.fetched_by_status.items() if status >= 400}
    bad_text = f"{sum(bad.values()):,} with status >= 400: {counts_text(bad)}" if bad else ""
    rows = [("fetched", f"{account.fetched_count:,}", bad_text)]
    if account.pages:
        rows.append(("pages", f"{account.pages:,}", "of the lists that the inputs are"))
    if account.before:
        rows.append(("done before", f"{account.before:,}", "by an earlier run"))
    rows.append(("failed", f"{account.failed_count:,}", counts_text(account.failed_by_reason)))
    if account.left:
        rows.append(("left", f"{account.left:,}", "not tried in this run"))
    retries = sum(account.retries_by_cause.values())
    retried = f"{retries:,} {'retry' if retries == 1 else 'retries'}: {counts_text(account.retries_by_cause)}"
    rows.append(("attempts", f"{account.attempts:,}", retried if retries else ""))
    rows.append(("refused", f"{account.refused_count:,}", counts_text(account.refused_by_status)))
    width = max(len(count) for _, count, _ in rows)
    lines = [f"{name:<12}{count:>{width}}{f'  ({note})' if note else ''}" for name, count, note in rows]
    use = account.use()
    if use is not None:
        lines.append(f"{'quota':<12}{use.sentence()}")
    if account.waited_by_reason:
        reasons = ", ".join(
            f"{duration(seconds)} for {REASONS.get(reason, reason)}"
            for reason, seconds in ranked_by_count(account.waited_by_reason).items()
        )
        lines.append(f"{'waited':<12}{reasons} (summed over all requests)")
    if account.cooldowns:
        times = "once" if account.cooldowns == 1 else f"{account.cooldowns:,} times"
        lines.append(f"{'paused':<12}{times} by the server, {duration(sum(account.timeline.paused))} in all")
    if account.end is not None:
        took = max(0.0, account.end - account.started)
        done = account.fetched_count + account.failed_count
        lines.append(f"{'took':<12}{duration(took)}{f', {rate(done / took)}' if took > 0 and done else ''}")
    lines += [f"{'next' if not i else '':<12}{step}" for i, step in enumerate(account.next_steps())]
    return lines


def ranked_by_count(counter: Mapping[str, N]) -> dict[str, N]:
    """The same counts, the largest first.

    >>> ranked_by_count({"a": 1, "b": 2})
    {'b': 2, 'a': 1}
    """
    return dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))


def counts_text(counter: Mapping[str, int], most: int = 4) -> str:
    """The largest counts in one line, the rest summed.

    >>> counts_text({"503": 2, "429": 40, "500": 1}, most=2)
    '429 × 40, 503 × 2, other × 1'
    """
    ranked = list(ranked_by_count(counter).items())
    shown = ", ".join(f"{key} × {count:,}" for key, count in ranked[:most])
    rest = sum(count for _, count in ranked[most:])
    return f"{shown}, other × {rest:,}" if rest else shown


def inputs_text(count: int) -> str:
    return f"{count:,} input{'' if count == 1 else 's'}"
