"""Who may speak on the server's socket."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from medhive.flower import door
from medhive.flower.door import Bodies, Bucket, Refused
from medhive.flower.signed import Forged, Verifier, claimed_key

FLEET = "/v1/fleet/"
SITE_RATE, SITE_BURST = 500.0, 2000.0
STRANGER_RATE, STRANGER_BURST = 50.0, 200.0
"""Requests a second: of one site; of everybody who is not a known site, together, on a path."""


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
    """Serve Fleet requests of admitted sites that signed them; bound everybody's rate and bodies.

    A request's key is looked up before its body is read and its signature checked, so that a
    stranger costs no memory and no arithmetic.

    Parameters
    ----------
    app : ASGIApp
    admission : Admission
    verifier : Verifier
    refusals : Refusals
    known : callable
        Called with a public key that was admitted, before its first request is served; says
        whether there is room for it.
    for_strangers : frozenset of str
        Paths outside the Fleet API that are served.
    """

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        verifier: Verifier,
        refusals: Refusals,
        known: Callable[[bytes], bool],
        for_strangers: frozenset[str],
    ) -> None:
        self._app = app
        self._admission = admission
        self._verifier = verifier
        self._refusals = refusals
        self._known = known
        self._for_strangers = for_strangers
        self._bodies = Bodies()
        # a flood on one path does not keep strangers from another
        self._strangers: defaultdict[str, Bucket] = defaultdict(
            lambda: Bucket(STRANGER_RATE, STRANGER_BURST)
        )
        self._sites: defaultdict[bytes, Bucket] = defaultdict(lambda: Bucket(SITE_RATE, SITE_BURST))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 401, 404, 408, 413, 429 or 503."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if scope["path"].startswith(FLEET):
                body = await self._from_site(scope, receive)
            else:
                self._pass_stranger(scope["path"])
                if scope["path"] not in self._for_strangers:
                    raise Refused(404, "no-such-path", "there is no such path")
                body = await self._bodies.read(
                    scope, receive, door.MAX_STRANGERS_BODY, door.FIRST_REQUEST
                )
                send = door.closing(send)
        except Refused as refused:
            client = scope.get("client")
            self._refusals.add(refused.reason, client[0] if client else "unknown")
            await refused.answer()(scope, receive, send)
            return
        await self._app(scope, door.replay(body, receive), send)

    async def _from_site(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of a request that a site signed."""
        headers = Headers(scope=scope)
        key = claimed_key(headers)
        if key is None:
            self._pass_stranger(FLEET)
            raise Refused(401, "unsigned", "the request is not signed by a site")
        verdict = self._admission.admit(key)
        if verdict.reason:
            self._pass_stranger(FLEET)
            raise Refused(401, verdict.reason, verdict.message)
        limit = door.MAX_OBJECT if scope["path"] in door.OBJECT_PATHS else door.MAX_BODY
        body = await self._bodies.read(scope, receive, limit, door.BODY)
        try:
            await run_in_threadpool(
                self._verifier.verify, key, scope["method"], scope["path"], headers, body
            )
        except Forged as error:
            self._pass_stranger(FLEET)
            raise Refused(401, error.reason, error.message) from None
        if not self._known(key):
            raise Refused(503, "full", "no more clients can take part")
        if not self._sites[key].take():
            raise Refused(429, "too-many", "too many requests")
        scope["state"][door.KNOWN] = key
        return body

    def _pass_stranger(self, path: str) -> None:
        served = path if path in self._for_strangers else FLEET
        if not self._strangers[served].take():
            raise Refused(429, "too-many", "too many requests")
