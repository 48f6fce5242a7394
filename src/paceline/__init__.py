"""HTTP data pipelines at the full speed an API allows, never over it, losing nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from . import policies as policies
    from .calls import history, options
    from .errors import (
        AcquireTimeout,
        CostAboveQuota,
        GaveUp,
        InputError,
        LimitSyntaxError,
        PacelineError,
        PageError,
        RetryLater,
    )
    from .jobs.api import Record, afetch, fetch
    from .ledger import LimitState, ScopeState
    from .limiter import AsyncLimiter, Limiter, Permit
    from .limits import Limit
    from .nested import NestedRetryWarning
    from .operating import LimitReport, ScopeReport, Scopes, WorkerReport
    from .paging import Paging, apages, cursor, link, offset, page, pages
    from .policy import Policy
    from .retry import Retry
    from .signals import Quota, Signal, read_signal

__version__ = "0.1.0"

# Where each public name stands; imported at first use, so that `import paceline` costs next to nothing.
_HOMES: Final = {
    "history": "calls",
    "options": "calls",
    "AcquireTimeout": "errors",
    "AsyncLimiter": "limiter",
    "CostAboveQuota": "errors",
    "GaveUp": "errors",
    "InputError": "errors",
    "Limit": "limits",
    "LimitReport": "operating",
    "LimitState": "ledger",
    "LimitSyntaxError": "errors",
    "Limiter": "limiter",
    "NestedRetryWarning": "nested",
    "PacelineError": "errors",
    "PageError": "errors",
    "Paging": "paging",
    "Permit": "limiter",
    "Policy": "policy",
    "Quota": "signals",
    "Record": "jobs.api",
    "Retry": "retry",
    "RetryLater": "errors",
    "ScopeReport": "operating",
    "ScopeState": "ledger",
    "Scopes": "operating",
    "Signal": "signals",
    "WorkerReport": "operating",
    "afetch": "jobs.api",
    "apages": "paging",
    "cursor": "paging",
    "fetch": "jobs.api",
    "link": "paging",
    "offset": "paging",
    "page": "paging",
    "pages": "paging",
    "read_signal": "signals",
}

__all__ = [
    "AcquireTimeout",
    "AsyncLimiter",
    "CostAboveQuota",
    "GaveUp",
    "InputError",
    "Limit",
    "LimitReport",
    "LimitState",
    "LimitSyntaxError",
    "Limiter",
    "NestedRetryWarning",
    "PacelineError",
    "PageError",
    "Paging",
    "Permit",
    "Policy",
    "Quota",
    "Record",
    "Retry",
    "RetryLater",
    "ScopeReport",
    "ScopeState",
    "Scopes",
    "Signal",
    "WorkerReport",
    "__version__",
    "afetch",
    "apages",
    "cursor",
    "fetch",
    "history",
    "link",
    "offset",
    "options",
    "page",
    "pages",
    "read_signal",
]


def __getattr__(name: str) -> Any:
    if name == "policies":
        return import_module(".policies", __name__)  # the import puts it here
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
