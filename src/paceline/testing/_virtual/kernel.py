"""What the kernel says of a thread: whether it sleeps on a lock, and how often it was switched (Linux)."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

__all__ = ["asleep_on_lock"]

# The number of futex(2), on which glibc's and musl's mutexes, semaphores and condition variables wait.
_FUTEX: Final = {"x86_64": b"202", "aarch64": b"98", "riscv64": b"98"}.get(platform.machine())


def asleep_on_lock(native: int | None) -> int | None:
    """How often the thread was switched away from, if it sleeps on a lock now; None if not, or if nobody can tell.

    The same number twice says that it slept all the time between. A thread that waits for the interpreter's lock
    has another number each time, for that wait ends every five milliseconds; and while whoever asks is itself asleep
    between, the interpreter's lock is free, so that it would have gone on. One that may run and was not given the
    processor is no sleeper to the kernel.
    """
    if native is None or _FUTEX is None:
        return None
    task = Path(f"/proc/self/task/{native}")
    try:
        if (task / "syscall").read_bytes().split(b" ", 1)[0] != _FUTEX:
            return None
        status = (task / "status").read_bytes()
    except OSError:
        return None
    facts = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
    if not facts.get(b"State", b"").strip().startswith(b"S"):
        return None
    try:
        return int(facts[b"voluntary_ctxt_switches"]) + int(facts[b"nonvoluntary_ctxt_switches"])
    except (KeyError, ValueError):
        return None
