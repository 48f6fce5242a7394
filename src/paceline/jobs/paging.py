"""A list in the engine: each of its pages goes out as a result, and the same task goes on to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import PageError
from ..paging import Walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..effects import Answer
    from .spec import Request

__all__ = ["Leaf", "Places", "Turned", "turn", "walk_of"]

Places = dict[int, tuple[int, dict[str, Any]]]
"""Lists that are under way, by their inputs' number: the last page that has a record, and what `Walk.keep` said then."""


class Leaf(NamedTuple):
    """One page of a list: its number, what going on after it needs, whether another follows.

    reason: what broke the list off, in words that are the same for all lists; None: an answer, or no answer at all.
    """

    page: int
    so_far: Mapping[str, Any] | None
    more: bool
    reason: str | None = None


class Turned(NamedTuple):
    """What came of an answer. leaf: None for a page that an earlier run has recorded. more: `walk.ask` goes on."""

    leaf: Leaf | None
    more: bool
    error: str | None


def walk_of(item: Request, places: Mapping[int, tuple[int, Mapping[str, Any]]]) -> Walk:
    """The walk through an input's pages, from where an earlier run has left it."""
    assert item.paging is not None
    page, so_far = places.get(item.number, (0, None))
    return Walk(item.paging, item.url, item.body, page, so_far)


def turn(walk: Walk, answer: Answer | None, url: str, error: str | None) -> Turned:
    """Takes in how the request for a page ended, at `url`: with an answer, or with an error."""
    reason = None
    if error is None and answer is not None:
        headers: Any = answer.headers
        try:
            more = walk.turn(answer.status, headers, answer.response or b"", url)
        except PageError as broken:
            error, reason = str(broken), broken.reason
        else:
            leaf = Leaf(walk.place.page, walk.keep(), more) if walk.fresh else None
            return Turned(leaf, more, None)
    page = max(walk.place.page, walk.behind) + 1
    return Turned(Leaf(page, None, False, reason), False, error or "nothing was sent")
