"""What all tests share: Hypothesis says how to repeat a failure, and does not judge by the clock of a busy machine."""

from __future__ import annotations

from hypothesis import settings

# Read by the type checker, never run.
collect_ignore = ["typing"]

settings.register_profile("paceline", deadline=None, print_blob=True)
settings.load_profile("paceline")
