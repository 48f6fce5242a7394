"""Which requests a fault befalls: the first N, every Nth, or a share drawn by chance; pure, and the same for a seed."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Rule", "Rules"]

_MOST_KEYS: Final = 100_000
_MOST_NUMBER: Final = 10**9
_FORMS: Final = "write first:3 (the first 3), every:7 (every 7th) or share:0.1 (a tenth, by chance)"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `kind` is first, every or share; `number` its count, or its share between 0 and 1.

    >>> Rule.parse("every:7")
    Rule(kind='every', number=7)
    """

    kind: str
    number: float

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Reads a rule's text; raises InputError, which shows the right forms.

        >>> str(Rule.parse(" share:0.10 "))
        'share:0.1'
        """
        kind, colon, number = str(text).strip().partition(":")
        if colon and kind in ("first", "every") and number.isascii() and number.isdecimal():
            count = int(number[:12])
            if 1 <= count <= _MOST_NUMBER:
                return cls(kind, count)
        elif colon and kind == "share":
            try:
                share = float(number)
            except ValueError:
                share = -1.0
            if 0.0 <= share <= 1.0:
                return cls(kind, share)
        raise InputError(f"cannot read the rule {str(text)[:40]!r}; {_FORMS}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.number:g}" if self.kind == "share" else f"{self.kind}:{int(self.number)}"


class Rules:
    """All rules of all faults, and how many requests each key has sent.

    faults: rules by the fault's name, in order of precedence. seed: of all chance. Each rule draws from a source of
    its own, one number for each request, so that what befalls the n-th request depends on the seed and on n alone:
    another fault beside it, or another key's requests, change nothing for a rule that counts.

    >>> rules = Rules({"refuse": [Rule.parse("first:2")], "cut": [Rule.parse("every:3")]}, seed=0)
    >>> [rules.befall("a") for _ in range(3)], rules.befall("b")
    ([('refuse',), ('refuse',), ('cut',)], ('refuse',))
    """

    def __init__(self, faults: Mapping[str, Sequence[Rule]], seed: int = 0) -> None:
        self._faults = {name: tuple(rules) for name, rules in faults.items() if rules}
        self._seed = seed
        self.reset()

    def __bool__(self) -> bool:
        return bool(self._faults)

    def reset(self) -> None:
        """Counts from the beginning; chance begins at its seed again."""
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._counting = any(rule.kind != "share" for rules in self._faults.values() for rule in rules)
        self._sources = [
            (name, [(rule, random.Random(f"{self._seed} {name} {place}")) for place, rule in enumerate(rules)])
            for name, rules in self._faults.items()
        ]

    def befall(self, key: str) -> tuple[str, ...]:
        """The faults of the next request of a key, in order of precedence; of one fault, any rule is enough."""
        count = self._count(key) if self._counting else 0
        struck: list[str] = []
        for name, sources in self._sources:
            hit = False
            for rule, source in sources:
                # Every share draws, also where the fault is certain already: chance follows the count alone.
                if rule.kind == "share":
                    hit |= source.random() < rule.number
                elif rule.kind == "first":
                    hit |= count <= rule.number
                else:
                    hit |= not count % rule.number
            if hit:
                struck.append(name)
        return tuple(struck)

    def _count(self, key: str) -> int:
        counts = self._counts
        count = counts[key] = counts.pop(key, 0) + 1
        if len(counts) > _MOST_KEYS:
            counts.popitem(last=False)
        return count
