"""`requests_ratelimiter` (LimiterSession, LimiterAdapter) on paceline's limiter: change the import, keep the code.

What is better than in requests-ratelimiter 0.10: what a refusal says is heard (its `Retry-After`, its resets, in
whatever dialect), and pauses its host for exactly so long, for all threads; waiting threads are served in their order;
no background thread. As there, a refused answer is handed out and not tried again: `paceline.requests.Session` does that.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from inspect import signature
from math import inf
from time import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlparse
from uuid import uuid4

from ..errors import AcquireTimeout, MissingExtra
from ..limits import Limit
from ..policy import Policy
from ..retry import Retry
from ..signals import read_signal

try:
    from requests import PreparedRequest, Response, Session
    from requests.adapters import HTTPAdapter
    from requests.exceptions import Timeout
except ModuleNotFoundError as error:
    raise MissingExtra("requests", "requests") from error

if TYPE_CHECKING:
    from collections.abc import Iterable
    _Base = Session
else:
    _Base = object

__all__ = ["LimiterAdapter", "LimiterMixin", "LimiterSession"]

_SECOND: Final = 1.0
_OTHERS: Final = (
    "state beyond this process lives in a store: "
    "paceline.requests.Session(paceline.Policy(limits=…, store='redis://…'))"
)


class LimiterMixin(_Base):
    """What session and adapter share; for a session class of one's own. Arguments: see `LimiterSession`."""

    def __init__(
        self,
        per_second: float = 0,
        per_minute: float = 0,
        per_hour: float = 0,
        per_day: float = 0,
        per_month: float = 0,
        burst: float = 1,
        bucket_class: Any = None,
        bucket_kwargs: dict[str, Any] | None = None,
        time_function: Any = None,  # noqa: ARG002 - taken and not used there, either
        limiter: Any = None,
        per_host: bool = True,
        max_delay: float | None = None,
        limit_statuses: Iterable[int] = (429,),
        bucket_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        for name, given in (("bucket_class", bucket_class), ("bucket_kwargs", bucket_kwargs), ("limiter", limiter)):
            if given:
                raise TypeError(f"there is no {name} here; {_OTHERS}")
        limits = [
            _limit(quota, seconds)
            for quota, seconds in (
                (per_second * burst, _SECOND * burst),
                (per_minute, 60.0),
                (per_hour, 3600.0),
                (per_day, 86400.0),
                (per_month, 30 * 86400.0),
            )
            if quota
        ]
        # Whoever gives no max_delay waits however long it takes.
        self.policy = Policy(limits=limits, retry=Retry(max_wait=inf))
        self.max_delay = max_delay
        self.limit_statuses = frozenset(limit_statuses)
        self.per_host = per_host
        self.bucket_name = bucket_name
        self._default_bucket = str(uuid4())
        allowed = signature(super().__init__).parameters
        super().__init__(**{name: value for name, value in kwargs.items() if name in allowed and value is not None})

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Sends a request when its limits allow it; raises requests' Timeout where that is later than `max_delay`."""
        line = self.policy.line(self._bucket_name(request))
        try:
            permit = line.acquire(timeout=self.max_delay, tracked=True)
        except AcquireTimeout as error:
            raise Timeout(f"Rate limit not cleared within max_delay={self.max_delay}s", request=request) from error
        try:
            permit.sent()
            response = super().send(request, *args, **kwargs)
            # After redirects it is the answer of a request that went through here itself.
            if not response.history:
                signal = read_signal(
                    response.status_code,
                    response.headers,
                    now=time(),
                    method=request.method,
                    url=request.url,
                )
                if response.status_code in self.limit_statuses and not signal.refused:
                    signal = replace(signal, refused=True)
                line.learn(permit, signal, response.status_code)
            return response
        finally:
            permit.release()

    def _bucket_name(self, request: PreparedRequest) -> str:
        if self.per_host:
            host = urlparse(request.url or "").netloc.rpartition("@")[2]
            return f"{self.bucket_name}:{host}" if self.bucket_name else str(host)
        return self.bucket_name or self._default_bucket


class LimiterSession(LimiterMixin, Session):
    """A session of requests that keeps limits.

    per_second, per_minute, per_hour, per_day, per_month (of 30 days): how many requests; 0: no such limit.
    burst: per_second holds as `per_second * burst` in so many seconds. per_host: each host has limits of its own.
    max_delay: the longest wait in seconds, beyond it requests' Timeout is raised; None: however long it takes.
    limit_statuses: answers that pause the host, besides those that `paceline.read_signal` takes for refusals.
    bucket_name: what sessions share their limits by, where per_host is False. bucket_class, bucket_kwargs and limiter
    raise TypeError: a store takes their place. time_function is not used.

    >>> session = LimiterSession(per_second=5, per_minute=100)
    >>> [str(limit) for limit in session.policy.limits]
    ['5/s sliding', '100/min sliding']
    >>> session.close()
    """

    __attrs__ = [  # noqa: RUF012 - as requests has it
        *Session.__attrs__,
        "policy",
        "max_delay",
        "limit_statuses",
        "per_host",
        "bucket_name",
        "_default_bucket",
    ]


class LimiterAdapter(LimiterMixin, HTTPAdapter):
    """An adapter of requests that keeps limits, for `session.mount`; arguments as for `LimiterSession`.

    >>> session = Session()
    >>> session.mount("https://api.example.com", LimiterAdapter(per_minute=100))
    >>> session.close()
    """

    __attrs__ = [  # noqa: RUF012 - as requests has it
        *HTTPAdapter.__attrs__,
        "policy",
        "max_delay",
        "limit_statuses",
        "per_host",
        "bucket_name",
        "_default_bucket",
    ]


def _limit(quota: float, seconds: float) -> Limit:
    """Half a request a second is one in two seconds."""
    whole = Fraction(quota).limit_denominator(1000)
    return Limit(whole.numerator, seconds * whole.denominator, "sliding")
