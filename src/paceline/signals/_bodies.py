"""What the body of an answer says about limits: error codes, waits in JSON, waits in prose; bounded in size, depth and time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ._names import words
from ._times import Clock, Span, read_span, span_of_number
from ._words import looks_like_code, normal_code

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_BYTES", "MOST_ERROR_BYTES", "Facts", "edges", "load", "may_fail", "survey"]

MOST_BYTES: Final = 65536
_MOST_NODES: Final = 400
_MOST_CODES: Final = 64
_DEEPEST: Final = 8
_EDGE: Final = 4096
MOST_ERROR_BYTES: Final = 16384
_MOST_TEXT: Final = 600
_MOST_TEXT_IN_ALL: Final = 900
_MOST_PAGE: Final = 2048

_CODE_KEYS: Final = words(
    "code type error errors errorstatus errortype errorcode errorname errorid reason status category name id kind policyname policy"
    " apierrorcode oerrorcode errcode errno subcode errorsubcode statuscode faultcode result title ratelimitreason"
)
_TEXT_KEYS: Final = words(
    "message error errors err errormessage errormsg errmsg retmsg description errordescription detail details title msg info errorsummary note information"
    " result reason faultstring text statusmessage userfriendlymessage response submsg"
)
# In an answer that was served only these are looked into: a row of data may say "throttled" without meaning us.
_ERROR_KEYS: Final = words("error errors errorresponse fault faults exception status meta")
_ERROR_SCALARS: Final = words(
    "error errors errorcode errcode errorname errorid errorstatus errormessage errormsg err errmsg retmsg throttleseconds"
)
_ERROR_ONLY: Final = words("type code message msg requestid traceid subcode submsg")
_FAILED: Final = frozenset(
    (
        "0",
        "error",
        "fail",
        "failed",
        "failure",
        "notok",
        "overquerylimit",
        "overdailylimit",
        "requestnotprocessed",
    )
)
_SECONDS_KEYS: Final = words(
    "retryafter retryafterseconds retryaftersec retryaftersecs retryafterinseconds retryin"
    " retryinseconds retrydelay retrydelayseconds secondsuntilretry secondstowait waitseconds throttleseconds cooldown"
    " cooldownseconds quotaresetdelay tryagainin tryagaininseconds waittimeseconds wait backoffseconds"
)
_MILLIS_KEYS: Final = words(
    "retryafterms retryaftermillis retryaftermilliseconds retryinms retrydelayms retrydelaymillis waitms backoffms"
    " resetafterms resetaftermilliseconds"
)
_MINUTES_KEYS: Final = words("retryafterminutes retryinminutes waitminutes")
_RESET_KEYS: Final = words(
    "ratelimitresettime ratelimitreset xratelimitreset ratelimitresetat ratelimitresetafter resetafter resetafterseconds resetin"
    " resetinseconds resetsin resettime resetat resetsat reset resettimestamp quotaresettimestamp retryat"
    " retryafterdate nextavailableat availableat ratelimitnext recommendedretrytime nextretrytime ratereset nextaccesstime timetoreset"
)

_XML_CODE: Final = re.compile(
    r"<(?:[a-z]{1,12}:)?(?:code|faultcode|errorcode|error_code|exceptioncode|reason)>\s{0,9}([\w:. -]{1,80})",
    re.I,
)
_TAG: Final = re.compile(r"<[^<>]{0,400}>")
# A served answer without any of these calls itself no failure, so it need not be parsed.
_MAY_FAIL: Final = (
    *(b'"err', b'"Err', b'"fault', b'"Fault', b'"exception', b'"ret'),
    *(b'"status"', b'"code"', b'"ok"', b'"success"', b'"Note"', b'"Information"'),
)
_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class Facts:
    """What a body says: normalised error codes, messages, waits from its own fields, resets, whether it speaks of concurrency."""

    codes: set[str] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    waits: list[Span] = field(default_factory=list)
    resets: list[Span] = field(default_factory=list)


def load(body: bytes | None, most: int = MOST_BYTES) -> Any:
    """The body as JSON; None where it is none, is larger than `most` bytes, too deep, or not sound.

    >>> load(b'\\xef\\xbb\\xbf{"retry_after": 5}'), load(b"[" * 60000), load(b"retry later")
    ({'retry_after': 5}, None, None)
    """
    if not body or len(body) > most:
        return None
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in (b"{", b"["):
        return None
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(_: str) -> None:
    return None


def edges(body: bytes) -> bytes:
    """Beginning and end of a body, where errors and accounts stand; what is between them is data."""
    return body if len(body) <= 2 * _EDGE else body[:_EDGE] + b"\n" + body[-_EDGE:]


def may_fail(body: bytes) -> bool:
    """Whether the body of an answer with a good status could call itself a failure; a quick look."""
    looked_at = edges(body)
    return any(mark in looked_at for mark in _MAY_FAIL)


def survey(body: bytes | None, parsed: Any, clock: Clock, *, served: bool = False) -> Facts:
    """Collects what a body says; of an answer that was served only its errors are looked at, not its data."""
    facts = Facts()
    if parsed is None:
        if not served:
            _survey_text(body or b"", facts)
        return facts
    parsed = _opened(parsed)
    room = _MOST_TEXT_IN_ALL
    for key, value in _walk(parsed, served, _says_failed(parsed)):
        word = _NOT_WORD.sub("", key.lower()[:60])
        if isinstance(value, str):
            few = len(facts.codes) < _MOST_CODES
            if few and word in _CODE_KEYS and 0 < len(value) <= 160:
                facts.codes.add(normal_code(value))
            if word in _TEXT_KEYS and looks_like_code(value):
                if few:
                    facts.codes.add(normal_code(value))
            elif word in _TEXT_KEYS and room > 0:
                facts.messages.append(value[: min(_MOST_TEXT, room)])
                room -= len(value) + 50
        elif (
            isinstance(value, int)
            and not isinstance(value, bool)
            and word in _CODE_KEYS
            and abs(value) < 10**9
        ):
            facts.numbers.add(value)
        span = _span(word, value, clock)
        if span is not None:
            (facts.resets if word in _RESET_KEYS else facts.waits).append(span)
    return facts


def _survey_text(body: bytes, facts: Facts) -> None:
    page = body[:_MOST_PAGE].decode("utf-8", "replace")
    if "<" in page:
        facts.codes.update(normal_code(code) for code in _XML_CODE.findall(page)[:8])
        page = _TAG.sub(" ", page)
    if "%20" in page or "+" in page:
        page = page.replace("%20", " ").replace("+", " ")
    page = " ".join(page.split())
    if page:
        facts.messages.append(page[:_MOST_TEXT_IN_ALL])


def _walk(parsed: Any, served: bool, failed: bool) -> Iterator[tuple[str, Any]]:
    """The scalars of a JSON value with their keys, breadth first, bounded in number and depth."""
    seen = 0
    level: list[tuple[str, Any]] = [("", parsed)]
    for depth in range(_DEEPEST):
        deeper: list[tuple[str, Any]] = []
        for key, value in level:
            if isinstance(value, dict):
                children: Iterator[tuple[str, Any]] = iter(value.items())
            elif isinstance(value, list):
                children = ((key, child) for child in value)
            else:
                yield key, value
                continue
            for name, child in children:
                seen += 1
                if seen > _MOST_NODES:
                    break
                if served and depth == 0:
                    # A failure's messages may come as a list of sentences.
                    said = failed and isinstance(child, list) and isinstance(next(iter(child), None), str)
                    inner = isinstance(child, (dict, list)) and not said
                    allowed = _ERROR_KEYS if inner else _ERROR_SCALARS
                    if (inner or not failed) and _NOT_WORD.sub("", name.lower()[:60]) not in allowed:
                        continue
                deeper.append((name, child))
        level = deeper


def _opened(parsed: Any) -> Any:
    """What stands in an envelope: `{"Response": {"Error": …}}`, `["error", 11010, "ratelimit: error"]`."""
    if isinstance(parsed, dict) and len(parsed) == 1:
        inner = next(iter(parsed.values()))
        if isinstance(inner, dict) and ("Error" in inner or "error" in inner):
            return inner
    if isinstance(parsed, list) and parsed[:1] == ["error"] and not isinstance(parsed[-1], (dict, list)):
        return {"error": parsed[1:]}
    return parsed


def _says_failed(parsed: Any) -> bool:
    """Whether an answer with a good status calls itself a failure."""
    if not isinstance(parsed, dict):
        return False
    if parsed.get("ok") is False or parsed.get("success") is False or parsed.get("error"):
        return True
    status, code = parsed.get("status"), parsed.get("code")
    if isinstance(status, (str, int)) and _NOT_WORD.sub("", str(status)[:40].lower()) in _FAILED:
        return True
    # A body code in the manner of HTTP's, or a provider's own; 0, 1 and 2xx mean success.
    if isinstance(code, int) and (code < 0 or code >= 300):
        return True
    if isinstance(code, str) and len(code) < 12 and code.isdecimal() and code.isascii() and int(code) >= 300:
        return True
    # An error and nothing but that: `{"type": "ISP", "code": "ApiCallLimit", "message": "…"}`
    if isinstance(code, str) and code.isalpha() and isinstance(parsed.get("message"), str):
        return all(_NOT_WORD.sub("", str(key)[:60].lower()) in _ERROR_ONLY for key in parsed)
    return len(parsed) == 1 and not parsed.keys().isdisjoint(("Note", "Information"))


def _span(word: str, value: Any, clock: Clock) -> Span | None:
    if word in _SECONDS_KEYS or word in _RESET_KEYS:
        scale = 1.0
    elif word in _MILLIS_KEYS:
        scale = 0.001
    elif word in _MINUTES_KEYS:
        scale = 60.0
    else:
        return None
    if isinstance(value, str):
        span = read_span(value, clock, scale)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e20:
        span = span_of_number(value, clock, scale)
    else:
        return None
    return None if span is None or span.negative else span
