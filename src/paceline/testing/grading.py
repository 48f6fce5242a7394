"""Grades from A to F: how a verdict's aspects come to one letter, and letters to the worst of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .judging import ReportCard

__all__ = ["LETTERS", "Letter", "letter", "worst"]

Letter = Literal["A", "B", "C", "D", "F"]
# The best first.
LETTERS: Final[tuple[Letter, ...]] = get_args(Letter)
# What nobody can make good afterwards: no data, data that is missing, writes that were done twice.
_FATAL: Final = frozenset({"called", "survived", "lost", "unsafe"})


def letter(card: ReportCard) -> Letter:
    """The grade of one verdict.

    A: all that was seen is good. B: some of it is fair. C: one aspect is bad. D: several are. F: the program did not
    call or did not end well, rows were lost, or writes were done twice.

    >>> from paceline.testing.judging import Aspect
    >>> card = lambda **grades: ReportCard(tuple(Aspect(n, n, g, "", "") for n, g in grades.items()))
    >>> from paceline.testing.judging import ReportCard
    >>> letter(card(limit="good", herd="unseen")), letter(card(limit="fair")), letter(card(limit="bad", pace="fair"))
    ('A', 'B', 'C')
    >>> letter(card(limit="bad", patience="bad")), letter(card(lost="bad"))
    ('D', 'F')
    """
    bad = {aspect.name for aspect in card.aspects if aspect.grade == "bad"}
    if bad & _FATAL:
        return "F"
    if bad:
        return "C" if len(bad) == 1 else "D"
    return "B" if any(aspect.grade == "fair" for aspect in card.aspects) else "A"


def worst(letters: Iterable[Letter]) -> Letter:
    """The worst of some grades; A where there is none.

    >>> worst(["A", "C", "B"])
    'C'
    """
    return max(letters, key=LETTERS.index, default="A")
