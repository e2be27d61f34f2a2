"""What an outbox already says of each run, so that a restarted process says it once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medhive.reports.outbox import Event

Key = tuple[str, str, int | None]


class Recorded:
    """The events of all runs, by run, kind and round.

    Parameters
    ----------
    events : iterable of Event
        Those of earlier processes.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._steps: dict[str, int] = {}
        self._keys: set[Key] = set()
        for event in events:
            self.add(event.kind, event.data)

    def has(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Say whether an event is there already."""
        return self._key(kind, data) in self._keys

    def has_ended(self, run: str) -> bool:
        """Say whether a run has an end, so that what follows is a second part of it."""
        return (run, "finished", None) in self._keys

    def last_round(self, run: str) -> int:
        """Return the last round of a run, 0 before the first."""
        return self._steps.get(run, 0)

    def add(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take note of an event."""
        run = data["run"]
        if kind == "reopened":
            self._keys -= {(run, end, None) for end in ("artifacts", "model", "finished")}
            return
        self._keys.add(self._key(kind, data))
        if kind == "round":
            self._steps[run] = data["step"]

    @staticmethod
    def _key(kind: str, data: Mapping[str, Any]) -> Key:
        return data["run"], kind, data["step"] if kind == "round" else None
