"""Waking whoever waits: sites for their next message, the server for their replies.

Flower's Fleet API is polled. Here a poll of a site that has no mail is held until mail comes,
and the server's wait ends with the request that brought the reply, so nobody sleeps.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

HOLD = 10.0
"""Seconds that an empty poll is held; well under the client's read timeout of 30 s."""

PULL = "/v1/fleet/pull-messages"
NEWS = frozenset(
    f"/v1/fleet/{name}"
    for name in ("push-messages", "push-object", "activate-node", "deactivate-node")
)


class Mailbox:
    """Counts of mail by node, and a condition that marks news from any node."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.version = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: Counter[int] = Counter()
        self._arrived: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self._attached = threading.Event()
        self._closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind to the loop that serves the sites."""
        self._loop = loop
        self._attached.set()

    def wait_attached(self, thread: threading.Thread) -> None:
        """Wait until the sites can be served, or the serving thread ended."""
        while thread.is_alive() and not self._attached.wait(0.2):
            continue

    def post(self, node_ids: list[int]) -> None:
        """Say that each of these nodes has one more message (from any thread)."""
        self._call(self._post, node_ids)

    def close(self) -> None:
        """Let every held poll go (from any thread)."""
        self._call(self._close)

    async def mail_for(self, node_id: int) -> None:
        """Return when the node has mail, or after `HOLD` seconds."""
        if not self._closed and self._waiting[node_id] == 0:
            self._arrived[node_id].clear()
            try:
                async with asyncio.timeout(HOLD):
                    await self._arrived[node_id].wait()
            except TimeoutError:
                return
        if self._waiting[node_id] > 0:
            self._waiting[node_id] -= 1

    def tell(self) -> None:
        """Wake the server: something came from a node."""
        with self.news:
            self.version += 1
            self.news.notify_all()

    def _post(self, node_ids: list[int]) -> None:
        for node_id in node_ids:
            self._waiting[node_id] += 1
            self._arrived[node_id].set()

    def _close(self) -> None:
        self._closed = True
        for event in self._arrived.values():
            event.set()

    def _call(self, function: Callable[..., None], *args: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)


class MailboxMiddleware:
    """Hold empty polls, and tell the server of replies.

    It stands behind Flower's node authentication, so only an authenticated node's poll is held.
    """

    def __init__(self, app: ASGIApp, mailbox: Mailbox) -> None:
        self._app = app
        self._mailbox = mailbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path")
        if path == PULL:
            request = scope.get("state", {}).get("protobuf_request")
            if request is not None:
                await self._mailbox.mail_for(request.node.node_id)
        await self._app(scope, receive, send)
        if path in NEWS:
            self._mailbox.tell()
