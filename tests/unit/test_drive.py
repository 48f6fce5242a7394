"""The two drivers: what they do with permits, answers, time and exceptions, each case through both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tenacity import wait_fixed

from paceline.drive import adrive, drive
from paceline.effects import Answer, Call, Fault, Send
from paceline.errors import AcquireTimeout
from paceline.exchange import Rules, exchange
from paceline.retry import Retry
from paceline.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.outcome import Outcome


class Taught(NamedTuple):
    """A scope's word."""

    wait: float = 0.0
    until: float = 0.0
    others_served: bool = False
    remaining: float | None = None


class Scene:
    """A scope, a client and a clock that write down what is asked of them; `replies` are what sends come to.

    An exception among the replies is raised by the send; `broken` names a function that raises instead.
    """

    def __init__(self, *replies: Any, broken: str = "", error: BaseException | None = None) -> None:
        self.replies = list(replies)
        self.broken, self.error = broken, error or RuntimeError("a bug")
        self.log: list[Any] = []
        self.now = 100.0
        self.waited, self.at, self.reason = 0.0, 0.0, "pace"

    def note(self, name: str, *facts: Any) -> None:
        self.log.append((name, *facts) if facts else name)
        if name == self.broken:
            raise self.error

    def sent(self) -> None:
        self.note("sent")

    def release(self) -> None:
        self.log.append("release")

    def cancel(self) -> None:
        self.log.append("cancel")

    def acquire(self, cost: Any, *, priority: int, timeout: float | None) -> Scene:
        self.note("acquire", cost, priority, timeout) if self.broken != "acquire" else self.note("acquire")
        return self

    def learn(self, permit: Any, signal: Any, status: int) -> Taught:
        self.note("learn")
        return Taught()

    def may_retry(self) -> bool:
        self.note("may_retry")
        return True

    def send(self, effect: Send) -> Answer | Fault:
        effect.permit.sent()
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, Answer | Fault)
        return reply

    def refresh(self, permit: Any) -> bool:
        self.note("refresh")
        self.now += 0.5
        return True

    def discard(self, answer: Answer) -> None:
        self.note("discard")

    def sleep(self, seconds: float) -> None:
        self.log.append(("sleep", seconds))
        self.now += seconds
        if self.broken == "sleep":
            raise self.error


class AsyncScene(Scene):
    """The same for tasks."""

    async def acquire(self, cost: Any, *, priority: int, timeout: float | None) -> Scene:  # type: ignore[override]
        return Scene.acquire(self, cost, priority=priority, timeout=timeout)


def steps_for(call: Call, **changes: Any) -> Any:
    """An exchange with fixed waits of 2 s, which may refresh."""
    signal = Signal(refused=False)
    rules = Rules(
        retry=Retry(wait=wait_fixed(2)),
        read=lambda *a, **k: signal,
        scope="api",
        refreshable=True,
        **{"events": "none", **changes},
    )
    return exchange(call, rules, 100.0)


def play_sync(scene: Scene, call: Call, **changes: Any) -> Outcome:
    """Through the driver for threads."""
    functions: dict[str, Any] = {"refresh": scene.refresh, "discard": scene.discard}
    functions |= {"sleep": scene.sleep, "clock": lambda: scene.now}
    events = {"events": changes.pop("events", "none")}
    return drive(steps_for(call, **events), scene, scene.send, **{**functions, **changes})


def play_async(scene: Scene, call: Call, **changes: Any) -> Outcome:
    """Through the driver for tasks."""
    twin = AsyncScene()
    twin.__dict__ = scene.__dict__

    def later(function: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*args: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args)

        return called

    functions: dict[str, Any] = {"refresh": later(twin.refresh), "discard": later(twin.discard)}
    functions |= {"sleep": later(twin.sleep), "clock": lambda: twin.now}
    events = {"events": changes.pop("events", "none")}
    return asyncio.run(adrive(steps_for(call, **events), twin, later(twin.send), **{**functions, **changes}))


both = pytest.mark.parametrize("play", [play_sync, play_async], ids=["threads", "tasks"])
GET = Call("GET", "https://api.example.com/items/1")
TAKEN = ("acquire", 1, 0, None)


def answer(status: int, held: bool = False) -> Answer:
    """An answer whose response is its status in words."""
    return Answer(status, {}, None, f"response {status}", 0.1, 100.1, held)


def fault(sent: bool) -> Fault:
    """A broken attempt."""
    return Fault(ConnectionError("gone"), "reset" if sent else "connect", 0.1, 100.1, sent)


@both
def test_a_permit_is_released_once_the_scope_has_learned(play: Any) -> None:
    """Not before: else the next request would go before the scope knows of a refusal."""
    scene = Scene(answer(200))
    assert play(scene, GET).response() == "response 200"
    assert scene.log == [TAKEN, "sent", "learn", "release"]


