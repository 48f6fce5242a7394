"""What the test server is told to do: limits, wording, latency and faults, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, get_args

from ..errors import InputError, LimitSyntaxError
from ..limits import Limit
from .enforcers import ENFORCEMENTS
from .styles import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["FAIL_STATUSES", "HEADER_STYLES", "REFUSAL_STATUSES", "RETRY_AFTER_STYLES", "Options", "Settings"]

RetryAfterStyle = Literal["delta", "date", "ms", "float", "epoch", "none", "zero", "short", "junk"]
HeaderStyle = Literal["none", "x", "ietf", "ietf03"]
RETRY_AFTER_STYLES: Final[tuple[str, ...]] = get_args(RetryAfterStyle)
HEADER_STYLES: Final[tuple[str, ...]] = get_args(HeaderStyle)
REFUSAL_STATUSES: Final = (429, 403, 503, 200)
FAIL_STATUSES: Final = (500, 502, 503, 504)
_LONGEST: Final = 3600.0


class Options(TypedDict, total=False):
    """The settings by name, as `Server` takes them; their meaning stands at `Settings`."""

    retry_after: str | None
    headers: str | None
    refuse_status: int | None
    dialect: str | None
    latency: float
    jitter: float
    fail_rate: float
    fail_status: int
    cut_rate: float
    reset_rate: float
    truncate_rate: float
    slow_rate: float
    slow_seconds: float
    refuse_rate: float
    refuse_wait: float
    noise_rps: float
    charge_refused: bool
    lockout: float
    key: str
    token: str | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the test server behaves; raises InputError where a value makes no sense.

    limits, enforce: the limits and how each is enforced ("none": it is not).
    retry_after: how a refusal words its wait: delta (whole seconds, rounded up; so by default), date, ms
        (`retry-after-ms`), float, epoch, none, zero, short (half of the truth), junk.
    headers: x (`X-RateLimit-*`, reset as epoch; so by default), ietf (draft -10), ietf03 (draft -03) or none.
    refuse_status: 429 (by default), 403, 503, or 200 with an error in its body.
    dialect: a provider whose way of telling quotas and of refusing is taken over: status, headers, body, wait.
        The three above, where given, come instead of the provider's.
    latency, jitter: seconds; each answer is given after latency ± jitter.
    fail_rate, fail_status: share of the accepted requests answered 500, 502, 503 or 504. They are charged.
    cut_rate, reset_rate: share of the accepted requests whose connection is closed, or reset (RST), before the
        answer, after charging. truncate_rate: share of them that get half of their body and no more.
    slow_rate, slow_seconds: share of them whose body takes so many seconds, a little at a time.
    refuse_rate, refuse_wait: share of requests refused whatever the limits say, and the wait told (seconds);
        these are never charged.
    noise_rps: requests a second by which another consumer uses up the same limits.
    charge_refused: a refused request uses quota too. lockout: seconds for which a refusal refuses all.
    key: what has limits of its own: all (one set), address, header:NAME or query:NAME.
    token: where given, only requests with `Authorization: Bearer TOKEN` are let in; 401 is not charged.
    seed: of all chance.
    """

    limits: tuple[Limit, ...] = ()
    enforce: tuple[str, ...] = ()
    retry_after: str | None = None
    headers: str | None = None
    refuse_status: int | None = None
    dialect: str | None = None
    latency: float = 0.0
    jitter: float = 0.0
    fail_rate: float = 0.0
    fail_status: int = 503
    cut_rate: float = 0.0
    reset_rate: float = 0.0
    truncate_rate: float = 0.0
    slow_rate: float = 0.0
    slow_seconds: float = 1.0
    refuse_rate: float = 0.0
    refuse_wait: float = 1.0
    noise_rps: float = 0.0
    charge_refused: bool = False
    lockout: float = 0.0
    key: str = "all"
    token: str | None = field(default=None, repr=False)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.limits) > 16:
            raise InputError(f"{len(self.limits)} limits at once are more than the 16 that are served")
        if len(self.enforce) > len(self.limits):
            raise InputError(
                f"there are {len(self.enforce)} ways to enforce for {len(self.limits)} limits; give one with each limit"
            )
        kinds = [*self.enforce, *[""] * (len(self.limits) - len(self.enforce))]
        own = [
            kind or ("sliding" if limit.shape == "steady" else limit.shape)
            for kind, limit in zip(kinds, self.limits, strict=True)
        ]
        for kind, limit in zip(own, self.limits, strict=True):
            _one_of("enforce", kind, ENFORCEMENTS)
            if kind != "none" and (kind == "concurrent") != (limit.shape == "concurrent"):
                raise InputError(
                    f"{limit} cannot be enforced as {kind}: a number in flight is enforced as concurrent, and only that"
                )
        object.__setattr__(self, "enforce", tuple(own))
        for name, right in (("retry_after", RETRY_AFTER_STYLES), ("headers", HEADER_STYLES), ("dialect", STYLES)):
            if getattr(self, name) is not None:
                _one_of(name, getattr(self, name), right)
        if self.refuse_status not in (None, *REFUSAL_STATUSES):
            raise InputError(f"refuse_status is one of {REFUSAL_STATUSES}, not {self.refuse_status!r}")
        if self.fail_status not in FAIL_STATUSES:
            raise InputError(f"fail_status is one of {FAIL_STATUSES}, not {self.fail_status!r}")
        for name in ("fail_rate", "cut_rate", "reset_rate", "truncate_rate", "slow_rate", "refuse_rate"):
            _within(name, getattr(self, name), 1.0)
        for name in ("latency", "jitter", "refuse_wait", "lockout", "slow_seconds"):
            _within(name, getattr(self, name), _LONGEST)
        _within("noise_rps", self.noise_rps, 1e6)
        kind, colon, name = self.key.partition(":")
        if (kind in ("all", "address") and not colon) or (kind in ("header", "query") and name):
            return
        raise InputError(f"key is all, address, header:NAME or query:NAME, not {self.key!r}")

    @classmethod
    def of(
        cls,
        limit: str | Limit | Sequence[str | Limit] | None = None,
        enforce: str | Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Settings from texts or limits, one or several; the n-th `enforce` belongs to the n-th limit.

        >>> Settings.of("100/2s").enforce, Settings.of(["100/2s", "8 concurrent"], "bucket").enforce
        (('sliding',), ('bucket', 'concurrent'))
        """
        given = [] if limit is None else [limit] if isinstance(limit, (str, Limit)) else list(limit)
        kinds = () if enforce is None else (enforce,) if isinstance(enforce, str) else tuple(enforce)
        unknown = set(options or ()) - {item.name for item in fields(cls)}
        if unknown:
            raise InputError(f"the test server has no setting {sorted(unknown)[0]!r}; it has {_names()}")
        return cls(limits=tuple(_limit(one) for one in given), enforce=kinds, **(options or {}))

    def changed(self, changes: Iterable[tuple[str, str]]) -> Settings:
        """These settings with changes given as names and texts (a query string's pairs); raises InputError.

        >>> Settings.of("100/2s").changed([("limit", "50/2s"), ("latency", "0.01")]).limits[0].quota
        50
        """
        limits: list[Limit] = []
        kinds: list[str] = []
        values: dict[str, Any] = {}
        kinds_of = {item.name: _KINDS.get(str(item.type), str) for item in fields(self)}
        for name, text in changes:
            if name == "limit":
                if text:
                    limits.append(_limit(text))
                values["limits"] = tuple(limits)
            elif name == "enforce":
                kinds.append(text)
            elif name in _OPTIONAL and not text:
                values[name] = None
            elif name not in kinds_of or name == "limits":
                raise InputError(f"the test server has no setting {name[:40]!r}; it has {_names()}")
            else:
                values[name] = _read(name, text, kinds_of[name])
        if kinds or limits or "limits" in values:
            values["enforce"] = tuple(kinds)
        return replace(self, **values)


_KINDS: Final = {"float": float, "int": int, "int | None": int, "bool": bool}
_OPTIONAL: Final = frozenset(item.name for item in fields(Settings) if "None" in str(item.type))


def _names() -> str:
    return ", ".join(["limit", *(item.name for item in fields(Settings) if item.name != "limits")])


def _limit(given: str | Limit) -> Limit:
    if isinstance(given, Limit):
        return given
    try:
        return Limit.parse(given)
    except LimitSyntaxError as error:
        raise InputError(str(error)) from None


def _one_of(name: str, value: object, right: Iterable[str]) -> None:
    if value not in tuple(right):
        raise InputError(f"{name} is one of {', '.join(right)}, not {str(value)[:40]!r}")


def _within(name: str, value: float, most: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= most):
        raise InputError(f"{name} is a number from 0 to {most:g}, not {str(value)[:40]!r}")


def _read(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
        raise InputError(f"{name} is true or false, not {text[:40]!r}")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise InputError(f"{name} is a number, not {text[:40]!r}") from None
    return text
