"""What a stranger can make the server's socket do: as little as possible.

Every connection has a deadline for its TLS handshake and for its first request, every request a
bound on its head, its body and the time the body takes, and all strangers together a rate. A
stranger's connection ends with the first answer, and makes room when there are too many.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from medhive.flower.wire import BRING

HANDSHAKE = 10.0
SHUTDOWN = 1.0
FIRST_REQUEST = 10.0
KEEP_ALIVE = 75.0
BODY = 60.0
"""Seconds for a handshake, the end of TLS, the head of a request, the time between two requests of
a site, and a site's body; a stranger's body gets as long as a head."""

MAX_HEAD = 16 * 1024
MAX_CONNECTIONS = 1000
MAX_FILES = 65_536
MAX_STRANGERS_BODY = 8 * 1024
MAX_BODY = 1 * 2**20
MAX_OBJECT = 64 * 2**20
MAX_HELD = 512 * 2**20
"""Bytes of a request's head; connections; files, for connections without TLS too; bytes of a
stranger's body, of a site's, of one that brings sums, and of all that are read at one moment."""

KNOWN = "public_key"
"""Where a request's state has the key of the site that it came from."""

OBJECT_PATHS = frozenset({"/v1/fleet/push-object", BRING})


def allow_files() -> None:
    """Let this process have as many connections as the system allows.

    A connection that does not even begin TLS holds a file until its deadline; with the usual
    limit of 1024 files, a thousand of them would keep everybody else out.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Loop(uvloop.Loop):
    """An event loop whose servers do not wait long for the beginning and the end of TLS."""

    async def create_server(  # type: ignore[override]
        self, *args: Any, **options: Any
    ) -> asyncio.AbstractServer:
        """Create a server."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE)
            options.setdefault("ssl_shutdown_timeout", SHUTDOWN)
        return await super().create_server(*args, **options)


class Protocol(H11Protocol):
    """HTTP/1.1 that hangs up on a connection which does not finish the head of a request."""

    _deadline: asyncio.TimerHandle | None = None
    _opened = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time of the first request; where there is no room, a stranger makes some."""
        super().connection_made(transport)
        self._opened = self.loop.time()
        self._start()
        if len(self.connections) > MAX_CONNECTIONS:
            others = (each for each in self.connections if each is not self)
            strangers = [each for each in others if isinstance(each, Protocol) and not each.known]
            if strangers:
                oldest = min(strangers, key=lambda each: each._opened)
                # uvicorn would count it until the loop comes to closing it
                self.connections.discard(oldest)
                oldest.transport.abort()

    @property
    def known(self) -> bool:
        """Whether the last request came from a site."""
        return self.scope is not None and KNOWN in self.scope.get("state", {})

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


class Refused(Exception):  # noqa: N818 - an answer to one request
    """A request is not served.

    Parameters
    ----------
    status : int
        Of the HTTP answer.
    reason : str
        One word for logs and counters.
    message : str
        For the person at the site.
    """

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(message or reason)

    def answer(self) -> JSONResponse:
        """Return the answer; the connection ends with it."""
        return refusal(self.status, self.reason, self.message)


class Bodies:
    """Reads requests' bodies, of which all that are under way together are bounded."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, scope: Scope, receive: Receive, limit: int, seconds: float) -> bytes:
        """Return the body of a request.

        Raises
        ------
        Refused
            If it is larger than `limit` bytes, takes longer than `seconds`, or if the bodies of
            all requests together are too large at the moment.
        """
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            raise Refused(413, "too-large", "the request is too large")
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "broken-off", "the request broke off")
                    part = message.get("body", b"")
                    self._held += len(part)
                    body += part
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        raise Refused(413, "too-large", "the request is too large")
                    if self._held > MAX_HELD:
                        raise Refused(503, "busy", "the server is busy")
        except TimeoutError:
            raise Refused(408, "too-slow", "the request came too slowly") from None
        finally:
            self._held -= len(body)
        return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives a body which was read already."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def closing(send: Send) -> Send:
    """Return a channel whose answer ends the connection."""

    async def last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        await send(message)

    return last


def refusal(status: int, reason: str, message: str) -> JSONResponse:
    """Return the answer to a request that is not served; the connection ends with it."""
    return JSONResponse(
        {"reason": reason, "message": message}, status, headers={"connection": "close"}
    )


def report_handshakes(context: ssl.SSLContext, refused: Callable[[str, str], None]) -> None:
    """Call `refused` with reason and peer of every handshake that does not come about."""

    class Handshake(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                refused(_HANDSHAKES.get(error.reason or "", "no-tls"), "a stranger")
                raise

    context.sslobject_class = Handshake


_HANDSHAKES = {
    "HTTP_REQUEST": "plain-http",
    "UNSUPPORTED_PROTOCOL": "old-tls",
    "TLSV1_ALERT_UNKNOWN_CA": "server-not-trusted",
    "SSLV3_ALERT_BAD_CERTIFICATE": "server-not-trusted",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "server-not-trusted",
}
"""Why a handshake failed, by OpenSSL's word for it."""
