"""The report of a run as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from datetime import datetime
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from ..errors import LimitSyntaxError
from ..limits import Limit
from ..telemetry.words import REASONS, duration, number, rate
from .chart import timeline_svg

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["page"]

_STYLE: Final = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --line: #e3e6eb; --text: #1b2330; --soft: #5d6878; --accent: #2f6fde;
  --good: #1a7f4b; --bad: #c62f2f; --warn: #b45f06; --served: #4c86e8; --refused: #d63b3b; --broken: #e0912f;
  --paused: #f3c55b55; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161d; --card: #1a202a; --line: #2c3542; --text: #e4e9f1; --soft: #97a3b4; --accent: #78a9ff;
  --good: #4cc38a; --bad: #ff7a7a; --warn: #f0b252; --served: #5b8fe6; --refused: #f06464; --broken: #e6a04b;
  --paused: #f3c55b2e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 56px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 14px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 16px; margin: 0 0 12px; }
.badge { font-size: 13px; font-weight: 600; border-radius: 99px; padding: 2px 10px; border: 1px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.facts { color: var(--soft); margin: 6px 0 20px; overflow-wrap: anywhere; }
.facts span:not(:last-child)::after { content: "·"; margin: 0 8px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin: 0 0 16px; }
.next { border-left: 4px solid var(--accent); }
.next ul { margin: 0; padding-left: 20px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 16px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 22px; white-space: nowrap; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile .name { color: var(--soft); font-size: 13px; }
.tile .note { color: var(--soft); font-size: 13px; line-height: 1.35; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 16px; margin: 0 0 16px; }
.columns .card { margin: 0; }
svg { display: block; width: 100%; min-width: 640px; height: auto; }
.tick { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.served { fill: var(--served); } .refused { fill: var(--refused); } .broken { fill: var(--broken); }
.paused { fill: var(--paused); } .hit { fill: transparent; } .hit:hover { fill: var(--text); fill-opacity: 0.08; }
.quota { stroke: var(--text); stroke-width: 1.5; stroke-dasharray: 6 4; }
.quota-label { fill: var(--text); font-size: 12px; font-weight: 600;
  paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
.legend + p { margin-top: 10px; font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); font-size: 13px; margin: 8px 0 0; padding: 0; list-style: none; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; vertical-align: -1px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: 13px; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td { overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; overflow-wrap: normal; }
.share { width: 28%; min-width: 70px; padding-right: 0; }
.share div { height: 9px; margin-top: 7px; border-radius: 3px; background: var(--served); min-width: 2px; }
p { margin: 0 0 8px; } p:last-child { margin: 0; } .soft { color: var(--soft); }
footer { color: var(--soft); font-size: 13px; margin-top: 24px; }
@media print { body { background: none; } .card, .tile { break-inside: avoid; } main { padding: 0; } }
"""

_ENDS: Final = {
    "done": ("complete", "good"),
    "interrupted": ("interrupted", "warn"),
    "deadline": ("stopped by the deadline", "warn"),
    "paused": ("paused by the server", "warn"),
    "broken": ("stopped by an error", "bad"),
    None: ("running", "warn"),
}


