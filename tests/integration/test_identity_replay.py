"""What a captured header of Flower's node authentication is good for, with and without MedHive."""

from __future__ import annotations

import datetime
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from starlette.types import ASGIApp, Receive, Scope, Send

from house import House, Key, pem, signed
from medhive.flower import link as link_module
from medhive.flower import signed as signed_module
from medhive.flower.node import _without_content

PROTOBUF = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}


class AdmitAll:
    """Flower's node authentication stands alone behind it."""

    def __init__(self, app: ASGIApp, known: Callable[[bytes], bool], **_: object) -> None:
        self._app = app
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the node of whoever comes, as Flower's Control API would have done."""
        if scope["type"] == "http":
            key = dict(scope["headers"]).get(FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode())
            if key is not None:
                self._known(b64decode(key))
        await self._app(scope, receive, send)


@dataclass
class Wire:
    """A node that is connected, and what somebody once saw of one of its requests."""

    house: House
    key: Key
    node_id: int
    captured: dict[str, str]
    client: httpx.Client
    grid: Any = None

    def send(self, name: str, request: Any, headers: dict[str, str]) -> httpx.Response:
        """Put the headers on another request."""
        body = request.SerializeToString()
        return self.client.post(f"/v1/fleet/{name}", content=body, headers=PROTOBUF | headers)

    def own(self, name: str, request: Any) -> dict[str, str]:
        """Return the headers that the node itself puts on a request."""
        body = request.SerializeToString()
        built = httpx.Request("POST", f"https://x/v1/fleet/{name}", content=body)
        sent: list[httpx.Request] = []

        class Context:
            request = built

        interceptor = NodeAuthHttpInterceptor(self.key, self.key.public_key())
        interceptor.intercept(Context, lambda context: sent.append(context.request))  # type: ignore[arg-type,func-returns-value]
        names = (FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
        triple = {each: sent[0].headers[each] for each in names}
        return triple | signed(self.key, f"/v1/fleet/{name}", body)

    def ask(self) -> str:
        """Put a question to the node; return the message's id."""
        self.grid, _ = self.house.link.start_run()
        record = RecordDict({"c": ConfigRecord({"question": "sums"})})
        message = Message(record, self.node_id, "query", group_id="1")
        (message_id,) = self.grid.push_messages([message])
        return str(message_id)


def _wire(house: House, client: httpx.Client, site: str = "a") -> Wire:
    key = house.enrolled(site)
    wire = Wire(house, key, 0, {}, client)
    activate = ActivateNodeRequest(public_key=pem(key), heartbeat_interval=30)
    headers = wire.own("activate-node", activate)
    answer = wire.send("activate-node", activate, headers)
    assert answer.status_code == httpx.codes.OK, answer.text
    wire.node_id = ActivateNodeResponse.FromString(answer.content).node_id
    wire.captured = headers
    return wire


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The same socket with Flower's node authentication alone."""
    monkeypatch.setattr(link_module, "AdmissionMiddleware", AdmitAll)
    with House(tmp_path / "home") as house, house.http() as client:
        yield _wire(house, client)


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Wire]:
    """MedHive's socket."""
    with House(tmp_path / "home") as house, house.http() as client:
        yield _wire(house, client)


def _pull(wire: Wire, headers: dict[str, str]) -> httpx.Response:
    request = PullMessagesRequest(node=NodeProto(node_id=wire.node_id))
    return wire.send("pull-messages", request, headers)


def _push(wire: Wire, headers: dict[str, str], pulled: PullMessagesResponse) -> httpx.Response:
    question = message_from_proto(pulled.messages_list[0])
    question.metadata.__dict__["_message_id"] = pulled.messages_list[0].metadata.message_id
    reply = Message(RecordDict({"c": ConfigRecord({"answer": "forged"})}), reply_to=question)
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
        tree, objects = get_object_tree(reply), get_all_nested_objects(reply)
        request = PushMessagesRequest(
            node=NodeProto(node_id=wire.node_id),
            messages_list=[message_to_proto(_without_content(reply))],
            message_object_trees=[tree],
            clientapp_runtime_list=[0.0],
        )
    answer = wire.send("push-messages", request, headers)
    if answer.status_code != httpx.codes.OK:
        return answer
    opened = PushMessagesResponse.FromString(answer.content)
    for object_id in opened.objects_to_push:
        with no_object_id_recompute():
            content = objects[object_id].deflate()
        push = PushObjectRequest(
            node=NodeProto(node_id=wire.node_id),
            run_id=question.metadata.run_id,
            session_id=opened.session_id,
            object_id=object_id,
            object_content=content,
        )
        answer = wire.send("push-object", push, headers)
    return answer


def _deactivate(wire: Wire, headers: dict[str, str]) -> httpx.Response:
    return wire.send("deactivate-node", DeactivateNodeRequest(node_id=wire.node_id), headers)


