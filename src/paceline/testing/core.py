"""The test server's mind: `decide(request, now) -> Verdict`, pure but for its own memory; no clock, no socket."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from hmac import compare_digest
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import InputError
from .enforcers import build
from .gate import Gate
from .paths import JSON, Answer, answer, item, problem
from .settings import Settings
from .tally import Tally
from .verdict import Book, Request, Verdict
from .wording import Headers, quota_headers, retry_after

if TYPE_CHECKING:
    from .account import Account

__all__ = ["Core"]

_MOST_KEYS: Final = 10_000
_MOST_ASKED: Final = 10_000
_MOST_NOISE: Final = 10_000
_FREE_BODY: Final = b'{"free":true}'
_REFUSED_BODY: Final = b'{"error":"rate_limited","message":"API rate limit exceeded"}'
_FAILED_BODY: Final = b'{"error":"unavailable"}'
_NO_HEADERS: Final[Headers] = ()


class Core:
    """Enforces limits, injects faults and keeps the account.

    settings: how to behave. origin: the epoch (seconds) of reading 0; every `now` is seconds since then, on a
    clock that never goes back.

    >>> core = Core(Settings.of("1/2s"))
    >>> [core.decide(Request("GET", "/items/7"), now).status for now in (0.0, 1.0, 2.0)]
    [200, 429, 200]
    >>> core.account(3.0).refused
    1
    """

    def __init__(self, settings: Settings | None = None, *, origin: float = 0.0) -> None:
        self.settings = settings or Settings()
        self.origin = origin
        self.tally = Tally()
        self._now = 0.0
        self._books: OrderedDict[str, Book] = OrderedDict()
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._only: Book | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen and used up; the settings stay, chance begins at its seed again."""
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
        reseed = settings.seed != self.settings.seed
        rekey = settings.key != self.settings.key
        self.settings = settings
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
        return self.tally.account(max(1, len(self._books)))

    def _limited(self, request: Request, target: str, path: str, query: str, now: float) -> Verdict:
        settings, tally = self.settings, self.tally
        tally.arrive(now, target)
        if settings.token is not None and not self._authorised(request):
            tally.unauthorized += 1
            return _verdict(
                problem(401, "a bearer token is needed", (("WWW-Authenticate", "Bearer"),)), self._delay()
            )
        book = self._only or self._book_of(request, query)
        if settings.noise_rps:
            self._use_up(book, now)
        gate = book.gate
        if settings.refuse_rate and self._random.random() < settings.refuse_rate:
            tally.injected += 1
            return self._refusal(gate, target, now, settings.refuse_wait)
        wait = gate.admit(now)
        if wait is not None:
            tally.refused += 1
            return self._refusal(gate, target, now, wait)
        tally.accept(now, self.origin + now)
        delay = self._delay()
        headers = quota_headers(settings.headers, gate.enforcers, now, self.origin)
        if settings.cut_rate and self._random.random() < settings.cut_rate:
            tally.cut += 1
            return Verdict(0, headers, b"", JSON, delay, "cut", None, book, now)
        if settings.fail_rate and self._random.random() < settings.fail_rate:
            tally.failed += 1
            return Verdict(503, headers, _FAILED_BODY, JSON, delay, None, None, book, now)
        name = None
        if path.startswith("/items/") and len(path) > 7:
            name = path[7:] if "%" not in path else unquote(path[7:])
            made = item(path[7:], query)
        else:
            made = answer(path, query, lambda: self._times_asked(target))
            name = made.name
        return Verdict(
            made.status,
            headers + made.headers if made.headers else headers,
            made.body,
            made.content_type,
            delay,
            None,
            made.declared,
            book,
            now,
            name,
        )

    def _refusal(self, gate: Gate, target: str, now: float, wait: float) -> Verdict:
        settings = self.settings
        delay = self._delay()
        words, told = retry_after(settings.retry_after, wait, self.origin + now)
        self.tally.refuse(now, now + delay, target, told)
        headers = quota_headers(settings.headers, gate.enforcers, now, self.origin) + words
        return Verdict(settings.refuse_status, headers, _REFUSED_BODY, JSON, delay)

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

    def _book(self) -> Book:
        return Book(self._gate(), self._next_noise(), self.tally)

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
            book = self._books[key] = self._book()
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
            facts = self.account(now).as_dict()
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
