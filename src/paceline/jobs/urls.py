"""One input's URL: checked, made ready to send, and parted from the credential it may carry (RFC 3986)."""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ..errors import MissingExtra

__all__ = ["MAX_URL", "CheckedURL", "Unusable", "check_url", "is_plain_url", "shown"]

MAX_URL: Final = 65_536

# What nearly every input is: plain ASCII, a host name, nothing to repair; the long way below
# says what is wrong with the others, or mends them.
_PLAIN: Final = (
    r"https?://[A-Za-z0-9][A-Za-z0-9-]{0,62}+(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62}+)*+(?::[1-9][0-9]{0,3})?"
    r"(?:[/?][\x21-\x7e]*+)?"
)
is_plain_url: Final = re.compile(_PLAIN.encode()).fullmatch
_is_plain_text: Final = re.compile(_PLAIN).fullmatch

_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?([^/?#\\]*)(.*)", re.DOTALL)
_BAD: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]")
_LABEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_RIGHT: Final = "write it like https://api.example.com/items/1"


class Unusable(ValueError):
    """An input that cannot be sent; the text says why and shows a right form."""


class CheckedURL(NamedTuple):
    """`url` is what to send (ASCII, no userinfo); `authorization` the Basic header its userinfo makes, or None."""

    url: str
    authorization: str | None


def check_url(text: str) -> CheckedURL:
    """Checks an absolute http or https URL; characters beyond ASCII are encoded, all else stays as it is.

    text: the URL as given, at most MAX_URL characters. Raises Unusable. Userinfo becomes a Basic
    credential (RFC 7617, UTF-8); host names beyond ASCII become their IDNA form (RFC 5891).

    >>> check_url("https://me:pw@example.com/a?b=%20c")
    CheckedURL(url='https://example.com/a?b=%20c', authorization='Basic bWU6cHc=')
    >>> check_url("https://bücher.example/ä").url
    'https://xn--bcher-kva.example/%C3%A4'
    >>> check_url("example.com/1")
    Traceback (most recent call last):
    ...
    paceline.jobs.urls.Unusable: 'example.com/1' is not an absolute URL: it does not begin with http:// or https://; \
write it like https://api.example.com/items/1
    """
    if len(text) > MAX_URL:
        raise Unusable(
            f"the URL is {len(text):,} characters long, more than {MAX_URL:,}; send long data as a body"
        )
    if _is_plain_text(text):
        return CheckedURL(text, None)
    bad = _BAD.search(text)
    if bad is not None:
        kind = "a space" if bad[0] == " " else f"the control character {bad[0]!r}"
        raise Unusable(
            f"there is {kind} in the URL {shown(text)!r} at position {bad.start() + 1}; encode it (a space is %20)"
        )
    parts = _PARTS.fullmatch(text)
    if parts is None or (not parts[2] and parts[1].lower() not in ("http", "https")):
        raise Unusable(
            f"{shown(text)!r} is not an absolute URL: it does not begin with http:// or https://; {_RIGHT}"
        )
    scheme, authority, rest = parts[1].lower(), parts[3], parts[4]
    if scheme not in ("http", "https"):
        raise Unusable(f"the scheme {scheme!r} cannot be fetched, only http and https; {_RIGHT}")
    if not parts[2]:
        raise Unusable(f"{shown(text)!r} has no // behind its scheme; {_RIGHT}")
    if rest.startswith("\\"):
        # RFC 3986 reads it as a part of the host, the WHATWG as a slash: clients would go to different hosts.
        raise Unusable(f"there is a backslash in the host of {shown(text)!r}; {_RIGHT}")
    userinfo, at, place = authority.rpartition("@")
    host = _host(place, text)
    if not rest.isascii():
        rest = quote(rest, safe="".join(map(chr, range(0x21, 0x7F))))
    authorization = None
    if at:
        user, _, password = userinfo.partition(":")
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        authorization = "Basic " + base64.b64encode(pair).decode("ascii")
    return CheckedURL(f"{scheme}://{host}{rest}", authorization)


def _host(place: str, text: str) -> str:
    if place.startswith("["):
        inner, bracket, after = place[1:].partition("]")
        try:
            if not bracket or "%" in inner:
                raise ValueError
            host = f"[{ipaddress.IPv6Address(inner).compressed}]"
        except ValueError:
            raise Unusable(
                f"the host of {shown(text)!r} is not an IPv6 address in brackets, like [::1]"
            ) from None
        if after and not after.startswith(":"):
            raise Unusable(f"what stands behind the brackets in {shown(text)!r} is not a port")
        port = after[1:]
    else:
        host, _, port = place.partition(":")
        host = _name(host, text)
    if not port:
        return host
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise Unusable(f"the port of {shown(text)!r} is not a number from 1 to 65535")
    return f"{host}:{int(port)}"


def _name(host: str, text: str) -> str:
    if not host:
        raise Unusable(f"there is no host in {shown(text)!r}; {_RIGHT}")
    if not host.isascii():
        try:
            import idna  # comes with aiohttp; the codec of the standard library is the older IDNA 2003
        except ImportError:
            raise MissingExtra("idna", "cli") from None
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except UnicodeError:
            raise Unusable(f"the host of {shown(text)!r} is not a valid international name") from None
    name = host.removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise Unusable(f"the host of {shown(text)!r} is not a valid host name; {_RIGHT}")
    return host


def shown(text: str) -> str:
    """A URL, or what was meant as one, short and without what may be secret: for messages.

    >>> shown("ftp://me:secret@example.com/a?key=1")
    'ftp://***@example.com/a?…'
    """
    head = text[:2000].partition("#")[0]
    path, query, _ = head.partition("?")
    # An @ may stand behind a malformed authority: all before the last one goes.
    before, at, after = path.rpartition("@")
    if at:
        start = before.find("//")
        path = (before[: start + 2] if start >= 0 else "") + "***@" + after
    path += "?…" if query else ""
    return path if len(path) <= 120 else path[:119] + "…"
