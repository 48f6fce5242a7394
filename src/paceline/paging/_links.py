"""The header Link read as RFC 8288 writes it: which target stands for a relation."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Link", "links", "target_of"]

_SPACE: Final = " \t"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MOST: Final = 65_536


class Link(NamedTuple):
    """One link: its target as written, its relations in lower case, and whether it speaks of another resource."""

    target: str
    relations: tuple[str, ...]
    anchored: bool


def links(value: str) -> list[Link]:
    """The links of a field value, by the algorithm of RFC 8288, appendix B.2; what stands behind a fault is left out.

    >>> links('</a?p=2,3>; title="x, <y>; rel=\\\\"no"; REL="next last", </b>;rel=prev')
    [Link(target='/a?p=2,3', relations=('next', 'last'), anchored=False), Link(target='/b', relations=('prev',), anchored=False)]
    """
    found: list[Link] = []
    text, at = value[:_MOST], 0
    while True:
        at = _skip(text, at, f"{_SPACE},")
        if at >= len(text) or text[at] != "<":
            return found
        end = text.find(">", at)
        if end < 0:
            return found
        target = text[at + 1 : end].strip()
        relations: tuple[str, ...] | None = None
        anchored = False
        at = end + 1
        while True:
            at = _skip(text, at, _SPACE)
            if at >= len(text) or text[at] != ";":
                break
            name, content, at = _parameter(text, _skip(text, at + 1, _SPACE))
            # The first `rel` counts, others must be ignored (RFC 8288, section 3.3).
            if name == "rel" and relations is None:
                relations = tuple(content.lower().split())
            anchored = anchored or name == "anchor"
        found.append(Link(target, relations or (), anchored))
        if at < len(text) and text[at] != ",":
            return found


def target_of(value: str, relation: str) -> list[str]:
    """The different targets of the links with this relation, in order; links of other resources (`anchor`) aside.

    >>> target_of('<https://a.example/?page=2>; rel="next"', "next")
    ['https://a.example/?page=2']
    """
    wanted = relation.lower()
    return list(dict.fromkeys(one.target for one in links(value) if wanted in one.relations and not one.anchored))


def _skip(text: str, at: int, what: str) -> int:
    while at < len(text) and text[at] in what:
        at += 1
    return at


def _parameter(text: str, at: int) -> tuple[str, str, int]:
    """A parameter's name in lower case, its content, and where it ends."""
    name = _NAME.match(text, at)
    if name is None:
        # An empty or broken parameter: up to what ends it.
        while at < len(text) and text[at] not in ";,":
            at += 1
        return "", "", at
    at = _skip(text, name.end(), _SPACE)
    if at >= len(text) or text[at] != "=":
        return name[0].lower(), "", at
    at = _skip(text, at + 1, _SPACE)
    if at < len(text) and text[at] == '"':
        content, at = _quoted(text, at + 1)
        return name[0].lower(), content, at
    start = at
    while at < len(text) and text[at] not in ";,":
        at += 1
    return name[0].lower(), text[start:at].strip(), at


def _quoted(text: str, at: int) -> tuple[str, int]:
    """A quoted string's content (RFC 9110, section 5.6.4) and where it ends."""
    parts: list[str] = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        parts.append(text[at])
        at += 1
    return "".join(parts), min(len(text), at + 1)
