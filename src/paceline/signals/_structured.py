"""The IETF drafts' RateLimit fields: structured fields of -08 and later, the dictionary of -07, quota policies of -03 to -06.

Sources: draft-ietf-httpapi-ratelimit-headers-03 to -10; RFC 9651 for the syntax, which http-sf reads.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["Member", "cut", "read_pairs", "read_policy", "read_state"]

_LONGEST: Final = 512
_MOST_ITEMS: Final = 16
_PLAIN_STATE: Final = re.compile(
    r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,80})";r=([0-9]{1,15})(?:;t=([0-9]{1,15}))?'
)
_PAIR: Final = re.compile(r"([A-Za-z][A-Za-z_-]{0,30})[ \t]{0,4}[=:][ \t]{0,4}([^,;=]{1,40})")
_UNITS: Final = {"requests": "requests", "content-bytes": "bytes"}

# (name, quota or remaining, window or reset, unit)
Member = tuple[str, float | None, float | None, str | None]


def read_state(text: str) -> list[Member] | None:
    """Reads `RateLimit` of draft -08 and later: (name, remaining, seconds to more, unit); None where malformed.

    >>> read_state('"permin";r=0;t=20, "perhr";r=700;t=1800')
    [('permin', 0, 20, None), ('perhr', 700, 1800, None)]
    """
    found = _PLAIN_STATE.fullmatch(text)
    if found is not None:
        return [(found[1], int(found[2]), int(found[3]) if found[3] else None, None)]
    return _members(text, "r", "t")


@lru_cache(maxsize=256)
def _policies(text: str) -> tuple[Member, ...] | None:
    found = _members(text, "q", "w")
    return None if found is None else tuple(found)


def read_policy(text: str) -> list[Member] | None:
    """Reads `RateLimit-Policy` of draft -08 and later: (name, quota, window, unit); None where malformed.

    >>> read_policy('"burst";q=100;w=60, "conc";q=10;qu="concurrent-requests"')
    [('burst', 100, 60, 'requests'), ('conc', 10, None, None)]
    """
    found = _policies(text) if len(text) <= _LONGEST else None
    return None if found is None else list(found)


def _members(text: str, amount_key: str, time_key: str) -> list[Member] | None:
    """The members of a structured list; one that breaks the draft's rules is left out, None if none is right."""
    if len(text) > _LONGEST or not text.isascii():
        return None
    import http_sf  # late: most responses carry no structured field

    try:
        parsed = http_sf.parse(text.strip(" \t").encode("ascii"), tltype="list")
    except ValueError:
        return None
    found: list[Member] = []
    for member in parsed[:_MOST_ITEMS] if isinstance(parsed, list) else ():
        if not isinstance(member, tuple) or len(member) != 2:
            continue
        name, params = member
        if not isinstance(name, str) or not isinstance(params, dict):
            continue  # a token or a number is no name
        amount = _count(params.get(amount_key))
        if amount is None:
            continue  # both r and q are required
        unit = params.get("qu", "requests") if amount_key == "q" else None
        found.append(
            (name, amount, _count(params.get(time_key)), _UNITS.get(unit) if isinstance(unit, str) else None)
        )
    return found or None


def _count(value: object) -> float | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def read_pairs(text: str) -> dict[str, str]:
    """Reads `limit=100, remaining=50, reset=5` (draft -07) and its relatives with `;` and `:`.

    >>> read_pairs("total=100; remaining=99; resets=42")
    {'total': '100', 'remaining': '99', 'resets': '42'}
    """
    return {name.lower(): value.strip() for name, value in _PAIR.findall(text[:_LONGEST])}


def cut(text: str, at: str) -> list[str]:
    """Splits at a character outside of quoted strings; at most 16 pieces.

    >>> cut('100;w=60;comment="a, b", 5000;w=3600', ",")
    ['100;w=60;comment="a, b"', ' 5000;w=3600']
    """
    text = text[:_LONGEST]
    if '"' not in text:
        return text.split(at)[:_MOST_ITEMS]
    pieces, start, quoted, escaped = [], 0, False, False
    for i, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = quoted
        elif char == '"':
            quoted = not quoted
        elif char == at and not quoted:
            pieces.append(text[start:i])
            start = i + 1
    pieces.append(text[start:])
    return pieces[:_MOST_ITEMS]
