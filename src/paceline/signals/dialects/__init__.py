"""All dialects, one a file; the table is written out, so that it can be read."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ._generic import GENERIC
from ._github import GITHUB
from ._ietf import IETF

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._dialect import Dialect

__all__ = ["DIALECTS"]

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "generic": GENERIC,
        "ietf": IETF,
        "github": GITHUB,
    }
)
