"""An addon for mitmproxy: the proxy's faults and limits for HTTPS clients whose base URL cannot be changed.

    mitmdump -s "$(python -m paceline.testing.mitmproxy_addon)" --set paceline_refuse=first:3

`python -m` prints this file's path, which is what mitmproxy wants. The options are those of `paceline proxy` with
`paceline_` before them; `mitmdump --options` lists them. Where it runs, paceline and mitmproxy 11 or later have to be
installed together: `pip install 'paceline[mitmproxy]'`.
"""

# mitmproxy loads this file by its path, as no part of a package: so no import is relative.
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from paceline.errors import InputError, MissingExtra
from paceline.testing.proxy_core import ProxyCore
from paceline.testing.proxy_settings import ProxySettings
from paceline.testing.verdict import Request

if TYPE_CHECKING:
    from paceline.testing.proxy_account import ProxyAccount
    from paceline.testing.proxy_core import Answer, Plan

__all__ = ["FaultAddon", "addons"]

_LISTS: Final = {
    "limit": "A limit in front of every host, like 100/2s. May be repeated, as all of these.",
    "enforce": "How the limit is enforced; one for each limit.",
    "refuse": "Requests to refuse: first:N, every:N or share:P.",
    "fail": "Requests to answer with a 5xx.",
    "cut": "Requests whose connection is closed instead of answered.",
    "slow": "Requests to answer paceline_slow_seconds later.",
}
_VALUES: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "when": (str, "When faults strike: before the upstream hears of the request, or after it acted."),
    "rule_key": (str, "What rules count by: all, target, address, header:NAME, query:NAME."),
    "refuse_status": (int, "Status of a refusal: 429, 403, 503 or 200."),
    "refuse_wait": (float, "Seconds that a refusal by rule tells."),
    "fail_status": (int, "Status of a failure, from 500 to 599."),
    "slow_seconds": (float, "Seconds for paceline_slow."),
    "latency": (float, "Seconds by which every answer comes later."),
    "jitter": (float, "Seconds around the latency, either way."),
    "retry_after": (str, "How a refusal tells its wait: delta, date, ms, float, epoch, none, zero, short or junk."),
    "headers": (str, "How the limit is told: x, ietf, ietf03 or none."),
    "dialect": (str, "Tell the limit and refuse as this provider does: github, openai, shopify …"),
    "lockout": (float, "Seconds for which one refusal refuses all."),
    "key": (str, "What has limits of its own: all, address, header:NAME, query:NAME."),
    "seed": (int, "Of all chance."),
}
_MARK: Final = "paceline"
_log = logging.getLogger(__name__)