def test_stock_authentication_lets_a_captured_header_take_a_message_and_forge_its_reply(
    stock: Wire,
) -> None:
    """With Flower's headers of one request a stranger pulls the node's task and answers it."""
    message_id = stock.ask()
    pulled = _pull(stock, stock.captured)
    assert pulled.status_code == httpx.codes.OK
    messages = PullMessagesResponse.FromString(pulled.content)
    assert [each.metadata.message_id for each in messages.messages_list] == [message_id]
    assert _push(stock, stock.captured, messages).status_code == httpx.codes.OK
    (reply,) = stock.grid.pull_messages([message_id])
    assert reply.content["c"]["answer"] == "forged"  # type: ignore[index,call-overload]


def test_stock_authentication_lets_a_captured_header_end_the_connection(stock: Wire) -> None:
    """With Flower's headers of one request a stranger takes the node offline."""
    assert _deactivate(stock, stock.captured).status_code == httpx.codes.OK
    assert stock.house.link.online() == []


def test_stock_authentication_binds_a_header_to_its_node(stock: Wire) -> None:
    """A captured header is not good for another node."""
    other = PullMessagesRequest(node=NodeProto(node_id=stock.node_id + 1))
    answer = stock.send("pull-messages", other, stock.captured)
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_stock_authentication_takes_a_header_for_five_minutes(
    stock: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The captured header is good for about 300 seconds, as often as one likes."""
    from flwr.superlink.routers.fleet import node_auth

    real = node_auth.now

    def at(seconds: float) -> int:
        later = datetime.timedelta(seconds=seconds)
        monkeypatch.setattr(node_auth, "now", lambda: real() + later)
        return _pull(stock, stock.captured).status_code

    assert at(290) == httpx.codes.OK
    assert at(320) == httpx.codes.UNAUTHORIZED


@pytest.mark.parametrize("headers", ["Flower's alone", "all"])
def test_the_link_refuses_captured_headers_on_every_other_request(ours: Wire, headers: str) -> None:
    """Neither a task, nor a reply, nor the end of the connection: not even the same request."""
    message_id = ours.ask()
    flowers = (FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
    captured = ours.captured
    if headers != "all":
        captured = {name: captured[name] for name in flowers}
    expected = "altered" if headers == "all" else "unsigned"
    assert _pull(ours, captured).json()["reason"] == expected
    assert _deactivate(ours, captured).json()["reason"] == expected
    request = PullMessagesRequest(node=NodeProto(node_id=ours.node_id))
    pulled = ours.send("pull-messages", request, ours.own("pull-messages", request))
    messages = PullMessagesResponse.FromString(pulled.content)
    assert [each.metadata.message_id for each in messages.messages_list] == [message_id]
    assert _push(ours, captured, messages).json()["reason"] == expected
    assert ours.house.link.online() == [pem(ours.key)]
    activate = ActivateNodeRequest(public_key=pem(ours.key), heartbeat_interval=30)
    again = ours.send("activate-node", activate, captured)
    assert again.json()["reason"] == ("replayed" if headers == "all" else "unsigned")
    ours.house.refused(expected, 3)


def test_without_the_bodys_digest_and_the_path_the_link_would_take_them_too(
    ours: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the statement that keeps them apart: one that names the time alone is Flower's own."""
    monkeypatch.setattr(signed_module, "statement", lambda *fields: fields[2].encode())
    monkeypatch.setattr(signed_module.Verifier, "_first", lambda *_: True)
    activate = ActivateNodeRequest(public_key=pem(ours.key), heartbeat_interval=30)
    captured = ours.own("activate-node", activate)
    assert _deactivate(ours, captured).status_code == httpx.codes.OK
    assert ours.house.link.online() == []


def _forge(victim: Wire, thief: Wire) -> httpx.Response:
    """Answer the victim's question in its name, with all that the thief may rightly sign."""
    victim.ask()
    request = PullMessagesRequest(node=NodeProto(node_id=victim.node_id))
    pulled = victim.send("pull-messages", request, victim.own("pull-messages", request))
    message = PullMessagesResponse.FromString(pulled.content).messages_list[0]
    question = message_from_proto(message)
    question.metadata.__dict__["_message_id"] = message.metadata.message_id
    reply = Message(RecordDict({"c": ConfigRecord({"answer": "forged"})}), reply_to=question)
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
        forged = PushMessagesRequest(
            node=NodeProto(node_id=thief.node_id),
            messages_list=[message_to_proto(_without_content(reply))],
            message_object_trees=[get_object_tree(reply)],
            clientapp_runtime_list=[0.0],
        )
    return thief.send("push-messages", forged, thief.own("push-messages", forged))


def test_a_site_cannot_answer_in_the_name_of_another(
    ours: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that names another node is refused; Flower's own handler would take it."""
    thief = _wire(ours.house, ours.client, "b")
    answer = _forge(ours, thief)
    assert (answer.status_code, answer.json()["reason"]) == (403, "another-site")

    async def through(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    monkeypatch.setattr(link_module.OwnReplies, "__call__", through)
    answer = _forge(ours, thief)
    assert answer.status_code == httpx.codes.OK
    assert PushMessagesResponse.FromString(answer.content).objects_to_push
