"""What passes between the core and its fronts: a request as it came, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .paths import JSON, Filler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .gate import Gate
    from .tally import Tally
    from .wording import Headers

__all__ = ["Book", "Fault", "Request", "Verdict"]

Fault = Literal["cut"]


class Book:
    """What one key has used up, when the other consumer of its limits comes next, and the tally it is counted in."""

    __slots__ = ("gate", "next_noise", "tally")

    def __init__(self, gate: Gate, next_noise: float, tally: Tally) -> None:
        self.gate = gate
        self.next_noise = next_noise
        self.tally = tally


@dataclass(slots=True)
class Request:
    """What came: header names in lower case, as bytes; `address` of the client."""

    method: str
    target: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    address: str = ""


@dataclass(slots=True)
class Verdict:
    """What to answer: after `delay` seconds, unless `fault` says to cut the connection instead.

    declared: a Content-Length that is not the body's. The rest is the core's own: the book in which a request in
    flight stands, when it arrived, and the item whose serving is to be counted. Not frozen: one is made per
    request, and freezing doubles the cost of making it.
    """

    status: int
    headers: Headers
    body: bytes | Filler
    content_type: str = JSON
    delay: float = 0.0
    fault: Fault | None = None
    declared: int | None = None
    book: Book | None = None
    arrived: float = 0.0
    name: str | None = None
