"""The batch job from SOURCE to OUT: opened, run, checkpointed, drained and accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..errors import InputError, OutputError
from ..policy import Policy, credential_of
from ..telemetry.fan import all_of
from .account import Account, How
from .departures import SLOTS, Departures
from .engine import Engine, Result
from .output import Output, Snapshot
from .progress import Snapshot as View
from .record import encode
from .seat import Order
from .source import Defaults, Source
from .spec import BadInput
from .spread import Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..credentials import AsyncCredential
    from ..events import Sink
    from ..paging import Paging
    from ..stores.line import Line
    from .paging import Leaf
    from .progress import Progress
    from .sender import Sender
    from .spread import Crew

__all__ = ["Batch", "Ended", "run_loop"]

CHECKPOINT_EVERY: Final = 1.0
TICK_EVERY: Final = 0.125
_SYNCED_SCOPES: Final = 64
_KEPT_SCOPES: Final = 4096
_MOST_FILES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Ended:
    """How a batch ended: the exit status and its account."""

    status: int
    account: Account
    trouble: OutputError | None = None


@dataclass(slots=True, kw_only=True)
class Batch:
    """One run of the batch job; see `paceline fetch --help` for what each option means.

    make_sender: makes the sender, inside the event loop, from the headers that most requests carry. headers: sent with every request that has none of that
    name. paging: how the lists come that the inputs are. bearer: a credential that can be renewed. sinks: take the events besides the account.
    progress: makes the display from a function that gives the account's state.
    crew: the workers that send, where others than this process do; then `make_sender` and the policy must pickle.
    on_interrupt: called at the first SIGINT or SIGTERM, after which only what is in flight may end.
    deadline: seconds for the whole run.

    `run` raises InputError where nothing can begin; all else ends in an exit status.
    """

    source: str
    out: str
    policy: Policy
    make_sender: Callable[[Mapping[str, str]], Sender]
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 32
    redirects: int = 10
    paging: Paging | None = None
    bearer: AsyncCredential[str] | None = None
    failed: str | None = None
    fresh: bool = False
    report: str | None = None
    deadline: float | None = None
    sinks: tuple[Sink, ...] = ()
    progress: Callable[[Callable[[], View]], Progress] | None = None
    asked: Mapping[str, str] = field(default_factory=dict)
    on_interrupt: Callable[[], None] | None = None
    crew: Crew | None = None
    account: Account = field(init=False)
    engine: Engine | Spread = field(init=False)
    interrupted: int = 0
    _output: Output = field(init=False)
    _departures: Departures = field(init=False)
    _slots: dict[str, int] = field(default_factory=dict)
    _before: dict[str, Any] = field(default_factory=dict)
    _trouble: OutputError | None = None
    _synced: int = 0
    _pace: deque[tuple[float, int]] = field(default_factory=lambda: deque([(time.monotonic(), 0)], maxlen=16))
    _saving: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> Ended:
        """Runs the job to its end; blocks. Raises InputError before anything was begun."""
        if self.report is not None:
            from .report import check_report_path

            check_report_path(self.report)
            self._keep_report_apart(self.report)
        source = Source.open(self.source, Defaults(self.method, self.headers, self.paging))
        try:
            output = Output.open(
                self.out, source=source, request=self._request(), failed_path=self.failed, fresh=self.fresh
            )
            self._output = output
            try:
                self._take_up(output)
                self.account = Account(
                    started=time.time(),
                    limits=self.policy.limits,  # type: ignore[arg-type]
                    hosts=self.policy.hosts,  # type: ignore[arg-type]
                    total=source.count,
                    before=len(output.done),
                    told=self.policy.limits_of if self.policy.scope_by_url else None,
                )
                self.policy.events = all_of(self.account, *self.sinks)
                status = run_loop(self._main(source, output))
            except BaseException:
                output.abandon()
                raise
        finally:
            source.close()
        if self.report is not None:
            from .report import write_report

            write_report(self.report, self.account, {"version": __version__, "source": self.source, "out": self.out})
        return Ended(status, self.account, self._trouble)

    def _keep_report_apart(self, report: str) -> None:
        """Raises InputError where the report would overwrite another file of the job."""
        place = os.path.realpath(report)
        others = {"SOURCE": self.source, "OUT": self.out, "OUT's state": self.out + ".state", "the file of --failed": self.failed}
        for what, path in others.items():
            if path is not None and path != "-" and os.path.realpath(path) == place:
                raise InputError(f"the report {report} is {what} itself, which would be overwritten: name another one")

    def _request(self) -> dict[str, str]:
        """What decides the answers, for the checkpoint to notice a change; credentials may be renewed."""
        plain = {
            name: value for name, value in self.headers.items() if credential_of({name: value}) is None
        }
        paging = {} if self.paging is None else {"paginate": self.paging.address}
        return {"method": self.method, **paging, **{f"header {name.lower()}": value for name, value in plain.items()}, **self.asked}

    # ---- taking up ------------------------------------------------------------------------------

    def _take_up(self, output: Output) -> None:
        """What an earlier run left: the key that scopes are named with, and what each had spent."""
        extra = dict(output.extra)
        self._departures = Departures(output.path + ".departures")
        key = extra.get("key")
        if isinstance(key, str):
            with contextlib.suppress(ValueError):
                self.policy.key = bytes.fromhex(key)
        scopes = extra.get("scopes", {})
        for scope, kept in scopes.items() if isinstance(scopes, dict) else ():
            more, last = float(kept.get("more", 0.0)), float(kept.get("last", 0.0))
            slot = kept.get("slot")
            if isinstance(slot, int) and 0 <= slot < SLOTS:
                spent = self._departures.spent(slot)
                more, last = max(0.0, spent.permits - float(kept.get("counted", 0.0))), spent.last
            self._before[scope] = {"books": kept.get("books", {}), "more": more, "last": last}

    def _new_scope(self, scope: str, line: Line) -> None:
        """Before a scope's first departure: gives it what it had spent, and a count that survives kill -9."""
        before = self._before.pop(scope, None)
        if before is not None:
            line.restore(before["books"], before["more"], before["last"])
        slot = self._slots.get(scope, len(self._slots))
        if slot < SLOTS:
            self._slots[scope] = slot
            line.journal = self._departures.counter(slot)
            if slot < _SYNCED_SCOPES:
                # The name must stand in the checkpoint before the count means anything.
                with self._saving:
                    self._synced += 1
                    self._output.checkpoint(self._extra())

    def _extra(self) -> dict[str, Any]:
        scopes: dict[str, Any] = dict(self._before)
        for scope, line in self.engine.lanes.items():
            slot = self._slots.get(scope)
            if slot is None:
                if len(scopes) < _KEPT_SCOPES:
                    scopes[scope] = {"books": line.export()}
            else:
                # Counted first: a departure between the two readings is then counted twice, never missed.
                counted = self._departures.spent(slot).permits
                scopes[scope] = {"slot": slot, "counted": counted, "books": line.export()}
        return {"key": self.policy.key.hex(), "scopes": scopes}

    # ---- running --------------------------------------------------------------------------------

    async def _main(self, source: Source, output: Output) -> int:
        loop = asyncio.get_running_loop()
        sender = self.make_sender(self.headers) if self.crew is None else None
        account = self.account
        tally = account if all(getattr(sink, "debug", True) is False for sink in self.sinks) else None
        if sender is None:
            self.engine = self._spread(tally, output)
        else:
            self.engine = Engine(
                policy=self.policy,
                sender=sender,
                finish=self._finish,
                concurrency=self.concurrency,
                redirects=self.redirects,
                events=self.policy.events,
                tally=tally,
                bearer=self.bearer,
                new_scope=self._new_scope,
                headers=self.headers,
                credential=credential_of(self.headers),
                places=output.places,
            )
        display = self.progress(self.view) if self.progress is not None else None
        if display is not None:
            display.start()
        keeper = loop.create_task(self._keep(display))
        alarm = loop.call_later(self.deadline, self.engine.drain) if self.deadline is not None else None
        with self._signals(loop):
            try:
                await self.engine.run(source.items(skip=output.done if len(output.done) else ()))
            except OutputError as error:
                self._trouble = self._trouble or error
            finally:
                if alarm is not None:
                    alarm.cancel()
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
                if sender is not None:
                    await sender.close()
                await self.policy.aclose()
                if display is not None:
                    display.close()
        later = self.engine.stopped_until
        status = self._close()
        if status == 74:
            how: How = "broken"
        elif status == 130:
            how = "interrupted"
        elif later is not None:
            how = "paused"
        else:
            how = "deadline" if status == 75 else "done"
        account.ended(time.time(), how, later.until if later is not None else None)
        return status

    def _spread(self, tally: Account | None, output: Output) -> Spread:
        """The engine that has workers send; what a scope has spent is known to the store that they share."""
        assert self.crew is not None
        order = Order(
            policy=replace(self.policy, events=None),
            make_sender=self.make_sender,
            headers=self.headers,
            redirects=self.redirects,
            debug=tally is None,
            renews=self.bearer is not None,
        )
        return Spread(
            crew=self.crew,
            order=order,
            policy=self.policy,
            finish=self._finish,
            concurrency=self.concurrency,
            events=self.policy.events,
            tally=tally,
            bearer=self.bearer,
            places=output.places,
        )

    def view(self) -> View:
        """How the job stands now, for the display."""
        account = self.account
        (began, before), (now, sent) = self._pace[0], self._pace[-1]
        limits = [limit for line in self.engine.lanes.values() for limit in line.ledger.limits if limit.period]
        reason, until = self.engine.waiting()
        return View(
            done=account.before + account.fetched_count + account.failed_count,
            total=account.total,
            in_flight=self.engine.in_flight,
            fetched=account.fetched_count,
            failed=account.failed_count,
            refused=account.refused_count,
            rate=(sent - before) / (now - began) if now > began else 0.0,
            quota_rate=min(limit.rate for limit in limits) if limits else None,
            waiting_reason=reason,
            waiting_until=until,
            pages=account.pages,
        )

    def _close(self) -> int:
        """Saves the last checkpoint; the exit status."""
        left = self.account.left
        if self._trouble is None:
            try:
                with self._saving:
                    self._output.close(self._extra())
            except OutputError as error:
                self._trouble = self._trouble or error
        else:
            self._output.abandon()
        self._departures.close(remove=not left and self._trouble is None and not self.account.failed_count)
        if self._trouble is not None:
            return 74
        if left and self.interrupted:
            return 130
        if left:
            return 75
        return 1 if self.account.failed_count else 0

    def _finish(self, result: Result) -> None:
        """Writes one record. The kernel has it before the next request may take its place: a kill then catches no
        more requests sent and not recorded than may be in flight."""
        if result.leaf is not None:
            self._finish_page(result, result.leaf)
            return
        item = result.item
        error = result.error
        line = encode(
            identity=item.id,
            url=item.given,
            status=result.status,
            attempts=result.attempts,
            waited_s=result.waited,
            elapsed_s=result.elapsed,
            headers=result.headers,
            body=result.body,
            error=error,
        )
        self._output.hand_on(item.number, line, None if error is None else item.raw)
        if error is not None:
            if isinstance(item, BadInput):
                self.account.failed()
            else:
                self.account.failed(error.partition("; last:")[0])
        elif result.status is not None:
            self.account.fetched(result.status)

    def _finish_page(self, result: Result, leaf: Leaf) -> None:
        """The same for a page of a list; the input has ended with its last page, or with one that broke it off."""
        item, error = result.item, result.error
        line = encode(
            identity=item.id,
            url=item.given,
            status=result.status,
            attempts=result.attempts,
            waited_s=result.waited,
            elapsed_s=result.elapsed,
            headers=result.headers,
            body=result.body,
            error=error,
            page=leaf.page,
            paging=leaf.so_far,
        )
        if leaf.so_far is None:
            self._output.hand_on(item.number, line, item.raw)
            self.account.failed(leaf.reason or (error or "").partition("; last:")[0])
            return
        self._output.hand_on_page(item.number, line, leaf.page, leaf.so_far, more=leaf.more)
        self.account.page()
        if not leaf.more and result.status is not None:
            self.account.fetched(result.status)

    async def _keep(self, display: Progress | None) -> None:
        """Saves a checkpoint every second, in a thread, and moves the display."""
        due = time.monotonic() + CHECKPOINT_EVERY
        # Not in the loop's own threads: name servers that do not answer may hold all of these.
        with ThreadPoolExecutor(1, "paceline-checkpoint") as thread:
            while True:
                await asyncio.sleep(TICK_EVERY)
                self._pace.append((time.monotonic(), self.account.attempts))
                if display is not None:
                    try:
                        display.tick()
                    except OSError:
                        display = None  # whoever watched has gone away; the job goes on
                if time.monotonic() >= due:
                    try:
                        snapshot = self._output.snapshot(self._extra())
                        await asyncio.get_running_loop().run_in_executor(thread, self._save, snapshot, self._synced)
                    except OutputError as error:
                        self._trouble = self._trouble or error
                        self.engine.halt()
                        return
                    due = time.monotonic() + CHECKPOINT_EVERY

    def _save(self, snapshot: Snapshot, synced: int) -> None:
        with self._saving:
            # A new scope's checkpoint may have been saved while this one waited for its thread: that is the newer.
            if synced == self._synced:
                self._output.save(snapshot)

    @contextlib.contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """The first SIGINT or SIGTERM lets what is in flight end, the second stops at once."""

        def interrupt() -> None:
            self.interrupted += 1
            if self.interrupted == 1:
                self.engine.drain()
                if self.on_interrupt is not None:
                    self.on_interrupt()
            else:
                self.engine.halt()

        caught = []
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, interrupt)
                caught.append(number)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)


def _allow_many_files() -> None:
    """Lets this process have as many files open as it may: connections to many hosts are kept for a while each."""
    try:
        import resource
    except ImportError:
        return  # Windows knows no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_loop(main: Any) -> Any:
    """Runs a coroutine to its end, on uvloop where it is installed."""
    # What is imported stays: the collector need not walk it again and again while short-lived objects come and go.
    _allow_many_files()
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    try:
        return _runner()(main)
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def _runner() -> Callable[[Any], Any]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run