class FaultAddon:
    """Injects faults into the flows of mitmproxy, and logs its account at the end.

    respond: makes a response of status, body and headers; by default mitmproxy's own. clock: seconds. Hosts are told
    apart for rules by target; limits are common to all hosts unless `paceline_key` says otherwise. A reset is not to
    be had from here, and no truncated body: use `paceline proxy` for these.
    """

    def __init__(
        self,
        respond: Callable[[int, bytes, dict[str, str]], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._respond = respond
        self._clock = clock
        self._begun = clock()
        self._core = ProxyCore(ProxySettings.of("http://mitmproxy"), origin=time.time())

    def load(self, loader: Any) -> None:
        """mitmproxy's hook: the addon is loaded."""
        for name, about in _LISTS.items():
            loader.add_option(f"paceline_{name}", Sequence[str], [], about)
        for name, (_, about) in _VALUES.items():
            loader.add_option(f"paceline_{name}", str, "", about)

    def configure(self, updated: set[str]) -> None:
        """mitmproxy's hook: options were set; raises its own error for what makes no sense."""
        if not any(name.startswith("paceline_") for name in updated):
            return
        options = _mitmproxy("ctx").options
        try:
            self.set_options({name: getattr(options, f"paceline_{name}") for name in (*_LISTS, *_VALUES)})
        except InputError as error:
            raise _mitmproxy("exceptions").OptionsError(str(error)) from error

    def set_options(self, texts: dict[str, Any]) -> None:
        """Begins anew with options given as texts, lists of them for those that may be repeated."""
        given: dict[str, Any] = {}
        for name, value in texts.items():
            if not value:
                continue
            if name in _LISTS:
                given[name] = list(value)
                continue
            try:
                given[name] = _VALUES[name][0](value)
            except ValueError:
                raise InputError(f"paceline_{name} is a number, not {value[:40]!r}") from None
        limit, enforce = given.pop("limit", None), given.pop("enforce", None)
        settings = ProxySettings.of("http://mitmproxy", limit, enforce, given)
        self._core = ProxyCore(settings, origin=time.time() - self._now())

    async def request(self, flow: Any) -> None:
        """mitmproxy's hook: a request came whole, and was not passed on yet."""
        core, asked = self._core, flow.request
        fields = {name.lower(): value for name, value in asked.headers.fields}
        address = flow.client_conn.peername
        target = f"/{asked.pretty_host}{asked.path}"
        plan = core.plan(Request(asked.method, target, fields, str(address[0]) if address else ""), self._now())
        flow.metadata[_MARK] = plan
        if plan.delay > 0 and not plan.after:
            await asyncio.sleep(plan.delay)
        if plan.answer is not None:
            self._give(flow, plan.answer)
            self._over(flow, plan.answer.status, False)
        elif plan.fault in ("cut", "reset") and not plan.after:
            self._over(flow, 0, False)
            flow.kill()
        else:
            core.passed += 1

    async def response(self, flow: Any) -> None:
        """mitmproxy's hook: the answer is whole, and was not passed on yet."""
        plan: Plan | None = flow.metadata.get(_MARK)
        if plan is None:
            return
        core, asked = self._core, flow.request
        status = int(flow.response.status_code)
        body = asked.raw_content or b""
        fields = {name.lower(): value for name, value in asked.headers.fields}
        write = None
        if core.is_write(asked.method, fields):
            write = (f"{asked.method} {asked.pretty_url}", len(body), hash(body))
        core.acted(plan, write, status)
        if plan.after and plan.delay > 0:
            await asyncio.sleep(plan.delay)
        if not plan.after or plan.fault is None:
            for name, value in plan.headers:
                flow.response.headers[name] = value
            self._over(flow, status, True)
            return
        answer = core.strike(plan, self._now())
        self._over(flow, 0 if answer is None else answer.status, False)
        if answer is None:
            flow.kill()
        else:
            self._give(flow, answer)

    def error(self, flow: Any) -> None:
        """mitmproxy's hook: a flow came to no end."""
        if _MARK in flow.metadata:
            self._core.upstream_failures += 1
            self._over(flow, 0, False)

    def done(self) -> None:
        """mitmproxy's hook: it shuts down, or the addon is removed."""
        for what, found, good in self.account().rows():
            mark = "" if good is None else " (good)" if good else " (bad)"
            _log.info("paceline: %s: %s%s", what, found, mark)

    def account(self) -> ProxyAccount:
        """What was seen until now."""
        return self._core.account(self._now())

    def _now(self) -> float:
        return self._clock() - self._begun

    def _give(self, flow: Any, answer: Answer) -> None:
        headers = {"Content-Type": answer.content_type, **dict(answer.headers)}
        respond = self._respond or _mitmproxy("http").Response.make
        flow.response = respond(answer.status, answer.body, headers)

    def _over(self, flow: Any, status: int, whole: bool) -> None:
        plan = flow.metadata.pop(_MARK, None)
        if plan is not None:
            self._core.over(plan, self._now(), status, whole)


def _mitmproxy(module: str) -> Any:
    try:
        return import_module(f"mitmproxy.{module}")
    except ImportError:
        raise MissingExtra("mitmproxy", "mitmproxy") from None


addons = [FaultAddon()]

if __name__ == "__main__":
    print(__file__)
