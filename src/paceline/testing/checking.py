"""Checks any program: runs it against scenario after scenario, and gives each a verdict and a grade."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from ..errors import InputError
from .grading import LETTERS, Letter, letter, worst
from .judging import Aspect, ReportCard, judge
from .proxy import Proxy
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .account import Account
    from .program import Ending, Program
    from .proxy_account import ProxyAccount
    from .scenario import Scenario
    from .settings import Settings

__all__ = ["BATTERY", "Checked", "Target", "Trial", "check"]

# What a program is checked against where nothing else is named; a good one needs less than 10 s for each.
BATTERY: Final = (
    "window",
    "grudge",
    "seconds",
    "http-dates",
    "no-waits",
    "short-waits",
    "locked",
    "halving",
    "masked",
    "breakage",
    "truncated",
)
_LARGEST: Final = 64 << 20
_MOST_ITEMS: Final = 1_000_000
_ITEM: Final = re.compile(r"\{url\}/items/([^\s\"'\\?#,&]+)")


@dataclass(frozen=True, slots=True)
class Trial:
    """One scenario, and how the program did in it.

    scenario: what was played; items: how many different ones there were to fetch, None where that is not known.
    ending: how the program ended. card: the verdict, aspect by aspect; account: what the server saw.
    """

    scenario: Scenario
    items: int | None
    ending: Ending
    card: ReportCard
    account: Account

    @property
    def grade(self) -> Letter:
        """From A to F; see `letter`."""
        return letter(self.card)

    @property
    def called(self) -> bool:
        """Whether the program sent any request at all."""
        return self.card["called"].grade != "bad"

    def findings(self) -> tuple[Aspect, ...]:
        """The aspects that were not good, the worst first."""
        wrong = [each for each in self.card.aspects if each.grade in ("bad", "fair")]
        return tuple(sorted(wrong, key=lambda each: each.grade != "bad"))

    def to_dict(self) -> dict[str, Any]:
        """All of it but the output, which is the program's own, ready for JSON."""
        return {
            "scenario": self.scenario.name,
            "about": self.scenario.about,
            "grade": self.grade,
            "items": self.items,
            "status": self.ending.status,
            "seconds": round(self.ending.seconds, 3),
            "ended": self.ending.text(),
            "aspects": [aspect.to_dict() for aspect in self.card.aspects],
            "account": self.account.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """A program's report card: its trials in order, and what was left out, with the reason."""

    command: str
    seed: int
    trials: tuple[Trial, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def grade(self) -> Letter:
        """The worst grade of all trials."""
        return worst(trial.grade for trial in self.trials)

    def reaches(self, wanted: Letter) -> bool:
        """Whether the grade is as good as the one wanted, or better."""
        return LETTERS.index(self.grade) <= LETTERS.index(wanted)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "command": self.command,
            "seed": self.seed,
            "grade": self.grade,
            "trials": [trial.to_dict() for trial in self.trials],
            "left_out": [{"scenario": name, "reason": reason} for name, reason in self.left_out],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a program is run against, beside the scenarios.

    seed: of all chance: the same faults, in order of arrival. timeout: seconds for each run. items: how many there are
    to fetch, instead of as many as each scenario says. source: the text of the program's own list, with {url} where
    the address goes. proxy_to: the URL of a service that is to answer, behind the proxy, instead of the test server;
    when: whether faults strike "before" or "after" it has acted.
    """

    seed: int = 0
    timeout: float = 60.0
    items: int | None = None
    source: str | None = None
    proxy_to: str | None = None
    when: str = "before"

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= 86_400:
            raise InputError(f"timeout is a number of seconds above 0, like 60, not {self.timeout!r}")
        if self.items is not None and not 1 <= self.items <= _MOST_ITEMS:
            raise InputError(f"items is a number from 1 to {_MOST_ITEMS:,}, not {self.items!r}")
        if self.items is not None and self.source is not None:
            raise InputError("a list of your own says itself how many items there are; leave out either source or items")
        if self.source is not None and "{url}" not in self.source:
            raise InputError("the list needs {url} where the server's address goes, like {url}/items/1")

    @classmethod
    def source_of(cls, path: Path) -> str:
        """The text of a list; raises InputError where it cannot be read, or is no list of reasonable size."""
        try:
            if path.stat().st_size > _LARGEST:
                raise InputError(f"{path} is larger than 64 MiB; a check needs a few hundred lines")
            return path.read_text("utf-8")
        except OSError as error:
            raise InputError(f"cannot read the list {path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise InputError(f"the list {path} is not UTF-8") from None

    def wanted(self, scenario: Scenario) -> tuple[str, frozenset[str] | None, int]:
        """The list for a scenario, the names of the items in it (None: not known), and how many lines it has."""
        if self.source is not None:
            names = frozenset(unquote(name) for name in _ITEM.findall(self.source))
            count = sum(bool(line.strip()) for line in self.source.splitlines())
            return self.source, None if self.proxy_to is not None else names or None, count
        count = self.items or scenario.bars.calls or 1
        numbers = [str(number) for number in range(1, count + 1)]
        text = "".join(f"{{url}}/items/{number}\n" for number in numbers)
        return text, None if self.proxy_to is not None else frozenset(numbers), count


def check(
    program: Program,
    scenarios: Sequence[Scenario],
    target: Target | None = None,
    *,
    begun: Callable[[Scenario], object] | None = None,
    ended: Callable[[Trial], object] | None = None,
) -> Checked:
    """Runs a program once for each scenario, one after another, each against a fresh server, and judges it.

    begun, ended: called before and after each run. Where the first run sends no request at all, the others are left
    out. Raises InputError where there is no such program, or a scenario cannot be played.

    >>> import sys
    >>> from paceline.testing import Program, Scenario
    >>> code = "import os, urllib.request; urllib.request.urlopen(os.environ['PACELINE_URL'] + '/items/1').read()"
    >>> checked = check(Program((sys.executable, "-c", code)), [Scenario.named("window")], Target(items=2))
    >>> checked.grade, checked.trials[0].card["lost"].found
    ('F', '1 of 2 items never served, and exit status 0 does not tell')
    """
    target = target or Target()
    program.look_for()
    trials: list[Trial] = []
    left_out: list[tuple[str, str]] = []
    for scenario in scenarios:
        if target.proxy_to is not None and scenario.phases:
            left_out.append((scenario.name, "it has phases, which the proxy does not play"))
            continue
        if len(trials) == 1 and not trials[0].called:
            left_out.append((scenario.name, "the program does not call the server"))
            continue
        if begun is not None:
            begun(scenario)
        trial = _try(program, scenario.changed({"seed": target.seed}), target)
        trials.append(trial)
        if ended is not None:
            ended(trial)
    if not trials:
        raise InputError(
            "none of these scenarios can be played in front of a service of your own; without phases are "
            "window, grudge, seconds, http-dates, masked, breakage, truncated"
        )
    return Checked(program.text, target.seed, tuple(trials), tuple(left_out))


def _try(program: Program, scenario: Scenario, target: Target) -> Trial:
    text, names, count = target.wanted(scenario)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="paceline-check-", ignore_cleanup_errors=True)))
        running: Server | Proxy
        if target.proxy_to is not None:
            running = stack.enter_context(_proxy(scenario.settings, target))
        else:
            running = stack.enter_context(Server(scenario=scenario))
        source = folder / "list.txt"
        source.write_text(text.replace("{url}", running.url), "utf-8")
        # A folder of the program's own, empty each time: what it keeps between runs would spoil the next one.
        own = folder / "work"
        own.mkdir()
        values = {
            "url": running.url,
            "n": str(count),
            "list": str(source),
            "limit": ", ".join(map(str, scenario.settings.limits)),
            "dir": str(own),
        }
        ending = program.run(values, timeout=target.timeout)
        if isinstance(running, Server):
            account = running.account()
            missing = None if names is None else len(names - running.items().keys())
            card = judge(account, scenario.bars)
        else:
            seen = running.account()
            account, missing = seen.client, None
            card = _behind_the_proxy(judge(account, replace(scenario.bars, calls=None)), seen)
    items = None if names is None else len(names)
    return Trial(scenario, items, ending, _with_the_program(card, ending, account, missing, items), account)


def _with_the_program(
    card: ReportCard, ending: Ending, account: Account, missing: int | None, items: int | None
) -> ReportCard:
    """The server's verdict, with what it cannot know: whether the program called at all, ended well, and lost rows."""
    called = account.arrived + account.free + account.malformed > 0
    first = Aspect(
        "called",
        "called the server",
        "good" if called else "bad",
        "it did" if called else "never called: no request came",
        "requests to the address in {url} or PACELINE_URL",
        float(account.arrived + account.free),
    )
    survived = Aspect(
        "survived", "survived", "good" if ending.well else "bad", ending.text(), "exit status 0 in time", ending.seconds
    )
    if missing is None or items is None:
        lost = Aspect("lost", "nothing lost", "unseen", "not known what there was to fetch", "all of them")
    else:
        found = f"{missing:,} of {items:,} items never served" if missing else f"all {items:,} items served"
        if missing and ending.well:
            found += ", and exit status 0 does not tell"
        lost = Aspect("lost", "nothing lost", "bad" if missing else "good", found, "all served", float(missing))
    if not called:
        return ReportCard((first, survived))
    return ReportCard((first, survived, lost, *(each for each in card.aspects if each.name != "lost")))


def _behind_the_proxy(card: ReportCard, seen: ProxyAccount) -> ReportCard:
    """Items are the upstream's; which writes were done twice, the proxy has counted itself."""
    lost, twice = seen.lost_replies, seen.duplicate_writes
    unsafe = Aspect(
        "unsafe",
        "no write done twice",
        "unseen" if not lost else "bad" if twice else "good",
        f"{twice:,} done again after {lost:,} lost answers",
        "none, or an Idempotency-Key",
        float(twice),
    )
    return ReportCard(tuple(unsafe if each.name == "unsafe" else each for each in card.aspects if each.name != "again"))


def _proxy(settings: Settings, target: Target) -> Proxy:
    """The proxy that does to a client of `proxy_to` what the test server would do by these settings."""
    assert target.proxy_to is not None
    shares = {
        "refuse": settings.refuse_rate,
        "fail": settings.fail_rate,
        "cut": settings.cut_rate,
        "reset": settings.reset_rate,
        "truncate": settings.truncate_rate,
        "slow": settings.slow_rate,
    }
    rules: dict[str, Any] = {name: f"share:{share:g}" for name, share in shares.items() if share}
    return Proxy(
        target.proxy_to,
        settings.limits,
        settings.enforce,
        when=target.when,
        refuse_status=settings.refuse_status,
        refuse_wait=settings.refuse_wait,
        fail_status=settings.fail_status,
        slow_seconds=settings.slow_seconds,
        latency=settings.latency,
        jitter=settings.jitter,
        retry_after=settings.retry_after,
        headers=settings.headers,
        dialect=settings.dialect,
        noise_rps=settings.noise_rps,
        charge_refused=settings.charge_refused,
        lockout=settings.lockout,
        key=settings.key,
        seed=target.seed,
        **rules,
    )
