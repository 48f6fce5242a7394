"""Tools to test how a program treats rate limits: a server that enforces real ones and judges its clients."""

from __future__ import annotations

from .account import Account
from .asgi import App
from .check_files import as_json, as_junit
from .checking import BATTERY, Checked, Target, Trial, check
from .core import Core
from .event_log import EventLog
from .grading import Letter
from .judging import Aspect, Bars, ReportCard, judge
from .program import Ending, Program
from .proxy import OpenProxy, Proxy, open_proxy
from .proxy_account import ProxyAccount
from .proxy_record import Passage
from .proxy_settings import ProxySettings
from .scenario import Phase, Scenario, scenarios
from .script import Call, Script, script
from .server import Listener, Server, listen
from .settings import Settings
from .verdict import Request, Verdict
from .virtual_clock import Skipped, Stalled, VirtualTime, Wait, no_waiting, virtual_time

__all__ = [
    "BATTERY",
    "Account",
    "App",
    "Aspect",
    "Bars",
    "Call",
    "Checked",
    "Core",
    "Ending",
    "EventLog",
    "Letter",
    "Listener",
    "OpenProxy",
    "Passage",
    "Phase",
    "Program",
    "Proxy",
    "ProxyAccount",
    "ProxySettings",
    "ReportCard",
    "Request",
    "Scenario",
    "Script",
    "Server",
    "Settings",
    "Skipped",
    "Stalled",
    "Target",
    "Trial",
    "Verdict",
    "VirtualTime",
    "Wait",
    "as_json",
    "as_junit",
    "check",
    "judge",
    "listen",
    "no_waiting",
    "open_proxy",
    "scenarios",
    "script",
    "virtual_time",
]
