"""What one response says about limits: the values `Signal` and `Quota`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Quota", "Signal"]


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota as a response tells it; None stands for what it did not say.

    name: the bucket's name, as the server writes it (`core`, `tokens`, `day`).
    limit: how much the period allows.
    remaining: how much of it is left; never below 0.
    reset_after: seconds until more becomes available, counted from the response's arrival; never below 0.
    window: the period in seconds, only where the response states it.
    unit: what is counted: `requests`, `tokens`, `points`, `bytes`; None where it is something else.

    >>> Quota(name="core", limit=5000, remaining=0, reset_after=600, unit="requests").remaining
    0
    """

    name: str | None = None
    limit: float | None = None
    remaining: float | None = None
    reset_after: float | None = None
    window: float | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """What one response says about limits.

    refused: the request was not served for a limit's sake; sending it again later is safe for any method.
    retry_after: seconds from the response's arrival until another request makes sense, finite and >= 0;
        None where the response names no wait. With `refused` false it binds all the same: a provider
        asks for a pause on an answer that it did serve, or a failing server (5xx) names the soonest retry.
    terminal: waiting will never help (a spent prepaid balance, a query too dear for any budget).
    concurrency: fewer requests at once are asked for, not later ones.
    limits: the quotas named, in the order of the response.
    dialect: whose way of writing it was read as, a key of `DIALECTS`.
    notes: in plain words: which rule gave the wait, what was ignored and why.

    >>> Signal(refused=True, retry_after=30.0).terminal
    False
    """

    refused: bool = False
    retry_after: float | None = None
    terminal: bool = False
    concurrency: bool = False
    limits: tuple[Quota, ...] = ()
    dialect: str = "generic"
    notes: tuple[str, ...] = ()
