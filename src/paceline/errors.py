"""Every error that paceline raises: one root, facts as attributes, messages that say what to do.

All of them pickle, so that they cross process pools, task queues and schedulers whole.
"""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "AcquireTimeout",
    "CostAboveQuota",
    "GaveUp",
    "InputError",
    "LimitSyntaxError",
    "MissingExtra",
    "OutputError",
    "PacelineError",
    "PageError",
    "RetryLater",
    "UnreplayableBody",
]


class PacelineError(Exception):
    """The root of all errors that paceline raises itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only facts do not survive the default protocol.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(kind: type[PacelineError], args: tuple[Any, ...], facts: dict[str, Any]) -> PacelineError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(facts)
    return error


class LimitSyntaxError(PacelineError, ValueError):
    """A limit's text could not be read; `text` is the whole, `part` the piece at fault."""

    def __init__(self, text: str, part: str, why: str) -> None:
        self.text, self.part, self.why = text, part, why
        super().__init__(f"cannot read the limit {text!r}: {why}")


class InputError(PacelineError, ValueError):
    """Input that cannot be used, found before anything was begun; the command line exits with 2."""


class OutputError(PacelineError, OSError):
    """Reading the source or writing the output failed on the way (disk full, file vanished); exit 74."""


class CostAboveQuota(PacelineError, ValueError):
    """One permit asked for more than a limit's whole quota, which would never be granted."""

    def __init__(self, cost: float, limit: object) -> None:
        self.cost, self.limit = cost, limit
        super().__init__(f"a cost of {cost:g} can never be granted under the limit {limit}: split the call or raise the limit")


class AcquireTimeout(PacelineError, TimeoutError):
    """No permit came within the time the caller gave; nothing was charged."""

    def __init__(self, scope: str, timeout: float, reason: str = "the limit") -> None:
        self.scope, self.timeout, self.reason = scope, timeout, reason
        super().__init__(f"no permit for {scope} within {timeout:g} s, held up by {reason}")


class RetryLater(PacelineError):
    """The server asked for a longer pause than `max_wait`; come back at `until` (epoch seconds).

    It is neither slept on nor cut short, so a scheduler can put the work off (Airflow's reschedule,
    Celery's `retry(eta=…)`).
    """

    def __init__(self, scope: str, until: float, wait: float, reason: str = "cooldown") -> None:
        self.scope, self.until, self.wait, self.reason = scope, until, wait, reason
        at = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds") if until < 2e11 else "a far day"
        super().__init__(f"{scope} is paused for another {wait:.0f} s, until {at} ({reason}): run again then")


class GaveUp(PacelineError):
    """No final answer within the attempts; `attempts` is how many were sent, `last` what came last."""

    def __init__(self, reason: str, attempts: int, last_status: int | None = None, last_error: str | None = None) -> None:
        self.reason, self.attempts, self.last_status, self.last_error = reason, attempts, last_status, last_error
        self.last_response: Any = None
        last = f"status {last_status}" if last_status is not None else (last_error or "nothing")
        super().__init__(f"gave up after {attempts} attempt{'s' if attempts != 1 else ''}: {reason}; last: {last}")

    def __reduce__(self) -> tuple[Any, ...]:
        facts = dict(self.__dict__)
        try:
            pickle.dumps(self.last_response)
        except Exception:  # noqa: BLE001 - aiohttp's responses hold their connection; the status goes along anyway
            facts["last_response"] = None
        return _rebuild, (type(self), self.args, facts)


class PageError(PacelineError):
    """A list that comes page by page broke off: an answer that is neither a page in the middle nor the last one.

    url: the list's, credentials masked. page: its number, from 1. reason: what is wrong, in words that are the same
    for all lists. The pages before it are what they are.
    """

    def __init__(self, url: str, page: int, reason: str, detail: str) -> None:
        self.url, self.page, self.reason = url, page, reason
        super().__init__(f"page {page} of {url}: {reason}: {detail}")


class UnreplayableBody(PacelineError):
    """A second attempt would have to send a body that was already used up."""


class MissingExtra(PacelineError, ImportError):
    """An optional part was asked for whose packages are not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{package} is not installed; install it with: pip install 'paceline[{extra}]'")
