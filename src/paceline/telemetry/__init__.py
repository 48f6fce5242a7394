"""Sinks: what becomes of the events of `paceline.events`; one file a sink, one line in the table."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from .console import console
from .fan import all_of, wanted
from .json_lines import json_lines
from .log import log_sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Sink

__all__ = ["SINKS", "all_of", "console", "json_lines", "load", "log_sink", "wanted"]

SINKS: Final[dict[str, str]] = {
    "console": "paceline.telemetry.console:console",
    "json": "paceline.telemetry.json_lines:json_lines",
    "log": "paceline.telemetry.log:log_sink",
}


def load(name: str) -> Callable[..., Sink]:
    """The function that makes the sink `name` of the table `SINKS`, imported only now.

    Raises InputError where there is no such sink, MissingExtra where its packages are not installed.

    >>> load("console").__name__
    'console'
    """
    target = SINKS.get(name)
    if target is None:
        raise InputError(f"there is no sink {name!r}, the sinks are {', '.join(SINKS)}")
    module, _, attribute = target.partition(":")
    factory: Any = getattr(import_module(module), attribute)
    return factory  # type: ignore[no-any-return]
