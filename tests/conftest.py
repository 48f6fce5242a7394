"""What all tests share: Hypothesis says how to repeat a failure, and does not judge by the clock of a busy machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# pyproject.toml keeps it from loading by its entry point, which would be before coverage begins.
pytest_plugins = ["paceline.pytest_plugin", "pytester"]

# Read by the type checker, never run.
collect_ignore = ["typing"]

settings.register_profile("paceline", deadline=None, print_blob=True)
# A submission is judged by the same examples every time; new ones are looked for by whoever works on the code.
settings.register_profile("ci", parent=settings.get_profile("paceline"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "paceline")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands that tests start keep their limits in a folder of the session's own, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
