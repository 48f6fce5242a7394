"""What a single call says for itself (`options`), and what it went through (`history`), with any client."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._calls import MARK, Options, current
from .outcome import Attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .ledger import Cost

__all__ = ["history", "options"]


@contextmanager
def options(
    *,
    cost: Cost | None = None,
    priority: int | None = None,
    deadline: float | None = None,
    idempotent: bool | None = None,
) -> Iterator[Options]:
    """What the calls made inside the block ask for, with any of paceline's clients.

    cost: what one attempt takes of the limits. priority: higher ones are served first, but one permit in eight goes
    to those below. deadline: seconds for the whole call, waits and retries included. idempotent: whether it may be
    sent again after it may have reached the server, whatever its method says (RFC 9110, section 9.2.2).

    Blocks nest: an inner one changes what it names. Holds for this thread or task alone.
    Raises InputError for a value that cannot be meant.

    >>> with options(cost=3):
    ...     with options(priority=1) as both:
    ...         both.cost, both.priority
    (3, 1)
    """
    given: dict[str, Any] = {"cost": cost, "priority": priority, "deadline": deadline, "idempotent": idempotent}
    chosen = replace(current.get(), **{name: value for name, value in given.items() if value is not None})
    token = current.set(chosen)
    try:
        yield chosen
    finally:
        current.reset(token)


def history(of: Any) -> tuple[Attempt, ...]:
    """Every attempt behind a response, or behind an exception, that one of paceline's clients gave; oldest first.

    of: a response of requests, httpx, httpx2 or aiohttp, or whatever a wrapped function returned, or the exception
    that it raised. Empty for anything that paceline has not sent.

    >>> history("no response")
    ()
    """
    noted = getattr(of, MARK, None)
    if noted is None:
        return ()
    if isinstance(noted[0], Attempt):
        return tuple(noted)
    waited, elapsed, status, at = noted
    return (Attempt(1, at, waited, elapsed, status, None, False, None),)
