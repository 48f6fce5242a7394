"""The words by which errors say "refused for a limit's sake": codes, sentences, and the waits that sentences name."""

from __future__ import annotations

import re
from typing import Final

from ._times import Clock, Span, read_span

__all__ = [
    "looks_like_code",
    "normal_code",
    "refusal_code",
    "refusal_prose",
    "terminal_word",
    "wait_in_prose",
]

# The codes that all SDKs know, whatever their case and punctuation; botocore's list of throttling errors is in it.
_REFUSAL_CODE: Final = re.compile(
    r"ratelimit|toomanyrequest|toomanycalls|throttl|requestlimit(?:exceeded|reached)|slowdown|over(?:query|rate|daily)limit"
    r"|^(?:query|daily|hourly|monthly|user|api|call|calls|concurrent|concurrency)?(?:quota|limit)(?:s)?(?:exceeded|reached)"
    r"(?:exception|error)?$"
    r"|(?:invocation|call|request|usage)s?limit(?:exceeded|reached)"
    r"|quotaexceeded|quotaviolation|spikearrest|exceeded(?:your)?(?:current)?quota|dailylimitexceeded|bandwidthlimitexceeded"
    r"|priorrequestnotcomplete|provisionedthroughputexceeded|transactioninprogress|insufficientquota|toomanyconcurrent"
    r"|concurren[a-z]{0,12}limitexceeded|concurrentrequest|complexitybudgetexhausted|complexityexception|resourceexhausted"
    r"|(?:qps|rate|query|request|call)[a-z]{0,12}exceededthelimit|(?:query|request|call)s?overlimit$|^(?:api|app)calllimit"
    r"|^maxlag$|^serverbusy$|requestratetoo|abnormalusagedetected|overqps$|overrate$"
)
# Quotas of room, not of rate: no pause frees them.
_ROOM_CODE: Final = re.compile(r"storage|size|file|upload|disk|space|length|payload|depth|memory|member")
_TERMINAL_CODE: Final = re.compile(
    r"insufficientquota|insufficientcredit|insufficientbalance|creditbalance|billing|dailylimitexceeded|paymentrequired"
    r"|exceededcurrentquota|accountsuspended|overdailylimit|accountdeactivated|maxcostexceeded|maxcomplexityexceeded"
)
# A day that says itself when it ends is waited for.
_ENDS_WITH_THE_DAY: Final = re.compile(r"dailylimit")
_TERMINAL_TEXT: Final = re.compile(
    r"credit balance is too low|insufficient (?:credits?|balance|funds)\b"
    r"|\brun out of (?:searches|credits)\b(?! for the current)|\bexceeds? your plan's (?:set )?usage limit"
    r"|request too large for [^\n]{1,120} (?:per min|per day|\(tpm\)|\(rpm\))"
)
_COUNTED: Final = (
    r"(?:request|call|rate|query|querie|api|usage|quota|point|minute|hour|hourly|day|daily|month|monthly)s?"
)
_REFUSAL_TEXT: Final = re.compile(
    r"rate[ -]?limit[a-z]{0,3}[^.\n]{0,40}?\b(?:exceeded|reached|hit|exhausted|violat)"
    rf"|(?<!not )(?<!cannot )\b(?:exceed|hit|reach|over)[a-z]{{0,6}}\b[^.\n]{{0,60}}?{_COUNTED}[ -]?(?:limit|quota|threshold)"
    r"|too many (?!soql |sosl |dml )(?:[a-z-]{2,20} ){0,2}(?:requests|calls|queries|connections|visits|attempts)"
    r"|\bconcurren(?:t|cy)(?: [a-z]{2,12}){0,2} limits? (?:has been |was |is )?(?:exceeded|reached|hit)"
    r"|\brate limit is [0-9]{1,9} (?:requests|calls|queries)\b|: throttled: [0-9]{10}(?![0-9])"
    r"|number of (?:requests|calls)[^.\n]{0,40}? exceeded|out of (?:rate |api |call |call volume )?(?:limit|quota)"
    rf"|\b{_COUNTED}[ -](?:rate )?(?:limit|threshold|quota)[^.\n]{{0,80}}? (?:exceeded|reached|met)\b"
    r"|(?<!storage )(?<!space )(?<!disk )(?<!mailbox )\bquota (?:has been |was |is )?exceeded"
    r"|\bexceed[a-z]{0,3} your (?!(?:[a-z]{2,12} ){0,2}(?:storage|disk|space|mailbox|upload) )(?:[a-z-]{2,20} ){0,3}quota\b|maximum requests per|call frequency is\b|limit on the number of (?:requests|calls)"
    r"|\b(?:was|been|being|are) (?:throttled|rate[ -]?limited)|reduce your request rate|abuse detection"
    r"|over_query_limit|over_rate_limit|\bover (?:qps|rate)\b|^throttled$|^(?:usage )?limits exceeded|slow down"
    r"|\brequests? (?:(?:is|are|was|were|made) ){0,2}too (?:frequent|fast|often)|\bfrequency limit\b|\bapp call limited\b"
    r"|\bquota reach(?:ed)? (?:the )?limit|\busage reached\b"
)
_UNIT: Final = r"(?:ns|us|µs|μs|ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_PROSE_WAIT: Final = re.compile(
    r"\b(?:again|retry|retrying|wait|available|resets?|replenished|unblocked|resume|back ?off|this after|timed out|will last)\b"
    r"(?:(?! (?:every|each|per) )[^0-9.\n]){0,40}?"
    rf"\b([0-9]{{1,3}}:[0-9]{{2}}:[0-9]{{2}}|(?:[0-9]{{1,10}}(?:\.[0-9]{{1,12}})? ?{_UNIT}(?![a-zµμ])(?:,? (?:and )?)?){{1,5}})"
)
_PROSE_BARE: Final = re.compile(r"\bretry[ _-]after:? ([0-9]{1,8}(?:\.[0-9]{1,6})?)(?! ?[0-9a-zµμ./:-])")
_PROSE_UNTIL: Final = re.compile(r"\b(?:until|at|throttled:) ([0-9]{10,13})(?![0-9])")
_ONE: Final = re.compile(r"\bone (?=(?:second|minute|hour|day)\b)")
_MORE: Final = re.compile(r"(?<=[0-9]) more (?=[smhd])")
_SHOUTED: Final = re.compile(r"[A-Z][A-Z0-9_]{3,60}|[a-z][a-z0-9]{1,20}(?:[_-][a-z0-9]{1,20}){1,5}")
_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")


