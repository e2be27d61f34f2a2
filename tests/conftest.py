"""Fixtures of every layer; this file also makes ``support`` importable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Real processes of one test."""
    with Programs(tmp_path) as running:
        yield running
