"""Tools to test how a program treats rate limits: a server that enforces real ones and judges its clients."""

from __future__ import annotations

from .account import Account
from .core import Core
from .server import Listener, Server, listen
from .settings import Settings
from .verdict import Request, Verdict

__all__ = ["Account", "Core", "Listener", "Request", "Server", "Settings", "Verdict", "listen"]
