"""Telegram's bots: the wait stands in the body, as parameters.retry_after."""

from __future__ import annotations

from .._dialect import Dialect, path_of


def _scope(_method: str, url: str) -> str | None:
    # The path's first part holds the bot's token, a secret: only the method's name is used.
    return path_of(url).rpartition("/")[2] or None


TELEGRAM = Dialect(
    name="telegram",
    title="Telegram Bot API",
    docs=("https://core.telegram.org/bots/api#responseparameters", "https://core.telegram.org/bots/faq"),
    hosts=("api.telegram.org",),
    bodies=(b"Too Many Requests: retry after",),
    scope=_scope,
)
