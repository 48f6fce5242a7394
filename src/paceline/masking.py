"""Takes credentials out of URLs, headers and error texts before anything is shown, logged or stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

__all__ = ["MASK", "is_secret_name", "mask_headers", "mask_text", "mask_url"]

MASK: Final = "***"

# A name is cut into words (api_key, apiKey and API-KEY are all "api", "key") and judged by them.
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_ENDINGS: Final = (
    "key", "token", "secret", "secrets", "password", "passwd", "passphrase",
    "signature", "credential", "credentials", "authorization", "cookie", "sessid", "sessionid",
)  # fmt: skip
_SECRET_WORDS: Final = frozenset(
    {"sig", "auth", "oauth", "pwd", "pass", "pw", "jwt", "bearer", "session", "otp", "pin", "hmac", "authkey"}
)
# Tokens that name a page or a row, not a person: a masked one would make two inputs look the same.
_PAGING_WORDS: Final = frozenset(
    {
        "page", "next", "prev", "previous", "continuation", "sync", "cursor", "start", "end", "resume",
        "resumption", "skip", "sort", "partition", "primary", "foreign", "row", "idempotency",
        "pagetoken", "nexttoken", "nextpagetoken", "synctoken", "continuationtoken", "resumptiontoken",
        "skiptoken", "pagination", "paging", "scroll", "after", "before",
        "startkey", "endkey", "sortkey", "partitionkey", "monkey", "turkey", "hockey", "whiskey",
    }
)  # fmt: skip
# Whole names, in lower case, that say it only when nothing else stands beside them (country_code is none).
_SECRET_NAMES: Final = frozenset({"code", "sid"})
# OpenWeatherMap's key is `appid`; Steam's `appid` is a short number.
_SECRET_IF_LONG: Final = frozenset({"appid", "app_id"})
_LONG: Final = 20

_AUTHORITY: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//([^/?#\\]*)|([^/?#@]*:[^/?#@]*(?=@))")
_NOT_A_PORT: Final = re.compile(r"[^:\[\]]*:(?![0-9]*$)")
_USERINFO: Final = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")
_URL: Final = re.compile(r"\b[A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\s\"'<>]+")
_PAIR: Final = re.compile(
    r"(?<![A-Za-z0-9_.\-])(?P<name>[A-Za-z0-9_.\-]{1,80})[\"']?[ \t]{0,3}[=:][ \t]{0,3}", re.ASCII
)
_HINTS: Final = re.compile(
    r"key|token|secret|pass|pwd|pw|sig|auth|credential|cookie|sess|jwt|bearer|otp|pin|hmac", re.IGNORECASE
)
_VALUE: Final = re.compile(r"\"[^\"]*\"?|'[^']*'?|[^\s&\"',;<>(){}\[\]]+")
_LINE_VALUE: Final = re.compile(r"[\"']?[^\r\n\"'<>]+[\"']?")
_SCHEMES: Final = frozenset(
    {"basic", "bearer", "digest", "token", "apikey", "negotiate", "aws4-hmac-sha256", "hawk", "dpop", "ntlm"}
)
_SCHEME_VALUE: Final = re.compile(
    # Words like "Basic authentication" are no credentials: one has a digit, "=", "_" or a capital inside.
    r"\b((?i:bearer|basic|token|digest|negotiate|apikey))[ \t]+"
    r"(?=[A-Za-z.~+/\-]*(?:[0-9=_]|[a-z][A-Z]))[A-Za-z0-9._~+/=\-]{8,}"
)
_KNOWN_TOKENS: Final = re.compile(
    r"\b(?:gh[pousr]_|github_pat_|glpat-|sk-|rk_live_|sk_live_|xox[abeprs]-|AKIA|ASIA|AIza|eyJ)[A-Za-z0-9_\-.=]{12,}"
)


# Without one of these behind the "?" or "#" there is nothing to mask: nearly every URL ends here.
_MAY_HIDE: Final = re.compile(
    r"key|token|secret|pass|pwd|pw|sig|auth|credential|cookie|sess|jwt|bearer|otp|pin|hmac|code|sid|app_?id|[%@]",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether a query field, header or setting of this name is likely to hold a credential.

    >>> [is_secret_name(name) for name in ("apiKey", "X-Amz-Signature", "max_tokens", "pageToken")]
    [True, True, False, False]
    """
    # Longer names are judged by their end alone, so that the memory of the cache stays bounded.
    return _judge(name[-64:])


