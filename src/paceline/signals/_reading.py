"""One response while it is read: what the general rules found, and what a dialect may still change of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ._bodies import MOST_BYTES, MOST_ERROR_BYTES, Facts, load, may_fail, survey
from ._quotas import gather
from ._signal import Signal
from ._structured import cut
from ._times import Clock, Headers, Span, read_span
from ._words import normal_code, refusal_code, refusal_prose, terminal_word, wait_in_prose

if TYPE_CHECKING:
    from ._buckets import Bucket
    from ._names import Field

__all__ = ["Reading"]

# RFC 6585 section 4; 420 and 529 are old and new spellings of it, 430 is Shopify's, 509 cPanel's.
# 456 is DeepL's: the characters of the whole month are spent.
_REFUSALS: Final = frozenset({420, 429, 430, 456, 509, 529})
# Statuses under which a code or a sentence may mean a refusal.
_DOUBTFUL: Final = frozenset({400, 401, 402, 403, 413, 418, 432, 500, 502, 503, 504})
# 413 is OpenStack's older 429, and 432 Tavily's for a plan that is used up.
# Of those, the ones that a wait alone makes a refusal: 503 by RFC 9110 section 15.6.4, 403 GitHub, 418 Binance.
_BY_WAIT: Final = frozenset({403, 418, 503})
_BY_QUOTA: Final = frozenset({403})
_LAST_WORDS: Final = ("reason", "problem", "ratelimited")

_UNUSUAL: Final = 86400.0  # seconds; a longer wait is marked for whoever reads the notes

_UNSET: Final[Any] = object()


class Reading:
    """What is known of one response so far; the hooks of dialects read it and amend it.

    refused, terminal, concurrency: as in `Signal`.
    buckets: the quotas found.
    notes: what to tell a person.
    """

    __slots__ = (
        "_facts", "_parsed", "body", "buckets", "clock", "concurrency", "fields", "method", "notes", "offers", "refused",
        "status", "terminal", "url",
    )  # fmt: skip

    def __init__(
        self,
        status: int,
        fields: list[tuple[Field, str]],
        body: bytes | None,
        now: float,
        headers: Headers,
        method: str | None,
        url: str | None,
    ) -> None:
        self.status, self.fields, self.method, self.url = status, fields, method, url
        self.body = body if body is None or len(body) <= MOST_BYTES else body[: MOST_BYTES + 1]
        self.notes: list[str] = []
        self.clock = Clock(now, headers, self.notes)
        self.buckets: list[Bucket] = gather(fields, self.clock, self.notes) if fields else []
        self.refused = self.terminal = self.concurrency = False
        self.offers: list[tuple[float, str]] = []
        self._parsed: Any = _UNSET
        self._facts: Facts | None = None

    @property
    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        if self._parsed is _UNSET:
            # No error needs more words than that; a served answer may hold its signal behind all its data.
            self._parsed = load(self.body, MOST_BYTES if self.status < 400 else MOST_ERROR_BYTES)
        return self._parsed

    @property
    def object(self) -> dict[str, Any]:
        """The body as a JSON object, empty where it is none."""
        return self.json if isinstance(self.json, dict) else {}

    @property
    def facts(self) -> Facts:
        """What the body and the headers that name an error say."""
        if self._facts is None:
            self._facts = survey(self.body, self.json, self.clock, served=self.status < 400)
        return self._facts

    def header(self, name: str) -> str | None:
        """The value of a header that concerns limits or that the dialect lists, by its name in lower case."""
        return next((value for field, value in self.fields if field.name == name), None)

    def offer(self, seconds: float | None, rule: str) -> None:
        """Adds a wait that the dialect found; it counts after the header fields of waits, and on served answers too."""
        if seconds is not None and 0 <= seconds < 1e15:
            self.offers.append((seconds, rule))

    def judge(self) -> None:
        """Whether the response is a refusal, by the rules that hold for all providers."""
        status = self.status
        if status < 400:
            if self.body and may_fail(self.body) and self.json is not None:
                self._judge_served()
            return
        if status in _REFUSALS:
            self.refused = True
            if status == 456:
                self._end("456")
        elif status not in _DOUBTFUL:
            return
        reasons = [(field, value) for field, value in self.fields if field.role == "reason"]
        if reasons or self.body:
            self._judge_words(reasons)
        if self.refused:
            return
        if status in _BY_WAIT and any(self._waits()):
            self.refused = True
        elif status in _BY_QUOTA and any(bucket.remaining == 0 for bucket in self.buckets):
            self.refused = True
            self.notes.append(f"{status} with an exhausted quota: refused")
        elif status == 403:
            self.notes.append("403 that speaks of no limit: forbidden, not refused")

    def _judge_served(self) -> None:
        facts = self.facts
        code = refusal_code(facts.codes) or refusal_prose(facts.messages)
        if code is None and 429 in facts.numbers:
            code = "429"
        if code is not None:
            self.refused = True
            self.notes.append(f"{self.status}, but the body says {code!r}: refused")
        self._end(terminal_word(facts.codes, facts.messages, wait_named=bool(facts.waits)))

    def _judge_words(self, reasons: list[tuple[Field, str]]) -> None:
        facts = self.facts
        for field, value in reasons:
            if field.rank:
                facts.codes.add(normal_code(value[:160]))
            elif field.name.endswith(_LAST_WORDS):
                self.refused = True
                self.notes.append(f"{field.name} names the limit: {value[:60]!a}")
        if not self.refused:
            said = refusal_code(facts.codes) or refusal_prose(facts.messages)
            if said is None and 429 in facts.numbers:
                said = "429"
            if said is not None:
                self.refused = True
                self.notes.append(f"{self.status}, and the response says {said[:60]!a}: refused")
        self._end(terminal_word(facts.codes, facts.messages, wait_named=bool(facts.waits)))
        if self.refused:
            words = [
                *facts.codes,
                *(value.lower() for _, value in reasons),
                *(m.lower() for m in facts.messages),
            ]
            self.concurrency = any("concurren" in word or "simultaneous" in word for word in words)

    def _end(self, code: str | None) -> None:
        if code is not None:
            self.terminal = True
            self.notes.append(f"{code}: waiting will not help")

    def _waits(self) -> list[tuple[int, float, str]]:
        """The waits that header fields name: (rank, seconds, name); the unusable ones are noted."""
        found = []
        for field, value in self.fields:
            if field.role == "wait":
                span = _wait(value, self.clock, field.scale)
                if span is None or span.negative:
                    why = (
                        "is blank" if not value.strip() else f"says {value.strip()[:40]!a}, which is no wait"
                    )
                    note = f"{field.name} {why}: ignored"
                    if note not in self.notes:
                        self.notes.append(note)
                    continue
                if span.doubt is not None and (doubt := f"{field.name}: {span.doubt}") not in self.notes:
                    self.notes.append(doubt)
                found.append((field.rank, span.seconds, field.name))
        return found

    def conclude(self, dialect: str) -> Signal:
        """The finished signal; its wait by the order: header fields, the body, the reset of what is exhausted."""
        wait: float | None = None
        if self.refused:
            wait = self._wait_of_refusal()
            # The name of a quota without a unit is that of a number in flight.
            if any(
                b.unit is None and b.remaining == 0 and "concurren" in (b.name or "") for b in self.buckets
            ):
                self.concurrency = True
        elif self.offers:
            wait, rule = max(self.offers)
            self.notes.append(f"the wait is from {rule}, and binds although the request was served")
        elif self.status >= 500:
            # Not a refusal: the request may have been acted on. But the server names the soonest retry.
            waits = self._waits()
            if waits:
                wait = _first(waits)[1]
                self.notes.append(
                    f"{self.status} is no refusal; a retry should wait as {_first(waits)[2]} says"
                )
        elif any(field.role == "wait" for field, _ in self.fields) and self.status != 301:
            self.notes.append(f"a wait on a {self.status} that is no refusal was ignored")
        if wait is not None and wait > _UNUSUAL:
            self.notes.append(f"a wait of {wait / 86400:.3g} days is unusual; it is told as it stands")
        return Signal(
            self.refused,
            wait,
            self.terminal,
            self.concurrency,
            tuple(bucket.quota() for bucket in self.buckets),
            dialect,
            tuple(dict.fromkeys(self.notes)) if self.notes else (),
        )

    def _wait_of_refusal(self) -> float | None:
        waits = self._waits()
        if waits:
            _, seconds, name = _first(waits)
            self.notes.append(f"the wait is from {name}")
            for _, other, loser in waits:
                if other != seconds:
                    self.notes.append(f"{loser} says {other:g} s, but {name} counts first: ignored")
            if any(bucket.reset is not None and abs(bucket.reset - seconds) > 1 for bucket in self.buckets):
                self.notes.append(f"the resets of the quotas: ignored, since {name} counts first")
            return seconds
        if self.offers:
            seconds, rule = max(self.offers)
            self.notes.append(f"the wait is from {rule}")
            return seconds
        if self.body:
            facts = self.facts
            waits_told = facts.waits
            if not waits_told and self.status < 400 and len(self.body) <= MOST_ERROR_BYTES:
                # What was served is a refusal as a whole, so its wait may stand anywhere in it.
                waits_told = survey(self.body, self.json, self.clock).waits
            if waits_told:
                self.notes.append("the wait is from the body")
                return max(span.seconds for span in waits_told)
            span = wait_in_prose(facts.messages, self.clock)
            if span is not None:
                self.notes.append("the wait is from a sentence of the body")
                return span.seconds
        return self._wait_of_quotas()

    def _wait_of_quotas(self) -> float | None:
        empty = [b for b in self.buckets if b.reset is not None and (b.remaining is None or b.remaining == 0)]
        if empty:
            last = max(empty, key=lambda bucket: bucket.reset or 0.0)
            self.notes.append(
                f"the wait is the reset of the exhausted quota{f' {last.name!a}' if last.name else ''}"
            )
            if any(b.reset is not None and b.remaining for b in self.buckets):
                self.notes.append("the resets of quotas that have something left: ignored")
            return last.reset
        told = [bucket.remaining for bucket in self.buckets if bucket.remaining is not None]
        if told and all(told):
            self.notes.append(
                "all quotas shown have something left: an unseen limit refused, its wait is unknown"
            )
            return None
        if self.body and self.facts.resets:
            self.notes.append("the wait is from the reset in the body")
            return max(span.seconds for span in self.facts.resets)
        self.notes.append("no wait was named")
        return None


def _first(waits: list[tuple[int, float, str]]) -> tuple[int, float, str]:
    """The best rank; of equal ones the longest."""
    return min(waits, key=lambda wait: (wait[0], -wait[1]))


def _wait(text: str, clock: Clock, scale: float) -> Span | None:
    span = read_span(text, clock, scale)
    if span is None and "," in text:
        # Sent twice and joined on the way: the longest is never too early.
        spans = [read_span(piece, clock, scale) for piece in cut(text, ",") if piece.strip()]
        good = [one for one in spans if one is not None and not one.negative]
        span = max(good, key=lambda one: one.seconds) if good and len(good) == len(spans) else None
    return span
