"""What the adapters of all clients share: the policy they are given, credentials, and what is theirs to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .errors import InputError
from .limits import Limit
from .masking import is_secret_name
from .policy import _CREDENTIAL_HEADERS, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CONNECTIONS",
    "CREDENTIAL_HEADERS",
    "GaveUpAs",
    "PolicyOrLimits",
    "add_headers",
    "connections_for",
    "is_secret",
    "policy_of",
    "raises_gave_up",
    "secret_headers",
    "small_body",
]

PolicyOrLimits: TypeAlias = "Policy | str | Limit | Iterable[str | Limit]"
"""A policy, or only its limits: `"100/2s"`, or `["100/2s", "8 concurrent"]`."""

GaveUpAs: TypeAlias = Literal["response", "error"]
"""What a call comes to that was given up: the last response (or the client's own exception), or `GaveUp`."""

CONNECTIONS: Final = 64
"""Connections kept for reuse, for each host, where neither the caller nor a limit says how many run at once."""

CREDENTIAL_HEADERS: Final = _CREDENTIAL_HEADERS
_ALWAYS_SECRET: Final = frozenset(CREDENTIAL_HEADERS)
_SMALL: Final = 1 << 20
_AGENTS: Final = ("python-requests/", "python-httpx/", "python-httpx2/", "Python/", "paceline/")


def policy_of(given: PolicyOrLimits) -> Policy:
    """The policy itself, or one made of limits; raises LimitSyntaxError or InputError.

    >>> [str(limit) for limit in policy_of("100/2s").limits]
    ['100/2s']
    """
    if isinstance(given, Policy):
        return given
    if isinstance(given, str | Limit | list | tuple | set | frozenset):
        return Policy(limits=given)
    raise InputError(
        f"a client is given a policy or limits, like Policy(limits='100/2s') or '100/2s', not {type(given).__name__}"
    )


def raises_gave_up(gave_up: str) -> bool:
    """Reads the argument `gave_up` that all clients have."""
    if gave_up not in ("response", "error"):
        raise InputError(f"gave_up is 'response' or 'error', not {gave_up!r}")
    return gave_up == "error"


def connections_for(policy: Policy, concurrency: int | None) -> int:
    """How many connections are worth keeping: as many as may run at once."""
    if concurrency is not None:
        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
            raise InputError(f"concurrency must be a whole number of at least 1, like 32, not {concurrency!r}")
        return concurrency
    limits: Any = policy.limits
    told = [int(limit.quota) for limit in limits if not limit.period]
    return max(1, min(told)) if told else CONNECTIONS


def is_secret(name: str) -> bool:
    """Whether a header of this name must not follow a redirect to another host (RFC 9110, section 15.4).

    >>> is_secret("X-API-Key"), is_secret("Accept")
    (True, False)
    """
    return name.lower() in _ALWAYS_SECRET or is_secret_name(name)


def add_headers(headers: Any, policy: Policy, url: str) -> None:
    """Gives a request the policy's own headers: the one place where all clients do so, for each host it goes to.

    What the caller has set stays; a client's own `User-Agent` gives way. Where a policy does not say to which hosts its
    headers may go (`send_to`), one that holds a credential is not added here, since this may be a redirect's target.
    """
    for name, value in policy.headers_for(url).items():
        given = headers.get(name)
        if given is None:
            if policy.send_to or not is_secret(name):
                headers[name] = value
        elif name.lower() == "user-agent" and str(given).startswith(_AGENTS):
            headers[name] = value


def secret_headers(policy: Policy) -> dict[str, str]:
    """The policy's headers that a client itself carries, and drops where a redirect leads elsewhere."""
    return {} if policy.send_to else {name: value for name, value in policy.headers.items() if is_secret(name)}


def small_body(length: str | None) -> bool:
    """Whether a body with this Content-Length (None: not said) is read to its end so that its connection is kept.

    Refusals and failures have small bodies. One that is known to be large is cut off instead.
    """
    return length is None or (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= _SMALL)
