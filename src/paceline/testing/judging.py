"""The verdict on a client: an account judged aspect by aspect, each with a grade, what was found and what was wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from .account import Account

__all__ = ["Aspect", "Bars", "Grade", "ReportCard", "judge"]

Grade = Literal["good", "fair", "bad", "unseen"]
_WORST_FIRST: Final[tuple[Grade, ...]] = ("bad", "fair", "good")
# Fewer requests than this say nothing about how a client keeps its connections.
_ENOUGH: Final = 20
_FAIR_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What a good client comes to, where that is not the usual: a scenario may ask for more, or for less.

    refused: the most refusals that are nobody's fault. utilisation: the least share of the least possible time,
    or of the quota's own pace, whichever is better; a fair one is within 0.15 of it. calls: how many different items are to be served; None: nobody knows.
    """

    refused: int = 0
    utilisation: float = 0.97
    calls: int | None = None


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing that was looked at. name: a word for programs; title, found, wanted: for people.

    grade: good, fair, bad, or unseen where nothing happened that could show it. value: what was measured.
    """

    name: str
    title: str
    grade: Grade
    found: str
    wanted: str
    value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "grade": self.grade,
            "found": self.found,
            "wanted": self.wanted,
            "value": self.value,
        }


@dataclass(frozen=True, slots=True)
class ReportCard:
    """The verdict on a client, aspect by aspect; `grade` is the worst of them.

    >>> from paceline.testing import Core, Request, Settings
    >>> core = Core(Settings.of("1/2s"))
    >>> for now in (0.0, 0.1, 0.2):
    ...     _ = core.decide(Request("GET", "/items/7"), now)
    >>> card = core.report(3.0)
    >>> card.grade, card["patience"].grade, card["patience"].found
    ('bad', 'bad', '1 of 2 refused came again too early')
    """

    aspects: tuple[Aspect, ...]

    @property
    def grade(self) -> Grade:
        """The worst grade of all aspects that were seen."""
        seen = {aspect.grade for aspect in self.aspects}
        return next((grade for grade in _WORST_FIRST if grade in seen), "unseen")

    def __getitem__(self, name: str) -> Aspect:
        """An aspect by its name; KeyError where there is none."""
        for aspect in self.aspects:
            if aspect.name == name:
                return aspect
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Grade and aspects, ready for JSON."""
        return {"grade": self.grade, "aspects": [aspect.to_dict() for aspect in self.aspects]}

    def text(self) -> str:
        """The verdict in lines, for people; aspects that nothing showed are left out."""
        shown = [aspect for aspect in self.aspects if aspect.grade != "unseen"]
        lines = [f"Verdict on the client: {self.grade}"]
        width = max((len(aspect.title) for aspect in shown), default=0)
        for aspect in shown:
            wanted = "" if aspect.grade == "good" else f" (wanted: {aspect.wanted})"
            lines.append(f"  {aspect.grade:4}  {aspect.title:{width}}  {aspect.found}{wanted}")
        return "\n".join(lines)


def judge(account: Account, bars: Bars | None = None) -> ReportCard:
    """Judges an account; `bars` says what is wanted where it is not the usual.

    >>> from paceline.testing.tally import Tally
    >>> judge(Tally().account()).grade
    'unseen'
    """
    bars = bars or Bars()
    return ReportCard(
        (
            _limit(account, bars),
            _patience(account),
            _pauses(account),
            _herd(account),
            _pace(account, bars),
            _lost(account, bars),
            _again(account),
            _unsafe(account),
            _connections(account),
            _http(account),
        )
    )


def _limit(account: Account, bars: Bars) -> Aspect:
    refused, arrived = account.refused, account.arrived
    grade: Grade = "good" if refused <= bars.refused else "bad"
    if grade == "bad" and refused - bars.refused <= _FAIR_SHARE * arrived:
        grade = "fair"
    most = " and ".join(
        f"{sent:,} sent against {limit}"
        for limit, sent in zip(account.limits, account.most_sent_in_window, strict=True)
    )
    return Aspect(
        "limit",
        "kept the limit",
        grade if arrived else "unseen",
        f"{refused:,} of {arrived:,} refused" + (f"; at most {most}" if most else ""),
        f"at most {bars.refused:,} refused",
        float(refused),
    )


