"""The roster at work: keys are looked up for every request, changes count within a second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from medhive.errors import SettingError
from medhive.flower.admission import Refusals, Verdict
from medhive.identity.roster import Roster

LOOK = 1.0
"""Seconds between two looks at the roster; the longest that a revoked site stays connected."""

NOTE = 10.0
"""Seconds between two notes of who is connected, while nobody comes or goes."""


class Connections(Protocol):
    """The connections that the gatekeeper watches; a `medhive.flower.link.Link` has them."""

    def online(self) -> list[bytes]:
        """Return the public keys of those who are connected."""

    def expel(self, public_key: bytes) -> None:
        """End a connection."""

    def refresh_certificate(self) -> None:
        """Show the certificate that the files hold by now."""


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
        self._connections: Connections | None = None
        self._trouble = ""
        self._noted: set[str] = set()
        self._noted_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gatekeeper", daemon=True)

    def admit(self, public_key: bytes) -> Verdict:
        """Return whether a key may speak, and for which site."""
        found = self._keys.get(public_key)
        if found is None:
            return Verdict(None, "unknown-key", "its key is not enrolled in this study")
        site, revoked = found
        if revoked:
            return Verdict(site, "revoked", "it was revoked from this study")
        return Verdict(site)

    def watch(self, connections: Connections) -> Gatekeeper:
        """Say whose connections end when a site is revoked."""
        self._connections = connections
        return self

    def refresh(self) -> None:
        """Look at the roster now: a site has just enrolled."""
        self._keys = self._roster.keys()

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
        self._look(last=True)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK):
            self._look()

    def _look(self, *, last: bool = False) -> None:
        """Do what is due; a file that cannot be used now may be usable at the next look."""
        try:
            self.refresh()
            self._write_refusals()
            if self._connections is not None:
                self._expel_revoked(self._connections)
                self._note_online(self._connections, last=last)
                self._connections.refresh_certificate()
        except (OSError, SettingError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._say(f"changes in the server's home do not count at the moment: {error}")
        else:
            self._trouble = ""

    def _expel_revoked(self, connections: Connections) -> None:
        for key in connections.online():
            # a key that the roster has no more was replaced by a newer one of its site
            site, revoked = self._keys.get(key, ("", True))
            if revoked:
                connections.expel(key)
                what = f'site "{site}" was revoked' if site else "a site enrolled with a new key"
                self._say(f"{what}; its connection is closed")

    def _note_online(self, connections: Connections, *, last: bool) -> None:
        names = {self._keys[key][0] for key in connections.online() if key in self._keys}
        now = time.monotonic()
        if names and (last or names != self._noted or now - self._noted_at > NOTE):
            self._roster.saw(sorted(names), datetime.now(UTC))
            self._noted, self._noted_at = names, now

    def _write_refusals(self) -> None:
        new = self._refusals.counts - self._written
        if new:
            self._roster.count_refusals(dict(new), datetime.now(UTC))
            self._written.update(new)
