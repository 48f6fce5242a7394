"""Heads of messages on their way through the proxy: what is dropped, what is rewritten, how a body is framed; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CHUNKED",
    "Pairs",
    "Upstream",
    "head_bytes",
    "hop_by_hop",
    "last_chunk",
    "own_target",
    "request_head",
    "returned",
    "rewrite_links",
]

Pairs = list[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1; the two of Proxy-Auth* are section 11.7's, meant for the next proxy alone.
_HOPS: Final = frozenset(
    {
        b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade",
        b"proxy-authorization", b"proxy-authenticate", b"proxy-authentication-info",
    }
)  # fmt: skip
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LINK: Final = re.compile(rb"<([^<>]*)>")
_LOCATED: Final = frozenset({b"location", b"content-location"})
_LINKED: Final = _LOCATED | {b"link"}
# What a trailer may not say (RFC 9110 section 6.5.1): framing, routing, who asks, and what ends at this hop.
_NOT_TRAILING: Final = frozenset(
    {
        b"transfer-encoding", b"content-length", b"host", b"trailer", b"authorization", b"content-encoding",
        b"content-type", b"content-range", b"connection", b"cookie", b"set-cookie", b"te", b"upgrade",
    }
)  # fmt: skip
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the proxy sends to: scheme, host, port, and the path that stands before every target ("" for none)."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """Reads the upstream's URL; raises InputError where it is none that can be proxied.

        >>> Upstream.parse("https://api.example.com/v2/")
        Upstream(scheme='https', host='api.example.com', port=443, prefix='/v2')
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname or "", parts.port
        except (ValueError, AttributeError):
            raise InputError(f"{_shown(url)} is no URL; write one like https://api.example.com") from None
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise InputError(f"{_shown(url)} cannot be proxied; write a URL like https://api.example.com")
        if "@" in parts.netloc:
            raise InputError(
                "the upstream's URL holds credentials; leave them out, the client's own Authorization is passed on"
            )
        if parts.query or parts.fragment or not re.fullmatch(r"[!-~]*", parts.path):
            raise InputError(f"{_shown(url)} has more than a path; write one like https://api.example.com/v2")
        if not re.fullmatch(r"[!-~]+", host):
            raise InputError(f"{_shown(url)} has a host that is not ASCII; write it in its xn-- form")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """Host and port as the Host field has them (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"

    def behind(self, reference: bytes, base: bytes) -> bytes:
        """A URI reference of the upstream's as the proxy's client has to follow it; any other comes back as it is.

        base: the proxy's own address as this client knows it, without a slash at the end.

        >>> upstream = Upstream.parse("https://api.example.com/v2")
        >>> upstream.behind(b"https://api.example.com/v2/items?page=2", b"http://localhost:8430")
        b'http://localhost:8430/items?page=2'
        >>> upstream.behind(b"/v2/items", b"http://localhost:8430"), upstream.behind(b"https://x.example/", b"")
        (b'/items', b'https://x.example/')
        """
        text = reference.decode("latin-1")
        try:
            parts = urlsplit(text)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme or self.scheme)
            host = parts.hostname
        except ValueError:
            return reference
        if host is None:
            if not self.prefix or not text.startswith("/") or text.startswith("//"):
                return reference
            return self._without_prefix(text).encode("latin-1")
        if (parts.scheme or self.scheme, host, port) != (self.scheme, self.host, self.port) or "@" in parts.netloc:
            return reference
        rest = text[text.index(parts.netloc) + len(parts.netloc) :]
        if not rest.startswith("/"):
            rest = f"/{rest}"
        if self.prefix and self._without_prefix(rest) == rest:
            return reference  # another part of the same host: not behind this proxy
        return base + self._without_prefix(rest).encode("latin-1")

    def _without_prefix(self, path: str) -> str:
        prefix = self.prefix
        if not prefix or not path.startswith(prefix) or path[len(prefix) : len(prefix) + 1] not in ("/", "?", "#", ""):
            return path
        rest = path[len(prefix) :]
        return rest if rest.startswith("/") else f"/{rest}"


def own_target(target: bytes, method: str) -> bytes | None:
    """The target in origin form, or `*`; None where it is neither that nor an absolute URL (RFC 9112 section 3.2).

    >>> own_target(b"http://proxy.example/a?b=1", "GET"), own_target(b"*", "OPTIONS"), own_target(b"a", "GET")
    (b'/a?b=1', b'*', None)
    """
    if target[:1] == b"/":
        return target
    if target == b"*" and method == "OPTIONS":
        return target
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https") or not rest:
        return None
    start = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[start:]
    return path if path[:1] == b"/" else b"/" + path


def hop_by_hop(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes] | set[bytes]:
    """The names, in lower case, that end at this hop: the known ones and those that Connection nominates.

    >>> b"x-hop" in hop_by_hop([(b"Connection", b"close, X-Hop")])
    True
    """
    nominated: set[bytes] | None = None
    for name, value in headers:
        if len(name) == 10 and name.lower() == b"connection":
            for each in value.split(b","):
                token = each.strip().lower()
                if token not in (b"close", b"keep-alive", b""):
                    nominated = nominated or set(_HOPS)
                    nominated.add(token)
    return _HOPS if nominated is None else nominated


def rewrite_links(headers: Sequence[tuple[bytes, bytes]], upstream: Upstream, base: bytes) -> Pairs:
    """The headers with URIs that name the upstream in Location, Content-Location and Link turned to the proxy.

    >>> upstream = Upstream.parse("http://api.example.com")
    >>> rewrite_links([(b"Link", b'<http://api.example.com/p?2>; rel="next"')], upstream, b"http://127.0.0.1:8430")
    [(b'Link', b'<http://127.0.0.1:8430/p?2>; rel="next"')]
    """
    result: Pairs = []
    for name, value in headers:
        lower = name.lower()
        if lower in _LOCATED:
            value = upstream.behind(value, base)
        elif lower == b"link":
            value = _LINK.sub(lambda found: b"<" + upstream.behind(found[1], base) + b">", value)
        result.append((name, value))
    return result


def head_bytes(start: bytes, headers: Sequence[tuple[bytes, bytes]], more: bytes = b"") -> bytes | None:
    """A head ready to be sent: start line, fields, `more` whole lines; None where a line end hides in a field.

    >>> head_bytes(b"GET / HTTP/1.1", [(b"Host", b"x")])
    b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'
    """
    lines = [start]
    for name, value in headers:
        lines.append(name + b": " + value)
    head = b"\r\n".join(lines)
    # The parser refuses these already; a second look costs little, and a split head would be somebody else's.
    if head.count(b"\n") != len(headers) or head.count(b"\r") != len(headers):
        return None
    return head + b"\r\n" + more + b"\r\n"


def request_head(
    start: tuple[str, bytes], headers: Pairs, upstream: Upstream, via: bytes, *, keep_host: bool, chunked: bool
) -> bytes | None:
    """The head of a request as the upstream gets it; `start`: method and target; None as for `head_bytes`.

    >>> request_head(("GET", b"/a"), [(b"Host", b"proxy")], Upstream.parse("http://api.example.com/v2"), b"1.1 p",
    ...              keep_host=False, chunked=False)
    b'GET /v2/a HTTP/1.1\\r\\nHost: api.example.com\\r\\nVia: 1.1 p\\r\\n\\r\\n'
    """
    method, target = start
    drop = hop_by_hop(headers)
    kept: Pairs = []
    host: bytes | None = None
    for name, value in headers:
        lower = name.lower()
        if lower == b"host":
            host = value
        elif lower not in drop:
            kept.append((name, value))
    if host is None or not keep_host:
        host = upstream.authority.encode("latin-1")
    if target != b"*":
        target = upstream.prefix.encode("latin-1") + target
    line = method.encode("latin-1") + b" " + target + b" HTTP/1.1"
    return head_bytes(line, [(b"Host", host), *kept, (b"Via", via)], CHUNKED if chunked else b"")


def returned(headers: Pairs, more: Sequence[tuple[str, str]], upstream: Upstream | None, base: bytes) -> Pairs:
    """The fields of an answer as the client gets them: those of this hop dropped, `more` in place of its namesakes.

    upstream: where given, URIs that name it are turned to `base`.

    >>> returned([(b"Connection", b"close"), (b"X-L", b"9"), (b"X-M", b"2")], [("X-L", "1")], None, b"")
    [(b'X-M', b'2'), (b'X-L', b'1')]
    """
    drop: set[bytes] | frozenset[bytes] = hop_by_hop(headers)
    if more:
        drop = {*drop, *(name.lower().encode("latin-1") for name, _ in more)}
    kept: Pairs = []
    linked = False
    for name, value in headers:
        lower = name.lower()
        if lower not in drop:
            kept.append((name, value))
            linked = linked or lower in _LINKED
    if linked and upstream is not None:
        kept = rewrite_links(kept, upstream, base)
    return kept + [(name.encode("latin-1"), value.encode("latin-1")) for name, value in more]


def last_chunk(trailers: Pairs) -> bytes:
    """The end of a chunked body, with those of its trailers that a trailer may hold."""
    kept = [(name, value) for name, value in trailers if name.lower() not in _NOT_TRAILING]
    return b"0\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in kept) + b"\r\n"


def _shown(url: object) -> str:
    text = str(url)
    return "the URL given" if "@" in text else repr(text[:80])
