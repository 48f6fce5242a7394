"""Code that goes on living in real time: the test runner and its plugins, and what waits for other processes."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["EXEMPT", "exempt"]

EXEMPT: Final = frozenset(
    {
        "_pytest", "pytest", "pluggy", "xdist", "execnet", "hypothesis", "coverage", "pytest_cov", "pytest_timeout",
        "pytest_randomly", "pytest_benchmark", "pytest_rerunfailures", "pytest_split", "faulthandler", "unittest",
        "subprocess", "multiprocessing", "importlib", "_frozen_importlib", "pdb", "bdb", "cProfile", "pydevd",
    }
)  # fmt: skip
_OWN: Final = __name__.rpartition(".")[0]


def exempt(depth: int) -> bool:
    """Whether the function that many calls above this one belongs to such code."""
    name = sys._getframe(depth).f_globals.get("__name__", "")
    return name.partition(".")[0] in EXEMPT or name.startswith(_OWN)
