"""`read_signal`: one pass over the header names, and all further work only where one of them concerns limits."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ._bodies import edges
from ._dialect import find_host
from ._names import Field, read_name
from ._quotas import plain_quota
from ._reading import Reading
from ._signal import Signal
from ._times import Headers, text_of
from .dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._dialect import Dialect

__all__ = ["find_dialect", "needs_body", "read_for", "read_signal", "silent"]

_MOST_NAMES: Final = 4096
_NOTHING_LEFT: Final = frozenset({"0", "0.0"})
_MOST_FIELDS: Final = 64
_LONGEST_VALUE: Final = 4096
# All values that are read as counters and times, together: ten times what any server needs.
_MOST_TEXT: Final = 2048
_UNKNOWN: Final = Field("mark", "")
_SERVED: Final = Signal()
_GENERIC: Final = DIALECTS["generic"]
# 404, 410 and their like are never refusals, so their bodies are not asked for.
_BODY_STATUSES: Final = frozenset({400, 401, 402, 403, 413, 418, 420, 429, 430, 432, 456, 500, 502, 503, 504, 509, 529})
_TEXTUAL: Final = ("json", "xml", "text/", "html", "x-www-form-urlencoded", "javascript")

_EXACT: Final = {name: d.name for d in DIALECTS.values() for name in d.headers if not name.endswith("*")}
_PREFIXES: Final = tuple(
    (name[:-1], d.name) for d in DIALECTS.values() for name in d.headers if name.endswith("*")
)
_BODIES: Final = tuple((mark, d) for d in DIALECTS.values() for mark in d.bodies)
_HOSTS: Final = {host: d for d in DIALECTS.values() for host in d.hosts}


class _Names(dict[Any, Field | None]):
    """What header names say; one that is asked for by `[]` is learned first."""

    def __missing__(self, name: Any) -> Field | None:
        return _learn(name)


# What is known of a name or host is kept; both caches are bounded, since servers choose names and users hosts.
_names: Final = _Names()
_say: Final = _names.__getitem__
_AUTHORITY: Final = re.compile(r"[^/?#]*")
_hosts: dict[str, Dialect | None] = {}


def read_signal(
    status: int,
    headers: Headers,
    body: bytes | str | None = None,
    *,
    now: float,
    dialect: str | None = None,
    method: str | None = None,
    url: str | None = None,
) -> Signal:
    """Reads what one response says about limits; pure, and never raises on what a server sent.

    status: the response's status code.
    headers: a mapping or pairs of names and values, names in any case.
    body: the body's first 64 KiB, where they are at hand (see `needs_body`); more is not looked at.
    now: when the response arrived, epoch seconds.
    dialect: a key of `DIALECTS`, where the provider is known; else it is told from URL, headers and body.
    method, url: of the request.

    Raises ValueError for a dialect that does not exist.
    Sources: RFC 9110 section 10.2.3, RFC 6585 section 4, draft-ietf-httpapi-ratelimit-headers-03 to -10,
    and the pages that each dialect names.

    >>> read_signal(429, {"Retry-After": "30"}, now=1768478400.0).retry_after
    30
    >>> signal = read_signal(200, {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "59"}, now=1768478400.0)
    >>> signal.refused, signal.limits[0].remaining
    (False, 59)
    """
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    pairs = headers.items() if hasattr(headers, "items") else headers
    known = _names.get
    found = [(field, name, value) for name, value in pairs if (field := known(name, _UNKNOWN)) is not None]
    if found:
        fields = _fields(found)
        if fields:
            spoken = _tell(fields, dialect, url)
            if status < 400 and body is None and (spoken is None or spoken.read is None):
                quota = plain_quota(fields, now, headers)
                if quota is not None:
                    name = (
                        spoken.name
                        if spoken is not None
                        else "ietf"
                        if fields[0][0].group == "|"
                        else "generic"
                    )
                    return Signal(False, None, False, False, (quota,), name)
            return _read(status, headers, fields, body, now, spoken, method, url)
    if status >= 400 or body is not None or dialect is not None:
        return _read(status, headers, [], body, now, _tell([], dialect, url), method, url)
    return _SERVED


def read_for(
    spoken: Dialect | None,
    status: int,
    headers: Headers,
    body: bytes | None = None,
    *,
    now: float,
    method: str | None = None,
    url: str | None = None,
) -> Signal:
    """`read_signal` for whoever goes on by it: a refusal that names no wait gets the one that its provider documents.

    spoken: the dialect, where it is known.

    >>> read_for(DIALECTS["airtable"], 429, {}, now=0.0).retry_after
    30.0
    """
    signal = read_signal(
        status,
        headers,
        body,
        now=now,
        dialect=None if spoken is None else spoken.name,
        method=method,
        url=url,
    )
    if spoken is None or spoken.default_wait is None or not signal.refused:
        return signal
    if signal.retry_after is not None or signal.terminal:
        return signal
    note = f"{spoken.title} documents {spoken.default_wait:g} s for refusals that name no wait"
    return replace(signal, retry_after=spoken.default_wait, notes=(*signal.notes, note))


def _fields(found: list[tuple[Field, Any, Any]]) -> list[tuple[Field, str]]:
    fields = []
    room = _MOST_TEXT
    for field, name, value in found[:_MOST_FIELDS] if len(found) > _MOST_FIELDS else found:
        known = _learn(name) if field is _UNKNOWN else field
        if known is not None:
            text = value if type(value) is str else text_of(value)
            size = len(text)
            if known.role != "mark":
                room -= size
            fields.append((known, text if size <= _LONGEST_VALUE and room >= 0 else ""))
    return fields


def _learn(name: Any) -> Field | None:
    text = text_of(name)
    if len(text) > 128:
        return None
    field = read_name(text)
    lower = text.lower()
    mark = _EXACT.get(lower) or next((d for prefix, d in _PREFIXES if lower.startswith(prefix)), None)
    if mark is not None:
        # A provider's own header without a role of its own is for its dialect alone to read.
        own = field is None or field.role == "bare"
        field = Field("mark", lower, dialect=mark) if own or field is None else replace(field, dialect=mark)
    if len(_names) >= _MOST_NAMES:
        _names.clear()
    _names[name] = field
    return field


def _tell(fields: list[tuple[Field, str]], name: str | None, url: str | None) -> Dialect | None:
    """Whose response it is, by what the caller says, the host, or a header that only one provider sends."""
    if name is not None:
        try:
            return DIALECTS[name]
        except KeyError:
            raise ValueError(
                f"there is no dialect {name!r}; the dialects are {', '.join(DIALECTS)}"
            ) from None
    if url is not None and (spoken := find_dialect(url)) is not None:
        return spoken
    for field, _ in fields:
        if field.dialect is not None:
            return DIALECTS[field.dialect]
    return None


def _tell_by_content(reading: Reading) -> Dialect:
    if reading.body:
        looked_at = edges(reading.body)
        for mark, spoken in _BODIES:
            if mark in looked_at:
                return spoken
    if any(field.group == "|" for field, _ in reading.fields):
        return DIALECTS["ietf"]
    return _GENERIC


def _read(
    status: int,
    headers: Headers,
    fields: list[tuple[Field, str]],
    body: bytes | None,
    now: float,
    spoken: Dialect | None,
    method: str | None,
    url: str | None,
) -> Signal:
    reading = Reading(status, fields, body, now, headers, method, url)
    if status >= 400 or body is not None:
        reading.judge()
    if spoken is None:
        spoken = _tell_by_content(reading)
    if spoken.read is not None:
        spoken.read(reading)
    return reading.conclude(spoken.name)


def find_dialect(url: str) -> Dialect | None:
    """The dialect of a URL's host, None where it is nobody's that is known.

    >>> find_dialect("https://api.github.com/user").name
    'github'
    """
    authority = _AUTHORITY.match(url, url.find("://") + 3)
    host = "" if authority is None else authority[0]
    try:
        return _hosts[host]
    except KeyError:
        return _learn_host(host)


def _learn_host(host: str) -> Dialect | None:
    if len(host) > 300:
        return None
    name = find_host(f"//{host}")
    found = None
    while name and found is None:
        found = _HOSTS.get(name)
        name = name.partition(".")[2]
    if len(_hosts) >= _MOST_NAMES:
        _hosts.clear()
    _hosts[host] = found
    return found


def needs_body(status: int, headers: Headers, *, url: str | None = None, dialect: str | None = None) -> bool:
    """Whether the body's first 64 KiB may hold a signal, so that `read_signal` should be given them.

    True for refusals and doubtful statuses; for an answer with a good status only where its provider is known to
    hide refusals or waits in bodies (GraphQL, MediaWiki, Stack Exchange …), or nobody knows the provider and the
    headers ask for a wait or have nothing left, so that others can be streamed.

    >>> needs_body(200, {}, url="https://api.example.com/items"), needs_body(429, {})
    (False, True)
    >>> needs_body(200, {"Retry-After": "7"}, url="https://api.example.com/items")
    True
    """
    if status >= 400:
        return status in _BODY_STATUSES
    spoken = DIALECTS.get(dialect) if dialect is not None else find_dialect(url) if url is not None else None
    if spoken is not None:
        wanted = spoken.served_body is not None and spoken.served_body(url)
    else:
        wanted = url is not None and "graphql" in url
        pairs = headers.items() if hasattr(headers, "items") else headers
        known = _names.get
        for name, value in [pair for pair in pairs if known(pair[0], _UNKNOWN) is not None]:
            field = _names.get(name, _UNKNOWN)
            field = _learn(name) if field is _UNKNOWN else field
            if field is None:
                continue
            if field.role == "wait" or (field.role == "remaining" and text_of(value).strip() in _NOTHING_LEFT):
                # Nobody who serves asks for a wait: what looks served may be a refusal, and only its body says so.
                wanted = True
            elif field.dialect is not None or field.role in ("label", "reason"):
                marked = DIALECTS[field.dialect].served_body if field.dialect is not None else None
                wanted = (
                    wanted
                    or (marked is not None and marked(url))
                    or field.rank == 1
                    or text_of(value) == "graphql"
                )
    return wanted and _is_text(headers)


def silent(names: Iterable[Any]) -> bool:
    """Whether no header of these names concerns limits, which is so in most answers that are served.

    >>> silent(["Content-Type", b"Date"]), silent(["Retry-After"])
    (True, False)
    """
    # One step for all names: this is asked of every answer.
    return not any(map(_say, names))


def _is_text(headers: Headers) -> bool:
    pairs = headers.items() if hasattr(headers, "items") else headers
    for name, value in pairs:
        if len(name) == 12 and text_of(name).lower() == "content-type":
            kind = text_of(value).lower()
            return any(word in kind for word in _TEXTUAL)
    return True
