"""Dask workers as the crew of a job: reached at a scheduler's address, or started on this machine for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..errors import InputError, MissingExtra, OutputError
from .dask_seat import Parcel, hello, hold_seat, tell_seat
from .spread import SeatLost

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..credentials import Held
    from .seat import Came, Order, Turn

__all__ = ["DaskCrew"]

_REACH: Final = 10.0  # seconds to reach a scheduler
_FIRST: Final = 60.0  # seconds to wait for the first worker
_ANSWER: Final = 60.0  # seconds within which a worker must answer, beside what it was asked to wait


class DaskCrew:
    """See the module. address: a scheduler's, like tcp://127.0.0.1:8786; None: workers of our own.

    workers: how many of our own; None: one for each processor, and two at least.
    Raises MissingExtra where Dask is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        try:
            import distributed
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
                raise
            raise MissingExtra("dask", "dask") from None
        self._dask: Any = distributed
        self._address = address
        self._workers = workers
        self._cluster: Any = None
        self._client: Any = None

    def check(self) -> None:
        """Raises InputError where the scheduler cannot be reached, before anything is begun; blocks."""

        async def reach() -> None:
            await self._connect(self._address)
            await self.close()

        if self._address is not None:
            asyncio.run(reach())

    async def open(self) -> None:
        """Reaches the scheduler, or starts the workers; waits for the first of them."""
        if self._address is None:
            from dask.system import CPU_COUNT

            self._cluster = await self._dask.LocalCluster(
                n_workers=self._workers or max(2, CPU_COUNT),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                asynchronous=True,
                preload=["paceline.jobs.dask_seat"],
                silence_logs=50,  # what becomes of a worker is told by the job
            )
        await self._connect(self._address or self._cluster)
        try:
            await self._client.wait_for_workers(1, timeout=_FIRST)
        except TimeoutError:
            place = self._address or "on this machine"
            raise InputError(f"the Dask scheduler {place} has no workers: start some, like: dask worker {place}") from None

    async def _connect(self, place: Any) -> None:
        try:
            self._client = await self._dask.Client(
                place, asynchronous=True, set_as_default=False, timeout=_REACH, name="paceline"
            )
        except (OSError, TimeoutError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise InputError(f"cannot reach a Dask scheduler at {place}: {why}; start one (dask scheduler), or write another address, like dask=tcp://127.0.0.1:8786") from None

    async def workers(self) -> Collection[str]:
        """The addresses of the workers that the scheduler knows."""
        try:
            found: dict[str, int] = await asyncio.wait_for(self._client.nthreads(), _ANSWER)
        except (OSError, TimeoutError) as error:
            raise OutputError(f"the Dask scheduler does not answer any more: {error}; run the same command again to go on") from None
        return found

    async def seat(self, worker: str, order: Order) -> DaskChair:
        """Begins the task that holds a seat on a worker."""
        said = await _ask(self._client, worker, hello)
        if isinstance(said, ImportError):
            raise InputError(f"the Dask worker {worker} has no paceline: install 'paceline[dask]' there too ({said})")
        if isinstance(said, Exception):
            raise SeatLost(str(said))
        if said != __version__:
            raise InputError(f"the Dask worker {worker} has paceline {said}, this is {__version__}: install the same version")
        token = secrets.token_hex(8)
        task = self._client.submit(
            hold_seat, token, Parcel.of(order), key=f"paceline-fetch-{token}", workers=[worker],
            allow_other_workers=False, pure=False, retries=0,
        )  # fmt: skip
        return DaskChair(self._client, worker, token, task)

    async def close(self) -> None:
        """Lets go of the scheduler, and ends workers of our own."""
        with contextlib.suppress(OSError, TimeoutError):
            if self._client is not None:
                await self._client.close(timeout=5)
        if self._cluster is not None:
            await self._cluster.close(timeout=5)


class DaskChair:
    """A seat on one Dask worker, from here; task: what holds it there."""

    def __init__(self, client: Any, worker: str, token: str, task: Any) -> None:
        self._client = client
        self._worker = worker
        self._token = token
        self._task = task

    async def turn(self, turn: Turn) -> Came:
        """One turn; raises SeatLost."""
        answer = await self._tell("turn", turn, turn.patience)
        came: Came = answer.open()
        return came

    async def drain(self) -> None:
        """Lets what is in flight end; raises SeatLost."""
        await self._tell("drain")

    async def lend(self, held: Held[str]) -> None:
        """Hands over a bearer token; raises SeatLost."""
        await self._tell("lend", held)

    async def close(self) -> None:
        """Ends the seat and its task, where they can be reached; raises SeatLost."""
        try:
            await asyncio.wait_for(self._tell("close"), 5.0)
        except TimeoutError:
            raise SeatLost(f"the worker {self._worker} does not answer") from None
        finally:
            self._task.release()

    async def _tell(self, what: str, value: Any = None, patience: float = 0.0) -> Any:
        parcel = None if value is None else Parcel.of(value)
        try:
            answer = await asyncio.wait_for(
                _ask(self._client, self._worker, tell_seat, self._token, what, parcel), patience + _ANSWER
            )
        except TimeoutError:
            raise SeatLost(f"the worker {self._worker} does not answer") from None
        if isinstance(answer, Exception):
            if isinstance(answer, InputError):
                raise answer  # the seat could not begin, and would not elsewhere
            raise SeatLost(f"the worker {self._worker}: {answer}") from None
        return answer


async def _ask(client: Any, worker: str, function: Any, *arguments: Any) -> Any:
    """Calls a function on a worker's event loop; what it returned or raised, or the error that kept it from answering."""
    try:
        answers = await client.run(function, *arguments, workers=[worker], on_error="return")
    except OSError as error:
        return error
    return answers.get(worker, OSError("it has gone"))
