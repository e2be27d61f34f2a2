"""A progress bar for what takes longer than a moment, where a person watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PATIENCE = 2.0
"""Seconds without a bar."""


class Stage:
    """One pass over the data."""

    def __init__(self, reading: Reading, what: str, total: int | None) -> None:
        self._reading = reading
        self._what = what
        self._total = total
        self._done = 0
        self._task: TaskID | None = None

    def advance(self, amount: int) -> None:
        """Say that so much more of the pass is done."""
        self._done += amount
        bar = self._reading.bar()
        if bar is None:
            return
        if self._task is None:
            self._task = bar.add_task(self._what, total=self._total)
        bar.update(self._task, completed=self._done)

    def close(self) -> None:
        """Take the pass off the screen."""
        bar = self._reading.bar()
        if bar is not None and self._task is not None:
            bar.remove_task(self._task)


class Reading:
    """Shows a bar on stderr once the whole has taken two seconds, if stderr is a terminal.

    Parameters
    ----------
    console : Console, optional
    patience : float, optional
        Seconds without a bar.
    """

    def __init__(self, console: Console | None = None, patience: float = PATIENCE) -> None:
        self._console = console or Console(stderr=True)
        self._start = time.monotonic() + patience
        self._bar: Progress | None = None

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @contextmanager
    def stage(self, what: str, total: int | None = None) -> Iterator[Stage]:
        """Start one pass; `total` is in the unit that is advanced by."""
        stage = Stage(self, what, total)
        try:
            yield stage
        finally:
            stage.close()

    def bar(self) -> Progress | None:
        """Return the bar, if it is time for one."""
        if self._bar is None and self._console.is_terminal and time.monotonic() > self._start:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        return self._bar
