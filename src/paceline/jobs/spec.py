"""One input made into a request: a URL, or a JSON object that describes one."""

from __future__ import annotations

import difflib
import json
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from ..errors import InputError
from ..paging import Paging
from .fastjson import orjson
from .urls import Unusable, check_url, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..ledger import Cost

__all__ = ["BadInput", "Defaults", "Request", "own_id", "read_spec", "url_request"]

FIELDS: Final = ("url", "id", "method", "headers", "params", "json", "data", "cost", "paginate")
_KNOWN: Final = frozenset(FIELDS)
_RIGHT: Final = 'write it like {"url": "https://api.example.com/items", "params": {"page": 1}}'
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Numbers that a double or a 64-bit integer may not give back as they were written.
_DELICATE: Final = re.compile(rb"[0-9]{16}|[0-9]\.[0-9]|[0-9][eE][+-]?[0-9]")
_ONLY: Final = frozenset({"url", "id", "params"})  # fields that make no headers, no body and no cost
_OBJECTS: Final = ("headers", "params", "data")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class Defaults:
    """What all inputs have in common unless they say otherwise.

    method: for inputs that name none (one with `json` or `data` is then a POST, if this is GET).
    headers: sent with each; an input's own header of the same name, in any case, takes its place.
    paging: how the lists come that the inputs are; None: each input is one answer.
    """

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    paging: Paging | None = None


class Request(NamedTuple):
    """One usable input, ready to be sent; its body is bytes, so every attempt can send it again.

    number: 1-based place among the inputs (blank lines and comments are none).
    id: the input's own id, else its number.
    url: absolute, ASCII, without userinfo, `params` merged in: send it as it is.
    headers: complete; the very object `Defaults.headers` where the input adds none.
    body: None where there is none.
    cost: permits (or units) it takes, or what it takes of each unit.
    given: the URL as the input gave it, `params` merged in; it may hold credentials: mask it before showing.
    raw: the input in a form that can be SOURCE again, without newline.
    line: 1-based line of the file where it begins.
    paging: how the list comes that it asks for; None: it is one answer.
    """

    number: int
    id: str | int
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    cost: Cost
    given: str
    raw: bytes
    line: int
    paging: Paging | None = None

    def __repr__(self) -> str:
        return f"Request({self.number}, id={self.id!r}, {self.method} {shown(self.given)})"


class BadInput(NamedTuple):
    """One input that cannot be sent; `why` says what is wrong and shows a right form, without secrets.

    number, id, raw, line: as in Request; given: what stood for the URL, short and masked, or "".
    """

    number: int
    id: str | int
    why: str
    given: str
    raw: bytes
    line: int

    def __repr__(self) -> str:
        return f"BadInput({self.number}, id={self.id!r}, {self.why})"


def own_id(fields: Mapping[str, Any]) -> str | int | None:
    """The id an input names itself, None where it names none. Raises Unusable for one that is no id.

    >>> own_id({"id": "a-1"}), own_id({"url": "https://example.com/"})
    ('a-1', None)
    """
    value = fields.get("id")
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and value:
        return value
    raise Unusable(f"its id is {_kind(value)}, not text or a whole number of at most 64 bits")


def url_request(
    text: str, number: int, identity: str | int, raw: bytes, line: int, defaults: Defaults
) -> Request:
    """The request for an input that is only a URL. Raises Unusable.

    >>> url_request("https://example.com/", 1, "a", b"https://example.com/", 1, Defaults()).url
    'https://example.com/'
    """
    checked = check_url(text)
    headers = defaults.headers
    if checked.authorization is not None:
        headers = _merged(defaults.headers, {"Authorization": checked.authorization})
    return Request(
        number, identity, defaults.method, checked.url, headers, None, 1.0, text, raw, line, defaults.paging
    )


