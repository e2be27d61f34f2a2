"""Fixtures of every layer; this file also makes ``support`` importable."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Programs

# a shell's background job ignores Ctrl-C, and hands that down to every process of the tests
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Real processes of one test."""
    with Programs(tmp_path) as running:
        yield running
