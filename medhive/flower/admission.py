"""Who may speak on the server's socket."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from medhive.flower.door import Bucket, refusal
from medhive.flower.signed import Forged, Verifier

FLEET = "/v1/fleet/"
SITE_RATE, SITE_BURST = 500.0, 2000.0
STRANGER_RATE, STRANGER_BURST = 50.0, 200.0
"""Requests a second: of one site; of everybody who is not a known site, together."""


@dataclass(frozen=True)
class Verdict:
    """Whether a key may speak.

    Parameters
    ----------
    site : str or None
        The site that the key belongs to; None where names are not checked.
    reason : str
        Why not: ``unknown-key`` or ``revoked``; empty where it may.
    message : str
        For the person at the site.
    """

    site: str | None = None
    reason: str = ""
    message: str = ""


class Admission(Protocol):
    """Decides by public key."""

    def admit(self, public_key: bytes) -> Verdict:
        """Return whether the key (PEM) may speak, and for which site."""


class Anyone:
    """Every key may speak, under whatever name: for one machine, and for open data."""

    def admit(self, public_key: bytes) -> Verdict:
        """Admit the key."""
        return Verdict()


@dataclass
class Refusals:
    """Counts refused requests, and says so without flooding the log.

    Parameters
    ----------
    say : callable
        Gets a line for the server's log.
    quiet : float
        Seconds between two lines for the same reason.
    """

    say: Callable[[str], None] = lambda _: None
    quiet: float = 10.0
    counts: Counter[str] = field(default_factory=Counter)
    _said: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, reason: str, who: str) -> None:
        """Count one refusal."""
        with self._lock:
            self.counts[reason] += 1
            count, now = self.counts[reason], time.monotonic()
            if now - self._said.get(reason, -self.quiet) < self.quiet:
                return
            self._said[reason] = now
        self.say(f"refused a request from {who}: {reason} ({count} so far)")


class AdmissionMiddleware:
    """Serve Fleet requests of admitted sites that signed them; bound everybody's rate.

    Parameters
    ----------
    app : ASGIApp
    admission : Admission
    verifier : Verifier
    refusals : Refusals
    known : callable
        Called with a public key that was admitted, before its first request is served.
    """

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        verifier: Verifier,
        refusals: Refusals,
        known: Callable[[bytes], None],
    ) -> None:
        self._app = app
        self._admission = admission
        self._verifier = verifier
        self._refusals = refusals
        self._known = known
        self._strangers = Bucket(STRANGER_RATE, STRANGER_BURST)
        self._sites: defaultdict[bytes, Bucket] = defaultdict(lambda: Bucket(SITE_RATE, SITE_BURST))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 401 or 429."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        who = request.client.host if request.client else "unknown"
        if not request.url.path.startswith(FLEET):
            if not self._strangers.take():
                self._refusals.add("too-many", who)
                await refusal(429, "too-many", "too many requests")(scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        status, reason, message = await run_in_threadpool(self._check, request, scope)
        if reason:
            self._refusals.add(reason, who)
            await refusal(status, reason, message)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, request: Request, scope: Scope) -> tuple[int, str, str]:
        try:
            key = self._verifier.verify(
                request.method, request.url.path, request.headers, scope["state"]["body"]
            )
        except Forged as error:
            return self._stranger(error.reason, error.message)
        verdict = self._admission.admit(key)
        if verdict.reason:
            return self._stranger(verdict.reason, verdict.message)
        if not self._sites[key].take():
            return 429, "too-many", "too many requests"
        self._known(key)
        scope["state"]["public_key"] = key
        return 200, "", ""

    def _stranger(self, reason: str, message: str) -> tuple[int, str, str]:
        if not self._strangers.take():
            return 429, "too-many", "too many requests"
        return 401, reason, message
