"""The proxy's mind: what becomes of each request, and the account of it; pure but for its memory, no clock, no socket."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from ..signals import read_signal
from .core import Core
from .proxy_account import ProxyAccount
from .proxy_rules import Rules
from .proxy_settings import FAULTS
from .verdict import Request

if TYPE_CHECKING:
    from .proxy_settings import ProxySettings
    from .verdict import Verdict
    from .wording import Headers

__all__ = ["Answer", "Plan", "ProxyCore", "problem"]

_MOST_LOST: Final = 100_000
_NOT_IDEMPOTENT: Final = frozenset({"POST", "PATCH"})
_FAILED: Final = b'{"error":"unavailable","message":"failed by the proxy, as it was told to"}'


@dataclass(slots=True)
class Answer:
    """An answer that the proxy gives itself."""

    status: int
    headers: Headers
    body: bytes
    content_type: str = "application/json"


@dataclass(slots=True)
class Plan:
    """What becomes of one request.

    fault: refuse, fail, cut, reset, truncate or None; after: it strikes once the upstream has acted.
    delay: seconds by which the answer comes later. answer: given instead of asking the upstream.
    headers: to be added to the upstream's answer. The rest is the core's own.
    Not frozen, like `Verdict`: one is made for each request.
    """

    fault: str | None = None
    after: bool = False
    delay: float = 0.0
    answer: Answer | None = None
    headers: Headers = ()
    key: str = ""
    arrived: float = 0.0
    verdict: Verdict | None = None


class ProxyCore:
    """Plans what becomes of requests and keeps the account; every `now` is seconds since reading 0 of a clock.

    >>> from paceline.testing.proxy_settings import ProxySettings
    >>> core = ProxyCore(ProxySettings.of("http://127.0.0.1:8000", options={"refuse": "every:2"}))
    >>> [core.plan(Request("GET", "/a"), now).fault for now in (0.0, 1.0)], core.account(1.0).refused
    ([None, 'refuse'], 1)
    """

    def __init__(self, settings: ProxySettings, *, origin: float = 0.0) -> None:
        self.settings = settings
        self.origin = origin
        self.limits = Core(settings.limited, origin=origin)
        self._refuser = Core(replace(settings.limited, limits=(), enforce=(), refuse_rate=1.0), origin=origin)
        self._rules = Rules({name: settings.faults.get(name, ()) for name in FAULTS}, settings.seed)
        self.record_left_out = 0
        self._zero()

    def _zero(self) -> None:
        self._random = random.Random(f"{self.settings.seed} latency")
        self.passed = self.answered = 0
        self.injected = dict.fromkeys(FAULTS, 0)
        self.lost_replies = self.duplicate_writes = 0
        self.upstream_failures = self.upstream_timeouts = self.abandoned = self.malformed = 0
        self.sent_bytes = self.received_bytes = 0
        self._lost: OrderedDict[tuple[str, int, int], None] = OrderedDict()

    def reset(self) -> None:
        """Forgets all that was seen, used up and counted; chance begins at its seed again."""
        self.limits.reset()
        self._rules.reset()
        self._zero()

    def plan(self, request: Request, now: float) -> Plan:
        """What becomes of a request that arrived at `now`; the caller tells by `over` how it ended."""
        settings = self.settings
        # To the core every target is an item: limits, keys and early retries go by method and target.
        key = f"/items/{request.method}{request.target}"
        plan = Plan(None, settings.when == "after", 0.0, None, (), key, now)
        if settings.latency or settings.jitter:
            shift = self._random.uniform(-settings.jitter, settings.jitter) if settings.jitter else 0.0
            plan.delay = max(0.0, settings.latency + shift)
        slow = False
        if self._rules:
            struck = self._rules.befall(self._rule_key(request))
            if struck:
                slow = struck[-1] == "slow"
                if struck[0] != "slow":
                    plan.fault = struck[0]
        if plan.fault == "refuse" and not plan.after:
            # As in the core: what is refused by chance is never charged.
            self.limits.tally.arrive(now, key)
            self._slow(plan, slow)
            plan.answer = self.strike(plan, now)
            return plan
        # As a GET, whose body does not matter: writes are this account's to count, by their bodies.
        verdict = self.limits.decide(Request("GET", key, request.headers, request.address), now)
        plan.headers = verdict.headers
        plan.delay += verdict.delay
        if verdict.book is None:
            # The limits' own refusal goes before any fault: the upstream never hears of it.
            plan.fault = None
            plan.answer = _answer_of(verdict)
            return plan
        plan.verdict = verdict
        verdict.name = None
        self._slow(plan, slow)
        if plan.fault == "truncate":
            plan.after = True
        elif plan.fault is not None and not plan.after:
            plan.answer = self.strike(plan, now)
        return plan

    def _slow(self, plan: Plan, slow: bool) -> None:
        if slow:
            self.injected["slow"] += 1
            plan.delay += self.settings.slow_seconds

    def strike(self, plan: Plan, now: float) -> Answer | None:
        """The plan's fault comes to pass at `now`; the answer to give for it, None where there is none."""
        settings, fault = self.settings, plan.fault
        if fault is None:
            return None
        self.injected[fault] += 1
        tally = self.limits.tally
        if fault == "refuse":
            # Told by the core that knows how settings word a refusal; what it has seen beside that is nobody's account.
            told = self._refuser.decide(Request("GET", plan.key), now)
            answer = _answer_of(told)
            wait = _wait_of(answer, self.origin + now)
            tally.injected += 1
            # The wait counts from when the answer is given: where it is given late, that is not now.
            at = now if plan.after else now + plan.delay
            tally.refuse(at, at, plan.key, wait)
            return answer
        if fault == "fail":
            tally.failed += 1
            return Answer(settings.fail_status, (), _FAILED)
        if fault in ("cut", "reset"):
            tally.cut += 1
        return None

    def acted(self, plan: Plan, write: tuple[str, int, int] | None, status: int) -> None:
        """The upstream has acted on a request: it answered with `status`.

        write: method and target, size and checksum of the body, of a write that is not idempotent; else None.
        """
        lost = plan.fault is not None and plan.fault != "truncate" and plan.after
        if lost:
            self.lost_replies += 1
        if write is None or not 200 <= status < 300:
            return
        if write in self._lost:
            self.duplicate_writes += 1
        elif lost:
            self._lost[write] = None
            if len(self._lost) > _MOST_LOST:
                self._lost.popitem(last=False)

    def over(self, plan: Plan, now: float, status: int, whole: bool) -> None:
        """A request has ended at `now` with `status`; `whole`: the upstream's answer reached the client in full."""
        if whole:
            self.answered += 1
        if plan.verdict is not None:
            plan.verdict.status = status
            self.limits.settle(plan.verdict, now, whole)
            plan.verdict = None

    def control(self, path: str, now: float) -> Answer:
        """What the proxy's own paths answer; `path` is what follows the control path."""
        name = path.partition("?")[0]
        if name == "account":
            return Answer(200, (), json.dumps(self.account(now).as_dict()).encode())
        if name == "reset":
            self.reset()
            return Answer(200, (), b"{}")
        own = self.settings.control
        return problem(404, f"there are {own}account and {own}reset")

    def account(self, now: float) -> ProxyAccount:
        """What was seen until now."""
        injected = self.injected
        return ProxyAccount(
            upstream=str(self.settings.upstream),
            client=self.limits.account(now),
            passed=self.passed,
            answered=self.answered,
            refused=injected["refuse"],
            failed=injected["fail"],
            cut=injected["cut"],
            reset=injected["reset"],
            truncated=injected["truncate"],
            slowed=injected["slow"],
            lost_replies=self.lost_replies,
            duplicate_writes=self.duplicate_writes,
            upstream_failures=self.upstream_failures,
            upstream_timeouts=self.upstream_timeouts,
            abandoned=self.abandoned,
            malformed=self.malformed,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            record_left_out=self.record_left_out,
        )

    def _rule_key(self, request: Request) -> str:
        kind, _, name = self.settings.rule_key.partition(":")
        if kind == "all":
            return ""
        if kind == "target":
            return f"{request.method} {request.target}"
        if kind == "address":
            return request.address
        if kind == "header":
            return request.headers.get(name.lower().encode(), b"").decode("latin-1")
        query = request.target.partition("?")[2]
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
        except ValueError:
            return ""
        return next((value for each, value in pairs if each == name), "")

    @staticmethod
    def is_write(method: str, headers: object) -> bool:
        """Whether carrying a request out twice does harm: not idempotent, and no key that says it is the same one."""
        return method in _NOT_IDEMPOTENT and b"idempotency-key" not in headers  # type: ignore[operator]


def _answer_of(verdict: Verdict) -> Answer:
    body = verdict.body if isinstance(verdict.body, bytes) else b""
    return Answer(verdict.status, verdict.headers, body, verdict.content_type)


def _wait_of(answer: Answer, epoch: float) -> float | None:
    """The wait in seconds that a refusal tells: by its headers, which come first, else by its body."""
    headers = list(answer.headers)
    told = read_signal(answer.status, headers, now=epoch).retry_after
    return read_signal(answer.status, headers, answer.body, now=epoch).retry_after if told is None else told


def problem(status: int, message: str) -> Answer:
    """An answer of the proxy's own that says what is wrong.

    >>> problem(502, "no connection").body
    b'{"error": "no connection", "from": "paceline proxy"}'
    """
    return Answer(status, (), json.dumps({"error": message, "from": "paceline proxy"}).encode())
