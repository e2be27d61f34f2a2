"""What a stranger can make the server's socket do: as little as possible.

Every connection has a deadline for its TLS handshake and for its first request, every request a
bound on its head, its body and the time the body takes, and all strangers together a rate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from medhive.flower.wire import BRING

HANDSHAKE = 10.0
FIRST_REQUEST = 10.0
KEEP_ALIVE = 75.0
BODY = 60.0
"""Seconds that a stranger gets for a handshake, a request's head, the next one, and a body."""

MAX_HEAD = 16 * 1024
MAX_CONNECTIONS = 1000
MAX_BODY = 1 * 2**20
MAX_OBJECT = 64 * 2**20
"""Bytes of a request's head; open connections; bytes of a body, and of one that brings sums."""

OBJECT_PATHS = frozenset({"/v1/fleet/push-object", BRING})


class Loop(uvloop.Loop):
    """An event loop whose servers do not wait long for a TLS handshake."""

    async def create_server(  # type: ignore[override]
        self, *args: Any, **options: Any
    ) -> asyncio.AbstractServer:
        """Create a server."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE)
        return await super().create_server(*args, **options)


class Protocol(H11Protocol):
    """HTTP/1.1 that hangs up on a connection which does not finish the head of a request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time of the first request."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that began must end in time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel()
        elif self._deadline is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._cancel()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._deadline = self.loop.call_later(FIRST_REQUEST, self._hang_up)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


@dataclass
class Bucket:
    """A token bucket.

    Parameters
    ----------
    rate : float
        Requests a second in the long run.
    burst : float
        Requests at once.
    """

    rate: float
    burst: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._tokens, self._at = self.burst, self.clock()

    def take(self) -> bool:
        """Say whether one more request may be served now."""
        now = self.clock()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class BodyLimit:
    """Read a request's body, within its bounds, before anything looks at it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 408, 411 or 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = MAX_OBJECT if scope["path"] in OBJECT_PATHS else MAX_BODY
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _refuse(413, "too-large", scope, receive, send)
            return
        body = bytearray()
        try:
            async with asyncio.timeout(BODY):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        await _refuse(413, "too-large", scope, receive, send)
                        return
        except TimeoutError:
            await _refuse(408, "too-slow", scope, receive, send)
            return
        scope.setdefault("state", {})["body"] = bytes(body)
        await self._app(scope, _replay(bytes(body), receive), send)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    await refusal(status, reason, "")(scope, receive, send)


def refusal(status: int, reason: str, message: str) -> JSONResponse:
    """Return the answer to a request that is not served; the connection ends with it."""
    return JSONResponse(
        {"reason": reason, "message": message}, status, headers={"connection": "close"}
    )
