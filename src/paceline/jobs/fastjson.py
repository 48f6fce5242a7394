"""The one place where orjson is imported: its absence is told as the extra to install."""

from __future__ import annotations

from ..errors import MissingExtra

try:
    import orjson as orjson
except ImportError:
    raise MissingExtra("orjson", "cli") from None

__all__ = ["orjson"]
