"""The roster at work: keys are looked up for every request, changes count within a second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from medhive.flower.admission import Refusals, Verdict
from medhive.identity.roster import Roster

LOOK = 1.0
"""Seconds between two looks at the roster; the longest that a revoked site stays connected."""

NOTE = 10.0
"""Seconds between two notes of who is connected, while nobody comes or goes."""


class Gatekeeper:
    """Admission by roster, used as a context manager while the server listens.

    Parameters
    ----------
    roster : Roster
    refusals : Refusals
        Written into the roster as they grow.
    say : callable
        Gets a line for the server's log.
    """

    def __init__(self, roster: Roster, refusals: Refusals, say: Callable[[str], None]) -> None:
        self._roster = roster
        self._refusals = refusals
        self._say = say
        self._keys = roster.keys()
        self._written: Counter[str] = Counter()
        self._online: Callable[[], list[bytes]] = list
        self._expel: Callable[[bytes], None] = lambda _: None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gatekeeper", daemon=True)

    def admit(self, public_key: bytes) -> Verdict:
        """Return whether a key may speak, and for which site."""
        found = self._keys.get(public_key)
        if found is None:
            # a site that enrolled a moment ago
            self._keys = self._roster.keys()
            found = self._keys.get(public_key)
        if found is None:
            return Verdict(None, "unknown-key", "its key is not enrolled in this study")
        site, revoked = found
        if revoked:
            return Verdict(site, "revoked", "it was revoked from this study")
        return Verdict(site)

    def watch(
        self, online: Callable[[], list[bytes]], expel: Callable[[bytes], None]
    ) -> Gatekeeper:
        """Say how to see who is connected, and how to end a connection."""
        self._online, self._expel = online, expel
        return self

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._note_online()
        self._write_refusals()

    def _watch(self) -> None:
        noted, at = set[bytes](), 0.0
        while not self._stop.wait(LOOK):
            self._reload()
            self._write_refusals()
            online, now = set(self._online()), time.monotonic()
            if online != noted or now - at > NOTE:
                self._note_online()
                noted, at = online, now

    def _reload(self) -> None:
        before, self._keys = self._keys, self._roster.keys()
        for key, (site, revoked) in self._keys.items():
            if revoked and not before.get(key, (site, False))[1]:
                self._expel(key)
                self._say(f'site "{site}" was revoked; its connection is closed')

    def _note_online(self) -> None:
        names = {self._keys[key][0] for key in self._online() if key in self._keys}
        if names:
            self._roster.saw(sorted(names), datetime.now(UTC))

    def _write_refusals(self) -> None:
        new = self._refusals.counts - self._written
        if new:
            self._roster.count_refusals(dict(new), datetime.now(UTC))
            self._written.update(new)
