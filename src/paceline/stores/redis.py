"""A store in a Redis or Valkey server: one hash a scope, one script a call, standalone, Sentinel or Cluster.

The script stamps with the server's clock and keeps each entry in order; the logic is in the processes (see
`replica`). Commands it needs: EVALSHA, EVAL, TIME, INFO, HMGET, HGET, HSET, HDEL, DEL, PEXPIRE, SET, GET, and for
people's overviews SCAN; keys begin with `paceline:`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
import weakref
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
import redis.exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from ..errors import InputError
from . import plain_name
from .protocol import Entry, Message, Reply, Store, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RedisStore"]

_TIMEOUT: Final = 1.0
_SCRIPT: Final = files(__package__).joinpath("redis_log.lua").read_text("utf-8")
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_PREFIX: Final = "paceline:{"
_KEY: Final = "paceline:key"
_RIGHT: Final = (
    "write redis://host:6379/0, rediss://…, valkey://…, unix:///path/to/socket, "
    "redis+sentinel://host:26379,host2:26379/mymaster/0 or redis+cluster://host:7000,host2:7001"
)
_FAULTS: Final = (redis.exceptions.RedisError, OSError, TimeoutError, asyncio.TimeoutError)


class RedisStore(Store):
    """See the module. url: as `open_store` takes it; `?timeout=S` bounds each wait for the server (1 s).

    Raises InputError for a URL that cannot be read.
    """

    def __init__(self, url: str) -> None:
        self.name = plain_name(url)
        try:
            self._parts = urlsplit(url)
            query = {name: values[-1] for name, values in parse_qs(self._parts.query).items()}
            self._timeout = float(query.pop("timeout", _TIMEOUT))
            if not 0 < self._timeout < 3600:
                raise ValueError("timeout must be a number of seconds above 0")
            self._hosts = [_host(place) for place in self._parts.netloc.rpartition("@")[2].split(",") if place]
        except ValueError as error:
            raise InputError(f"cannot read the store {self.name}: {error}; {_RIGHT}") from None
        self._query = query
        self._kind = self._parts.scheme.lower()
        if self._kind != "unix" and not self._hosts:
            raise InputError(f"the store {self.name!r} names no host; {_RIGHT}")
        if self._kind == "redis+sentinel" and not self._parts.path.strip("/"):
            raise InputError(f"the store {self.name!r} names no master behind the hosts; {_RIGHT}")
        self._lock = threading.Lock()
        self._client: Any = None
        self._pid = 0
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<RedisStore {self.name}>"

    # ---- clients --------------------------------------------------------------------------------

    def _settings(self, retry: Any) -> dict[str, Any]:
        user, password = (None if part is None else unquote(part) for part in (self._parts.username, self._parts.password))
        settings: dict[str, Any] = {
            "username": user or None, "password": password, "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout, "retry": retry(NoBackoff(), 0),
        }  # fmt: skip
        if self._kind in ("rediss", "valkeys") or self._query.get("tls") in ("1", "true"):
            settings["ssl"] = True
            if "ssl_ca_certs" in self._query:
                settings["ssl_ca_certs"] = self._query["ssl_ca_certs"]
        return settings

    def _make(self, module: Any, retry: Any, sentinel: Any, cluster: Any, node: Any) -> Any:
        settings = self._settings(retry)
        if self._kind == "redis+cluster":
            # Redirections are followed by the client; all else is ours to repeat.
            nodes = [node(host, port) for host, port in self._hosts]
            settings.pop("retry")
            return cluster(startup_nodes=nodes, **settings)
        path = [part for part in self._parts.path.split("/") if part]
        if self._kind == "redis+sentinel":
            database = int(path[1]) if len(path) > 1 else 0
            # A sentinel that does not answer is passed over at once: the next one knows as much.
            asking = {name: settings[name] for name in ("socket_timeout", "socket_connect_timeout")}
            finder = sentinel(self._hosts, sentinel_kwargs={**asking, "retry": retry(NoBackoff(), 0)})
            return finder.master_for(path[0], db=database, **settings)
        if self._kind == "unix":
            settings.pop("socket_connect_timeout")
            return module.Redis(
                unix_socket_path=unquote(self._parts.path), db=int(self._query.get("db", 0)), **settings
            )
        host, port = self._hosts[0]
        return module.Redis(host=host, port=port, db=int(path[0]) if path else 0, **settings)

    def _sync(self) -> Any:
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client = self._make(redis, Retry, Sentinel, redis.cluster.RedisCluster, redis.cluster.ClusterNode)
                self._pid = os.getpid()
            return self._client

    def _of_loop(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._async.get(loop)
        if client is None:
            client = self._make(
                redis.asyncio, AsyncRetry, AsyncSentinel, redis.asyncio.cluster.RedisCluster,
                redis.asyncio.cluster.ClusterNode,
            )  # fmt: skip
            self._async[loop] = client
        return client

    # ---- calls ----------------------------------------------------------------------------------

    def call(self, scope: str, message: Message) -> Reply:
        try:
            client = self._sync()
            arguments = _arguments(scope, message)
            try:
                answer = client.execute_command("EVALSHA", _SHA, 1, *arguments)
            except redis.exceptions.NoScriptError:
                answer = client.execute_command("EVAL", _SCRIPT, 1, *arguments)
        except _FAULTS as error:
            raise self._unavailable(error) from None
        return _reply(answer)

    async def acall(self, scope: str, message: Message) -> Reply:
        try:
            client = self._of_loop()
            arguments = _arguments(scope, message)
            async with asyncio.timeout(4 * self._timeout):
                try:
                    answer = await client.execute_command("EVALSHA", _SHA, 1, *arguments)
                except redis.exceptions.NoScriptError:
                    answer = await client.execute_command("EVAL", _SCRIPT, 1, *arguments)
        except _FAULTS as error:
            raise self._unavailable(error) from None
        return _reply(answer)

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        why = str(error) or type(error).__name__
        password = self._parts.password
        if password:
            why = why.replace(unquote(password), "…").replace(password, "…")
        return StoreUnavailable(self.name, why[:300])

    # ---- for people -----------------------------------------------------------------------------

    def scopes(self) -> list[str]:
        try:
            found = {_text(key) for key in self._sync().scan_iter(match="paceline:{*}", count=1000)}
        except _FAULTS as error:
            raise self._unavailable(error) from None
        return sorted(key[len(_PREFIX) : -1] for key in found)

    def forget(self, scope: str) -> bool:
        try:
            return bool(self._sync().delete(_key(scope)))
        except _FAULTS as error:
            raise self._unavailable(error) from None

    def key(self) -> bytes:
        try:
            client = self._sync()
            client.set(_KEY, secrets.token_hex(16), nx=True, ex=400 * 86400)
            return bytes.fromhex(_text(client.get(_KEY)))
        except _FAULTS as error:
            raise self._unavailable(error) from None

    def close(self) -> None:
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.close()
                for sentinel in _sentinels(self._client):
                    sentinel.close()
            self._client = None

    async def aclose(self) -> None:
        client = self._async.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
            for sentinel in _sentinels(client):
                await sentinel.aclose()


def _sentinels(client: Any) -> Sequence[Any]:
    """The clients that ask sentinels for the master; closing the master's client leaves them open."""
    finder = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return () if finder is None else finder.sentinels


