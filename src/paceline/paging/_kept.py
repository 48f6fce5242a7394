"""The URL of a next page in a form that may be written to a file: no secret in it, and whole again with the input's."""

from __future__ import annotations

from ..masking import MASK, mask_url

__all__ = ["kept", "restored"]


def kept(url: str, home: str) -> str | None:
    """`url` with each secret that `home`, the input's own URL, carries as well, masked; None where it holds others.

    >>> home = "https://api.example.com/v1?api_key=abc"
    >>> kept("https://api.example.com/v1?api_key=abc&page=2", home)
    'https://api.example.com/v1?api_key=***&page=2'
    >>> kept("https://api.example.com/v1?sig=xyz&page=2", home) is None
    True
    """
    known = _secrets(home)
    head, mark, query = url.partition("?")
    parts = query.split("&")
    for index, part in enumerate(parts):
        name, equals, value = part.partition("=")
        # A value that is the mask itself would be taken for one that was masked.
        if _hides(part) or (value == MASK and name in known):
            if known.get(name) != value:
                return None
            parts[index] = f"{name}{equals}{MASK}"
    text = f"{head}{mark}{'&'.join(parts)}"
    return text if mask_url(text) == text else None


def restored(text: str, home: str) -> str:
    """The URL that `kept` was given, by the input's own URL.

    >>> restored("https://api.example.com/v1?api_key=***&page=2", "https://api.example.com/v1?api_key=abc")
    'https://api.example.com/v1?api_key=abc&page=2'
    """
    known = _secrets(home)
    head, mark, query = text.partition("?")
    parts = query.split("&")
    for index, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if value == MASK and name in known:
            parts[index] = f"{name}{equals}{known[name]}"
    return f"{head}{mark}{'&'.join(parts)}"


def _hides(part: str) -> bool:
    """Whether a field of a query has a value that must not be shown."""
    return mask_url(f"?{part}") != f"?{part}"


def _secrets(home: str) -> dict[str, str]:
    """The secret-looking fields of a URL's query whose value is not in doubt."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for part in home.partition("#")[0].partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        if _hides(part) and found.setdefault(name, value) != value:
            twice.add(name)
    return {name: value for name, value in found.items() if name not in twice}