@both
@pytest.mark.parametrize(("sent", "end"), [(True, "release"), (False, "cancel")])
def test_a_broken_attempt_gives_its_permit_back_whole_only_if_nothing_was_sent(
    play: Any, sent: bool, end: str
) -> None:
    """What may have reached the server is charged."""
    scene = Scene(fault(sent), answer(200))
    assert play(scene, GET).attempts == 2
    assert scene.log == [
        TAKEN, "sent", end, "may_retry", ("sleep", 2.0), TAKEN, "sent", "learn", "release",
    ]  # fmt: skip


@both
def test_a_replaced_answer_gives_its_connection_back_before_the_wait(play: Any) -> None:
    """A pool of one connection would else wait for itself."""
    scene = Scene(answer(503), answer(200))
    play(scene, GET)
    assert scene.log == [
        TAKEN, "sent", "learn", "release", "may_retry", "discard", ("sleep", 2.0), TAKEN, "sent", "learn", "release",
    ]  # fmt: skip


@both
def test_an_answer_still_to_be_read_keeps_its_permit(play: Any) -> None:
    """The final one's permit is the shell's to release; a replaced one's is released when it is discarded."""
    scene = Scene(answer(503, held=True), answer(200, held=True))
    play(scene, GET)
    assert scene.log == [
        TAKEN, "sent", "learn", "may_retry", "discard", "release", ("sleep", 2.0), TAKEN, "sent", "learn",
    ]  # fmt: skip


@both
def test_a_credential_is_renewed_through_the_hook_and_timed(play: Any) -> None:
    """The seconds that it took count as waited."""
    scene = Scene(answer(401), answer(200))
    assert play(scene, GET).waited == pytest.approx(0.5)
    assert scene.log == [
        TAKEN,
        "sent",
        "learn",
        "release",
        "refresh",
        "discard",
        TAKEN,
        "sent",
        "learn",
        "release",
    ]


@both
def test_without_a_hook_a_401_is_the_answer(play: Any) -> None:
    """Nothing fresher is at hand."""
    scene = Scene(answer(401))
    assert play(scene, GET, refresh=None).response() == "response 401"


@both
def test_events_go_to_the_sink_or_nowhere(play: Any) -> None:
    """Both drivers do without a sink and without a discarder."""
    told: list[Any] = []
    play(Scene(answer(503), answer(200)), GET, emit=told.append, events="all")
    assert [event.name for event in told] == ["attempt", "retry", "waited", "attempt"]
    assert play(Scene(answer(503), answer(200)), GET, events="all", discard=None).attempts == 2


@both
@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), StopIteration(), KeyboardInterrupt(), SystemExit(3)]
)
@pytest.mark.parametrize(
    ("broken", "log"),
    [
        ("acquire", ["acquire"]),
        ("sent", [TAKEN, "sent", "cancel"]),
        ("learn", [TAKEN, "sent", "learn", "discard", "cancel"]),
        ("may_retry", [TAKEN, "sent", "learn", "release", "may_retry", "discard"]),
        ("sleep", [TAKEN, "sent", "learn", "release", "may_retry", "discard", ("sleep", 2.0)]),
    ],
)
def test_what_is_raised_on_the_way_passes_and_leaves_nothing_open(
    play: Any, error: BaseException, broken: str, log: list[Any]
) -> None:
    """Wherever it strikes: the permit and the connection go back, nothing is sent again, the error is raised."""
    scene = Scene(answer(503), answer(200), broken=broken, error=error)
    # A StopIteration that crosses a generator or coroutine becomes a RuntimeError (PEP 479).
    with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
        play(scene, GET)
    assert scene.log == log


@both
def test_a_permit_that_does_not_come_is_the_outcomes_error(play: Any) -> None:
    """Errors of the scope are the exchange's to judge."""
    scene = Scene(broken="acquire", error=AcquireTimeout("api", 3.0))
    outcome = play(scene, GET)
    assert isinstance(outcome.error, AcquireTimeout)
    assert (outcome.attempts, scene.log) == (0, ["acquire"])


@pytest.mark.parametrize("where", ["acquire", "send", "sleep", "refresh", "discard"])
def test_a_cancelled_task_stops_where_it_stands(where: str) -> None:
    """CancelledError is raised, the permit goes back, nothing more is sent."""

    async def main() -> Scene:
        scene = AsyncScene(answer(401) if where == "refresh" else answer(503), answer(200))
        reached = asyncio.Event()

        def later(name: str) -> Callable[..., Any]:
            function = getattr(scene, name)

            async def called(*args: Any, **kwargs: Any) -> Any:
                if name == where and not reached.is_set():
                    reached.set()
                    await asyncio.get_running_loop().create_future()
                reply = function(*args, **kwargs)
                return await reply if asyncio.iscoroutine(reply) else reply

            return called

        names = ("refresh", "discard", "sleep")
        functions = {name: later(name) for name in names}
        send = later("send")
        scene.acquire = later("acquire")  # type: ignore[method-assign]
        task = asyncio.create_task(adrive(steps_for(GET), scene, send, **functions))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return scene

    log = asyncio.run(main()).log
    assert log.count("sent") == (where not in ("acquire", "send"))
    assert log.count(TAKEN) == (where != "acquire")
    assert log.count("release") + log.count("cancel") == log.count(TAKEN)
    if where == "send":
        assert log == [TAKEN, "cancel"]
