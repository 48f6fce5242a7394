"""A connection pool for httpx that many may use at once: each idle connection is given to one request.

httpcore 1.0 looks at every connection once for each of them whenever a request comes or goes, and gives an idle
connection to every request that waits, of which one gets it and the others look again: at 50 requests at once that is
most of what a request costs (`_assign_requests_to_connections`). httpcore2 has mended both, and so does this. With
either, one call after another has one connection to look at, and that is found without a look at all others.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Final

__all__ = ["share_out"]

_ASSIGNING: Final = {"httpcore": "1.0.", "httpcore2": "2."}  # versions whose pools are known


def share_out(transport: Any) -> None:
    """Mends the pool of a transport that httpx has just made, where it is one of those meant."""
    pool = getattr(transport, "_pool", None)
    kind: Any = type(pool)
    package = kind.__module__.partition(".")[0]
    known = _ASSIGNING.get(package)
    if known is None or kind.__name__ not in ("AsyncConnectionPool", "ConnectionPool") or getattr(pool, "_http2", True):
        return
    if getattr(sys.modules.get(package), "__version__", "").startswith(known):
        pool.__class__ = _mended(kind)


@functools.cache
def _mended(kind: Any) -> Any:
    anew = kind.__module__.startswith("httpcore.")
    others = _assign if anew else kind._assign_requests_to_connections

    def assign(self: Any) -> list[Any]:
        connections, requests = self._connections, self._requests
        if len(connections) == 1 and len(requests) <= 1 and self._max_keepalive_connections > 0:
            # One call after another: the connection at hand is the only one to look at.
            only = connections[0]
            if not requests:
                if not only.is_closed() and not only.has_expired() and only.is_available():
                    return []
            elif (
                requests[0].is_queued()
                and not only.is_closed()
                and not only.has_expired()
                and only.is_available()
                and only.can_handle_request(requests[0].request.url.origin)
            ):
                requests[0].assign_to_connection(only)
                return []
        return others(self)

    return type(kind.__name__, (kind,), {"_assign_requests_to_connections": assign})


def _assign(self: Any) -> list[Any]:
    """As of httpcore: gives those who wait a connection; returns connections that are to be closed."""
    closing: list[Any] = []
    kept: list[Any] = []
    # What a request was given is its own, although it is idle until the request's task runs.
    taken = {request.connection for request in self._requests}
    spare = 0
    for connection in self._connections:
        if connection.is_closed():
            continue
        if connection in taken:
            kept.append(connection)
        elif connection.has_expired() or (connection.is_idle() and (spare := spare + 1) > self._max_keepalive_connections):
            closing.append(connection)
        else:
            kept.append(connection)
    self._connections = kept
    free = [each for each in kept if each not in taken and each.is_available()]
    room = self._max_connections - len(kept)
    for request in self._requests:
        if not free and room <= 0:
            break
        if not request.is_queued():
            continue
        origin = request.request.url.origin
        found = next((each for each in free if each.can_handle_request(origin)), None)
        if found is not None:
            free.remove(found)
        else:
            if room > 0:
                room -= 1
            else:
                # All that may be open are: one of another origin makes way.
                idle = next((each for each in free if each.is_idle()), None)
                if idle is None:
                    continue
                free.remove(idle)
                kept.remove(idle)
                closing.append(idle)
            found = self.create_connection(origin)
            kept.append(found)
        request.assign_to_connection(found)
    return closing
