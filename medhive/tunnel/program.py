"""A tunnel's program: a child process, its lines, and an end that leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medhive.tunnel import guard

GRACE = 3.0
"""Seconds that a program gets to end by itself."""
LONGEST_LINE = 65_536


@dataclass(frozen=True)
class Exit:
    """The program ended."""

    code: int


class Program:
    """A running program, in a process group of its own.

    Parameters
    ----------
    command : sequence of str
        Path of the program, and its arguments.
    environment : mapping
        Its whole environment.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._events: queue.SimpleQueue[str | Exit] = queue.SimpleQueue()
        self._child = subprocess.Popen(  # noqa: S603 - no shell
            [sys.executable, "-I", str(Path(guard.__file__)), *command],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # an agent may print its token there, so it must not reach the terminal
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="tunnel-lines", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name="tunnel-exit", daemon=True)
        self._reader.start()
        self._waiter.start()

    def next_event(self, timeout: float | None) -> str | Exit | None:
        """Return the next line, the end after the last line, or None after `timeout` seconds."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def end(self) -> None:
        """End the program and all that it started, and wait until they are gone."""
        for number, grace in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            # once the waiter is done the group is gone, and its number may be another's
            if self._waiter.is_alive():
                self._signal(number)
                self._waiter.join(grace)
        if self._child.stdin is not None:
            self._child.stdin.close()

    def _read(self) -> None:
        if self._child.stdout is not None:
            with self._child.stdout as lines:
                while line := lines.readline(LONGEST_LINE):
                    self._events.put(line.rstrip("\n"))

    def _wait(self) -> None:
        code = self._child.wait()
        # whatever the program itself left behind, which also ends the output
        self._signal(signal.SIGKILL)
        self._reader.join(GRACE)
        self._events.put(Exit(code))

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)