def _host(place: str) -> tuple[str, int]:
    parts = urlsplit("//" + place)
    if not parts.hostname:
        raise ValueError(f"there is no host in {place!r}")
    return parts.hostname, parts.port or 6379


def _key(scope: str) -> str:
    # The hash tag: all that a scope ever gets lies in one slot of a cluster. A brace would end it.
    return _PREFIX + scope.replace("}", ")") + "}"


def _arguments(scope: str, message: Message) -> list[str | int]:
    verb = "found" if message.found else "say" if message.text is not None else "look"
    return [
        _key(scope), verb, message.log, message.since, message.worker, message.found or message.seq, message.text or "",
        message.snapshot or "", message.snapshot_at, int(message.keep * 1000), message.base, *message.gone,
    ]  # fmt: skip


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _reply(answer: Sequence[Any]) -> Reply:
    kind, clock, *rest = (_text(each) for each in answer)
    if kind == "none":
        return Reply("none", int(clock))
    log, base, last, moved, snapshot, snapshot_at, first, *entries = rest
    read = []
    for index, entry in enumerate(entries, int(first)):
        stamp, _, text = entry.partition(" ")
        read.append(Entry(index, int(stamp) / 1e6, text))
    return Reply(
        kind, int(clock), log, int(base), int(last), moved == "1",  # type: ignore[arg-type]
        snapshot or None, int(snapshot_at), tuple(read),
    )  # fmt: skip
