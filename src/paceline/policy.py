"""A policy: all that one API needs, in one object: limits, retry, scope, store, credentials' refresh."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeAlias, TypeVar, overload
from urllib.parse import urlsplit

from .errors import InputError, MissingExtra
from .limits import Limit
from .retry import Retry
from .signals import DIALECTS, read_for, read_signal
from .stores import open_store
from .stores.line import Line

if TYPE_CHECKING:
    from ._wrap import Classify
    from .events import Sink
    from .exchange import ReadSignal
    from .ledger import Cost
    from .stores.clock import Clock
    from .stores.shared import OnStoreLoss

__all__ = ["Policy", "credential_of", "read_limits"]

P = ParamSpec("P")
R = TypeVar("R")

_CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "api-key", "private-token", "cookie")
_PORTS: Final = {"http": 80, "https": 443}
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_LONGEST_BUCKET: Final = 200
_AUTHORITY: Final = re.compile(r"(https?)://([A-Za-z0-9.-]{1,255}|\[[0-9a-fA-F:.]{2,50}\])(:[0-9]{1,5})?(?=[/?#]|\Z)", re.IGNORECASE)

CostOf: TypeAlias = "Callable[[str, str, bytes | None], Cost | None]"
SettleOf: TypeAlias = "Callable[[Cost, int, bytes | None], Cost | None]"


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
    store: `memory:` (this process), `sqlite:///path` (this machine), `redis://…` (many machines). share: this worker's
    weight against others of the same scope. on_store_loss: what to do while the store cannot be reached: `share` (go
    on alone at the limit over the number of workers last seen), `stop`, or `open` (each at the full limit).
    events: called with every event.
    refresh: called once, for all who wait, when a credential was refused (401); returns the new credential.
    dialect: how the provider writes its signals; None: found out from each response. Where it has buckets (GitHub's
    `core` and `search`), each is a scope of its own, unless `scope` says that all requests share one.
    buckets: other limits for single buckets, by name or pattern (`search`, `* reads`); the first that fits holds.
    headers: sent with every request that has none of that name, but only to the hosts of `send_to`: names
    (`api.example.com`; their subdomains too, always over https) or origins (`http://127.0.0.1:8429`); none: to all.
    cost_of: from method, URL and body to what a request costs, where its caller does not say; None: 1.
    settle_of: from what was reserved, an answer's status and its body to what it has cost; None: what was reserved.
    An attribute, `scope_by_url`, says whether more of a request than host and credential decides its scope.

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
    store: str = field(default="memory:", repr=False)
    share: float = 1.0
    on_store_loss: OnStoreLoss = "share"
    hosts: Mapping[str, Iterable[str | Limit] | str | Limit] = field(default_factory=dict)
    events: Sink | None = field(default=None, repr=False)
    refresh: Callable[[], Any] | None = field(default=None, repr=False)
    dialect: str | None = None
    clock: Clock | None = field(default=None, repr=False)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)
    buckets: Mapping[str, Iterable[str | Limit] | str | Limit] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    send_to: Iterable[str] = ()
    cost_of: CostOf | None = field(default=None, repr=False)
    settle_of: SettleOf | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.limits = read_limits(self.limits)
        self.buckets = {name: read_limits(limits) for name, limits in self.buckets.items()}
        self.headers = dict(self.headers)
        self.send_to = tuple(
            host.lower().rstrip("/.")
            for host in ([self.send_to] if isinstance(self.send_to, str) else self.send_to)
        )
        spoken = None if self.dialect is None else DIALECTS.get(self.dialect)
        if self.dialect is not None and spoken is None:
            raise InputError(f"there is no dialect {self.dialect!r}; the dialects are {', '.join(DIALECTS)}")
        parted = spoken is not None and spoken.scope is not None
        if self.buckets and not parted:
            raise InputError("buckets need a dialect that tells them apart, like dialect='github'")
        self.scope_by_url = parted and (self.scope is None or bool(self.buckets))
        self.hosts = {_host_name(host): read_limits(limits) for host, limits in self.hosts.items()}
        if self.scope is not None and self.hosts:
            raise InputError("one scope for all has no limits for single hosts: give scope, or limits like HOST=LIMIT, not both")
        if not self.share > 0:
            raise InputError(f"share must be a number above 0, like 0.3, not {self.share!r}")
        if self.on_store_loss not in ("share", "stop", "open"):
            raise InputError(f"on_store_loss must be share, stop or open, not {self.on_store_loss!r}")
        self._store = open_store(self.store)
        self._store_key: bytes | None = None
        self._lines: dict[str, Line] = {}

    def scope_of(self, url: str, credential: str | None = None, *, method: str = "GET") -> str:
        """The scope that a request belongs to; a credential appears in it only as a keyed hash.

        >>> Policy(scope="crm").scope_of("https://api.example.com/")
        'crm'
        >>> Policy(dialect="github").scope_of("https://api.github.com/search/code?q=x")
        'api.github.com:443/code_search'
        >>> "abc" in Policy().scope_of("https://api.example.com/", "Bearer abc")
        False

        Raises InputError for a URL whose host or port cannot be read.
        """
        bucket = self.bucket_of(method, url) if self.scope_by_url else None
        tail = "" if bucket is None else f"/{bucket}"
        if self.scope is not None:
            return self.scope + tail
        if credential is None and self.headers:
            credential = credential_of(self.headers_for(url))
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise InputError(f"cannot tell the host of a URL: {error}") from None
        host = f"{parts.hostname}:{port}{tail}"
        if credential is None:
            return host
        return f"{host}#{hashlib.blake2s(credential.encode(), key=self._scope_key(), digest_size=6).hexdigest()}"

    def _scope_key(self) -> bytes:
        """What credentials are hashed with: in a shared store the store's own key, so that all workers agree."""
        if self._store is None:
            return self.key
        if self._store_key is None:
            self._store_key = self._store.key()
        return self._store_key

    def bucket_of(self, method: str, url: str) -> str | None:
        """The bucket of the dialect that a request counts in; None where all share one."""
        if not self.scope_by_url:
            return None
        bucket = DIALECTS[self.dialect or ""].scope_key(method, url)
        if bucket is None or len(bucket) <= _LONGEST_BUCKET:
            return bucket
        return f"{bucket[:_LONGEST_BUCKET]}~{hashlib.blake2s(bucket.encode(), digest_size=6).hexdigest()}"

    def headers_for(self, url: str, headers: Mapping[str, str] = _NONE) -> Mapping[str, str]:
        """The headers of a request to `url`, with the policy's own where it has none of that name.

        The program's own `User-Agent: paceline/…` gives way to one of the policy.

        >>> policy = Policy(headers={"X-Api-Key": "k"}, send_to=["api.example.com"])
        >>> policy.headers_for("https://api.example.com/a"), policy.headers_for("https://other.example/")
        ({'X-Api-Key': 'k'}, mappingproxy({}))
        """
        if not self.headers or not self._reaches(url):
            return headers
        given = {
            name.lower()
            for name, value in headers.items()
            if name.lower() != "user-agent" or not value.startswith("paceline/")
        }
        own = {name: value for name, value in self.headers.items() if name.lower() not in given}
        new = {name.lower() for name in own}
        return {**{name: value for name, value in headers.items() if name.lower() not in new}, **own}

    def _reaches(self, url: str) -> bool:
        """Whether the policy's headers may go to this URL."""
        if not self.send_to:
            return True
        # Clients read a URL with other characters in its host differently from one another: it is nobody's.
        found = _AUTHORITY.match(url)
        if found is None:
            return False
        scheme, host = found[1].lower(), found[2].lower()
        if f"{scheme}://{host}{found[3] or ''}" in self.send_to:
            return True
        host = host.rstrip(".")
        return scheme == "https" and any(host == name or host.endswith(f".{name}") for name in self.send_to)

    def reader(self) -> ReadSignal:
        """What reads responses: `read_signal` in the policy's dialect, with the wait that its provider documents for
        refusals that name none."""
        spoken = DIALECTS.get(self.dialect or "")
        if spoken is None or spoken.default_wait is None:
            return partial(read_signal, dialect=self.dialect)
        return partial(read_for, spoken)

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
                store=self._store,
                share=self.share,
                on_store_loss=self.on_store_loss,
            )
            # Two threads may come here at once: one line wins.
            line = self._lines.setdefault(scope, line)
        return line

    def limits_of(self, scope: str) -> tuple[Limit, ...]:
        """The limits in force for a scope: its bucket's own ones, or its host's, or the policy's."""
        address = scope.partition("#")[0]
        if self.scope_by_url:
            named = scope.rpartition("#")[0] or scope
            name = self.scope
            address, bucket = (
                (name, named[len(name) + 1 :]) if name is not None else named.partition("/")[::2]
            )
            for pattern, limits in self.buckets.items():
                if bucket and fnmatchcase(bucket, pattern):
                    return tuple(limits)  # type: ignore[arg-type]
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

    def forget_rested(self, scopes: Iterable[str]) -> list[str]:
        """Lets go of those of these scopes that have nothing left to remember; returns which.

        A job that meets a million hosts need not hold a million lines.
        """
        gone = [scope for scope in scopes if (line := self._lines.get(scope)) is not None and line.rested()]
        for scope in gone:
            del self._lines[scope]
        return gone

    async def aclose(self) -> None:
        """Gives slots in hand back to the store, and closes the running loop's connections to it."""
        if self._store is not None:
            for line in self._lines.values():
                await line.leave_store()
            await self._store.aclose()

    @overload
    def wrap(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def wrap(
        self,
        *,
        scope: str | Callable[..., str] | None = None,
        cost: Cost = 1,
        priority: int = 0,
        deadline: float | None = None,
        method: str | None = None,
        idempotent: bool | None = None,
        classify: Classify | None = None,
        gave_up: Literal["response", "error"] = "response",
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def wrap(  # type: ignore[misc]
        self,
        function: Any = None,
        /,
        *,
        scope: str | Callable[..., str] | None = None,
        cost: Cost = 1,
        priority: int = 0,
        deadline: float | None = None,
        method: str | None = None,
        idempotent: bool | None = None,
        classify: Classify | None = None,
        gave_up: Literal["response", "error"] = "response",
    ) -> Any:
        """Decorates a function that makes one call with whatever client: urllib3, botocore, a client of your own.

        It returns a response (any object with a status and headers), or raises an exception that carries one, as
        `raise_for_status` of all clients does; so it may be sync, async, or a generator of either kind, which is
        called again only before its first item. Each call of it is one attempt: with a permit, its signal read.

        scope: a name for what shares the limits, or a function of the arguments that gives one; by default the
        policy's, or the function's own. cost, priority, deadline: see `paceline.options`. method, idempotent: whether
        a failed call may be made again (RFC 9110, section 9.2.2); by default what the response says of its request,
        and otherwise not. A refused call is always made again. classify: turns what was returned or raised into
        (status, headers, body), or None where it is no answer. gave_up: "response" (what the last call returned or
        raised) or "error" (`GaveUp`).

        >>> from types import SimpleNamespace
        >>> answers = iter([SimpleNamespace(status=429, headers={"Retry-After": "0"}), SimpleNamespace(status=200, headers={})])
        >>> @Policy(limits="100/2s").wrap
        ... def call():
        ...     return next(answers)
        >>> call().status
        200
        """
        from ._calls import Options
        from ._wrap import Wrapping

        if gave_up not in ("response", "error"):
            raise InputError(f"gave_up is 'response' or 'error', not {gave_up!r}")
        options = Options(cost=cost, priority=priority, deadline=deadline, idempotent=idempotent)
        wrapping = Wrapping(
            self, scope=scope, options=options, method=method, classify=classify, raises=gave_up == "error"
        )
        return wrapping.wrap if function is None else wrapping.wrap(function)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_lines"] = {}
        state["_store"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store = open_store(self.store)
