"""Where the state of scopes lives: in this process, in a SQLite file, or in a Redis or Valkey server."""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from ..errors import InputError, MissingExtra

if TYPE_CHECKING:
    from .protocol import Store

__all__ = ["DEFAULT_STORE", "STORES", "default_store", "in_full", "open_store", "plain_name"]

# What begins a store's URL, and where it is made: module, function or class, what it is given.
STORES: Final = {
    "memory": "",
    "sqlite": "paceline.stores.sqlite:SQLiteStore",
    "redis": "paceline.stores.redis:RedisStore",
    "rediss": "paceline.stores.redis:RedisStore",
    "valkey": "paceline.stores.redis:RedisStore",
    "valkeys": "paceline.stores.redis:RedisStore",
    "unix": "paceline.stores.redis:RedisStore",
    "redis+sentinel": "paceline.stores.redis:RedisStore",
    "redis+cluster": "paceline.stores.redis:RedisStore",
}
# Where the command line looks for scopes that no store is named for: the file of `default_store`.
DEFAULT_STORE: Final = "sqlite:"
_RIGHT: Final = "write memory:, sqlite:///path/to/file.db, redis://host:6379/0, redis+sentinel:// or redis+cluster://"

_opened: dict[str, Store] = {}
_lock = threading.Lock()


def open_store(url: str) -> Store | None:
    """The store that a URL names, one object a process; None for `memory:`, which needs none.

    Raises InputError for a URL that names none, MissingExtra where its packages are not installed.

    >>> open_store("memory:") is None
    True
    >>> open_store("mysql://db.example.com")
    Traceback (most recent call last):
    ...
    paceline.errors.InputError: there is no store 'mysql://db.example.com': write memory:, \
sqlite:///path/to/file.db, redis://host:6379/0, redis+sentinel:// or redis+cluster://
    """
    scheme = url.partition(":")[0].lower() if isinstance(url, str) else ""
    if scheme not in STORES:
        raise InputError(f"there is no store {plain_name(str(url))!r}: {_RIGHT}")
    if scheme == "memory":
        return None
    with _lock:
        store = _opened.get(url)
        if store is None:
            module, _, attribute = STORES[scheme].partition(":")
            if scheme == "sqlite":
                path = unquote(url.partition(":")[2])
                if not path.startswith("///") or len(path) < 4:
                    raise InputError(f"the store {url!r} names no file: write sqlite:///relative.db or sqlite:////absolute.db")
                argument: Any = path[3:]
            else:
                argument = url
            try:
                made = getattr(import_module(module), attribute)
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] != "redis":
                    raise
                raise MissingExtra("redis", "redis") from None
            store = _opened[url] = made(argument)
        return store


def plain_name(url: str) -> str:
    """A store's URL without its credentials.

    >>> plain_name("redis://user:secret@db.example.com:6379/0?password=secret")
    'redis://db.example.com:6379/0'
    """
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition(":")[0] + ":…"
    if not parts.scheme or not (place or parts.path):
        return url.partition("?")[0][:80]
    return f"{parts.scheme}://{place}{parts.path}"


def in_full(url: str) -> str:
    """A store's URL with `sqlite:` alone spelled out as this user's own file; others as they are.

    >>> in_full("sqlite:///scopes.db")
    'sqlite:///scopes.db'
    """
    return default_store() if url == DEFAULT_STORE else url


def default_store(environ: Any = os.environ) -> str:
    """The URL of this user's own store: a SQLite file in the user's state folder, which is made (mode 0700).

    `$XDG_STATE_HOME/paceline`, else `~/.local/state/paceline` (XDG Base Directory Specification), on macOS
    `~/Library/Application Support/paceline`. Raises InputError where it cannot be used.
    """
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif environ.get("XDG_STATE_HOME", "").startswith("/"):
        base = Path(environ["XDG_STATE_HOME"])
    else:
        base = Path.home() / ".local" / "state"
    folder = base / "paceline"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the state folder {folder}: {error.strerror or error}") from None
    return f"sqlite:///{folder / 'scopes.db'}"
