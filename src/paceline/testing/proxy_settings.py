"""What the proxy is told to do: upstream, limits, faults and their wording, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypedDict

from ..errors import InputError
from .proxy_heads import Upstream
from .proxy_rules import Rule
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..limits import Limit

__all__ = ["FAULTS", "ProxyOptions", "ProxySettings"]

# In order of precedence; slow goes together with any of the others.
FAULTS: Final = ("refuse", "fail", "reset", "cut", "truncate", "slow")
_LONGEST: Final = 3600.0


class ProxyOptions(TypedDict, total=False):
    """The proxy's options by name, as `Proxy` takes them; their meaning stands at `ProxySettings`."""

    refuse: str | Sequence[str]
    fail: str | Sequence[str]
    reset: str | Sequence[str]
    cut: str | Sequence[str]
    truncate: str | Sequence[str]
    slow: str | Sequence[str]
    when: str
    rule_key: str
    refuse_status: int | None
    refuse_wait: float
    fail_status: int
    slow_seconds: float
    latency: float
    jitter: float
    retry_after: str | None
    headers: str | None
    dialect: str | None
    noise_rps: float
    charge_refused: bool
    lockout: float
    key: str
    seed: int
    keep_host: bool
    keep_links: bool
    ca_file: str | None
    timeout: float
    control: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """How the proxy behaves; raises InputError where a value makes no sense.

    upstream: where requests go. limited: the limits in front of it and how they are worded, as the test server's.
    faults: rules by fault: refuse (`refuse_status`, with `limited`'s wording and a wait of `refuse_wait` seconds),
        fail (`fail_status`), cut (the connection is closed before an answer), reset (it is reset), truncate (half of
        the answer's body, then the connection is closed), slow (`slow_seconds` seconds more).
    when: before (the upstream never hears of a request that a fault befalls) or after (it has acted on it, and its
        answer is lost). Truncation is always after.
    rule_key: what rules count by: all, target (method and target), address, header:NAME or query:NAME.
    latency, jitter: seconds; every answer takes latency ± jitter longer.
    keep_host: the client's Host goes to the upstream as it came. keep_links: URIs in Location, Content-Location and
        Link stay as the upstream wrote them.
    ca_file: certificates to trust an https upstream by, instead of the system's.
    timeout: seconds without a byte, from the upstream or from a client that has begun a request.
    control: the path under which the proxy itself answers; "" for none. seed: of all chance.
    """

    upstream: Upstream
    limited: Settings = field(default_factory=Settings)
    faults: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    when: str = "before"
    rule_key: str = "all"
    fail_status: int = 503
    slow_seconds: float = 1.0
    latency: float = 0.0
    jitter: float = 0.0
    keep_host: bool = False
    keep_links: bool = False
    ca_file: str | None = None
    timeout: float = 60.0
    control: str = "/-/"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.when not in ("before", "after"):
            raise InputError(f"when is before or after (the upstream acted), not {self.when!r}")
        if not 500 <= self.fail_status <= 599:
            raise InputError(f"fail_status is a status from 500 to 599, not {self.fail_status!r}")
        for name in ("slow_seconds", "latency", "jitter"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= _LONGEST):
                raise InputError(f"{name} is a number of seconds from 0 to {_LONGEST:g}, not {value!r}")
        if not (math.isfinite(self.timeout) and 0 < self.timeout <= 86_400):
            raise InputError(f"timeout is a number of seconds above 0, like 60, not {self.timeout!r}")
        if self.control and not (self.control.startswith("/") and self.control.endswith("/") and len(self.control) > 1):
            raise InputError(f"the control path begins and ends with a slash, like /-/, not {self.control!r}")
        kind, colon, name = self.rule_key.partition(":")
        if not ((kind in ("all", "target", "address") and not colon) or (kind in ("header", "query") and name)):
            raise InputError(f"rule_key is all, target, address, header:NAME or query:NAME, not {self.rule_key!r}")

    @classmethod
    def of(
        cls,
        upstream: str,
        limit: str | Limit | Sequence[str | Limit] | None = None,
        enforce: str | Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ProxySettings:
        """Settings from texts; `options` are those of `ProxyOptions`.

        >>> settings = ProxySettings.of("http://127.0.0.1:8000", "100/2s", options={"refuse": ["first:3", "every:7"]})
        >>> str(settings.upstream), [str(rule) for rule in settings.faults["refuse"]]
        ('http://127.0.0.1:8000', ['first:3', 'every:7'])
        """
        given = dict(options or {})
        unknown = sorted(set(given) - set(ProxyOptions.__annotations__))
        if unknown:
            raise InputError(f"the proxy has no option {unknown[0]!r}; it has {', '.join(ProxyOptions.__annotations__)}")
        faults = {name: _rules(given.pop(name, ())) for name in FAULTS}
        own = {item.name for item in fields(cls)}
        limited: dict[str, Any] = {name: given.pop(name) for name in [*given] if name not in own}
        return cls(
            upstream=Upstream.parse(upstream),
            limited=Settings.of(limit, enforce, {**limited, "seed": given.get("seed", 0)}),
            faults={name: rules for name, rules in faults.items() if rules},
            **given,
        )


def _rules(given: str | Sequence[str]) -> tuple[Rule, ...]:
    texts = [given] if isinstance(given, str) else list(given)
    if len(texts) > 16:
        raise InputError(f"{len(texts)} rules for one fault are more than the 16 that are kept")
    return tuple(Rule.parse(text) for text in texts)
