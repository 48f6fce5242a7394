"""What is on its way between the sockets of a block, and whom it waits for in the world outside."""

from __future__ import annotations

import array
import fcntl
import select
import socket
import stat
import termios
from contextlib import suppress
from os import fstat, listdir, readlink
from typing import TYPE_CHECKING, Any, Final

from . import real
from .requests import Requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .world import Party

__all__ = ["End", "Traffic"]

_SILENCE: Final = 1.0  # an answer in a protocol that cannot be read is over after so many real seconds of silence
_LOOK_AGAIN: Final = 0.05
_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0)


class End:
    """One end of a connection: what this process wrote to it and read from it."""

    __slots__ = ("asked", "counted", "fd", "got", "hung_up", "key", "outside", "sent", "spoke", "told")

    def __init__(self, fd: int, key: tuple[Any, Any], outside: bool, counted: bool) -> None:
        self.fd = fd
        self.key = key  # its own address, the other's
        self.outside = outside
        self.counted = counted  # all its bytes pass through a stand-in; those of TLS in a thread do not
        self.sent = self.got = 0
        self.hung_up = False  # the other end was closed; nobody has seen it yet
        self.told: tuple[int, int, bool] | None = None  # the state of the connection that was found to stand still
        self.asked = Requests() if outside else None
        self.spoke = 0.0  # real moment of the last bytes read

    def in_flight(self) -> bool:
        """Whether an answer of a server outside has still to come, or the rest of one."""
        if self.asked is None:
            return False
        if self.asked.readable:
            return self.asked.open > 0
        return self.sent > 0 and (self.spoke == 0.0 or real.monotonic() - self.spoke < _SILENCE)


