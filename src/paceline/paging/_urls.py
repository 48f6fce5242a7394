"""URLs of pages: joined, compared by origin, and given a field of the query."""

from __future__ import annotations

from urllib.parse import quote, unquote_plus, urljoin, urlsplit

__all__ = ["joined", "origin", "with_field"]


def joined(base: str, target: str) -> str | None:
    """`target` as seen from `base` (RFC 3986, section 5), without fragment; None where it is none."""
    try:
        return urljoin(base, target.strip()).partition("#")[0]
    except ValueError:
        return None


def origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def with_field(url: str, name: str, value: str) -> str:
    """The URL with this field in its query, in the place of the one that was there, else at its end."""
    head, _, query = url.partition("?")
    new = f"{quote(name, safe='$')}={quote(value, safe='', errors='replace')}"
    parts: list[str] = []
    placed = False
    for part in query.split("&"):
        if unquote_plus(part.partition("=")[0]) != name:
            parts += [part] if part else []
        elif not placed:
            placed = True
            parts.append(new)
    return f"{head}?{'&'.join(parts if placed else [*parts, new])}"
