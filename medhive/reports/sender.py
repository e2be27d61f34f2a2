"""A thread that delivers an outbox in order, and again what failed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from medhive.reports.outbox import Event, Outbox

FIRST_DELAY, LAST_DELAY, CLOSING_DELAY = 0.25, 5.0, 0.5
"""Seconds between two attempts: at first, at most, and at most once `close` waits."""


class Sender:
    """Deliver events one by one, each until it is through.

    Parameters
    ----------
    outbox : Outbox
    deliver : callable
        Sends one event, in the sender's thread; it may be called twice for the same event,
        and raises where the event is not through.

    Attributes
    ----------
    error : Exception or None
        Why the last attempt failed; None where it did not.
    """

    def __init__(self, outbox: Outbox, deliver: Callable[[Event], None]) -> None:
        self.error: Exception | None = None
        self._outbox = outbox
        self._deliver = deliver
        self._news, self._closing, self._stopped = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that the outbox has something new."""
        self._news.set()

    def close(self, timeout: float) -> bool:
        """Deliver what is left, for `timeout` seconds at most; say whether nothing is left."""
        self._closing.set()
        self._news.set()
        self._thread.join(timeout)
        self._stopped.set()
        return self._outbox.pending == 0

    def _work(self) -> None:
        delay = FIRST_DELAY
        while not self._stopped.is_set():
            event = self._outbox.next()
            if event is None:
                if self._closing.is_set():
                    return
                self._news.wait()
                self._news.clear()
                continue
            try:
                self._deliver(event)
                if not self._stopped.is_set():
                    self._outbox.mark_sent(event)
            # whatever the other side does, it is told to whoever asks and stops nothing here
            except Exception as error:  # noqa: BLE001
                self.error = error
                self._pause(delay)
                delay = min(2 * delay, LAST_DELAY)
            else:
                self.error = None
                delay = FIRST_DELAY

    def _pause(self, delay: float) -> None:
        if self._closing.is_set():
            self._stopped.wait(min(delay, CLOSING_DELAY))
        else:
            self._closing.wait(delay)
