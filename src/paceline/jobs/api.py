"""`paceline.fetch` and `paceline.afetch`: the batch job as an iterator of records, for use inside a program."""

from __future__ import annotations

import json
import math
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ..errors import InputError
from ..limits import Limit
from ..paging import read_paging
from ..policy import Policy

if TYPE_CHECKING:
    from ..paging import Paging
    from .flow import Ended, Flow, Plan, Taken, Window

__all__ = ["Record", "afetch", "fetch"]

Item = TypeVar("Item", bound=str | Mapping[str, Any])

Limits = Policy | Limit | str | Iterable[Limit | str] | None
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class Record(Generic[Item]):
    """How one input ended, as a line of OUT says it, with the body as bytes.

    id: the input's own, else its number, from 1. url: as the input gave it, credentials masked.
    status: of the last answer, None where none came. attempts: how many were sent.
    waited_s, elapsed_s: seconds spent waiting for permits and pauses, and from the first send to the end.
    headers: of the response, names in lower case, values of the same name joined by ", " (RFC 9110, section 5.3).
    body: decompressed; empty where there was none. error: why there is no final answer; None where there is.
    item: the input itself. page: of an input that is a list, the page's number, from 1; else None.

    Prints without headers, body and item, which may hold secrets.

    >>> record = Record(id=1, url="https://example.com/a", status=200, attempts=1, waited_s=0.0, elapsed_s=0.1,
    ...                 headers={"content-type": "application/json"}, body=b'{"n": 1}', error=None, item="…")
    >>> record.ok, record.json(), record.text
    (True, {'n': 1}, '{"n": 1}')
    """

    id: str | int
    url: str
    status: int | None
    attempts: int
    waited_s: float
    elapsed_s: float
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    error: str | None
    item: Item = field(repr=False)
    page: int | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a final answer, with a status below 400."""
        return self.error is None and self.status is not None and self.status < 400

    @property
    def text(self) -> str:
        """The body as text, by the charset that the answer names, else UTF-8; what does not decode becomes U+FFFD."""
        from .record import charset_of  # needs an extra

        return self.body.decode(charset_of(self.headers.get("content-type", "")) or "utf-8", "replace")

    def json(self) -> Any:
        """The body read as JSON, whatever its content type; raises ValueError where it is none."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError(f"the JSON of {self.url} is nested too deeply") from None


def fetch(
    urls: Iterable[Item],
    policy: Limits = None,
    *,
    concurrency: int = 32,
    timeout: float = 30.0,
    max_body: int = 32 * 1024 * 1024,
    headers: Mapping[str, str] | None = None,
    redirects: int = 10,
    bearer: str | None = None,
    proxy: str | None = None,
    ca_file: str | None = None,
    paginate: Paging | str | None = None,
) -> Generator[Record[Item], None, None]:
    """Fetches every URL at the full quota and gives one record each, in order of completion.

    urls: URLs, or specs (mappings with `url`, and perhaps id, method, headers, params, json, data, cost, as in the
    JSON lines of `paceline fetch`); any number, read in the thread that iterates, only as far as records are taken.
    policy: a Policy, or limits; several fetches with the same Policy share its limits.
    concurrency: most requests in flight. timeout: seconds for one attempt. max_body: most bytes of one body.
    headers: for every request that has none of that name. redirects: most to follow; 0: they are answers like any.
    bearer: a token to send; after a 401 `policy.refresh` is asked for another, once for all that wait.
    proxy: URL of an HTTP proxy. ca_file: certificates to trust instead of the system's.
    paginate: each URL is a list that comes page by page, as `link`, `cursor`, `page` or `offset` say, or their text
    form; then there is a record for each page, in the order of the list. A list that breaks off ends with a record that
    has `error`. A spec's own `paginate` (text, or false) takes its place.

    What goes wrong with an input is told by its record's `error`, never raised. Raises RetryLater, after what was in
    flight has been given out, where the server asks for a pause longer than `policy.retry.max_wait`: inputs without
    a record by then are to be fetched later. Raises InputError for arguments that cannot be used, MissingExtra
    without `paceline[cli]`, and whatever `urls` or `policy.refresh` raises.

    Requests are sent from a thread of its own. Leaving the loop early stops it once the generator is closed, which
    Python does at once where nothing else holds it; `contextlib.closing` makes sure.

    >>> from paceline.testing import Server
    >>> with Server("100/2s") as server:
    ...     urls = [f"{server.url}/items/{n}" for n in range(3)]
    ...     sorted(record.json()["id"] for record in fetch(urls, "100/2s"))
    ['0', '1', '2']
    >>> with Server() as server:
    ...     [record.page for record in fetch([f"{server.url}/pages/a?total=25&size=10"], paginate="link")]
    [1, 2, 3]
    """
    plan = _plan(policy, concurrency, timeout, max_body, headers, redirects, bearer, proxy, ca_file, paginate)
    _check_urls(urls)
    return _fetch(iter(urls), plan)


def afetch(
    urls: Iterable[Item] | AsyncIterable[Item],
    policy: Limits = None,
    *,
    concurrency: int = 32,
    timeout: float = 30.0,
    max_body: int = 32 * 1024 * 1024,
    headers: Mapping[str, str] | None = None,
    redirects: int = 10,
    bearer: str | None = None,
    proxy: str | None = None,
    ca_file: str | None = None,
    paginate: Paging | str | None = None,
) -> AsyncGenerator[Record[Item], None]:
    """The same as `fetch`, on the running event loop; `urls` may be an async iterable too, read in a task of its own.

    Arguments and promises as for `fetch`. Cancelling the task that iterates stops all; so does leaving the loop,
    once the generator is closed: `contextlib.aclosing` makes sure.

    >>> import asyncio
    >>> from paceline.testing import Server
    >>> async def main(url):
    ...     return [record.status async for record in afetch([f"{url}/items/1", f"{url}/status/404"])]
    >>> with Server() as server:
    ...     sorted(asyncio.run(main(server.url)))
    [200, 404]
    """
    plan = _plan(policy, concurrency, timeout, max_body, headers, redirects, bearer, proxy, ca_file, paginate)
    _check_urls(urls)
    return _afetch(urls, plan)


