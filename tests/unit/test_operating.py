"""Scopes from outside: what is shown and told through the API and on the command line, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import pytest

import paceline
from paceline.cli import main
from paceline.errors import InputError, LimitSyntaxError
from paceline.operating import Scopes
from paceline.stores.memory import MemoryStore
from paceline.stores.protocol import Message, StoreUnavailable
from paceline.testing import Server

if TYPE_CHECKING:
    from pathlib import Path

    from paceline.stores.protocol import Reply


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A SQLite store in which the scope `crm` was used, with 100/2s."""
    url = f"sqlite:///{tmp_path}/scopes.db"
    paceline.Limiter("100/2s", scope="crm", store=url).acquire().release()
    return url


def test_each_command_tells_how_the_scope_stands_then(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Show, pause, set, resume and reset, as text and as JSON, with exit status 0."""
    name = ["--store", store]
    assert main(["limits", "show", *name]) == 0
    assert "crm  open; " in capsys.readouterr().out
    assert main(["limits", "pause", "crm", "--for", "1h", "--reason", "their\x1b[2J\nmaintenance", *name]) == 0
    told = capsys.readouterr().out
    assert "(1 h more): paused by hand: their" in told
    assert "\x1b[2J" not in told
    assert main(["limits", "set", "crm", "50/2s", "4 concurrent", *name]) == 0
    assert "4 concurrent     0     4  set by hand" in capsys.readouterr().out
    assert main(["limits", "pause", "crm", *name, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["paused"] == {"until": None, "reason": "paused by hand", "by_hand": True}
    assert [(each["limit"], each["origin"]) for each in facts["limits"]] == [("50/2s", "set"), ("4 concurrent", "set")]
    assert main(["limits", "resume", "crm", *name]) == 0
    assert "open; " in capsys.readouterr().out
    assert main(["limits", "reset", "crm", *name]) == 0
    assert "100/2s     0   100  policy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "cmr"], "there is no scope 'cmr' in the store sqlite:///{path}: did you mean crm?"),
        (["pause", "other"], "there is no scope 'other' in the store sqlite:///{path}: it holds crm"),
        (["pause", "crm", "--for", "soon"], "--for 'soon' is no length of time: write it like 90s, 10min or 2h"),
        (["set", "crm", "50/fortnight"], "cannot read the limit '50/fortnight'"),
        (["set", "crm"], "Missing argument 'LIMIT...'"),
    ],
)
def test_wrong_usage_says_what_would_be_right(
    arguments: list[str], message: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No such scope, no such limit, no such time: one message on standard error, and 2."""
    assert main(["limits", *arguments, "--store", store]) == 2
    told = capsys.readouterr()
    assert message.format(path=store.removeprefix("sqlite:///")) in told.err
    assert told.out == ""


def test_stores_that_cannot_be_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """memory: and a file that is not there are wrong usage; a server that does not answer is 1, without its password."""
    assert main(["limits", "show", "--store", "memory:"]) == 2
    assert "lives in one process" in capsys.readouterr().err
    assert main(["limits", "show", "--store", f"sqlite:///{tmp_path}/none.db"]) == 2
    assert f"there is no store sqlite:///{tmp_path}/none.db" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()
    assert main(["limits", "show", "--store", "redis://me:hush@127.0.0.1:1/0?timeout=0.2"]) == 1
    told = capsys.readouterr().err
    assert "the store redis://127.0.0.1:1/0 cannot be used" in told
    assert "start it, or name another with --store" in told
    assert "hush" not in told
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["limits", "show"]) == 0
    assert "no scopes in sqlite:" in capsys.readouterr().out


def test_what_the_api_refuses() -> None:
    """Lengths, limits and scopes that cannot be used are errors before anything is told."""
    scopes = Scopes(MemoryStore())
    with pytest.raises(InputError, match="there is no scope 'api' in the store memory:; it holds none"):
        scopes.show("api")
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="a pause is a number of seconds above 0"):
            scopes.pause("api", wrong)
    with pytest.raises(InputError, match="no limit was given"):
        scopes.set("api", [])
    with pytest.raises(LimitSyntaxError):
        scopes.set("api", "much")


def test_an_operator_is_no_worker(store: str) -> None:
    """Who steers takes no part of the limit, and many who steer at once are all taken in, each once."""
    scopes = Scopes(store)
    threads = [threading.Thread(target=scopes.pause, args=("crm", 60 + each)) for each in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reply = scopes._store.call("crm", Message())
    assert sum('"pause"' in entry.text for entry in reply.entries) == 6
    assert len(scopes.show("crm").workers) == 1


def test_from_an_async_program(store: str) -> None:
    """In a thread beside the loop, as the documentation says."""

    async def steer() -> float | None:
        scopes = Scopes(store)
        await asyncio.to_thread(scopes.pause, "crm", 60)
        return (await asyncio.to_thread(scopes.show, "crm")).paused_until

    assert asyncio.run(steer()) is not None


class Restarted(MemoryStore):
    """Loses the first answer to each thing that is told, after having taken it in."""

    lost = 0

    def call(self, scope: str, message: Message) -> Reply:
        reply = super().call(scope, message)
        if message.text is not None and '"g":1' in message.text and self.lost % 2 == 0:
            self.lost += 1
            raise StoreUnavailable(self.name, "the connection broke")
        self.lost += message.text is not None
        return reply


def test_lost_answers_and_a_restarted_server() -> None:
    """What was told is taken in once where its answer got lost; a server's new life is said, and begun anew to be told."""
    store = Restarted()
    from paceline.limits import Limit
    from paceline.stores.line import Line

    Line("api", [Limit.parse("10/s")], store=store).acquire().release()
    scopes = Scopes(store)
    store.lost = 0
    scopes.pause("api", 60)
    assert sum('"pause"' in entry.text for entry in store.call("api", Message()).entries) == 1
    store.run = "2"
    assert "started anew" in scopes.show("api").trouble
    report = scopes.set("api", "5/s")
    assert (report.trouble, report.by_hand, [str(each.limit) for each in report.limits]) == ("", True, ["5/s"])


def test_a_job_sits_out_a_pause_by_hand_within_its_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not --max-wait but --deadline bounds it: 75, run again; resumed, the same command goes on and ends with 0."""
    url = f"sqlite:///{tmp_path}/scopes.db"
    urls = tmp_path / "urls.txt"
    with Server("1000/s") as server:
        job = ["fetch", str(urls), "-o", str(tmp_path / "out.jsonl"), "--scope", "crm", "--limit", "500/s", "--store", url, "--progress", "none", "--max-wait", "0.1"]
        urls.write_text(f"{server.url}/items/1\n")
        assert main(job) == 0
        Scopes(url).pause("crm", reason="tests")
        urls.write_text("".join(f"{server.url}/items/{number}\n" for number in range(1, 6)))
        assert main([*job, "--fresh", "--deadline", "0.7"]) == 75
        assert server.account().arrived == 1
        Scopes(url).resume("crm")
        assert main(job) == 0
        assert server.account().arrived == 6
    capsys.readouterr()
