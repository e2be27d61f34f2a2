"""Requests to a server that may not be there yet, or busy."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable

import httpx

from medhive.errors import Place, SettingError
from medhive.flower.node import handshake_failed

TIMEOUT = 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds for an answer, and between two attempts."""

BUSY = frozenset({429, 502, 503, 504})


class Patience:
    """Sends requests until there is an answer.

    Parameters
    ----------
    address : str
        ``host:port`` of the server.
    on_wait : callable
        Called with a sentence when the server does not answer.
    give_up_after : float, optional
        Seconds after which waiting ends; for ever where nothing is said.
    stop : Event, optional
        Ends a pause when set.
    """

    def __init__(
        self,
        address: str,
        on_wait: Callable[[str], None] = lambda _: None,
        give_up_after: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._address = address
        self._on_wait = on_wait
        self._deadline = time.monotonic() + (
            float("inf") if give_up_after is None else give_up_after
        )
        self._pause = stop or threading.Event()
        self._said = ""

    def send(
        self, method: str, path: str, context: ssl.SSLContext, json: object = None
    ) -> httpx.Response:
        """Send a request and return the answer, whatever its status unless the server is busy.

        Raises
        ------
        SettingError
            If the patience ends, or if what answers there cannot be MedHive.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                with httpx.Client(verify=context, timeout=TIMEOUT) as client:
                    answer = client.request(method, f"https://{self._address}{path}", json=json)
                if answer.status_code not in BUSY:
                    return answer
                reason = f"HTTP {answer.status_code}"
            except httpx.HTTPError as error:
                if handshake_failed(error):
                    raise not_medhive(self._address, str(error)) from None
                reason = str(error) or type(error).__name__
            if time.monotonic() + pause > self._deadline:
                raise SettingError(
                    f"the server cannot be reached: {reason}",
                    place=Place(setting=self._address),
                    next_step="check that the server runs and that this network lets the"
                    " connection out",
                )
            sentence = f"waiting for the server at {self._address} ({reason})"
            if sentence != self._said:
                self._said = sentence
                self._on_wait(sentence)
            self._pause.wait(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)


def not_medhive(address: str, what: str) -> SettingError:
    """Return the error for an address where something else answers."""
    return SettingError(
        f"what answers there is not a MedHive server of this study ({what})",
        place=Place(setting=address),
        next_step="check the address",
    )