class Traffic:
    """All connections of the block."""

    def __init__(self) -> None:
        self._ends: dict[int, End] = {}  # by descriptor
        self._by_key: dict[tuple[Any, Any], End] = {}
        self._dialing: dict[int, bool] = {}  # connections that are being opened; whether to a server outside
        self._ports: set[int] = set()
        self._paths: set[Any] = set()

    # ---- what the stand-ins of sockets tell --------------------------------------------------------------

    def listens(self, sock: socket.socket) -> None:
        """That socket takes connections, in a thread of the block."""
        with suppress(OSError):
            address = sock.getsockname()
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                self._ports.add(address[1])
            else:
                self._paths.add(address)

    def dials(self, sock: socket.socket, address: Any) -> None:
        """That socket begins to open a connection."""
        fd = sock.fileno()
        self._forget(fd)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            self._dialing[fd] = address[1] not in self._ports
        else:
            self._dialing[fd] = address not in self._paths

    def connected(self, sock: socket.socket) -> None:
        """That socket was connected: a connection begins."""
        self._forget(sock.fileno())
        self.end_of(sock)

    def end_of(self, sock: socket.socket) -> End | None:
        """What is known of a socket's connection; None for what has no other end."""
        fd = sock.fileno()
        end = self._ends.get(fd)
        if end is None and fd >= 0:
            try:
                own = sock.getsockname()
                other = sock.getpeername()
            except OSError:
                return None
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                key = (own[:2], other[:2])
                outside = other[1] not in self._ports and own[1] not in self._ports
            else:
                if not own and not other:
                    return None  # a pair; what is written to it is there at once
                key = (own or fd, other or fd)
                outside = bool(other) and other not in self._paths and own not in self._paths
            counted = not hasattr(sock, "_sslobj")
            end = self._ends[fd] = self._by_key[key] = End(fd, key, outside, counted)
        return end

    def wrote(self, sock: socket.socket, data: Any, count: int) -> None:
        """So many bytes of that data went into the socket."""
        end = self.end_of(sock)
        if end is not None:
            end.sent += count
            if end.asked is not None:
                end.asked.wrote(bytes(memoryview(data).cast("B")[:count]))

    def read(self, sock: socket.socket, data: Any, count: int) -> None:
        """So many bytes came out of the socket; data: they are its first ones."""
        end = self.end_of(sock)
        if end is not None:
            end.got += count
            if end.asked is not None:
                end.spoke = real.monotonic()
                end.asked.read(bytes(memoryview(data).cast("B")[:count]))

    def closes(self, fd: int, *, whole: bool = True) -> None:
        """That descriptor is about to be closed (whole False: only for writing)."""
        end = self._ends.get(fd)
        if end is None:
            return
        other = self._by_key.get((end.key[1], end.key[0]))
        if other is not None and other is not end:
            other.hung_up = True
        if whole:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        self._dialing.pop(fd, None)
        end = self._ends.pop(fd, None)
        if end is not None and self._by_key.get(end.key) is end:
            del self._by_key[end.key]

    def detached(self, fd: int) -> None:
        """What is read and written there is not seen from now on (TLS of threads)."""
        self._forget(fd)

    # ---- what the rule asks -------------------------------------------------------------------------------

    def in_transit(self) -> bool:
        """Whether bytes, or the news of an end, have left one socket of the block and are not yet at the other."""
        for fd, outside in list(self._dialing.items()):
            if self._dialled(fd):
                del self._dialing[fd]
            elif not outside:
                return True
        return any(
            (state := self._moving(end)) is not None and state != end.told for end in list(self._ends.values())
        )

    def excuse(self) -> None:
        """What is in transit now has not moved for long: it waits for a reader, and holds nobody up until it moves."""
        for end in list(self._ends.values()):
            end.told = self._moving(end)

    def _moving(self, end: End) -> tuple[int, int, bool] | None:
        """What is on its way to this end from the other; None if nothing is."""
        other = self._by_key.get((end.key[1], end.key[0]))
        if other is end or (other is None and not end.hung_up):
            return None
        if not end.counted or (other is not None and not other.counted):
            return None
        sent = end.got if other is None else other.sent
        under_way = sent - end.got
        if under_way > 0:
            waits = array.array("i", [0])
            try:
                fcntl.ioctl(end.fd, termios.FIONREAD, waits)
            except OSError:
                return None
            under_way -= waits[0]
        if end.hung_up:
            poller = real.poll()
            poller.register(end.fd, select.POLLIN | _HUNG_UP)
            end.hung_up = not poller.poll(0)
        if under_way > 0 or end.hung_up:
            return (sent, end.got, end.hung_up)
        return None

    def real_world(self, waiting: Iterable[Party]) -> float | None:
        """Whether somebody waits for a server outside: real seconds after which to look again, None if nobody does."""
        for party in waiting:
            for fd, _ in party.fds:
                if party.watch is None and self._is_outside(fd):
                    return _LOOK_AGAIN
            if party.watch is not None:
                for fd in party.watch():
                    end = self._ends.get(fd)
                    if self._dialing.get(fd) or (end is not None and end.outside and end.in_flight()):
                        return _LOOK_AGAIN
                    if end is None and _from_another_process(fd):
                        return _LOOK_AGAIN
        return None

    @staticmethod
    def _dialled(fd: int) -> bool:
        """Whether a connection stands, or has failed, or was given up."""
        poller = real.poll()
        poller.register(fd, select.POLLOUT)
        return bool(poller.poll(0))

    def _is_outside(self, fd: int) -> bool:
        if self._dialing.get(fd):
            return True
        end = self._ends.get(fd)
        return end is not None and end.outside


def _from_another_process(fd: int) -> bool:
    """Whether another process is behind a descriptor: a pipe whose other end is not here, or a child's end to come."""
    try:
        what = fstat(fd)
        if not stat.S_ISFIFO(what.st_mode):
            return "pidfd" in readlink(f"/proc/self/fd/{fd}")
        same = 0
        for name in listdir("/proc/self/fd"):
            with suppress(OSError):
                same += fstat(int(name)).st_ino == what.st_ino
    except OSError:
        return False
    return same == 1
