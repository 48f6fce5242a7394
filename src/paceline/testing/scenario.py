"""Scenarios: a server's behaviour in a TOML file, in phases that begin after so many requests, refusals or seconds."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from .judging import Bars
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Phase", "Scenario", "scenarios"]

_FOLDER: Final = "scenarios"
_LARGEST: Final = 1 << 20
_MOST_PHASES: Final = 100
_MOST_CALLS: Final = 1_000_000
_TRIGGERS: Final = ("after_requests", "after_refusals", "after_seconds")
_TOP: Final = ("about", "calls", "settings", "phase", "expect")
_EXPECT: Final = ("refused", "utilisation")
# A setting that comes from outside the file, or that would be a secret in it.
_NOT_IN_FILES: Final = ("token",)
# A right form of each kind, for messages.
_FORMS: Final = {"float": "0.5", "int": "503", "int | None": "403", "bool": "true"}
_KINDS: Final = {item.name: str(item.type) for item in fields(Settings)}


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a scenario: how the server behaves from a moment on.

    name: for people. trigger, count: the phase begins after so many requests to limited paths, refusals or seconds,
    counted from the beginning of the phase before (of the first: from the first request).
    changes: what it changes, in the words of the file; settings: all that holds in it.
    """

    name: str
    trigger: str
    count: float
    changes: tuple[tuple[str, Any], ...]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a test server behaves, phase by phase. name, about: for people; settings: at the beginning; phases: then.

    bars: what a good client comes to in it; its `calls` is how many different items a check has the client fetch.

    >>> scenario = Scenario.named("halved")
    >>> scenario.settings.limits[0].quota, scenario.phases[0].count, scenario.phases[0].settings.limits[0].quota
    (100, 500, 50)
    """

    name: str
    about: str
    settings: Settings
    phases: tuple[Phase, ...]
    bars: Bars

    @classmethod
    def of(cls, given: str | Path | Scenario) -> Scenario:
        """A scenario by its name, or from a file: what ends in .toml, holds a slash, or is a Path."""
        if isinstance(given, Scenario):
            return given
        if isinstance(given, Path) or given.endswith(".toml") or "/" in given:
            return cls.load(Path(given))
        return cls.named(given)

    @classmethod
    def named(cls, name: str) -> Scenario:
        """One of the scenarios that come with paceline; raises InputError with their names where there is no such."""
        there = files(__package__) / _FOLDER / f"{name}.toml"
        if not name.replace("-", "").isalnum() or not there.is_file():
            near = get_close_matches(name, _names(), n=1)
            hint = f"did you mean {near[0]}? There" if near else "there"
            raise InputError(
                f"there is no scenario {name[:40]!r}; {hint} are {', '.join(_names())}, and files: ./mine.toml"
            )
        return cls.parse(there.read_text("utf-8"), name, where=f"scenario {name}")

    @classmethod
    def load(cls, path: Path) -> Scenario:
        """A scenario from a file; raises InputError that names file, key and a right form."""
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise InputError(f"{path} is larger than a megabyte, which no scenario needs")
            return cls.parse(content.decode("utf-8"), path.stem, where=str(path))
        except OSError as error:
            raise InputError(f"cannot read the scenario {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is no TOML: it is not UTF-8") from None

    @classmethod
    def parse(cls, text: str, name: str, *, where: str) -> Scenario:
        """A scenario from the text of a file; `where` opens its error messages.

        >>> Scenario.parse("[settings]\\nlatency = 'slow'", "mine", where="mine.toml")
        Traceback (most recent call last):
        ...
        paceline.errors.InputError: mine.toml: [settings] latency: a number, not 'slow', like latency = 0.5
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{where} is no TOML: {error}") from None
        reader = _Reader(where)
        reader.only(document, _TOP, "")
        about = reader.text(document, "about", "")
        calls = reader.number(document, "calls", "", 300, whole=True, most=_MOST_CALLS)
        base = reader.changes(document.get("settings", {}), "[settings]")
        expect = reader.table(document.get("expect", {}), "[expect]")
        reader.only(expect, _EXPECT, "[expect]")
        bars = Bars(
            refused=reader.number(expect, "refused", "[expect]", 0, whole=True, most=_MOST_CALLS),
            utilisation=reader.number(expect, "utilisation", "[expect]", 0.97, most=1.0),
            calls=calls,
        )
        settings = reader.apply({}, base, "[settings]")
        phases = tuple(reader.phases(document.get("phase", []), base))
        return cls(name, about, settings, phases, bars)

    def changed(self, changes: Mapping[str, Any]) -> Scenario:
        """The same with other settings from the beginning (`limit`, `enforce`, fields of `Settings`), where no phase
        changes them again.

        >>> Scenario.named("halved").changed({"latency": 0.1}).phases[0].settings.latency
        0.1
        """
        if not changes:
            return self
        reader = _Reader(f"scenario {self.name}")
        before: dict[str, Any] = {
            **_as_changes(self.settings),
            **({"enforce": None} if "limit" in changes else {}),
            **changes,
        }
        settings = reader.apply({}, before, "[settings]")
        phases = []
        for number, phase in enumerate(self.phases, 1):
            before = _joined(before, dict(phase.changes))
            after = reader.apply({}, before, f"[[phase]] {number}")
            phases.append(Phase(phase.name, phase.trigger, phase.count, phase.changes, after))
        return Scenario(self.name, self.about, settings, tuple(phases), self.bars)


