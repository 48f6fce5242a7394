"""Fixtures of the tests that run whole commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.helpers import Desk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder to run jobs in."""
    return Desk(tmp_path)
