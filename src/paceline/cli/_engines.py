"""Who sends in `paceline fetch --engine`, and which store is shared by all of them."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from ..errors import InputError
from ..stores import DEFAULT_STORE, plain_name

if TYPE_CHECKING:
    from ..jobs.spread import Crew

__all__ = ["crew_of", "shared_store"]

_RIGHT: Final = "write --engine dask, or --engine dask=tcp://HOST:8786"
_PROTOCOLS: Final = frozenset({"tcp", "tls", "ucx", "ws", "wss"})


def crew_of(engine: str) -> Crew:
    """The workers that --engine names. Raises InputError, or MissingExtra where their library is not installed."""
    from ..jobs.dask_crew import DaskCrew

    crew = DaskCrew(_address(engine))
    crew.check()
    return crew


def shared_store(engine: str, store: str, *, given: bool) -> str:
    """The store's URL as every worker can use it; raises InputError for one that they do not share.

    given: whether it was asked for; else the file in the user's state folder is taken, and that is said.

    >>> shared_store("dask", "sqlite:////var/lib/scopes.db", given=True)
    'sqlite:////var/lib/scopes.db'
    >>> shared_store("dask=tcp://scheduler.example.com:8786", "sqlite:", given=True)
    Traceback (most recent call last):
    ...
    paceline.errors.InputError: the workers of tcp://scheduler.example.com:8786 may be on other machines, which cannot \
share sqlite:: name a Redis or Valkey server that all reach, like --store redis://db.example.com:6379/0
    """
    address = _address(engine)
    here = address is None or _is_loopback(urlsplit(address).hostname)
    scheme = store.partition(":")[0].lower()
    if scheme == "memory" and here and not given:
        print("paceline: the workers share their limits in the file of --store sqlite:", file=sys.stderr)
        return DEFAULT_STORE
    if scheme == "memory" and here:
        raise InputError("memory: is one process's own, and the workers are several: name a store that they share, like --store sqlite:")
    if not here and (scheme in ("memory", "sqlite", "unix") or _hosts_here(store)):
        raise InputError(
            f"the workers of {address} may be on other machines, which cannot share {plain_name(store)}: name a Redis or "
            "Valkey server that all reach, like --store redis://db.example.com:6379/0"
        )
    if scheme == "sqlite" and store.startswith("sqlite:///"):
        # Workers may have been started in another folder.
        return "sqlite:///" + str(Path(unquote(store[len("sqlite:///") :])).absolute())
    return store


def _address(engine: str) -> str | None:
    name, equals, address = engine.partition("=")
    if name != "dask":
        raise InputError(f"there is no engine {name!r}; {_RIGHT}")
    if not equals:
        return None
    try:
        parts = urlsplit(address)
        usable = parts.scheme in _PROTOCOLS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"--engine {engine!r} names no scheduler's address; {_RIGHT}")
    return address


def _is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts_here(store: str) -> bool:
    """Whether a store's URL names this very machine."""
    try:
        places = urlsplit(store).netloc.rpartition("@")[2].split(",")
        return any(_is_loopback(urlsplit(f"//{place}").hostname) for place in places if place)
    except ValueError:
        return False
