"""The bearer token that a command prints: run when it is needed, bounded in time and in what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from typing import Final

from ..credentials import AsyncCredential
from ..errors import InputError, OutputError
from ..masking import mask_text

__all__ = ["bearer_of"]

_LONGEST_RUN: Final = 60.0
_LONGEST_TOKEN: Final = 65_536
# A command that gives wrong tokens is run once in so many seconds at most; a shorter life of a right one is rare.
_SHORTEST_LIFE: Final = 1.0


def bearer_of(command: str) -> AsyncCredential[str]:
    """The credential that a command prints, renewed by running it again. Raises InputError for one that cannot be read."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--bearer-command cannot be read: {error}; write it like 'vault read -field=token secret/api'") from None
    if not words:
        raise InputError("--bearer-command is empty; write it like 'vault read -field=token secret/api'")

    async def renew() -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            try:
                out, err = await asyncio.wait_for(_output_of(process), _LONGEST_RUN)
            except BaseException as error:
                # Late, or stopped by the user: in neither case may it live on.
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                if not isinstance(error, TimeoutError):
                    raise
                raise OutputError(f"the command of --bearer-command, {words[0]}, did not end within {_LONGEST_RUN:g} s; run the same command again to go on") from None
        except OSError as error:
            raise OutputError(f"the command of --bearer-command, {words[0]}, cannot be run: {error.strerror or error}") from None
        if len(out) > _LONGEST_TOKEN:
            raise OutputError(f"the command of --bearer-command, {words[0]}, printed more than {_LONGEST_TOKEN} bytes, which is no token; run the same command again to go on")
        token = out.decode("utf-8", "replace").strip()
        if process.returncode or not token or any(char.isspace() for char in token):
            why = mask_text(err.decode("utf-8", "replace").strip())[-300:] or "it printed no token, or more than one word"
            raise OutputError(f"the command of --bearer-command, {words[0]}, failed (exit {process.returncode}): {why}; run the same command again to go on")
        return token

    return AsyncCredential(renew, shortest_life=_SHORTEST_LIFE)


async def _output_of(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """What a command prints until it ends: the beginning of its output, and the end of its errors.

    One that goes on printing is killed: memory must not depend on somebody else's command.
    """

    async def beginning(stream: asyncio.StreamReader) -> bytes:
        held = b""
        while len(held) <= _LONGEST_TOKEN and (more := await stream.read(_LONGEST_TOKEN + 1 - len(held))):
            held += more
        if len(held) > _LONGEST_TOKEN:
            process.kill()
        return held

    async def ending(stream: asyncio.StreamReader) -> bytes:
        held = b""
        while more := await stream.read(4096):
            held = (held + more)[-4096:]
        return held

    assert process.stdout is not None
    assert process.stderr is not None
    begun, ended = beginning(process.stdout), ending(process.stderr)
    out, err = await asyncio.gather(begun, ended)
    await process.wait()
    return out, err
