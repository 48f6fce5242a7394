"""Discord: buckets named in a header, spans beside moments; a shared or global limit may refuse while our own has room."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .._dialect import Dialect, path_of

if TYPE_CHECKING:
    from .._reading import Reading


_WORD: Final = re.compile(r"@?[a-z-]{1,24}")


def _read(reading: Reading) -> None:
    if reading.refused and (
        reading.object.get("global") is True or reading.header("x-ratelimit-scope") == "global"
    ):
        reading.notes.append("the global limit: it holds for every route of this credential")


def _scope(method: str, url: str) -> str | None:
    """Routes share a bucket by method and path; the first identifier of a channel, guild or webhook belongs to it."""
    parts = path_of(url).split("/")[1:]
    if parts[:1] == ["api"]:
        parts = parts[2:] if len(parts) > 1 and parts[1][:1] == "v" else parts[1:]
    for i, part in enumerate(parts):
        # Whatever is no plain word is an identifier, an emoji or a token, and that a secret.
        if not _WORD.fullmatch(part) and not (
            i == 1 and part.isdigit() and parts[0] in ("channels", "guilds", "webhooks")
        ):
            parts[i] = "*"
    return f"{method} /{'/'.join(parts)}"


DISCORD = Dialect(
    name="discord",
    title="Discord",
    docs=("https://discord.com/developers/docs/topics/rate-limits",),
    hosts=("discord.com", "discordapp.com"),
    headers=("x-ratelimit-bucket", "x-ratelimit-global"),
    read=_read,
    scope=_scope,
)
