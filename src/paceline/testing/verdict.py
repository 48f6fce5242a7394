"""What passes between the core and its fronts: a request as it came, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .paths import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .bodies import Body
    from .gate import Gate
    from .tally import Tally
    from .watch import Watch
    from .wording import Headers

__all__ = ["Book", "Fault", "Request", "Verdict"]

Fault = Literal["cut", "reset", "truncate"]


class Book:
    """What one key has used up, when the other consumer of its limits comes next, the tally it is counted in, and its pauses."""

    __slots__ = ("gate", "next_noise", "tally", "watch")

    def __init__(self, gate: Gate, next_noise: float, tally: Tally, watch: Watch) -> None:
        self.gate = gate
        self.next_noise = next_noise
        self.tally = tally
        self.watch = watch


@dataclass(slots=True)
class Request:
    """What came: header names in lower case, as bytes; `address` of the client; `digest` of its body, b"" for none."""

    method: str
    target: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    address: str = ""
    digest: bytes = b""


@dataclass(slots=True)
class Verdict:
    """What to answer: after `delay` seconds, and what to break while doing so.

    body: bytes, or a `Body` that is made piece by piece: slow, long, or sent in chunks.
    fault: "cut" closes the connection instead of answering, "reset" does so with a TCP RST, "truncate" sends the
    head and the first half of the body under the length of the whole, and closes. declared: a Content-Length that
    is not the body's. refused: by a limit or by chance.
    The rest is the core's own: the book in which a request in flight stands, when it arrived, and the item whose
    serving is to be counted. Whoever carries a verdict out tells `Core.settle` how it went. Not frozen: one is made
    per request, and freezing doubles the cost of making it.
    """

    status: int
    headers: Headers
    body: bytes | Body
    content_type: str = JSON
    delay: float = 0.0
    fault: Fault | None = None
    declared: int | None = None
    book: Book | None = None
    arrived: float = 0.0
    name: str | None = None
    refused: bool = False
