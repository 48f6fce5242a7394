"""Pagination: how a list comes page by page, what to ask for next, and when a list is whole; pure."""

from __future__ import annotations

from ._iterate import apages, pages
from ._place import Place, is_kept
from ._value import Allowed, Paging, Style, cursor, link, offset, page, read_paging
from ._walk import Ask, Walk

__all__ = [
    "Allowed",
    "Ask",
    "Paging",
    "Place",
    "Style",
    "Walk",
    "apages",
    "cursor",
    "is_kept",
    "link",
    "offset",
    "page",
    "pages",
    "read_paging",
]
