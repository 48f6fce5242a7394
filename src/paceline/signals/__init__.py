"""What a response says about limits, in whatever dialect its server speaks."""

from __future__ import annotations

from ._bodies import load as load_json
from ._dialect import Dialect
from ._read import find_dialect, needs_body, read_for, read_signal, silent
from ._signal import Quota, Signal
from .dialects import DIALECTS

__all__ = [
    "DIALECTS",
    "Dialect",
    "Quota",
    "Signal",
    "find_dialect",
    "load_json",
    "needs_body",
    "read_for",
    "read_signal",
    "silent",
]
