"""The addon for mitmproxy, on fakes of its flows."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import InputError
from paceline.testing.mitmproxy_addon import FaultAddon


class Fields(dict[str, str]):
    """Headers as mitmproxy has them, as far as the addon looks."""

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple((name.encode(), value.encode()) for name, value in self.items())


@dataclass
class Answered:
    status_code: int
    body: bytes = b""
    headers: Fields = field(default_factory=Fields)


@dataclass
class Asked:
    method: str = "GET"
    path: str = "/items/1"
    pretty_host: str = "api.example.com"
    raw_content: bytes | None = None
    headers: Fields = field(default_factory=Fields)

    @property
    def pretty_url(self) -> str:
        return f"https://{self.pretty_host}{self.path}"


@dataclass
class Client:
    peername: tuple[str, int] = ("127.0.0.1", 50_000)


@dataclass
class Flow:
    request: Asked = field(default_factory=Asked)
    response: Answered | None = None
    client_conn: Client = field(default_factory=Client)
    metadata: dict[str, Any] = field(default_factory=dict)
    killed: bool = False

    def kill(self) -> None:
        self.killed = True


def respond(status: int, body: bytes, headers: dict[str, str]) -> Answered:
    return Answered(status, body, Fields(headers))


def addon_of(**texts: Any) -> FaultAddon:
    addon = FaultAddon(respond, clock=lambda: 0.0)
    addon.set_options(texts)
    return addon


def through(addon: FaultAddon, asked: Asked | None = None) -> tuple[int | str, bool]:
    """What the client gets, or "killed"; and whether the upstream was asked."""

    async def run() -> tuple[int | str, bool]:
        flow = Flow(asked or Asked())
        await addon.request(flow)
        reached = flow.response is None and not flow.killed
        if reached:
            flow.response = Answered(200)
        if not flow.killed:
            await addon.response(flow)
        assert flow.metadata == {}
        if flow.killed:
            return "killed", reached
        assert flow.response is not None
        return flow.response.status_code, reached

    return asyncio.run(run())


@pytest.mark.parametrize("when", ["before", "after"])
def test_faults_strike_before_or_after_the_upstream_acted(when: str) -> None:
    """Refusals and kills come by their rules; before, the upstream is not asked; after, its answer is lost."""
    addon = addon_of(refuse=["first:1"], cut=["every:3"], fail=["every:4"], when=when)
    asked = when == "after"
    assert [through(addon) for _ in range(5)] == [
        (429, asked),
        (200, True),
        ("killed", asked),
        (503, asked),
        (200, True),
    ]
    account = addon.account()
    assert (account.refused, account.cut, account.failed, account.answered) == (1, 1, 1, 2)
    assert account.lost_replies == (3 if asked else 0)


def test_a_limit_is_enforced_and_told() -> None:
    """Requests over the limit are refused with the wait told; the others get its headers."""
    addon = addon_of(limit=["2/min"], headers="x")
    flow = Flow()
    asyncio.run(addon.request(flow))
    flow.response = Answered(200)
    asyncio.run(addon.response(flow))
    assert flow.response.headers["X-RateLimit-Limit"] == "2"
    assert [through(addon)[0] for _ in range(3)] == [200, 429, 429]
    assert addon.account().client.refused == 2


def test_a_write_done_twice_is_counted() -> None:
    """A POST whose answer was lost, sent again with the same body, is a write done twice."""
    addon = addon_of(cut=["first:1"], when="after")
    for _ in range(2):
        through(addon, Asked("POST", raw_content=b"pay"))
    assert addon.account().duplicate_writes == 1


def test_a_flow_that_fails_is_settled() -> None:
    """An error of mitmproxy's ends the request in the account."""
    addon = addon_of(limit=["1 concurrent"])
    flow = Flow()
    asyncio.run(addon.request(flow))
    addon.error(flow)
    assert addon.account().upstream_failures == 1
    assert through(addon) == (200, True)


def test_the_account_is_logged_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """When mitmproxy shuts down, each line of the account is logged."""
    addon = addon_of(refuse=["first:1"])
    through(addon)
    with caplog.at_level(logging.INFO):
        addon.done()
    assert "paceline: refused (injected): 1" in caplog.text


def test_wrong_options_are_told() -> None:
    """Texts that are no rule or no number are errors that say so."""
    with pytest.raises(InputError, match="paceline_seed is a number, not 'x'"):
        addon_of(seed="x")
    with pytest.raises(InputError, match="cannot read the rule 'x'"):
        addon_of(refuse=["x"])


def test_the_module_says_where_it_is() -> None:
    """`python -m` prints the path that mitmproxy loads."""
    done = subprocess.run(
        [sys.executable, "-m", "paceline.testing.mitmproxy_addon"], capture_output=True, text=True, check=True, timeout=60
    )
    assert Path(done.stdout.strip()).name == "mitmproxy_addon.py"
    assert Path(done.stdout.strip()).is_file()
