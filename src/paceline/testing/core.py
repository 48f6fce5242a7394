"""The test server's mind: `decide(request, now) -> Verdict`, pure but for its own memory; no clock, no socket."""

from __future__ import annotations

import json
import math
import random
from collections import OrderedDict
from dataclasses import replace
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import InputError
from .bodies import Filler
from .enforcers import build
from .gate import Gate
from .judging import Bars, judge
from .paths import JSON, Answer, answer, item, problem
from .playing import Play
from .settings import Settings
from .tally import Tally
from .verdict import Book, Request, Verdict
from .watch import Watch
from .wording import Headers, Wording

if TYPE_CHECKING:
    from .account import Account
    from .judging import ReportCard
    from .scenario import Scenario
    from .verdict import Fault

__all__ = ["Core"]

_MOST_KEYS: Final = 10_000
_MOST_ASKED: Final = 10_000
_MOST_NOISE: Final = 10_000
_MOST_REPLAYED: Final = 100_000
_FREE_BODY: Final = b'{"free":true}'
# RFC 9110 section 9.2.2: sent twice, these do twice what they do.
_NOT_IDEMPOTENT: Final = frozenset({"POST", "PATCH"})
_FAILED_BODY: Final = b'{"error":"unavailable"}'
_NO_HEADERS: Final[Headers] = ()