def read_spec(text: bytes, number: int, line: int, defaults: Defaults) -> Request | BadInput:
    """Reads one JSON request spec; never raises for what stands in it.

    Fields: `url`; optionally `id` (text or integer), `method`, `headers` (object), `params` (object, merged into
    the query; a list repeats the name), `json` (any value, sent as application/json with its numbers as written),
    `data` (text: the body as it is, in UTF-8; object: form-encoded), `cost` (a number, 0 or more),
    `paginate` (text, as of `--paginate`; false: none, whatever the others have).
    A field that is null counts as not there. With a body and no method it is a POST.

    >>> read_spec(b'{"url": "https://example.com/a", "params": {"q": "x y"}}', 1, 1, Defaults()).url
    'https://example.com/a?q=x%20y'
    >>> read_spec(b'{"url": "https://example.com/a", "parms": {}}', 1, 7, Defaults()).why
    "line 7: there is no field 'parms' (did you mean 'params'?); the fields are url, id, method, headers, params, json, data, cost, paginate"
    """
    identity: str | int = number
    fields: dict[str, Any] = {}
    try:
        fields = _object(text)
        own = own_id(fields)
        if own is not None:
            identity = own
        return _request(fields, text, number, identity, line, defaults)
    except Unusable as error:
        url = fields.get("url")
        given = shown(url) if isinstance(url, str) else ""
        return BadInput(number, identity, f"line {line}: {error}", given, text, line)


