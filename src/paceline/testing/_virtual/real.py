"""The originals of everything that has a stand-in: virtual time itself must see the real world."""

from __future__ import annotations

import _thread
import datetime
import queue
import select
import selectors
import socket
import threading
import time
from typing import Any, Final

__all__: list[str] = []

# Bound when this module is imported, which is before anything was ever swapped; `swap` leaves this module alone.
time_ns = time.time_ns
monotonic = time.monotonic
monotonic_ns = time.monotonic_ns
clock_gettime_ns = time.clock_gettime_ns
localtime = time.localtime
sleep = time.sleep
allocate_lock = _thread.allocate_lock
start_new_thread = _thread.start_new_thread
RLock: Any = _thread.RLock
select_ = select.select
poll = select.poll
epoll: Any = getattr(select, "epoll", None)
SimpleQueue = queue.SimpleQueue
datetime_ = datetime.datetime
date_ = datetime.date
join = threading.Thread.join
Socket: Any = socket.socket.__mro__[1]  # the C class below socket.socket
SELECTS: Final[dict[type, Any]] = {
    kind: kind.__dict__["select"]
    for name in ("SelectSelector", "PollSelector", "EpollSelector", "DevpollSelector", "KqueueSelector")
    if (kind := getattr(selectors, name, None)) is not None and "select" in kind.__dict__
}