class Core:
    """Enforces limits, injects faults and keeps the account: what every front (sockets, ASGI, a proxy) asks.

    A front calls `decide(request, now)` when a request has arrived, carries the verdict out, and calls
    `settle(verdict, now, whole)` once for it, however it went; `connected` and `disconnected` where it knows of
    connections, `malformed` for what is no request. None of it blocks, and nothing else is to be called per request.

    settings: how to behave, or a scenario: how to behave phase by phase. origin: the epoch (seconds) of reading 0;
    every `now` is seconds since then, on a clock that never goes back.

    >>> core = Core(Settings.of("1/2s"))
    >>> [core.decide(Request("GET", "/items/7"), now).status for now in (0.0, 1.0, 2.0)]
    [200, 429, 200]
    >>> core.account(3.0).refused
    1
    """

    def __init__(self, settings: Settings | Scenario | None = None, *, origin: float = 0.0) -> None:
        self.scenario = None if settings is None or isinstance(settings, Settings) else settings
        self.settings = settings if isinstance(settings, Settings) else Settings()
        self.origin = origin
        self.tally = Tally()
        self._replayed = (0, (0.0, 0.0))
        self._now = 0.0
        self._books: OrderedDict[str, Book] = OrderedDict()
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._only: Book | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen and used up; the settings stay, chance and scenario begin anew."""
        if self.scenario is not None:
            self.settings = self.scenario.settings
        self._speak()
        phases = self.scenario.phases if self.scenario is not None else ()
        self._play = Play(phases) if phases else None
        still_open = self.tally.open_connections
        self.tally = Tally(self.settings.limits, self.settings.enforce)
        for _ in range(still_open):
            self.tally.connect()
        self._random = random.Random(self.settings.seed)
        self._books.clear()
        self._asked.clear()
        self._only = self._book() if self.settings.key == "all" else None

    def change(self, settings: Settings) -> None:
        """Goes on with other settings; what was counted under a limit of the same kind still counts."""
        for book in self._all_books():
            for enforcer in book.gate.enforcers:
                enforcer.remaining(self._now)  # what has come free until now did so under the old limit
        reseed = settings.seed != self.settings.seed
        rekey = settings.key != self.settings.key
        self.settings = settings
        self._speak()
        self.tally.change(settings.limits, settings.enforce)
        if reseed:
            self._random = random.Random(settings.seed)
        if rekey:
            self._books.clear()
            self._only = self._book() if settings.key == "all" else None
            return
        for book in self._all_books():
            book.gate.change(self._gate())
            book.next_noise = self._next_noise()

    def decide(self, request: Request, now: float) -> Verdict:
        """Judges a request that arrived at `now`; the caller tells by `settle` how its answer went."""
        if now < self._now:
            now = self._now
        self._now = now
        target = request.target
        if target[:1] != "/":
            target = _origin_form(target)
        path, _, query = target.partition("?")
        if path.startswith("/items/"):
            return self._limited(request, target, path, query, now)
        if path == "/free":
            self.tally.free += 1
            return Verdict(200, _NO_HEADERS, _FREE_BODY, JSON, self._delay())
        if path.startswith("/-/"):
            return self._steer(path[3:], query, now)
        if path == "/":
            return _verdict(
                Answer(200, b'{"server":"paceline serve","paths":["/items/ID","/free","/-/account"]}')
            )
        return self._limited(request, target, path, query, now)

    def settle(self, verdict: Verdict, now: float, whole: bool) -> None:
        """A verdict was carried out at `now`; `whole`: its answer went to an open connection in full."""
        book = verdict.book
        if book is None:
            return
        book.gate.release()
        # Not self.tally: after a reset, what had begun before it is not counted.
        tally = book.tally
        tally.over(max(now, verdict.arrived), verdict.arrived)
        if whole and 200 <= verdict.status < 300 and verdict.declared is None:
            tally.served += 1
            if verdict.name is not None:
                tally.serve(verdict.name)

    def connected(self) -> None:
        """A client opened a connection."""
        self.tally.connect()

    def disconnected(self) -> None:
        """A connection is closed."""
        self.tally.open_connections -= 1

    def malformed(self) -> None:
        """Something came that is not HTTP."""
        self.tally.malformed += 1

    def account(self, now: float) -> Account:
        """What was seen until now, judged."""
        for book in self._all_books():
            self._use_up(book, max(now, self._now))
        scenario, phase = self.scenario, self._play.phase if self._play is not None else None
        return self.tally.account(
            max(1, len(self._books)),
            self._through_phases if phase is not None else None,
            scenario.name if scenario is not None else None,
            phase.name if phase is not None else None,
        )

    def _through_phases(self, count: int) -> tuple[float, float]:
        """The seconds that so many accepted requests need through the phases: at least, and at the quota's own pace."""
        from .replay import replay  # it plays through another core

        if count > _MOST_REPLAYED or self.scenario is None:
            return 0.0, 0.0
        if self._replayed[0] != count:
            self._replayed = (count, replay(self.scenario, self.origin + (self.tally.first or 0.0), count))
        return self._replayed[1]

    def report(self, now: float, calls: int | None = None) -> ReportCard:
        """The verdict on the client until now; a scenario says what is wanted in it.

        calls: how many different items the client was to fetch, where that is known.
        """
        bars = self.scenario.bars if self.scenario is not None else Bars()
        return judge(self.account(now), replace(bars, calls=calls))

    def _speak(self) -> None:
        settings = self.settings
        self._wording = Wording(settings)
        self._breaks = bool(
            settings.cut_rate
            or settings.reset_rate
            or settings.fail_rate
            or settings.truncate_rate
            or settings.slow_rate
        )

    def advance(self, now: float) -> None:
        """Begins the phases of the scenario whose time has come; `decide` does so by itself."""
        play, tally = self._play, self.tally
        while play is not None and (due := play.advance(now, tally.arrived, tally.refused + tally.injected)):
            phase, moment = due
            self._now = max(self._now, moment)
            self.change(phase.settings)

    def wait(self, now: float) -> float:
        """The seconds after which the limits common to all would let a request in, 0: at once. It is not charged."""
        gate = self._only.gate if self._only is not None else None
        return max((enforcer.wait(now) for enforcer in gate.enforcers), default=0.0) if gate is not None else 0.0

    @property
    def changes_at(self) -> float:
        """When the scenario's next phase begins by itself; infinity where there is none, or where it awaits requests."""
        return self._play.changes_at if self._play is not None else math.inf

    def _limited(self, request: Request, target: str, path: str, query: str, now: float) -> Verdict:
        if self._play is not None and not self._play.over:
            self.advance(now)
        settings, tally = self.settings, self.tally
        if settings.token is not None and not self._authorised(request):
            tally.arrive(now, target)
            tally.unauthorized += 1
            return _verdict(
                problem(401, "a bearer token is needed", (("WWW-Authenticate", "Bearer"),)), self._delay()
            )
        book = self._only or self._book_of(request, query)
        tally.arrive(now, target, book.watch)
        if settings.noise_rps:
            self._use_up(book, now)
        gate = book.gate
        if settings.refuse_rate and self._random.random() < settings.refuse_rate:
            tally.injected += 1
            return self._refusal(book, target, now, settings.refuse_wait)
        wait = gate.admit(now)
        if wait is not None:
            tally.refused += 1
            return self._refusal(book, target, now, wait)
        tally.accept(now, self.origin + now)
        delay = self._delay()
        headers = self._wording.quotas(gate.enforcers, now, self.origin)
        fault = self._fault() if self._breaks else None
        if fault == "fail":
            tally.failed += 1
            return Verdict(settings.fail_status, headers, _FAILED_BODY, JSON, delay, None, None, book, now)
        if request.method in _NOT_IDEMPOTENT and b"idempotency-key" not in request.headers:
            tally.write(hash((request.method, target, request.digest)))
        if fault == "cut" or fault == "reset":
            tally.cut += 1
            return Verdict(0, headers, b"", JSON, delay, fault, None, book, now)
        name = None
        if path.startswith("/items/") and len(path) > 7:
            if request.method != "HEAD":  # which serves nothing
                name = path[7:] if "%" not in path else unquote(path[7:])
            made = item(path[7:], query)
        else:
            made = answer(path, query, lambda: self._times_asked(target))
            name = made.name
        body = made.body
        if fault == "truncate":
            tally.truncated += 1
        elif fault == "slow":
            tally.slowed += 1
            if isinstance(body, bytes) and body:
                body = Filler(body, 0, b"", settings.slow_seconds)
        return Verdict(
            made.status,
            headers + made.headers if made.headers else headers,
            body,
            made.content_type,
            delay,
            "truncate" if fault == "truncate" else None,
            made.declared,
            book,
            now,
            name,
        )

    def _fault(self) -> Fault | Literal["fail", "slow"] | None:
        """What chance breaks of an accepted request; the first that comes up."""
        settings, draw = self.settings, self._random.random
        if settings.cut_rate and draw() < settings.cut_rate:
            return "cut"
        if settings.reset_rate and draw() < settings.reset_rate:
            return "reset"
        if settings.fail_rate and draw() < settings.fail_rate:
            return "fail"
        if settings.truncate_rate and draw() < settings.truncate_rate:
            return "truncate"
        if settings.slow_rate and draw() < settings.slow_rate:
            return "slow"
        return None

    def _refusal(self, book: Book, target: str, now: float, wait: float) -> Verdict:
        delay = self._delay()
        wording = self._wording
        headers, body, told = wording.refusal(book.gate.enforcers, wait, now, self.origin)
        self.tally.refuse(now, now + delay, target, told, book.watch)
        return Verdict(wording.status, headers, body, wording.content_type, delay, refused=True)

    def _delay(self) -> float:
        settings = self.settings
        if not settings.jitter:
            return settings.latency
        return max(0.0, settings.latency + self._random.uniform(-settings.jitter, settings.jitter))

    def _gate(self) -> Gate:
        settings = self.settings
        enforcers = [
            build(limit, kind, self.origin)
            for limit, kind in zip(settings.limits, settings.enforce, strict=True)
            if kind != "none"
        ]
        return Gate(enforcers, charge_refused=settings.charge_refused, lockout=settings.lockout)

    def _next_noise(self) -> float:
        rate = self.settings.noise_rps
        return self._now + self._random.expovariate(rate) if rate else 0.0

    def _book(self, key: str | None = None) -> Book:
        watch = self.tally.common if key is None else Watch(key)
        return Book(self._gate(), self._next_noise(), self.tally, watch)

    def _all_books(self) -> list[Book]:
        return [*self._books.values(), *([self._only] if self._only else [])]

    def _book_of(self, request: Request, query: str) -> Book:
        kind, _, name = self.settings.key.partition(":")
        if kind == "address":
            key = request.address
        elif kind == "header":
            key = request.headers.get(name.lower().encode(), b"").decode("latin-1")
        else:
            key = next((value for field_name, value in _pairs(query) if field_name == name), "")
        book = self._books.get(key)
        if book is None:
            if len(self._books) >= _MOST_KEYS:
                self._books.popitem(last=False)
            book = self._books[key] = self._book(key)
        else:
            self._books.move_to_end(key)
        return book

    def _use_up(self, book: Book, now: float) -> None:
        """Lets the other consumer's requests arrive, at random moments up to now."""
        rate = self.settings.noise_rps
        if not rate or now < book.next_noise:
            return
        # After a long silence only the last of them can still matter.
        moment = max(book.next_noise, now - _MOST_NOISE / rate)
        while moment <= now:
            self.tally.noise += book.gate.spend(moment)
            moment += self._random.expovariate(rate)
        book.next_noise = moment

    def _authorised(self, request: Request) -> bool:
        given = request.headers.get(b"authorization", b"")
        return compare_digest(given, b"Bearer " + (self.settings.token or "").encode())

    def _times_asked(self, target: str) -> int:
        times = self._asked[target] = self._asked.pop(target, 0) + 1
        if len(self._asked) > _MOST_ASKED:
            self._asked.popitem(last=False)
        return times

    def _steer(self, verb: str, query: str, now: float) -> Verdict:
        if verb == "account":
            account = self.account(now)
            facts = account.as_dict()
            facts["report"] = self.report(now).to_dict()
            if dict(_pairs(query)).get("items") in ("1", "true"):
                facts["items"] = self.tally.items()
            return Verdict(200, _NO_HEADERS, json.dumps(facts).encode())
        if verb == "reset":
            self.reset()
            return Verdict(200, _NO_HEADERS, b"{}")
        if verb == "set":
            try:
                self.change(self.settings.changed(_pairs(query)))
            except InputError as error:
                return _verdict(problem(400, str(error)))
            return Verdict(200, _NO_HEADERS, b"{}")
        return _verdict(problem(404, "there are /-/account, /-/reset and /-/set"))


def _verdict(made: Answer, delay: float = 0.0) -> Verdict:
    return Verdict(made.status, made.headers, made.body, made.content_type, delay)


def _origin_form(target: str) -> str:
    """A target in absolute form (as proxies are sent it) as path and query; anything else as `/`."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "/"
    if not parts.netloc or not parts.path.startswith("/"):
        return "/"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []
