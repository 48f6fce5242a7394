"""A policy's `refresh` hook as clients use it: a refused token is renewed once, and takes the old one's place."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final

from .credentials import AsyncCredential, Credential
from .errors import InputError
from .stores.trio_gate import running_trio

if TYPE_CHECKING:
    from .policy import Policy

__all__ = ["AsyncRenewal", "Renewal"]

_HEADER: Final = "Authorization"
_MOST: Final = 1000


class _Renewal:
    """What both kinds share: the headers that were refused, and what takes their place.

    Only a request that carries an Authorization header gets the new one: where a redirect to another host has dropped
    it, the new one is not sent either.
    """

    def __init__(self, policy: Policy) -> None:
        self._refresh: Any = policy.refresh
        self._stale: dict[str, None] = {}
        self._fresh: str | None = None

    def apply(self, headers: Any) -> None:
        """Puts the token that is good now in the place of one that was refused."""
        if self._fresh is not None:
            given = headers.get(_HEADER)
            if given is not None and _text(given) in self._stale:
                headers[_HEADER] = self._fresh

    def _version(self, headers: Any, held: int) -> int | None:
        """The version of the token that a refused request carried: 0, the first, unless it is a newer one."""
        given = headers.get(_HEADER)
        if given is None:
            return None
        return held if _text(given) == self._fresh else 0

    def _took(self, headers: Any, token: str) -> bool:
        stale = _text(headers[_HEADER])
        self._fresh = token if " " in token else f"Bearer {token}"
        if stale != self._fresh:
            if len(self._stale) >= _MOST:
                del self._stale[next(iter(self._stale))]
            self._stale[stale] = None
        headers[_HEADER] = self._fresh
        return True


class Renewal(_Renewal):
    """For threads."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._credential: Credential[str] = Credential(self._ask, "", emit=policy.events)

    def _ask(self) -> str:
        return _checked(self._refresh())

    def renew(self, headers: Any) -> bool:
        """After a 401: whether these headers carry a fresher token now. Raises whatever the hook raises."""
        version = self._version(headers, self._credential.get().version)
        if version is None or not self._credential.renew(version):
            return False
        return self._took(headers, self._credential.get().value)


class AsyncRenewal(_Renewal):
    """For tasks; a hook that is no coroutine function runs in a thread."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._events = policy.events
        self._credentials: dict[Any, AsyncCredential[str]] = {}
        self._turns: Any = None

    async def _ask(self) -> str:
        if inspect.iscoroutinefunction(self._refresh):
            return _checked(await self._refresh())
        value = await asyncio.to_thread(self._refresh)
        return _checked(await value if inspect.isawaitable(value) else value)

    async def renew(self, headers: Any) -> bool:
        """After a 401: whether these headers carry a fresher token now. Raises whatever the hook raises."""
        if running_trio() is not None:
            return await self._renew_in_trio(headers)
        loop = asyncio.get_running_loop()
        credential = self._credentials.get(loop)
        if credential is None:
            self._credentials = {each: kept for each, kept in self._credentials.items() if not each.is_closed()}
            credential = self._credentials[loop] = AsyncCredential(self._ask, "", emit=self._events)
        version = self._version(headers, (await credential.get()).version)
        if version is None or not await credential.renew(version):
            return False
        return self._took(headers, (await credential.get()).value)


    async def _renew_in_trio(self, headers: Any) -> bool:
        """Under trio those who wait take turns, and the first of them asks."""
        trio: Any = running_trio()
        if self._turns is None:
            self._turns = trio.Lock()
        refused = headers.get(_HEADER)
        async with self._turns:
            self.apply(headers)
            if refused is None or headers.get(_HEADER) != refused:
                return refused is not None
            if self._fresh == _text(refused):
                return False  # refused right after it was given: it will not get better
            if inspect.iscoroutinefunction(self._refresh):
                value = await self._refresh()
            else:
                value = await trio.to_thread.run_sync(self._refresh)
            return self._took(headers, _checked(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value, "latin-1")


def _checked(value: Any) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        raise InputError("the policy's refresh gave no token: it must return text of printable ASCII characters")
    return value
