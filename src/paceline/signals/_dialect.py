"""A dialect: how one provider is told, reads, and shares its limits out; the shape of every file in `dialects/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._reading import Reading

__all__ = ["Dialect", "find_host", "path_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one provider writes its signals.

    name: its key in `DIALECTS`.
    title: the provider, for people.
    docs: the provider's own pages on its limits.
    hosts: suffixes of the hosts it answers from.
    headers: header names that it alone sends, in lower case; one that ends in `*` is a prefix.
    bodies: byte strings that only its bodies hold.
    read: what is special in its responses, done after the general rules; None where these say it all.
    scope: from method and URL to the name of the bucket that the request counts in; None: one for the host.
    served_body: from the URL: whether the body of an answer with a good status may hold a signal.
    default_wait: seconds to wait after a refusal that names no wait, where the provider's text states them.
    """

    name: str
    title: str
    docs: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    bodies: tuple[bytes, ...] = ()
    read: Callable[[Reading], None] | None = None
    scope: Callable[[str, str], str | None] | None = None
    served_body: Callable[[str | None], bool] | None = None
    default_wait: float | None = None

    def scope_key(self, method: str, url: str) -> str | None:
        """The bucket that a request counts in, None where the provider has one for all.

        >>> from paceline.signals import DIALECTS
        >>> DIALECTS["github"].scope_key("GET", "https://api.github.com/search/issues?q=x")
        'search'
        """
        return self.scope(method.upper(), url) if self.scope is not None else None


def path_of(url: str | None) -> str:
    """The path of a URL, empty where there is none.

    >>> path_of("https://api.github.com/search/code?q=x"), path_of(None)
    ('/search/code', '')
    """
    if not url:
        return ""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def find_host(url: str | None) -> str:
    """The host name of a URL in lower case, empty where there is none.

    >>> find_host("https://user:secret@API.example.com:8443/x"), find_host("http://[")
    ('api.example.com', '')
    """
    if not url:
        return ""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