def looks_like_code(text: str) -> bool:
    """Whether a message is no sentence but a code: `REQUEST_LIMIT_EXCEEDED`, `too_many_requests`."""
    return _SHOUTED.fullmatch(text) is not None


def normal_code(text: str) -> str:
    """An error's code without namespace, case and punctuation.

    >>> normal_code("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")
    'provisionedthroughputexceededexception'
    >>> normal_code("ThrottlingException:http://internal"), normal_code("sf:REQUEST_LIMIT_EXCEEDED")
    ('throttlingexception', 'requestlimitexceeded')
    """
    text = text.rpartition("#")[2]
    head, _, tail = text.partition(":")
    if tail and len(head) <= 3:
        head = tail
    return _NOT_WORD.sub("", head.lower())


def refusal_code(codes: set[str]) -> str | None:
    """The first of the codes (in alphabetical order) that means a refusal for a limit's sake."""
    return next(
        (c for c in sorted(codes) if len(c) <= 80 and _REFUSAL_CODE.search(c) and not _ROOM_CODE.search(c)),
        None,
    )


def terminal_word(codes: set[str], messages: list[str], *, wait_named: bool = False) -> str | None:
    """The first code, else the words of a message, that say that waiting will not help.

    wait_named: the body names a wait, so that a limit of the day is none of them.
    """
    code = next(
        (
            c
            for c in sorted(codes)
            if len(c) <= 80 and _TERMINAL_CODE.search(c) and not (wait_named and _ENDS_WITH_THE_DAY.search(c))
        ),
        None,
    )
    if code is not None:
        return code
    found = (_TERMINAL_TEXT.search(message.lower()) for message in messages)
    return next((match[0] for match in found if match is not None), None)


def refusal_prose(messages: list[str]) -> str | None:
    """The words of a message that say that a limit was exceeded.

    >>> refusal_prose(["You have exceeded a secondary rate limit. Please wait a few minutes."])
    'exceeded a secondary rate limit'
    >>> refusal_prose(["Resource not accessible by integration"]) is None
    True
    """
    for message in messages:
        found = _REFUSAL_TEXT.search(message.strip().lower())
        if found is not None:
            return found[0]
    return None


def wait_in_prose(messages: list[str], clock: Clock) -> Span | None:
    """The wait that a sentence names: `Please try again in 11.75s.`

    >>> wait_in_prose(["more requests available in 36263 seconds"], Clock(now=0.0)).seconds
    36263.0
    >>> wait_in_prose(["Clients may not make more than 350 requests per hour."], Clock(now=0.0)) is None
    True
    """
    for message in messages:
        text = _MORE.sub(" ", _ONE.sub("1 ", message.lower()))  # "in one minute", "for 1 more seconds"
        for pattern in (_PROSE_WAIT, _PROSE_BARE, _PROSE_UNTIL):
            found = pattern.search(text)
            if found is not None:
                span = read_span(found[1].rstrip(" ,"), clock)
                if span is not None:
                    return span
    return None
