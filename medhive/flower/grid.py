"""The server end of a run: push tasks to nodes, wait for their replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flwr.app import Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import NodeInfo
from flwr.server.superlink.linkstate import LinkState
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.run import Run

from medhive.flower.mailbox import Mailbox

CLOCK = 1.0
"""Seconds after which a wait looks again for what only time brings: a node going offline."""


class LinkGrid(Grid):
    """Flower's grid on the link state of this process.

    Parameters
    ----------
    state : LinkState
        Flower's record of nodes, runs, messages and objects.
    run : Run
        The run whose messages these are.
    mailbox : Mailbox
        Wakes the nodes and this grid.
    site_of : callable
        Returns the enrolled name of a node, or None where names are not checked.
    """

    def __init__(
        self,
        state: LinkState,
        run: Run,
        mailbox: Mailbox,
        site_of: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self._state = state
        self._run = run
        self._mailbox = mailbox
        self.site_of = site_of
        self._incomplete: dict[str, tuple[Message, ObjectTree]] = {}

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message; Flower's own constructor does it."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are online."""
        return self._state.get_nodes(self._run.run_id)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes that are online, with their public keys."""
        return self._state.get_node_info(node_ids=list(self.get_node_ids()))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Store messages for their nodes and wake the nodes; return the ids of those stored."""
        messages = list(messages)
        run_id = self._run.run_id
        session = self._state.start_session(run_id)
        stored: list[Message] = []
        missing: dict[str, bytes] = {}
        with no_object_id_recompute():
            # Flower ends the session when nothing is pending: every message before any object
            for message in messages:
                message.metadata.__dict__["_message_id"] = message.object_id
                ok, object_ids = self._state.store_message_and_object_tree(
                    message, get_object_tree(message), session
                )
                if ok:
                    stored.append(message)
                    objects = get_all_nested_objects(message)
                    missing |= {name: objects[name].deflate() for name in object_ids}
            for object_id, content in missing.items():
                self._state.store_object(run_id, session, object_id, content)
        self._mailbox.post([message.metadata.dst_node_id for message in stored])
        return [message.metadata.message_id for message in stored]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are complete by now."""
        wanted = set(message_ids) - {
            message.metadata.reply_to_message_id for message, _ in self._incomplete.values()
        }
        ready: list[Message] = []
        if wanted:
            for message in self._state.get_message_res(wanted, self._run.run_id):
                try:
                    tree = self._state.object_store.get_object_tree(message.metadata.message_id)
                except NoObjectInStoreError:
                    # made by the link itself: the node is gone, or the time is over
                    ready.append(message)
                else:
                    self._incomplete[message.metadata.message_id] = (message, tree)
        for message_id in list(self._incomplete):
            message, tree = self._incomplete[message_id]
            contents = {
                item.object_id: self._state.get_object(self._run.run_id, item.object_id)
                for item in iterate_object_tree(tree)
            }
            if all(contents.values()):
                del self._incomplete[message_id]
                self._state.object_store.delete(message_id)
                ready.append(_inflate(message, contents))  # type: ignore[arg-type]
        self._state.delete_messages({message.metadata.reply_to_message_id for message in ready})
        return ready

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push messages and return the replies that came within `timeout` seconds."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []
        while True:
            seen = self._mailbox.version
            for reply in self.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
            left = deadline - time.monotonic()
            if not waiting or left <= 0:
                break
            self.wait_for_news(seen, min(left, CLOCK))
        if waiting:
            self._state.delete_messages(waiting)
            self._incomplete.clear()
        return replies

    @property
    def news(self) -> int:
        """A number that grows whenever something comes from a node."""
        return self._mailbox.version

    def wait_for_news(self, seen: int, timeout: float) -> None:
        """Wait until something came from a node after `seen`, or `timeout` seconds passed."""
        with self._mailbox.news:
            self._mailbox.news.wait_for(lambda: self._mailbox.version != seen, timeout)


def _inflate(stored: Message, contents: dict[str, bytes]) -> Message:
    """Put a reply together; whom it comes from and what it answers is what the link has checked."""
    metadata = stored.metadata
    try:
        inflated = inflate_object_from_contents(metadata.message_id, contents)
    except Exception:  # noqa: BLE001 - a site can send any bytes, and only its own reply may suffer
        inflated = None
    if not isinstance(inflated, Message):
        unreadable = Error(ErrorCode.UNKNOWN, "its reply cannot be read")
        return make_message(metadata=metadata, error=unreadable)
    if inflated.has_error():
        return make_message(metadata=metadata, error=inflated.error)
    return make_message(metadata=metadata, content=inflated.content)
