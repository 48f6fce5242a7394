"""A relay in front of a store's server, for tests: cuts, stalls, delays, loses replies after effect, answers with errors."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

import hiredis

__all__ = ["Relay"]

_SCRIPTS: Final = frozenset({b"EVAL", b"EVALSHA"})


class Relay:
    """Forwards connections to a server on this machine. What it does to them is set from any thread, at any time.

    silent: takes everything and answers nothing (a network that drops packets). delay: seconds that each answer is late.
    lose: so many answers to scripts, from now on, are thrown away with their connection, after the server acted.
    answer: said instead of running a script, like `-READONLY …`; with `only`, just to that command.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.silent = False
        self.delay = 0.0
        self.lose = 0
        self.lost = 0
        self.answer = b""
        self.only: bytes | None = None
        self.answered = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.mend()

    def mend(self) -> None:
        """Accepts connections, again; and answers."""
        self.silent = False
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def cut(self) -> None:
        """Resets every connection and refuses new ones."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # ---- in its loop ----------------------------------------------------------------------------

    _server: asyncio.Server | None = None

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        # Each connection's task sees it and ends.
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        beyond: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        said = [b""]
        commands = hiredis.Reader()
        try:
            from_server, beyond = await asyncio.open_connection("127.0.0.1", self.upstream)
            self._open.add(beyond)
            back = asyncio.get_running_loop().create_task(self._back(from_server, writer, said))
            while data := await reader.read(65536):
                if self.silent:
                    continue
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    said[0] = command[0].upper()
                    if self.answer and said[0] in _SCRIPTS and self.only in (None, said[0]):
                        self.answered += 1
                        writer.write(self.answer + b"\r\n")
                    else:
                        beyond.write(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command))
        except (OSError, asyncio.CancelledError):
            pass  # one of the two ends is gone, which is what this is for
        finally:
            if back is not None:
                back.cancel()
            for each in (writer, beyond):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: list[bytes]) -> None:
        try:
            while data := await reader.read(65536):
                if self.lose and said[0] in _SCRIPTS:
                    self.lose -= 1
                    self.lost += 1
                    break
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not self.silent:
                    writer.write(data)
        except OSError:
            pass
        writer.transport.abort()
