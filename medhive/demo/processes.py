"""The demo's processes: started together, listened to, and ended without a trace."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

GRACE = 5.0
"""Seconds that a process gets to end by itself."""


@dataclass(frozen=True)
class Line:
    """One line that a process printed."""

    process: str
    text: str


@dataclass(frozen=True)
class Exit:
    """A process ended."""

    process: str
    code: int


class Processes:
    """A group of child processes, used as a context manager.

    Each child leads a process group of its own, so that its own children end with it, and so
    that Ctrl-C reaches the demo alone, which then ends the children in order.
    """

    def __init__(self) -> None:
        self._events: queue.Queue[Line | Exit] = queue.Queue()
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._kept: set[str] = set()
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        # a closed terminal or a plain kill ends the children as Ctrl-C does
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                number = signal.Signals[name]
                self._handlers[number] = signal.signal(number, _interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # a second Ctrl-C must not leave anything behind
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._end([name for name in self._children if name not in self._kept])
        finally:
            signal.signal(signal.SIGINT, before)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        """Start a process; its lines go to `log`, or arrive as events, as its end does."""
        output = subprocess.PIPE if log is None else log.open("wb")
        child = subprocess.Popen(  # noqa: S603 - our own commands, no shell
            list(command),
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._children[name] = child
        threading.Thread(target=self._read, args=(name, child), daemon=True).start()

    def next_event(self, timeout: float) -> Line | Exit | None:
        """Return the next line or end of a process, or None after `timeout` seconds."""
        try:
            return self._events.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None

    def keep(self, name: str) -> int:
        """Leave a process running at the end, and return its id."""
        self._kept.add(name)
        return self._children[name].pid

    def _read(self, name: str, child: subprocess.Popen[str]) -> None:
        if child.stdout is not None:
            for line in child.stdout:
                self._events.put(Line(name, line.rstrip("\n")))
        self._events.put(Exit(name, child.wait()))

    def _end(self, names: list[str]) -> None:
        for name in names:
            _signal(self._children[name], signal.SIGTERM)
        for name in names:
            child = self._children[name]
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                _signal(child, signal.SIGKILL)
                child.wait()
            # whatever the child itself left behind
            _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
