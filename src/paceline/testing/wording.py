"""How the test server words its limits: quota headers in each style, and the wait of a refusal in each form."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from .styles import STYLES, State, Words, write
from .times import up as _up
from .windows import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .enforcers import Enforcer
    from .settings import Settings

__all__ = ["Headers", "Wording", "quota_headers", "retry_after"]

Headers = tuple[tuple[str, str], ...]

_REFUSED: Final = b'{"error":"rate_limited","message":"API rate limit exceeded"}'
_JSON: Final = "application/json"


class Wording:
    """How one server words its limits, by its settings: a provider's way, or chosen headers and waits.

    `told`, of a refusal, is the wait in seconds that it truly names, None where it names none that is true.
    """

    def __init__(self, settings: Settings) -> None:
        self._style = STYLES[settings.dialect] if settings.dialect is not None else None
        style = self._style
        self._headers = settings.headers or ("x" if style is None else None)
        self._wait = settings.retry_after or ("delta" if style is None else None)
        self.status: int = settings.refuse_status or (429 if style is None else style.status)
        self.content_type = _JSON if style is None else style.content_type

    def quotas(self, enforcers: Sequence[Enforcer], now: float, origin: float) -> Headers:
        """The headers of an answer that is no refusal; `origin` is the epoch of reading 0."""
        if self._headers is not None:
            return quota_headers(self._headers, enforcers, now, origin)
        return self._write(enforcers, None, now, origin).headers if enforcers else ()

    def refusal(
        self, enforcers: Sequence[Enforcer], wait: float, now: float, origin: float
    ) -> tuple[Headers, bytes, float | None]:
        """Headers and body of a refusal that asks for `wait` seconds, and the wait told."""
        if self._style is None:
            words, told = retry_after(self._wait or "delta", wait, origin + now)
            return quota_headers(self._headers or "x", enforcers, now, origin) + words, _REFUSED, told
        said = self._write(enforcers, wait, now, origin)
        headers, told = said.headers, said.told.wait
        if self._headers is not None:
            own = [name for name, _ in self._style.refusal]
            headers = quota_headers(self._headers, enforcers, now, origin) + tuple(
                each for each in headers if each[0] in own
            )
        if self._wait is not None:
            words, told = retry_after(self._wait, wait, origin + now)
            headers = tuple(each for each in headers if "retry-after" not in each[0].lower()) + words
        return headers, said.body, told

    def _write(self, enforcers: Sequence[Enforcer], wait: float | None, now: float, origin: float) -> Words:
        assert self._style is not None
        states: list[State] = []
        nearest = 0
        for enforcer in enforcers:
            if enforcer.kind == "concurrent":
                continue
            quota, period = whole(enforcer.limit)
            left, reset = enforcer.remaining(now), enforcer.reset_after(now)
            if wait is not None and not left:
                # A refusal's reset is when a request would be let in, and not only when something changes.
                reset = max(reset, wait)
            if states and left < states[nearest].remaining:
                nearest = len(states)
            states.append(State(quota, left, reset, period, enforcer.limit.rate))
        return write(self._style, states, nearest, wait, origin + now)


def quota_headers(style: str, enforcers: Sequence[Enforcer], now: float, epoch: float) -> Headers:
    """What the headers of a style say about the limits; `epoch` is the epoch of reading 0.

    x: `X-RateLimit-Limit`, `-Remaining` and `-Reset` as epoch seconds, of the limit nearest to its end.
    ietf: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10, one item a limit
    (its `w` is in whole seconds, so it is left out where the period is not).
    ietf03: `RateLimit-Limit`, `-Remaining`, `-Reset` of draft -03, of the limit nearest to its end.

    >>> from paceline.limits import Limit
    >>> from paceline.testing.enforcers import build
    >>> dict(quota_headers("ietf", [build(Limit.parse("100/2s"))], 0.0, 0.0))
    {'RateLimit-Policy': '"default";q=100;w=2', 'RateLimit': '"default";r=100;t=0'}
    """
    if style == "none" or not enforcers:
        return ()
    if style == "ietf":
        names = ["default"] if len(enforcers) == 1 else [_name(enforcer) for enforcer in enforcers]
        pairs = list(zip(names, enforcers, strict=True))
        policies = ", ".join(
            f'"{name}";q={whole(enforcer.limit)[0]}{_window(enforcer)}' for name, enforcer in pairs
        )
        states = ", ".join(
            f'"{name}";r={enforcer.remaining(now)}'
            + ("" if enforcer.kind == "concurrent" else f";t={_up(enforcer.reset_after(now))}")
            for name, enforcer in pairs
        )
        return (("RateLimit-Policy", policies), ("RateLimit", states))
    nearest = enforcers[0] if len(enforcers) == 1 else min(enforcers, key=lambda one: one.remaining(now))
    limit, remaining, reset = whole(nearest.limit)[0], nearest.remaining(now), nearest.reset_after(now)
    if style == "x":
        return (
            ("X-RateLimit-Limit", str(limit)),
            ("X-RateLimit-Remaining", str(remaining)),
            ("X-RateLimit-Reset", str(_up(epoch + now + reset))),
        )
    policy = f"{limit}, " + ", ".join(f"{whole(one.limit)[0]}{_window(one)}" for one in enforcers)
    return (
        ("RateLimit-Limit", policy),
        ("RateLimit-Remaining", str(remaining)),
        ("RateLimit-Reset", str(_up(reset))),
    )


def retry_after(style: str, wait: float, epoch: float) -> tuple[Headers, float | None]:
    """The headers that tell a wait (seconds, from the epoch given), and the wait they truly tell, in seconds.

    The second is None where the headers tell none, or none that is true (zero, short, junk).

    >>> retry_after("delta", 1.2, 0.0)
    ((('Retry-After', '2'),), 2.0)
    >>> retry_after("date", 1.2, 0.0)[0]
    (('Retry-After', 'Thu, 01 Jan 1970 00:00:02 GMT'),)
    """
    whole = max(1, _up(wait))
    if style == "delta":
        return (("Retry-After", str(whole)),), float(whole)
    if style == "date":
        moment = _up(epoch + wait)
        return (("Retry-After", formatdate(moment, usegmt=True)),), moment - epoch
    if style == "epoch":
        moment = _up(epoch + wait)
        return (("Retry-After", str(moment)),), moment - epoch
    if style == "ms":
        milliseconds = max(1, _up(wait * 1000))
        return (("retry-after-ms", str(milliseconds)),), milliseconds / 1000
    if style == "float":
        told = max(1, _up(wait * 1000)) / 1000
        return (("Retry-After", f"{told:.3f}"),), told
    if style == "zero":
        return (("Retry-After", "0"),), None
    if style == "short":
        return (("Retry-After", str(int(wait / 2))),), None
    if style == "junk":
        return (("Retry-After", "soon; try -1 or NaN"),), None
    return (), None


def _name(enforcer: Enforcer) -> str:
    limit = enforcer.limit
    return "concurrent" if enforcer.kind == "concurrent" else str(limit).split("/", 1)[1].split(" ")[0]


def _window(enforcer: Enforcer) -> str:
    if enforcer.kind == "concurrent":
        return ';qu="concurrent-requests"'
    period = whole(enforcer.limit)[1]
    return f";w={int(period)}" if period == int(period) else ""