def _object(text: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        what = "is not valid UTF-8" if "UTF-8" in str(error) else f"is not valid JSON ({error})"
        raise Unusable(f"it {what}; {_RIGHT}") from None
    if not isinstance(fields, dict):
        raise Unusable(f"it is {_kind(fields)}, not a JSON object; {_RIGHT}")
    return fields


def _request(
    fields: dict[str, Any], text: bytes, number: int, identity: str | int, line: int, defaults: Defaults
) -> Request:
    if not fields.keys() <= _KNOWN:
        name = next(name for name in fields if name not in _KNOWN)
        near = difflib.get_close_matches(name[:40], FIELDS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise Unusable(f"there is no field {name[:40]!r}{hint}; the fields are {', '.join(FIELDS)}")
    objects = [name for name in _OBJECTS if isinstance(fields.get(name), dict)]
    if objects and _DELICATE.search(text):
        written = _reread(text, str)
        fields |= {name: written[name] for name in objects}
    url = fields.get("url")
    if url is None:
        raise Unusable(f"it has no url; {_RIGHT}")
    if not isinstance(url, str):
        raise Unusable(f"its url is {_kind(url)}, not text; {_RIGHT}")
    given = _with_params(url.strip(), fields.get("params"))
    checked = check_url(given)
    if checked.authorization is None and fields.keys() <= _ONLY:
        method, headers = defaults.method, defaults.headers
        return Request(number, identity, method, checked.url, headers, None, 1.0, given, text, line, defaults.paging)
    own = _own_headers(fields.get("headers"))
    body, content_type = _body(fields, text)
    lower = {name.lower() for name in own}
    if checked.authorization is not None and "authorization" not in lower:
        own["Authorization"] = checked.authorization
    if content_type is not None and not {"content-type"} & (
        lower | {name.lower() for name in defaults.headers}
    ):
        own["Content-Type"] = content_type
    headers = _merged(defaults.headers, own) if own else defaults.headers
    method = _method(fields.get("method"), defaults.method, body is not None)
    paging = _paging(fields.get("paginate"), defaults.paging)
    return Request(
        number, identity, method, checked.url, headers, body, _cost(fields.get("cost")), given, text, line, paging
    )


def _merged(common: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower() for name in own}
    return {**{name: value for name, value in common.items() if name.lower() not in lower}, **own}


def _method(value: object, default: str, has_body: bool) -> str:
    if value is None:
        return "POST" if has_body and default == "GET" else default
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or value.upper() == "CONNECT":
        raise Unusable('its method is not one that can be sent; write it like "method": "POST"')
    return value.upper()


def _cost(value: object) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise Unusable('its cost is not a number of at least 0; write it like "cost": 2')
    return float(value)


def _paging(value: object, default: Paging | None) -> Paging | None:
    if value is None:
        return default
    if value is False:
        return None
    if not isinstance(value, str):
        raise Unusable(f'its paginate is {_kind(value)}, not text; write it like "paginate": "link"')
    try:
        return _read_paging(value)
    except InputError as error:
        raise Unusable(str(error)) from None


@lru_cache(maxsize=256)
def _read_paging(text: str) -> Paging:
    return Paging.parse(text)


def _own_headers(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unusable(
            f'its headers are {_kind(value)}, not an object; write them like "headers": {{"Accept": "text/csv"}}'
        )
    headers: dict[str, str] = {}
    for name, content in value.items():
        if not _TOKEN.fullmatch(name):
            raise Unusable(f"{name[:40]!r} is not a header's name")
        if name.lower() in _FRAMING:
            raise Unusable(f"the header {name!r} is set by the connection itself: leave it out")
        if content is None:
            continue
        if not isinstance(content, (str, int, float)) or isinstance(content, bool):
            raise Unusable(f"the header {name!r} is {_kind(content)}, not text")
        if _BAD_VALUE.search(str(content)):
            raise Unusable(f"the header {name!r} holds a control character")
        headers[name] = str(content).strip()
    if len({name.lower() for name in headers}) < len(headers):
        raise Unusable("one of its headers stands there twice, in different case")
    return headers


def _with_params(url: str, params: object) -> str:
    if params is None:
        return url
    pairs = _pairs(params, "params", '"params": {"page": 1}')
    if not pairs:
        return url
    head, hash_, fragment = url.partition("#")
    glue = "" if head.endswith(("?", "&")) else "&" if "?" in head else "?"
    return f"{head}{glue}{urlencode(pairs, quote_via=quote, safe='')}{hash_}{fragment}"


def _pairs(value: object, name: str, right: str) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        raise Unusable(f"its {name} are {_kind(value)}, not an object; write them like {right}")
    pairs: list[tuple[str, str]] = []
    for key, content in value.items():
        for one in content if isinstance(content, list) else [content]:
            if isinstance(one, bool):
                pairs.append((key, "true" if one else "false"))
            elif isinstance(one, float) and not math.isfinite(one):
                raise Unusable(f"{key[:40]!r} in its {name} is not a finite number")
            elif isinstance(one, (str, int, float)):
                pairs.append((key, str(one)))
            elif one is not None:
                raise Unusable(
                    f"{key[:40]!r} in its {name} is {_kind(one)}, not text, a number or a list of them"
                )
    return pairs


def _body(fields: dict[str, Any], text: bytes) -> tuple[bytes | None, str | None]:
    value, data = fields.get("json"), fields.get("data")
    if value is not None and data is not None:
        raise Unusable("it has both json and data: a request has one body")
    if value is not None:
        return _json_body(value, text), "application/json"
    if data is None:
        return None, None
    if isinstance(data, str):
        return data.encode(), None
    if isinstance(data, dict):
        return urlencode(
            _pairs(data, "data", '"data": {"name": "value"}')
        ).encode(), "application/x-www-form-urlencoded"
    raise Unusable(f"its data is {_kind(data)}, neither text nor an object; a JSON body goes into json")


def _json_body(value: Any, text: bytes) -> bytes:
    if not _DELICATE.search(text):
        return orjson.dumps(value)
    try:
        return orjson.dumps(_reread(text, _fragment)["json"])
    except orjson.JSONEncodeError:
        raise Unusable("its json is nested too deeply") from None


def _reread(text: bytes, number: Callable[[str], Any]) -> dict[str, Any]:
    """A second reading that keeps numbers as written: 0.10000000000000000001 and 20-digit keys must not be rounded."""
    try:
        fields: dict[str, Any] = json.loads(text, parse_float=number, parse_int=number)
    except RecursionError:
        raise Unusable("it is nested too deeply") from None
    return fields


def _fragment(number: str) -> Any:
    return orjson.Fragment(number)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    for kind, name in (
        (str, "text"),
        (list, "a list"),
        (dict, "an object"),
        (float, "a decimal number"),
        (int, "a number"),
    ):
        if isinstance(value, kind):
            return "empty text" if value == "" else name
    return "null"