def page(told: Mapping[str, Any], meta: Mapping[str, str]) -> str:
    """The page of an account as `Account.as_dict` tells it.

    meta: more facts for the head, name and text (`source`, `output`, `version`); all text is escaped.
    """
    inputs = told["inputs"]
    of = f" of {inputs['total']:,}" if inputs["total"] is not None else ""
    fetched = inputs["fetched"] + inputs["done_before"]
    title = f"{fetched:,}{of} {'input' if (inputs['total'] or fetched) == 1 else 'inputs'} fetched"
    end, tone = _ENDS[told["how"]]
    if told["how"] == "done" and inputs["failed"]:
        end, tone = f"{inputs['failed']:,} failed", "bad"
    body = [
        f'<header><h1>{title}</h1><span class="badge {tone}">{escape(end)}</span></header>',
        _facts(told, meta),
        _next(told["next"]),
        _tiles(told),
        _chart(told),
        _tables(told),
        _scopes(told),
        f"<footer>paceline {escape(meta.get('version', ''))} · times are UTC</footer>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>paceline: {title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _facts(told: Mapping[str, Any], meta: Mapping[str, str]) -> str:
    begun = datetime.fromisoformat(told["started"])
    facts = [f"{name}: {text}" for name, text in meta.items() if name != "version" and text]
    facts.append(f"begun {begun:%Y-%m-%d %H:%M:%S} UTC")
    if told["elapsed_s"] is not None:
        facts.append(f"took {duration(told['elapsed_s'])}")
    facts.append(f"limit: {', '.join(told['limits'])}" if told["limits"] else "no limit told")
    return f'<p class="facts">{"".join(f"<span>{escape(fact)}</span>" for fact in facts)}</p>'


def _next(steps: Sequence[str]) -> str:
    if not steps:
        return ""
    items = "".join(f"<li>{escape(step[:1].upper() + step[1:])}.</li>" for step in steps)
    return f'<section class="card next"><h2>What to do now</h2><ul>{items}</ul></section>'


def _tiles(told: Mapping[str, Any]) -> str:
    inputs, quota = told["inputs"], told["quota"]
    bad = inputs["fetched_status_400_or_more"]
    left = f", {inputs['left']:,} left" if inputs["left"] else ""
    before = f"; {inputs['done_before']:,} before" if inputs["done_before"] else ""
    tiles = [
        ("Fetched", f"{inputs['fetched']:,}", f"{bad:,} with status ≥ 400{before}" if bad else f"in this run{before}", ""),
        ("Failed", f"{inputs['failed']:,}", f"no final answer{left}" if inputs["failed"] else f"nothing lost{left}",
         "bad" if inputs["failed"] else ""),
        ("Refused", f"{told['refused']:,}", "by the server", "warn" if told["refused"] else ""),
        ("Attempts", f"{told['attempts']:,}", f"{told['retries']:,} of them retries", ""),
    ]  # fmt: skip
    if told["pages"]:
        tiles.insert(1, ("Pages", f"{told['pages']:,}", "of the lists that the inputs are", ""))
    if quota is not None and quota["utilisation"] is not None:
        share = f"{quota['utilisation']:.1%}"
        tiles.append(
            ("Quota used", share, f"of {quota['limit']}", "good" if quota["utilisation"] >= 0.97 else "")
        )
    elif quota is not None:
        tiles.append(("Quota used", "–", "the job is within one quota", ""))
    if told["elapsed_s"]:
        done = inputs["fetched"] + inputs["failed"]
        tiles.append(
            ("Took", duration(told["elapsed_s"]), f"{rate(done / told['elapsed_s'])} on average", "")
        )
    cells = "".join(
        f'<div class="tile"><span class="name">{escape(name)}</span><b class="{tone}">{escape(figure)}</b>'
        f'<span class="note">{escape(note)}</span></div>'
        for name, figure, note, tone in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _chart(told: Mapping[str, Any]) -> str:
    if not told["attempts"]:
        return ""
    # One line for one quota: of several busy scopes each has its own, and their sum would say nothing.
    busiest = told["scopes"][0]
    limit = _tightest(busiest["limits"]) if busiest["attempts"] >= 0.9 * told["attempts"] else None
    quota_rate, period = (None, None) if limit is None else (limit.rate, limit.period)
    legend = [("served", "served")]
    legend += [("broken", "broken: 5xx or no answer")] if any(told["timeline"]["broken"]) else []
    legend += [("refused", "refused")] if told["refused"] else []
    legend += [("paused", "paused by the server")] if told["paused_s"] else []
    items = "".join(
        f'<li><i style="background:var(--{kind})"></i>{escape(text)}</li>' for kind, text in legend
    )
    explained = (
        f'<p class="soft">Quota used: {escape(told["quota"]["explained"])}.</p>' if told["quota"] else ""
    )
    return (
        '<section class="card"><h2>Requests over time</h2><div class="table">'
        f"{timeline_svg(told['timeline'], quota_rate, period)}</div>"
        f'<ul class="legend">{items}</ul>{explained}</section>'
    )


def _tightest(texts: Iterable[str]) -> Limit | None:
    limits = []
    for text in texts:
        try:
            limits.append(Limit.parse(text))
        except LimitSyntaxError:
            return None  # a limit whose unit has no text form: no line is better than a wrong one
    rated = [limit for limit in limits if limit.shape != "concurrent" and limit.unit == "requests"]
    return min(rated, key=lambda limit: limit.rate) if rated else None


def _tables(told: Mapping[str, Any]) -> str:
    cards = [
        _counts(
            "Answers by status",
            ("status", "inputs"),
            {_status(s): n for s, n in told["fetched_by_status"].items()},
        ),
        _counts("Failed inputs", ("reason", "inputs"), told["failed_by_reason"]),
        _counts(
            "Refusals by status",
            ("status", "requests"),
            {_status(s): n for s, n in told["refused_by_status"].items()},
        ),
        _counts("Retries", ("cause", "retries"), told["retries_by_cause"]),
        _counts("No answer", ("kind", "attempts"), told["broken_by_kind"]),
        _counts(
            "Time waited, summed over all requests",
            ("for", "time"),
            {REASONS.get(reason, reason): seconds for reason, seconds in told["waited_s_by_reason"].items()},
            duration,
        ),
    ]
    shown = "".join(card for card in cards if card)
    return f'<div class="columns">{shown}</div>' if shown else ""


def _counts(title: str, heads: tuple[str, str], counts: Mapping[str, float], text: Any = number) -> str:
    if not counts:
        return ""
    whole = sum(counts.values()) or 1.0
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{escape(text(count))}</td>'
        f'<td class="share"><div style="width:{count / whole:.1%}"></div></td></tr>'
        for name, count in counts.items()
    )
    return (
        f'<section class="card"><h2>{escape(title)}</h2><div class="table"><table><thead><tr><th>{heads[0]}</th>'
        f'<th class="n">{heads[1]}</th><th class="share"></th></tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _scopes(told: Mapping[str, Any]) -> str:
    scopes = [*told["scopes"], *([told["scopes_rest"]] if told["scopes_rest"] is not None else [])]
    if not scopes:
        return ""
    rows = []
    for scope in scopes:
        quota = scope.get("quota")
        used = (
            f"{quota['utilisation']:.1%}" if quota is not None and quota["utilisation"] is not None else "–"
        )
        cells = (scope["scope"], ", ".join(scope.get("limits", ())) or "–")
        figures = (
            f"{scope['attempts']:,}",
            used,
            f"{scope['refused']:,}",
            f"{scope['broken']:,}",
            duration(scope["waited_s"]),
        )
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        row += "".join(f'<td class="n">{escape(figure)}</td>' for figure in figures)
        rows.append(f"<tr>{row}</tr>")
    heads = "".join(f"<th>{head}</th>" for head in ("scope", "limits"))
    heads += "".join(
        f'<th class="n">{head}</th>' for head in ("requests", "quota used", "refused", "no answer", "waited")
    )
    learned = "".join(
        f'<p class="soft">{escape(f"The server of {scope} names the limit {limit}.")}</p>'
        for scope, limit in told["limits_learned"].items()
    )
    return (
        f'<section class="card"><h2>Scopes</h2><div class="table"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{learned}</section>"
    )


def _status(status: str) -> str:
    try:
        return f"{status} {HTTPStatus(int(status)).phrase}"
    except ValueError:
        return status
