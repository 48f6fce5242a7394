"""Sends random arrivals through every enforcer and through an exact model of it, and prints what differed: nothing.

python bench/enforcers.py [ARRIVALS]        a million for each enforcer by default; about half a minute
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.exact_model import KINDS, compare


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for kind in KINDS:
        for charge_refused in (False, True):
            begun = time.perf_counter()
            accepted = compare(kind, charge_refused, count, seed=1)
            how = "charged" if charge_refused else "free"
            took = time.perf_counter() - begun
            print(f"{kind:16s} refusals {how:8s} {count:>10,} arrivals, {accepted:>9,} accepted, all alike ({took:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
