"""A policy: all that one API needs, in one object: limits, retry, scope, store, credentials' refresh."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .errors import InputError, MissingExtra
from .limits import Limit
from .retry import Retry
from .stores.line import Line

if TYPE_CHECKING:
    from .events import Sink
    from .stores.clock import Clock

__all__ = ["Policy", "credential_of", "read_limits"]

_CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "api-key", "private-token", "cookie")
_PORTS: Final = {"http": 80, "https": 443}


def read_limits(limits: str | Limit | Iterable[str | Limit]) -> tuple[Limit, ...]:
    """Limits from their text forms, or as they are; raises LimitSyntaxError.

    >>> [str(limit) for limit in read_limits(["100/2s", "8 concurrent"])]
    ['100/2s', '8 concurrent']
    """
    if isinstance(limits, str | Limit):
        limits = (limits,)
    return tuple(limit if isinstance(limit, Limit) else Limit.parse(limit) for limit in limits)


def credential_of(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> str | None:
    """The header value that tells one client of an API from another; None if there is none.

    >>> credential_of({"Authorization": "Bearer abc", "Accept": "*/*"})
    'Bearer abc'
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found = {name.lower(): value for name, value in pairs if name.lower() in _CREDENTIAL_HEADERS}
    return next((found[name] for name in _CREDENTIAL_HEADERS if name in found), None)


def _host_name(name: str) -> str:
    """A host as URLs that are sent name it: in lower case, and beyond ASCII in its IDNA form (RFC 5891)."""
    if not name.isascii():
        try:
            import idna
        except ImportError:
            raise MissingExtra("idna", "cli") from None
        try:
            return idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise InputError(f"{name!r} is no host name: {error}") from None
    return name.lower()


@dataclass(eq=False)
class Policy:
    """What one API needs: its limits, when to retry, what shares the limits, where their state lives.

    limits: texts or Limits that hold together for each scope. hosts: other limits for single hosts.
    retry: see Retry. scope: a name under which all requests share the limits; None: host, port and credential.
    store: `memory:` (this process). events: called with every event.
    refresh: called once, for all who wait, when a credential was refused (401); returns the new credential.
    dialect: how the provider writes its signals; None: found out from each response.

    Raises LimitSyntaxError or InputError for what cannot be used.

    >>> policy = Policy(limits=["100/2s", "8 concurrent"])
    >>> policy.scope_of("https://api.example.com/items/1")
    'api.example.com:443'
    >>> policy.line("api.example.com:443") is policy.line("api.example.com:443")
    True
    """

    limits: Iterable[str | Limit] | str | Limit = ()
    retry: Retry = field(default_factory=Retry)
    scope: str | None = None
    store: str = "memory:"
    hosts: Mapping[str, Iterable[str | Limit] | str | Limit] = field(default_factory=dict)
    events: Sink | None = field(default=None, repr=False)
    refresh: Callable[[], Any] | None = field(default=None, repr=False)
    dialect: str | None = None
    clock: Clock | None = field(default=None, repr=False)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def __post_init__(self) -> None:
        self.limits = read_limits(self.limits)
        self.hosts = {_host_name(host): read_limits(limits) for host, limits in self.hosts.items()}
        if self.scope is not None and self.hosts:
            raise InputError("one scope for all has no limits for single hosts: give scope, or limits like HOST=LIMIT, not both")
        if self.store != "memory:":
            raise InputError(f"there is no store {self.store!r}; this version keeps scopes in memory: write memory:")
        self._lines: dict[str, Line] = {}

    def scope_of(self, url: str, credential: str | None = None, *, method: str = "GET") -> str:  # noqa: ARG002
        """The scope that a request belongs to; a credential appears in it only as a keyed hash.

        >>> Policy(scope="crm").scope_of("https://api.example.com/")
        'crm'
        >>> "abc" in Policy().scope_of("https://api.example.com/", "Bearer abc")
        False

        Raises InputError for a URL whose host or port cannot be read.
        """
        if self.scope is not None:
            return self.scope
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise InputError(f"cannot tell the host of a URL: {error}") from None
        host = f"{parts.hostname}:{port}"
        if credential is None:
            return host
        return f"{host}#{hashlib.blake2s(credential.encode(), key=self.key, digest_size=6).hexdigest()}"

    def line(self, scope: str) -> Line:
        """The line of those who wait in `scope`, made at first use with the limits that hold for it."""
        line = self._lines.get(scope)
        if line is None:
            line = Line(
                scope,
                self.limits_of(scope),
                max_wait=self.retry.max_wait,
                retry_share=self.retry.budget,
                retry_floor=self.retry.budget_floor,
                emit=self.events,
                clock=self.clock,
            )
            # Two threads may come here at once: one line wins.
            line = self._lines.setdefault(scope, line)
        return line

    def limits_of(self, scope: str) -> tuple[Limit, ...]:
        """The limits in force for a scope: its host's own ones, or the policy's."""
        address = scope.partition("#")[0]
        host, _, port = address.rpartition(":")
        hosts: Any = self.hosts
        for name in (address, host if port.isdigit() else address):
            if name in hosts:
                return tuple(hosts[name])
        return tuple(self.limits)  # type: ignore[arg-type]

    @property
    def lines(self) -> Mapping[str, Line]:
        """The lines in use, by scope."""
        return self._lines

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_lines"] = {}
        return state
