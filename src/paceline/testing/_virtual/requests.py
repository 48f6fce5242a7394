"""How many requests of a connection to a server outside wait for the end of their answer, read off its bytes."""

from __future__ import annotations

from collections import deque
from importlib import import_module
from typing import Any

try:
    httptools: Any = import_module("httptools")
except ImportError:  # then silence must do, see `traffic`
    httptools = None

__all__ = ["Requests"]


class _Asked:
    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.parser: Any = httptools.HttpRequestParser(self)

    def on_headers_complete(self) -> None:
        self._requests.methods.append(self.parser.get_method())


class _Answered:
    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.parser: Any = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        # Nothing follows the head of an answer to HEAD, whatever length it names (RFC 9110, section 9.3.2).
        methods = self._requests.methods
        if methods and methods[0] == b"HEAD" and self.parser.get_status_code() >= 200:
            self._requests.bare = True

    def on_message_complete(self) -> None:
        methods = self._requests.methods
        if methods and self.parser.get_status_code() >= 200:
            methods.popleft()


class Requests:
    """Reads both directions of one connection. `readable`: it is HTTP/1.1 so far; `open`: requests not yet answered."""

    __slots__ = ("_answered", "_asked", "bare", "methods", "readable")

    def __init__(self) -> None:
        self.methods: deque[bytes] = deque()
        self.readable = httptools is not None
        self.bare = False
        if self.readable:
            self._asked, self._answered = _Asked(self), _Answered(self)

    @property
    def open(self) -> int:
        return len(self.methods)

    def wrote(self, data: bytes) -> None:
        """These bytes were sent."""
        self._feed(self._asked.parser if self.readable else None, data)

    def read(self, data: bytes) -> None:
        """These bytes were received; none: the other end has hung up, and answers nothing more."""
        if not data:
            self.methods.clear()
            return
        self._feed(self._answered.parser if self.readable else None, data)
        if self.bare and self.readable:
            self.bare = False
            if self.methods:
                self.methods.popleft()
            self._answered = _Answered(self)

    def _feed(self, parser: Any, data: bytes) -> None:
        if parser is None:
            return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # TLS, HTTP/2, a websocket: nobody can say where an answer ends.
            self.readable = False
