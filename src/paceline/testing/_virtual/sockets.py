"""Sockets in virtual time: what blocks in a thread waits by the rule, and every byte is counted."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Any, Final

from . import real
from .world import here, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import Party, World

__all__ = ["SOCKET", "TLS", "wait_for"]

_IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)
_READ, _WRITE = select.POLLIN, select.POLLOUT
_DONTWAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)


def wait_for(world: World, party: Party, sock: socket.socket, events: int, until: int | None) -> None:
    """Blocks until the socket is ready; raises TimeoutError once its own timeout is over."""
    world.traffic.end_of(sock)
    fds = [(sock.fileno(), events)]
    began = world.now
    poller = real.poll()
    poller.register(*fds[0])
    while True:
        left = world.remaining(until)
        if poller.poll(0 if not world.closed else None if left is None else left * 1000):
            break
        if until is not None and world.now >= until:
            world.record(party, "io", world.now - began)
            raise TimeoutError("timed out")
        world.wait(party, until, fds)
    world.record(party, "io", world.now - began)


def _blocking(sock: socket.socket) -> tuple[World, Party, int | None] | None:
    """The block, if this thread belongs to one and the socket would block: and until when it may."""
    both = here()
    if both is None:
        return None
    timeout = sock.gettimeout()
    if timeout == 0.0:
        return None
    return (*both, None if timeout is None else both[0].now + nanoseconds(timeout))


def _reader(name: str, flags_at: int, measure: Callable[..., tuple[Any, int]]) -> Callable[..., Any]:
    original = getattr(real.Socket, name)

    def stand(self: socket.socket, *args: Any, **options: Any) -> Any:
        both = here()
        if both is None:
            return original(self, *args, **options)
        blocking = _blocking(self)
        flags = args[flags_at] if len(args) > flags_at else options.get("flags", 0)
        if blocking is not None and not flags & _DONTWAIT:
            wait_for(blocking[0], blocking[1], self, _READ, blocking[2])
        result = original(self, *args, **options)
        if not flags & socket.MSG_PEEK:
            both[0].traffic.read(self, *measure(result, *args))
        return result

    return stand


def _sendto(self: socket.socket, data: Any, *args: Any) -> int:
    return _write(self, real.Socket.sendto, data, data, args)


def _sendmsg(self: socket.socket, buffers: Any, *args: Any) -> int:
    pieces = list(buffers)
    return _write(self, real.Socket.sendmsg, pieces, b"".join(pieces), args)


def _write(self: socket.socket, original: Any, given: Any, data: Any, args: tuple[Any, ...]) -> int:
    both = here()
    if both is None:
        return int(original(self, given, *args))
    blocking = _blocking(self)
    if blocking is not None:
        wait_for(blocking[0], blocking[1], self, _WRITE, blocking[2])
    count = int(original(self, given, *args))
    both[0].traffic.wrote(self, data, count)
    return count


def _send(self: socket.socket, data: Any, flags: int = 0) -> int:
    both = here()
    if both is None:
        return int(real.Socket.send(self, data, flags))
    blocking = _blocking(self)
    if blocking is not None:
        wait_for(blocking[0], blocking[1], self, _WRITE, blocking[2])
        # A socket without a timeout would block until all is taken, out of the rule's sight.
        flags |= _DONTWAIT
    count = int(real.Socket.send(self, data, flags))
    both[0].traffic.wrote(self, data, count)
    return count


def _sendall(self: socket.socket, data: Any, flags: int = 0) -> None:
    blocking = _blocking(self)
    if blocking is None:
        view = memoryview(data).cast("B")
        if here() is None:
            real.Socket.sendall(self, view, flags)
            return
        while view:
            view = view[self.send(view, flags) :]
        return
    world, party, until = blocking
    with memoryview(data).cast("B") as view:
        done = 0
        while done < len(view):
            wait_for(world, party, self, _WRITE, until)
            try:
                count = int(real.Socket.send(self, view[done:], flags | _DONTWAIT))
            except BlockingIOError:
                continue
            world.traffic.wrote(self, view[done:], count)
            done += count


def _accept(self: socket.socket) -> Any:
    blocking = _blocking(self)
    if blocking is not None:
        wait_for(blocking[0], blocking[1], self, _READ, blocking[2])
    fd, address = real.Socket._accept(self)
    both = here()
    if both is not None:
        # A view on the new socket that leaves the descriptor alone.
        view = real.Socket(self.family, self.type, self.proto, fileno=fd)
        both[0].traffic.connected(view)
        view.detach()
    return fd, address


def _connect(self: socket.socket, address: Any) -> None:
    number = _connect_ex(self, address, raising=True)
    if number in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        raise BlockingIOError(number, os.strerror(number))
    if number:
        raise OSError(number, os.strerror(number))


def _connect_ex(self: socket.socket, address: Any, *, raising: bool = False) -> int:
    both = here()
    if both is None:
        if raising:
            real.Socket.connect(self, address)
            return 0
        return int(real.Socket.connect_ex(self, address))
    traffic = both[0].traffic
    traffic.dials(self, address)
    blocking = _blocking(self)
    timeout = self.gettimeout()
    if blocking is not None:
        self.settimeout(0)
    try:
        number = int(real.Socket.connect_ex(self, address))
    finally:
        if blocking is not None:
            self.settimeout(timeout)
    if number in _IN_PROGRESS and blocking is not None:
        try:
            wait_for(blocking[0], blocking[1], self, _WRITE, blocking[2])
        except TimeoutError:
            if raising:
                raise
            return errno.EWOULDBLOCK
        number = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number == 0:
        traffic.connected(self)
    elif number not in _IN_PROGRESS:
        traffic.detached(self.fileno())
    return number


def _listen(self: socket.socket, *args: int) -> None:
    real.Socket.listen(self, *args)
    both = here()
    if both is not None:
        both[0].traffic.listens(self)


def _shutdown(self: socket.socket, how: int) -> None:
    both = here()
    if both is not None and how != socket.SHUT_RD:
        both[0].traffic.closes(self.fileno(), whole=False)
    real.Socket.shutdown(self, how)


def _close(self: socket.socket) -> None:
    both = here()
    if both is not None:
        both[0].traffic.closes(self.fileno())
    real.Socket.close(self)


def _detach(self: socket.socket) -> int:
    both = here()
    if both is not None:
        both[0].traffic.detached(self.fileno())
    return int(real.Socket.detach(self))


SOCKET: Final[dict[str, Callable[..., Any]]] = {
    "recv": _reader("recv", 1, lambda data, *_: (data, len(data))),
    "recvfrom": _reader("recvfrom", 1, lambda result, *_: (result[0], len(result[0]))),
    "recvmsg": _reader("recvmsg", 2, lambda result, *_: (result[0], len(result[0]))),
    "recv_into": _reader("recv_into", 2, lambda count, buffer, *_: (buffer, count)),
    "recvfrom_into": _reader("recvfrom_into", 2, lambda result, buffer, *_: (buffer, result[0])),
    "send": _send,
    "sendall": _sendall,
    "sendto": _sendto,
    "sendmsg": _sendmsg,
    "_accept": _accept,
    "connect": _connect,
    "connect_ex": _connect_ex,
    "listen": _listen,
    "shutdown": _shutdown,
    "_real_close": lambda self, _ss=None: _close(self),
    "detach": _detach,
}


def _tls(original: Callable[..., Any]) -> Callable[..., Any]:
    """A method of SSLSocket that may block, tried without blocking until it need not wait."""

    def stand(self: Any, *args: Any, **options: Any) -> Any:
        import ssl

        blocking = _blocking(self)
        if blocking is None or self.fileno() < 0:
            return original(self, *args, **options)
        world, party, until = blocking
        timeout = self.gettimeout()
        while True:
            self.settimeout(0)
            try:
                return original(self, *args, **options)
            except ssl.SSLWantReadError:
                events = _READ
            except ssl.SSLWantWriteError:
                events = _WRITE
            finally:
                if self.fileno() >= 0:
                    self.settimeout(timeout)
            try:
                wait_for(world, party, self, events, until)
            except TimeoutError:
                raise TimeoutError("The operation timed out") from None

    return stand


TLS: Final[dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = {
    "read": _tls,
    "write": _tls,
    "send": _tls,
    "do_handshake": _tls,
    "unwrap": _tls,
}
