"""Virtual time, measured: what an hour costs, and whether any timeout ever comes by itself, over many rounds.

    .venv/bin/python bench/virtual_time.py [--rounds 200] [--busy 0]

Each pipeline of tests/pipelines.py passes a limit of two calls an hour once, then a limit of two a minute again and
again, with answers that take nine virtual seconds and timeouts of ten. --busy: so many other processes keep the
processors busy meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog
from tests.pipelines import PIPELINES

from paceline.testing import Server, virtual_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # stamina tells of each retry
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        print(f"{'pipeline':22} {'an hour, s':>11} {'rounds':>7} {'wrong':>6} {'s a round':>10}  virtual s a round")
        for name, pipeline in PIPELINES.items():
            began = time.perf_counter()
            with virtual_time(), Server("2/h", enforce="anchored") as server:
                assert pipeline(server.url, 3) == [200] * 3
            hour = time.perf_counter() - began
            wrong, took = 0, set()
            began = time.perf_counter()
            for _ in range(options.rounds):
                with virtual_time() as clock, Server("2/min", latency=9, enforce="anchored") as server:
                    try:
                        right = pipeline(server.url, 3) == [200] * 3
                    except Exception as error:  # noqa: BLE001 - whatever it is, the round was wrong
                        print(f"  {type(error).__name__}: {error}")
                        right = False
                    account = server.account()
                    wrong += not right or account.accepted != 3 or account.early_retries != 0
                    took.add(round(clock.now, 3))
            each = (time.perf_counter() - began) / max(1, options.rounds)
            shown = ", ".join(map(str, sorted(took)[:3])) + (", …" if len(took) > 3 else "")
            print(f"{name:22} {hour:11.3f} {options.rounds:7} {wrong:6} {each:10.3f}  {shown}", flush=True)
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
