"""Upstreams for the tests of the proxy: one that answers with raw bytes and keeps what it was sent."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def head_of(text: bytes) -> tuple[bytes, dict[str, str]]:
    """The start line, and the fields by their names in lower case, of a message."""
    start, *lines = text.partition(b"\r\n\r\n")[0].split(b"\r\n")
    pairs = (line.decode("latin-1").partition(": ") for line in lines)
    return start, {name.lower(): value for name, _, value in pairs}


class RawUpstream:
    """Accepts connections one after another in threads; `answer` is given to each request, or does what it likes.

    answer: bytes to send once a request is whole, or a function of the connection's socket and the request's bytes.
    `requests`: what was received, request by request; `connections`: how many were opened; `closed`: how many of
    them the other side has closed.
    """

    def __init__(
        self, answer: bytes | Callable[[socket.socket, bytes], None] = OK, tls: ssl.SSLContext | None = None
    ) -> None:
        self._answer = answer
        self._tls = tls
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = threading.Semaphore(0)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A close alone does not wake who waits in accept.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            for request in whole_requests(sock):
                self.requests.append(request)
                if callable(self._answer):
                    self._answer(sock, request)
                else:
                    sock.sendall(self._answer)
        except OSError:
            pass  # the other side, or the end of the test, closed it
        finally:
            self.closed.release()
            sock.close()


def whole_requests(sock: socket.socket) -> Iterator[bytes]:
    """Each request that comes, whole; what is not whole at the end is given as it is."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            part = sock.recv(65536)
            if not part:
                if buffer:
                    yield buffer
                return
            buffer += part
        _, fields = head_of(buffer)
        head = buffer.index(b"\r\n\r\n") + 4
        if "transfer-encoding" in fields:
            while (end := re.search(rb"\r\n0\r\n(?:[^\r\n]+\r\n)*\r\n|^0\r\n(?:[^\r\n]+\r\n)*\r\n", buffer[head:])) is None:
                part = sock.recv(65536)
                if not part:
                    yield buffer
                    return
                buffer += part
            size = head + end.end()
        else:
            size = head + int(fields.get("content-length", "0"))
            while len(buffer) < size:
                part = sock.recv(65536)
                if not part:
                    yield buffer
                    return
                buffer += part
        yield buffer[:size]
        buffer = buffer[size:]


def read_until(sock: socket.socket, ends: Sequence[bytes] | bytes) -> bytes:
    """Reads until what came ends with one of `ends`, or the other side closed."""
    wanted = (ends,) if isinstance(ends, bytes) else tuple(ends)
    text = b""
    while not text.endswith(wanted):
        part = sock.recv(65536)
        if not part:
            break
        text += part
    return text
