"""A message and all its objects in one signed request.

Flower's Fleet API moves a message object by object, each in a request of its own: nine for a
task and its reply. Here the same handlers of Flower run one after the other within one request,
so that a task costs one and its reply one. A site that speaks Flower's own routes is served too.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.constant import NodeStatus
from flwr.supercore.error import FlowerError
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.superlink.servicer.fleet import fleet_handlers
from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from medhive.errors import ProtocolError
from medhive.flower.door import refusal
from medhive.flower.mailbox import Mailbox
from medhive.flower.wire import BRING, NOT_CONNECTED, RUN_OVER, TAKE, pack_parts, unpack_parts


class OwnReplies:
    """Refuse replies in another node's name on Flower's own route, whose handler does not look.

    It stands behind Flower's node authentication, which checks the node that the request names.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 403."""
        request = scope.get("state", {}).get("protobuf_request")
        if isinstance(request, PushMessagesRequest) and any(
            message.metadata.src_node_id != request.node.node_id
            for message in request.messages_list
        ):
            answer = refusal(403, "another-site", "a reply in the name of another site")
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Courier:
    """Serve the two routes, before Flower's own middlewares, which they do not need.

    It stands behind the admission of signed requests, which says whose key it was.
    """

    def __init__(self, app: ASGIApp, state: LinkState, mailbox: Mailbox) -> None:
        self._app = app
        self._state = state
        self._mailbox = mailbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] not in (TAKE, BRING):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if request.method != "POST":
            answer: Response = refusal(405, "unreadable", "the request cannot be read")
        elif scope["path"] == TAKE:
            answer = await self._serve(request, lambda node_id, _: _take(self._state, node_id))
        else:
            answer = await self._serve(request, lambda *work: _bring(self._state, *work))
        await answer(scope, receive, send)
        if scope["path"] == BRING:
            self._mailbox.tell()

    async def _serve(self, request: Request, work: Callable[[int, bytes], bytes]) -> Response:
        node_id = self._state.get_node_id_by_public_key(request.state.public_key)
        if node_id is None or not self._state.get_node_info(
            node_ids=[node_id], statuses=[NodeStatus.ONLINE]
        ):
            return refusal(401, NOT_CONNECTED, "this site has to connect first")
        body = await request.body()
        if request.url.path == TAKE:
            await self._mailbox.mail_for(node_id)
            if await request.is_disconnected():
                # the mail is for the connection that the site has by now
                self._mailbox.post([node_id])
                return Response(b"")
        try:
            answer = await run_in_threadpool(work, node_id, body)
        except (ProtocolError, DecodeError, ValueError, LookupError, NoObjectInStoreError):
            return refusal(400, "unreadable", "the request cannot be read")
        except FlowerError:
            return refusal(403, RUN_OVER, "the run that this belongs to is over")
        return Response(answer, media_type="application/octet-stream")


def _take(state: LinkState, node_id: int) -> bytes:
    """Hand over the next message with its objects; nothing where there is none."""
    node, store = Node(node_id=node_id), state.object_store
    answer = fleet_handlers.pull_messages(PullMessagesRequest(node=node), state, store)
    if not answer.messages_list:
        return b""
    run_id = answer.messages_list[0].metadata.run_id
    tree = answer.message_object_trees[0]
    parts = [answer.SerializeToString()]
    for item in iterate_object_tree(tree):
        wanted = PullObjectRequest(node=node, run_id=run_id, object_id=item.object_id)
        parts.append(fleet_handlers.pull_object(wanted, state).object_content)
    received = ConfirmMessageReceivedRequest(
        node=node, run_id=run_id, message_object_id=tree.object_id
    )
    fleet_handlers.confirm_message_received(received, state, store)
    return pack_parts(parts)


def _bring(state: LinkState, node_id: int, body: bytes) -> bytes:
    """Take a reply with its objects, in the order of its object tree."""
    head, *contents = unpack_parts(body)
    request = PushMessagesRequest.FromString(head)
    message, tree = request.messages_list[0], request.message_object_trees[0]
    if not node_id == request.node.node_id == message.metadata.src_node_id:
        raise ProtocolError("a reply in the name of another node")
    names = [item.object_id for item in iterate_object_tree(tree)]
    given = dict(zip(names, contents, strict=True))
    answer = fleet_handlers.push_messages(request, state)
    for object_id in answer.objects_to_push:
        fleet_handlers.push_object(
            PushObjectRequest(
                node=request.node,
                run_id=message.metadata.run_id,
                session_id=answer.session_id,
                object_id=object_id,
                object_content=given[object_id],
            ),
            state,
        )
    return b""
