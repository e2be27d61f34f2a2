"""An append-only file of events that survives crashes, and a cursor of what was delivered."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medhive.errors import Place, SettingError
from medhive.reports.files import sync_folder, write_atomically


@dataclass(frozen=True)
class Event:
    """One line of the outbox.

    Parameters
    ----------
    seq : int
        Place in the outbox, from 1.
    time : int
        When it happened, milliseconds since 1970 UTC; a repeated delivery repeats this time.
    kind : str
    data : mapping
        JSON values.
    """

    seq: int
    time: int
    kind: str
    data: Mapping[str, Any]


class Outbox:
    """Events in order, durable once `append` has returned; safe to use from two threads.

    Parameters
    ----------
    path : Path
        JSON lines, made where there is none. The cursor is beside it, with the suffix ``.sent``.

    Raises
    ------
    SettingError
        If a line but the last is damaged, or the cursor is not this outbox's. A last line
        without an end is a crash in the middle of writing: it was never acknowledged and is
        dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cursor = path.with_suffix(".sent")
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            whole, end, _torn = file.read().rpartition(b"\n")
            self._size = len(whole) + len(end)
            file.truncate(self._size)
            os.fsync(file.fileno())
        sync_folder(path.parent)
        lines = whole.split(b"\n") if end else []
        self._events = [self._parse(number, line) for number, line in enumerate(lines, start=1)]
        self._sent = self._read_cursor()

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that was ever appended."""
        with self._lock:
            return tuple(self._events)

    @property
    def pending(self) -> int:
        """How many events are not delivered."""
        with self._lock:
            return len(self._events) - self._sent

    def append(self, kind: str, data: Mapping[str, Any], time: int) -> Event:
        """Write an event and wait until it is on the disk.

        Raises
        ------
        OSError
            If the disk is full; the outbox is then as it was.
        """
        with self._lock:
            event = Event(len(self._events) + 1, time, kind, data)
            # nan and inf stay what they are: this file is MedHive's own
            line = json.dumps(asdict(event), ensure_ascii=False).encode() + b"\n"
            with self.path.open("ab") as file:
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(self.path, self._size)
                    raise
            self._size += len(line)
            self._events.append(event)
            return event

    def next(self) -> Event | None:
        """Return the first event that is not delivered."""
        with self._lock:
            return self._events[self._sent] if self._sent < len(self._events) else None

    def mark_sent(self, event: Event) -> None:
        """Move the cursor past an event; `event` is the one that `next` gave."""
        with self._lock:
            write_atomically(self.cursor, json.dumps({"sent": event.seq}) + "\n")
            self._sent = event.seq

    def _parse(self, number: int, line: bytes) -> Event:
        try:
            event = Event(**json.loads(line))
            if event.seq != number:
                raise ValueError(f"sequence number {event.seq}")
        except (ValueError, TypeError) as error:
            raise SettingError(
                f"damaged line in the outbox ({error})",
                place=Place(file=self.path, line=number),
                next_step="restore the file, or move it away: what was not sent is then lost",
            ) from None
        return event

    def _read_cursor(self) -> int:
        try:
            sent = json.loads(self.cursor.read_text(encoding="utf-8"))["sent"]
        except FileNotFoundError:
            return 0
        except (ValueError, TypeError, KeyError):
            sent = None
        if not isinstance(sent, int) or not 0 <= sent <= len(self._events):
            raise SettingError(
                f"not the cursor of an outbox of {len(self._events)} events",
                place=Place(file=self.cursor),
                next_step="delete it: everything is delivered again, and nothing twice",
            )
        return sent