@lru_cache(maxsize=1024)
def _judge(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or _PAGING_WORDS.intersection(words):
        return False
    if name.lower() in _SECRET_NAMES:
        return True
    return any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def mask_url(url: object) -> str:
    """The URL with its user part and the values of secret-looking query fields replaced by `***`.

    Never raises, whatever the text; a URL that has none of these comes back as it is. Userinfo is
    RFC 3986 section 3.2.1.

    >>> mask_url("https://ann:pw@api.example.com/v1?page=2&api_key=abc")
    'https://***@api.example.com/v1?page=2&api_key=***'
    """
    if not isinstance(url, str):
        url = _as_text(url)
    if "?" not in url and "@" not in url and "#" not in url:
        return url
    if "@" in url:
        url = _mask_userinfo(url)
    elif _MAY_HIDE.search(url, url.find("?") if "#" not in url else 0) is None:
        return url
    rest, hash_mark, fragment = url.partition("#")
    path, mark, query = rest.partition("?")
    if mark:
        path = f"{path}?{_mask_fields(query)}"
    # OAuth's implicit grant puts access_token behind the "#" (RFC 6749 section 4.2.2).
    return f"{path}#{_mask_fields(fragment)}" if hash_mark else path


def _mask_userinfo(url: str) -> str:
    authority = _AUTHORITY.match(url)
    if authority is None:
        return url
    if authority[1] is None:  # no scheme at all: ann:pw@host
        return f"{MASK}{url[authority.end(2) :]}"
    at = url.rfind("@", authority.start(1), authority.end(1))
    if at < 0 and _NOT_A_PORT.match(authority[1]):
        # No port but text behind the colon: a password with a raw "/", "?" or "#" in it.
        at = url.rfind("@")
    return url if at < 0 else f"{url[: authority.start(1)]}{MASK}{url[at:]}"


def _mask_fields(query: str) -> str:
    if "=" not in query:
        return query
    parts = query.split("&")
    for index, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if not value:
            continue
        plain = unquote(name[-192:]) if "%" in name else name
        if is_secret_name(plain) or (len(value) >= _LONG and plain.lower() in _SECRET_IF_LONG):
            parts[index] = f"{name}{equals}{MASK}"
        elif "@" in value:
            parts[index] = name + equals + _USERINFO.sub(f"{MASK}@", value)
    return "&".join(parts)


def mask_headers(headers: Mapping[str, str] | Iterable[tuple[object, object]]) -> list[tuple[str, str]]:
    """Header pairs, in order, with the values of credentials replaced by `***`.

    A scheme such as `Bearer` stays; URLs inside other values (`Location`, `Link`) are masked too.

    >>> mask_headers([("Authorization", "Bearer abc"), ("Retry-After", "7"), ("X-Api-Key", "k")])
    [('Authorization', 'Bearer ***'), ('Retry-After', '7'), ('X-Api-Key', '***')]
    """
    pairs: Iterable[tuple[object, object]] = headers.items() if isinstance(headers, Mapping) else headers
    return [
        (name, _mask_value(name, _as_text(value))) for name, value in ((_as_text(n), v) for n, v in pairs)
    ]


def _mask_value(name: str, value: str) -> str:
    if is_secret_name(name):
        scheme, space, rest = value.partition(" ")
        return f"{scheme} {MASK}" if space and rest and scheme.lower() in _SCHEMES else MASK
    return mask_text(value) if "?" in value or "@" in value else value


def mask_text(text: object) -> str:
    """An error's text with every URL, `name=value` pair and known token in it masked.

    Linear in the text's length; never raises.

    >>> mask_text("cannot reach https://u:p@host/x?token=1 with api_key=abc")
    'cannot reach https://***@host/x?token=*** with api_key=***'
    """
    if not isinstance(text, str):
        text = _as_text(text)
    if "://" in text:
        text = _URL.sub(lambda found: mask_url(found[0]), text)
    text = _SCHEME_VALUE.sub(rf"\1 {MASK}", _KNOWN_TOKENS.sub(MASK, text))
    return _mask_pairs(text) if _HINTS.search(text) else text


def _mask_pairs(text: str) -> str:
    parts: list[str] = []
    done = position = 0
    while (found := _PAIR.search(text, position)) is not None:
        position = found.end()
        name = found["name"].lower()
        # "error code: 404" and "KeyError: 'x'" are what an error text is for.
        if name == "code" or name.endswith(("error", "exception")) or not is_secret_name(found["name"]):
            continue
        whole_line = name.endswith(("authorization", "cookie"))
        value = (_LINE_VALUE if whole_line else _VALUE).match(text, position)
        if value is None or value[0].startswith("//"):
            continue
        parts += (text[done:position], _masked_value(value[0]))
        done = position = value.end()
    parts.append(text[done:])
    return "".join(parts)


def _masked_value(value: str) -> str:
    opening = value[0] if value[0] in "\"'" else ""
    closing = value[-1] if len(value) > 1 and value[-1] in "\"'" else ""
    scheme, space, _ = value[len(opening) :].partition(" ")
    kept = f"{scheme} " if space and scheme.lower() in _SCHEMES else ""
    return f"{opening}{kept}{MASK}{closing}"


def _as_text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
