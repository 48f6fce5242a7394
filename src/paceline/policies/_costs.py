"""What requests cost where not each counts one: reckoned from the request, settled from the answer; pure functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..signals import load_json

if TYPE_CHECKING:
    from ..ledger import Cost

__all__ = [
    "anthropic_cost",
    "anthropic_settled",
    "github_cost",
    "github_settled",
    "openai_cost",
    "openai_settled",
    "shopify_cost",
    "shopify_settled",
]

_MOST: Final = 65536
_EDGE: Final = 4096
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LEAST_ANSWER: Final = 256  # tokens reserved for an answer whose request sets no bound
_QUERY: Final = 50  # points reserved for a query of unknown cost


def _object(body: bytes | None) -> dict[str, Any]:
    found = load_json(body)
    return found if isinstance(found, dict) else {}


def _inner(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _whole(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return value if usable else None  # type: ignore[return-value]


def github_cost(method: str, url: str, body: bytes | None) -> Cost | None:
    """GitHub's points of the secondary limit: 1 to read, 5 to write; a GraphQL query also one point of its own quota.

    >>> github_cost("GET", "https://api.github.com/user", None)["secondary-points"]
    1
    """
    if url.partition("?")[0].endswith("/graphql"):
        return {"points": 1, "secondary-points": 5 if body is not None and b"mutation" in body[:_MOST] else 1}
    return {"secondary-points": 1 if method.upper() in _READS else 5}


def github_settled(reserved: Cost, status: int, body: bytes | None) -> Cost | None:
    """The points that a GraphQL answer says it cost, where the query asked for `rateLimit { cost }`."""
    if not isinstance(reserved, dict) or "points" not in reserved or status != 200:
        return None
    cost = _whole(_inner(_object(body), "data", "rateLimit", "cost"))
    return None if cost is None else {**reserved, "points": cost}


def shopify_cost(_method: str, url: str, _body: bytes | None) -> Cost | None:
    """Points reserved for a GraphQL query, whose true cost only the answer tells; REST counts requests."""
    return {"points": _QUERY} if url.partition("?")[0].endswith(("/graphql.json", "/graphql")) else None


def shopify_settled(reserved: Cost, _status: int, body: bytes | None) -> Cost | None:
    """The points of `extensions.cost`: the actual cost, nothing for a query that was throttled.

    >>> shopify_settled({"points": 50}, 200, b'{"extensions": {"cost": {"requestedQueryCost": 101, "actualQueryCost": 46}}}')
    {'points': 46}
    """
    if not isinstance(reserved, dict):
        return None
    cost = _inner(_cost_of_answer(body), "extensions", "cost")
    if not isinstance(cost, dict):
        return None
    actual = _whole(cost.get("actualQueryCost"))
    if actual is None and "throttleStatus" in cost:
        actual = 0
    return None if actual is None else {**reserved, "points": actual}


_COST: Final = re.compile(rb'"actualQueryCost"\s{0,4}:\s{0,4}([0-9]{1,9})')


def _cost_of_answer(body: bytes | None) -> dict[str, Any]:
    if body is None or len(body) <= _MOST:
        return _object(body)
    # An answer that is too large to be read whole has its account at its end.
    found = _COST.search(body[-_EDGE:])
    return {} if found is None else {"extensions": {"cost": {"actualQueryCost": int(found[1])}}}


def _prompt_tokens(body: bytes | None) -> float:
    # Four bytes a token is the rule of thumb of both providers for English; the answer settles it.
    return 0 if body is None else max(1, len(body) // 4)


def _bound(body: bytes | None, *names: str) -> float:
    said = _object(body)
    found = [bound for name in names if (bound := _whole(said.get(name))) is not None]
    return max(found, default=_LEAST_ANSWER)


def openai_cost(_method: str, _url: str, body: bytes | None) -> Cost | None:
    """Tokens reserved: those of the prompt, estimated, and the most that the answer may have.

    >>> openai_cost("POST", "https://api.openai.com/v1/chat/completions", b'{"max_tokens": 100}')
    {'tokens': 104}
    """
    if body is None:
        return None
    return {
        "tokens": _prompt_tokens(body)
        + _bound(body, "max_completion_tokens", "max_output_tokens", "max_tokens")
    }


_TOTAL: Final = re.compile(rb'"total_tokens"\s{0,4}:\s{0,4}([0-9]{1,9})')


def openai_settled(reserved: Cost, status: int, body: bytes | None) -> Cost | None:
    """The tokens that the answer's `usage` counts; at the end of one too large to be read whole, they are looked for.

    >>> openai_settled({"tokens": 900}, 200, b'{"usage": {"total_tokens": 312}}')
    {'tokens': 312}
    """
    if not isinstance(reserved, dict) or status >= 400 or body is None:
        return None
    total: float | None
    if len(body) <= _MOST:
        total = _whole(_inner(_object(body), "usage", "total_tokens"))
    else:
        found = _TOTAL.search(body[-_EDGE:])
        total = None if found is None else int(found[1])
    return None if total is None else {**reserved, "tokens": total}


def anthropic_cost(_method: str, _url: str, body: bytes | None) -> Cost | None:
    """Tokens reserved, in and out apart: an estimate of the prompt, and `max_tokens`."""
    if body is None:
        return None
    return {"input-tokens": _prompt_tokens(body), "output-tokens": _bound(body, "max_tokens")}


_IN: Final = re.compile(rb'"(?:input_tokens|cache_creation_input_tokens)"\s{0,4}:\s{0,4}([0-9]{1,9})')
_OUT: Final = re.compile(rb'"output_tokens"\s{0,4}:\s{0,4}([0-9]{1,9})')


def anthropic_settled(reserved: Cost, status: int, body: bytes | None) -> Cost | None:
    """The tokens of the answer's `usage`; those read from the cache do not count.

    >>> usage = b'{"usage": {"input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 9, "output_tokens": 7}}'
    >>> anthropic_settled({"input-tokens": 100, "output-tokens": 100}, 200, usage)
    {'input-tokens': 25, 'output-tokens': 7}
    """
    if not isinstance(reserved, dict) or status >= 400 or body is None:
        return None
    if len(body) <= _MOST:
        usage = _inner(_object(body), "usage")
        if not isinstance(usage, dict):
            return None
        read = [_whole(usage.get(name)) or 0 for name in ("input_tokens", "cache_creation_input_tokens")]
        written = _whole(usage.get("output_tokens"))
    else:
        read = [int(found) for found in _IN.findall(body[-_EDGE:])]
        ends = _OUT.findall(body[-_EDGE:])
        written = int(ends[-1]) if ends else None
    if written is None:
        return None
    return {**reserved, "input-tokens": sum(read), "output-tokens": written}