def _fetch(source: Iterator[Item], plan: Plan) -> Generator[Record[Item], None, None]:
    from .flow import Ended, Window, Worker

    results: SimpleQueue[Taken | Ended] = SimpleQueue()
    worker = Worker(plan, results.put)
    try:
        flow, window, number = worker.flow, Window(plan.concurrency), 0
        reading = True
        while True:
            # One input at least between two records, so that reading keeps pace; more while no record is ready.
            first = True
            while reading and not window.full and (first or results.empty()):
                first = False
                try:
                    item = next(source)
                except StopIteration:
                    reading = False
                    flow.end_input()
                else:
                    number += 1
                    _hand_in(flow, window, item, number)
            taken = results.get()
            if isinstance(taken, Ended):
                _raise_if(taken)
                return
            flow.taken(taken.record)
            if taken.weight is not None:
                window.leave(taken.weight)
            yield taken.record
    finally:
        worker.stop()


async def _afetch(
    urls: Iterable[Item] | AsyncIterable[Item], plan: Plan
) -> AsyncGenerator[Record[Item], None]:
    import asyncio

    from .flow import Ended, Window

    results: asyncio.Queue[Taken | Ended] = asyncio.Queue()
    flow, window, room = plan.flow(results.put_nowait), Window(plan.concurrency), asyncio.Event()

    async def read() -> None:
        number = 0
        try:
            async for item in _each(urls):
                number += 1
                _hand_in(flow, window, item, number)
                while window.full:
                    room.clear()
                    await room.wait()
        except Exception as error:  # noqa: BLE001 - raised where the records are taken
            flow.fail(error)
        else:
            flow.end_input()

    tasks = [asyncio.create_task(flow.serve()), asyncio.create_task(read())]
    try:
        while True:
            taken = await results.get()
            if isinstance(taken, Ended):
                _raise_if(taken)
                return
            flow.taken(taken.record)
            if taken.weight is not None:
                window.leave(taken.weight)
            room.set()
            yield taken.record
    finally:
        flow.halt()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _each(urls: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(urls, AsyncIterable):
        async for item in urls:
            yield item
    else:
        for item in urls:
            yield item


def _hand_in(flow: Flow, window: Window, item: Item, number: int) -> None:
    from .flow import read_input, weight_of

    read = read_input(item, number, flow.defaults)
    window.enter(weight_of(read))
    flow.give(item, read)


def _raise_if(ended: Ended) -> None:
    if ended.error is not None:
        raise ended.error


# ---- arguments ----------------------------------------------------------------------------------------


def _check_urls(urls: object) -> None:
    if isinstance(urls, str | bytes | Mapping):
        raise InputError("urls is a single one; write it in a list, like ['https://api.example.com/items/1']")
    if not isinstance(urls, Iterable | AsyncIterable):
        raise InputError(f"urls is of the type {type(urls).__name__}, which cannot be iterated; give a list of URLs")


def _plan(
    policy: Limits,
    concurrency: int,
    timeout: float,
    max_body: int,
    headers: Mapping[str, str] | None,
    redirects: int,
    bearer: str | None,
    proxy: str | None,
    ca_file: str | None,
    paginate: Paging | str | None,
) -> Plan:
    from .. import __version__
    from .flow import Plan
    from .sender import SenderOptions

    for what, count, least in (("concurrency", concurrency, 1), ("max_body", max_body, 0), ("redirects", redirects, 0)):
        if not isinstance(count, int) or isinstance(count, bool) or count < least:
            raise InputError(f"{what} must be a whole number of at least {least}, not {count!r}")
    if not isinstance(timeout, int | float) or not timeout > 0 or math.isinf(timeout):
        raise InputError(f"timeout must be a number of seconds above 0, like 30, not {timeout!r}")
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise InputError("proxy must be an HTTP proxy, written like http://proxy.example.com:3128")
    if not isinstance(policy, Policy):
        policy = Policy(limits=() if policy is None else policy)
    sent = {"User-Agent": f"paceline/{__version__}", "Accept": "*/*"}
    given = dict(headers or {})
    if bearer is not None and policy.refresh is None:
        given = {name: value for name, value in given.items() if name.lower() != "authorization"}
        given["Authorization"] = f"Bearer {bearer}"
    for name, value in given.items():
        _check_header(name, value)
        sent = {each: kept for each, kept in sent.items() if each.lower() != name.lower()} | {name: value}
    return Plan(
        policy=policy,
        options=SenderOptions(
            timeout=timeout, max_body=max_body, proxy=proxy, ca_file=ca_file, connections=concurrency
        ),
        headers=sent,
        concurrency=concurrency,
        redirects=redirects,
        bearer=bearer,
        paging=read_paging(paginate),
    )


def _check_header(name: object, value: object) -> None:
    # The value stays out of the message: it may be a secret.
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"{str(name)[:40]!r} is not a header's name; write headers like {{'Accept': 'text/csv'}}")
    if name.lower() in _FRAMING:
        raise InputError(f"the header {name!r} is set by the connection itself: leave it out")
    if not isinstance(value, str) or _CONTROL.search(value):
        raise InputError(f"the value of the header {name!r} must be text without line breaks or control characters")