def _patience(account: Account) -> Aspect:
    refusals = account.refused + account.injected
    early = account.early_retries
    return Aspect(
        "patience",
        "waited as told",
        "unseen" if not account.told else "good" if not early else "bad",
        f"{early:,} of {refusals:,} refused came again too early",
        "none before the time told",
        float(early),
    )


def _pauses(account: Account) -> Aspect:
    sent, pauses = account.in_pause, account.pauses
    return Aspect(
        "pauses",
        "one pause for all",
        "unseen" if not pauses else "good" if not sent else "fair" if sent <= 2 * pauses else "bad",
        f"{sent:,} sent in {_count(pauses, 'pause')}",
        "none while a refusal asks for patience",
        float(sent),
    )


def _herd(account: Account) -> Aspect:
    most, refused = account.herd, account.herd_refused
    allowed = max(2.0, 2 * 0.1 * account.rate) if account.rate else 2.0
    if not account.pauses_over:
        grade: Grade = "unseen"
    elif most <= allowed:
        grade = "good"
    else:
        grade = "bad" if refused else "fair"
    return Aspect(
        "herd",
        "no herd after a pause",
        grade,
        f"{most:,} in the first 100 ms after a pause" + (f", {refused:,} of them refused" if refused else ""),
        f"at most {int(allowed):,}: twice the quota's own pace",
        float(most),
    )


def _pace(account: Account, bars: Bars) -> Aspect:
    # Whoever sends evenly, which is safest everywhere, gives away the first burst and no more.
    reached = max((each for each in (account.utilisation, account.pace) if each is not None), default=None)
    if account.utilisation is None or reached is None:
        grade: Grade = "unseen"
    else:
        grade = "good" if reached >= bars.utilisation else "fair" if reached >= bars.utilisation - 0.15 else "bad"
    found = "not enough requests to tell"
    if grade != "unseen":
        found = f"{account.utilisation:.1%} of the least possible time"
        found += f", {account.pace:.1%} of the quota's own pace" if account.pace is not None else ""
    return Aspect(
        "pace",
        "used the quota",
        grade,
        found,
        f"at least {bars.utilisation:.0%} of either",
        None if grade == "unseen" or reached is None else min(1.0, reached),
    )


def _lost(account: Account, bars: Bars) -> Aspect:
    if bars.calls is None:
        return Aspect("lost", "nothing lost", "unseen", f"{account.distinct_items:,} items served", "all of them")
    lost = bars.calls - account.distinct_items
    return Aspect(
        "lost",
        "nothing lost",
        "good" if lost <= 0 else "bad",
        f"{account.distinct_items:,} of {bars.calls:,} items served",
        "all of them",
        float(max(0, lost)),
    )


def _again(account: Account) -> Aspect:
    again, served = account.duplicates, account.served
    return Aspect(
        "again",
        "nothing served twice",
        "unseen" if not served else "good" if not again else "fair" if again <= _FAIR_SHARE * served else "bad",
        f"{_count(again, 'item')} served again",
        "none",
        float(again),
    )


def _unsafe(account: Account) -> Aspect:
    again = account.unsafe_duplicates
    return Aspect(
        "unsafe",
        "no write done twice",
        "unseen" if not account.unsafe else "good" if not again else "bad",
        f"{again:,} of {account.unsafe:,} writes (POST, PATCH) done again",
        "none, or an Idempotency-Key",
        float(again),
    )


def _connections(account: Account) -> Aspect:
    # What the server broke, and what was open at once, had to be opened.
    opened = max(0, account.connections - account.most_connections - account.cut - account.truncated)
    requests = account.arrived + account.free
    share = opened / requests if requests else 0.0
    per_request = account.connections / requests if requests else 0.0
    return Aspect(
        "connections",
        "kept connections",
        "unseen"
        if requests < _ENOUGH or not account.connections
        else "good"
        if share <= 0.02
        else "fair"
        if share <= 0.2
        else "bad",
        f"{account.connections:,} connections for {requests:,} requests, {per_request:.2g} each",
        "few more than are open at once",
        per_request,
    )


def _http(account: Account) -> Aspect:
    return Aspect(
        "http",
        "spoke HTTP",
        "bad" if account.malformed else "good" if account.arrived + account.free else "unseen",
        f"{_count(account.malformed, 'malformed request')}",
        "none malformed",
        float(account.malformed),
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