def scenarios() -> tuple[Scenario, ...]:
    """All scenarios that come with paceline, by name.

    >>> "lockout" in [scenario.name for scenario in scenarios()]
    True
    """
    return tuple(Scenario.named(name) for name in _names())


def _names() -> list[str]:
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in (files(__package__) / _FOLDER).iterdir()
        if entry.name.endswith(".toml")
    )


def _as_changes(settings: Settings) -> dict[str, Any]:
    kept = {name: getattr(settings, name) for name in _KINDS if name != "limits"}
    return {**kept, "limit": list(settings.limits), "enforce": list(settings.enforce)}


def _joined(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A new limit is enforced by its own shape, unless the same change says how."""
    forgotten = {"enforce": None} if "limit" in changes else {}
    return {**before, **forgotten, **changes}


class _Reader:
    """Checks a document piece by piece; every complaint names the file, the key, and a right form."""

    def __init__(self, where: str) -> None:
        self._where = where

    def wrong(self, part: str, complaint: str) -> InputError:
        return InputError(f"{self._where}: {part + ' ' if part else ''}{complaint}")

    def table(self, given: object, part: str) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise self.wrong(part, "is a table of keys and values")
        return given

    def only(self, given: Mapping[str, Any], right: tuple[str, ...], part: str) -> None:
        for key in given:
            if key not in right:
                raise self.wrong(part, f"has no key {key[:40]!r}; the keys are {', '.join(right)}".strip())

    def text(self, given: Mapping[str, Any], key: str, part: str) -> str:
        value = given.get(key, "")
        if not isinstance(value, str):
            raise self.wrong(part, f'{key}: a text, not {value!r}, like {key} = "…"')
        return value

    def number(
        self,
        given: Mapping[str, Any],
        key: str,
        part: str,
        otherwise: float,
        *,
        whole: bool = False,
        least: float = 0,
        most: float,
    ) -> Any:
        value: Any = given.get(key, otherwise)
        right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not right or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            form = max(1, int(least)) if whole else min(most, 0.5)
            raise self.wrong(part, f"{key}: {kind} from {least:g} to {int(most):,}, not {value!r}, like {key} = {form}")
        return value

    def changes(self, given: object, part: str) -> dict[str, Any]:
        """Settings as a file has them, each of the right kind."""
        known = ["limit", *(name for name in _KINDS if name not in ("limits", *_NOT_IN_FILES))]
        table = self.table(given, part)
        self.only(table, tuple(known), part)
        return {key: self._value(key, value, part) for key, value in table.items()}

    def _value(self, key: str, value: object, part: str) -> Any:
        if key in ("limit", "enforce"):
            form = '"100/2s"' if key == "limit" else '"sliding"'
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
                raise self.wrong(
                    part, f"{key}: a text or a list of texts, not {value!r}, like {key} = {form} or {key} = [{form}]"
                )
            return tuple(texts)
        kind = _KINDS[key]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        right, noun = {
            "float": (number, "a number"),
            "int": (number and isinstance(value, int), "a whole number"),
            "int | None": (number and isinstance(value, int), "a whole number"),
            "bool": (isinstance(value, bool), "true or false"),
        }.get(kind, (isinstance(value, str), "a text"))
        if not right:
            form = _FORMS.get(kind) or {"key": '"address"', "dialect": '"github"', "headers": '"ietf"'}.get(key, '"date"')
            raise self.wrong(part, f"{key}: {noun}, not {value!r}, like {key} = {form}")
        return value

    def apply(self, before: Mapping[str, Any], changes: Mapping[str, Any], part: str) -> Settings:
        """The settings that follow."""
        together = _joined(before, changes)
        limit, enforce = together.pop("limit", None), together.pop("enforce", None)
        try:
            return Settings.of(limit, enforce, together)
        except InputError as error:
            raise self.wrong(part, str(error)) from None

    def phases(self, given: object, base: Mapping[str, Any]) -> Iterator[Phase]:
        if not isinstance(given, list) or len(given) > _MOST_PHASES:
            raise self.wrong("", f"phase: up to {_MOST_PHASES} of them, each begun with [[phase]]")
        before: dict[str, Any] = dict(base)
        for number, table in enumerate(given, 1):
            part = f"[[phase]] {number}"
            rest = dict(self.table(table, part))
            name = self.text(rest, "name", part) or str(number)
            rest.pop("name", None)
            triggers = [key for key in _TRIGGERS if key in rest]
            if len(triggers) != 1:
                raise self.wrong(part, f"begins by exactly one of {', '.join(_TRIGGERS)}, like after_requests = 500")
            [trigger] = triggers
            whole = trigger != "after_seconds"
            count = self.number(rest, trigger, part, 0, whole=whole, least=1 if whole else 0, most=_MOST_CALLS)
            del rest[trigger]
            changes = self.changes(rest, part)
            if not changes:
                raise self.wrong(part, 'changes nothing; give it a setting, like limit = "50/2s"')
            before = _joined(before, changes)
            yield Phase(name, trigger, count, tuple(changes.items()), self.apply({}, before, part))
