"""The pages of a list through any client: `pages` for functions, `apages` for coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import InputError
from ._value import Paging, read_paging
from ._walk import Walk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

__all__ = ["apages", "pages"]

Response = TypeVar("Response")


def pages(
    get: Callable[[str], Response], url: str, paginate: Paging | str = "link"
) -> Generator[Response, None, None]:
    """The responses of a list, page by page, in order; a list that breaks off is an error, never a shorter list.

    get: fetches a URL, like `session.get` of requests or httpx; headers and the like go in with `functools.partial`.
    url: the first page. paginate: as in `paceline.fetch`.

    A first page with a status of 300 or more is given out, and is all. Raises PageError after the pages before it,
    InputError for a pagination that cannot be used, and whatever `get` raises.

    >>> from types import SimpleNamespace
    >>> def get(url):
    ...     number = int(url[-1])
    ...     link = {"Link": f'</items?page={number + 1}>; rel="next"'} if number < 3 else {}
    ...     return SimpleNamespace(url=url, status_code=200, headers=link, content=b"[%d]" % number)
    >>> [page.content for page in pages(get, "https://api.example.com/items?page=1")]
    [b'[1]', b'[2]', b'[3]']
    """
    walk = _walk(url, paginate)
    return _pages(get, walk)


def apages(
    get: Callable[[str], Awaitable[Response]], url: str, paginate: Paging | str = "link"
) -> AsyncGenerator[Response, None]:
    """The same as `pages`, for a `get` that is awaited: httpx.AsyncClient's, or aiohttp's, whose body is then read.

    >>> import asyncio
    >>> from types import SimpleNamespace
    >>> async def get(url):
    ...     return SimpleNamespace(url=url, status_code=200, headers={}, content=b"[]")
    >>> async def main():
    ...     return [page.status_code async for page in apages(get, "https://api.example.com/items")]
    >>> asyncio.run(main())
    [200]
    """
    walk = _walk(url, paginate)
    return _apages(get, walk)


def _pages(get: Callable[[str], Response], walk: Walk) -> Generator[Response, None, None]:
    more = True
    while more:
        response = get(walk.ask.url)
        more = walk.turn(*_told(response, cast("Any", response).content))
        yield response


async def _apages(get: Callable[[str], Awaitable[Response]], walk: Walk) -> AsyncGenerator[Response, None]:
    more = True
    while more:
        response = await get(walk.ask.url)
        facts: Any = response
        # httpx has read the body by now; aiohttp's `content` is a stream, and `read` keeps what it reads.
        body = facts.content if isinstance(facts.content, bytes) else await facts.read()
        more = walk.turn(*_told(response, body))
        yield response


def _told(response: Any, body: bytes) -> tuple[int, Any, bytes, str]:
    status = response.status_code if hasattr(response, "status_code") else response.status
    return status, response.headers, body, str(response.url)


def _walk(url: str, paginate: Paging | str) -> Walk:
    paging = read_paging(paginate)
    if paging is None:
        raise InputError("paginate is None; write it like paginate='link'")
    if paging.field.startswith("json:"):
        raise InputError(f"{paging.field} goes into a request's body, and there is none here; use paceline.fetch for it")
    return Walk(paging, url)
