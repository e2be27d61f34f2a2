"""What MedHive uses of Flower's internals, name by name.

MedHive has its own link on Flower's Fleet API (docs/adr/0002-own-link.md). That needs names that
Flower does not promise to keep: internals of the pinned release. They are confined to
`medhive/flower/`, listed here, and checked with the arguments that MedHive gives them, so that
another release of Flower fails here, by name, and not in the middle of a study.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PACKAGE = Path(importlib.import_module("medhive").__path__[0])
PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.clientapp.typing", "flwr.simulation"}
PUBLIC |= {"flwr.serverapp", "flwr.serverapp.strategy"}

INTERNALS = {
    "flwr.app.message": "make_message remove_content_from_message",
    "flwr.app.metadata": "Metadata",
    "flwr.common.constant": "ErrorCode NOOP_ACCOUNT_NAME NOOP_FLWR_AID SUPERLINK_NODE_ID SubStatus",
    "flwr.common.serde": "message_to_proto",
    "flwr.proto.fleet_pb2": "ActivateNodeRequest ActivateNodeResponse DeactivateNodeRequest"
    " PullMessagesRequest PullMessagesResponse PushMessagesRequest",
    "flwr.proto.heartbeat_pb2": "SendNodeHeartbeatRequest",
    "flwr.proto.message_pb2": "ConfirmMessageReceivedRequest ObjectTree PullObjectRequest"
    " PushObjectRequest",
    "flwr.proto.node_pb2": "Node NodeInfo",
    "flwr.server.superlink.linkstate": "LinkState",
    "flwr.supercore.constant": "FLEET_HTTP_PUBLIC_KEY_HEADER FLWR_IN_MEMORY_DB_NAME"
    " NOOP_FEDERATION_ID NodeStatus TaskType",
    "flwr.supercore.error": "FlowerError http_error_translator",
    "flwr.supercore.inflatable.inflatable_object": "UnexpectedObjectContentError"
    " get_all_nested_objects get_object_tree iterate_object_tree no_object_id_recompute",
    "flwr.supercore.inflatable.inflatable_utils": "inflate_object_from_contents",
    "flwr.supercore.interceptors.http.runtime_version": "RuntimeVersionHttpInterceptor",
    "flwr.supercore.object_store": "NoObjectInStoreError",
    "flwr.supercore.primitives.asymmetric": "public_key_to_bytes",
    "flwr.supercore.protobuf.client": "ProtobufCall ProtobufRequestContext",
    "flwr.supercore.protobuf.translation": "ProtobufTranslationMiddleware",
    "flwr.supercore.retry": "RetryInvoker RetryState exponential",
    "flwr.supercore.run": "Run",
    "flwr.supercore.task_identity": "TaskIdentity",
    "flwr.superlink.config_loader": "get_federation_manager get_objectstore_linkstate_factories",
    "flwr.superlink.routers.fleet.node_auth": "NodeAuthMiddleware",
    "flwr.superlink.routers.fleet.router": "router",
    "flwr.superlink.servicer.fleet": "fleet_handlers",
    "flwr.supernode.fleet_http_client": "FleetHttpClient",
    "flwr.supernode.node_auth_http_interceptor": "NodeAuthHttpInterceptor",
}
NAMES = [(module, name) for module, names in INTERNALS.items() for name in names.split()]


def _imports(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def _internals(files: Iterator[Path]) -> set[tuple[str, str]]:
    found = {pair for file in files for pair in _imports(file)}
    return {pair for pair in found if pair[0].split(".")[0] == "flwr" and pair[0] not in PUBLIC}


def _get(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def test_only_the_flower_package_imports_internals() -> None:
    """Outside `medhive/flower/` only Flower's public modules are imported."""
    files = (f for f in PACKAGE.rglob("*.py") if (PACKAGE / "flower") not in f.parents)
    assert _internals(files) == set()


def test_the_list_is_complete() -> None:
    """The list above names every internal that `medhive/flower/` imports, and no other."""
    assert _internals((PACKAGE / "flower").rglob("*.py")) == set(NAMES)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_the_name_exists(module: str, name: str) -> None:
    """The pinned release of Flower has the name."""
    assert _get(module, name) is not None


ANY = object()
CALLS: list[tuple[str, str, tuple[Any, ...], str]] = [
    # module, callable, positional arguments, keyword arguments
    ("flwr.app.message", "make_message", (), "metadata content"),
    ("flwr.app.message", "remove_content_from_message", (ANY,), ""),
    (
        "flwr.app.metadata",
        "Metadata",
        (),
        "run_id message_id src_node_id dst_node_id reply_to_message_id group_id created_at ttl"
        " message_type",
    ),
    ("flwr.common.serde", "message_to_proto", (ANY,), ""),
    ("flwr.server.superlink.linkstate", "LinkState.activate_task", (ANY, ANY), ""),
    ("flwr.server.superlink.linkstate", "LinkState.claim_task", (ANY, ANY), ""),
    (
        "flwr.server.superlink.linkstate",
        "LinkState.create_run",
        (ANY,),
        "fab_id fab_version fab_hash override_config federation_id federation_config flwr_aid"
        " primary_task_type",
    ),
    ("flwr.server.superlink.linkstate", "LinkState.create_node", (ANY,) * 5, ""),
    ("flwr.server.superlink.linkstate", "LinkState.delete_node", (ANY, ANY, ANY), ""),
    ("flwr.server.superlink.linkstate", "LinkState.delete_messages", (ANY, ANY), ""),
    (
        "flwr.server.superlink.linkstate",
        "LinkState.finish_task",
        (ANY, ANY),
        "sub_status details",
    ),
    ("flwr.server.superlink.linkstate", "LinkState.get_message_res", (ANY, ANY, ANY), ""),
    ("flwr.server.superlink.linkstate", "LinkState.get_node_id", (ANY,), ""),
    ("flwr.server.superlink.linkstate", "LinkState.get_node_info", (ANY,), "node_ids"),
    (
        "flwr.server.superlink.linkstate",
        "LinkState.get_node_info",
        (ANY,),
        "owner_aids statuses",
    ),
    ("flwr.server.superlink.linkstate", "LinkState.get_node_id_by_public_key", (ANY, ANY), ""),
    ("flwr.server.superlink.linkstate", "LinkState.get_nodes", (ANY, ANY), ""),
    ("flwr.server.superlink.linkstate", "LinkState.get_object", (ANY, ANY, ANY), ""),
    ("flwr.server.superlink.linkstate", "LinkState.get_run_info", (ANY,), "run_ids"),
    ("flwr.server.superlink.linkstate", "LinkState.start_session", (ANY, ANY), ""),
    (
        "flwr.server.superlink.linkstate",
        "LinkState.store_message_and_object_tree",
        (ANY, ANY, ANY, ANY),
        "",
    ),
    ("flwr.server.superlink.linkstate", "LinkState.store_object", (ANY,) * 5, ""),
    ("flwr.supercore.inflatable.inflatable_object", "get_all_nested_objects", (ANY,), ""),
    ("flwr.supercore.inflatable.inflatable_object", "get_object_tree", (ANY,), ""),
    ("flwr.supercore.inflatable.inflatable_object", "iterate_object_tree", (ANY,), ""),
    ("flwr.supercore.inflatable.inflatable_object", "no_object_id_recompute", (), ""),
    ("flwr.supercore.inflatable.inflatable_utils", "inflate_object_from_contents", (ANY, ANY), ""),
    (
        "flwr.supercore.interceptors.http.runtime_version",
        "RuntimeVersionHttpInterceptor",
        (),
        "component_name",
    ),
    ("flwr.supercore.object_store", "ObjectStore.delete", (ANY, ANY), ""),
    ("flwr.supercore.object_store", "ObjectStore.get_object_tree", (ANY, ANY), ""),
    ("flwr.supercore.primitives.asymmetric", "public_key_to_bytes", (ANY,), ""),
    (
        "flwr.supercore.retry",
        "RetryInvoker",
        (ANY, ANY),
        "max_tries max_time on_backoff should_giveup wait_function",
    ),
    ("flwr.supercore.retry", "RetryInvoker.invoke", (ANY, ANY), ""),
    ("flwr.supercore.retry", "exponential", (), "base_delay multiplier max_delay"),
    ("flwr.superlink.config_loader", "get_federation_manager", (), "is_simulation"),
    ("flwr.superlink.config_loader", "get_objectstore_linkstate_factories", (ANY, ANY), ""),
    (
        "flwr.supernode.fleet_http_client",
        "FleetHttpClient.from_server_address",
        (ANY, ANY, ANY),
        "interceptors",
    ),
    ("flwr.superlink.servicer.fleet", "fleet_handlers.pull_messages", (ANY, ANY, ANY), ""),
    ("flwr.superlink.servicer.fleet", "fleet_handlers.pull_object", (ANY, ANY), ""),
    (
        "flwr.superlink.servicer.fleet",
        "fleet_handlers.confirm_message_received",
        (ANY, ANY, ANY),
        "",
    ),
    ("flwr.superlink.servicer.fleet", "fleet_handlers.push_messages", (ANY, ANY), ""),
    ("flwr.superlink.servicer.fleet", "fleet_handlers.push_object", (ANY, ANY), ""),
    ("flwr.supernode.fleet_http_client", "FleetHttpClient.ActivateNode", (ANY, ANY), ""),
    ("flwr.supernode.fleet_http_client", "FleetHttpClient.DeactivateNode", (ANY, ANY), ""),
    ("flwr.supernode.fleet_http_client", "FleetHttpClient.SendNodeHeartbeat", (ANY, ANY), ""),
    ("flwr.supernode.fleet_http_client", "FleetHttpClient.close", (ANY,), ""),
    ("flwr.supernode.node_auth_http_interceptor", "NodeAuthHttpInterceptor", (ANY, ANY), ""),
    ("flwr.serverapp.strategy", "FedAdam.aggregate_train", (ANY, ANY, ANY), ""),
    ("flwr.serverapp.strategy", "FedAvgM.aggregate_train", (ANY, ANY, ANY), ""),
]


@pytest.mark.parametrize(
    ("module", "name", "positional", "keywords"), CALLS, ids=[call[1] for call in CALLS]
)
def test_the_call_fits(module: str, name: str, positional: tuple[Any, ...], keywords: str) -> None:
    """The callable takes the arguments that MedHive gives it."""
    target: Any = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    inspect.signature(target).bind(*positional, **dict.fromkeys(keywords.split(), ANY))


FIELDS = {
    "fleet_pb2.ActivateNodeRequest": "public_key heartbeat_interval",
    "fleet_pb2.ActivateNodeResponse": "node_id",
    "fleet_pb2.DeactivateNodeRequest": "node_id",
    "fleet_pb2.PullMessagesRequest": "node",
    "fleet_pb2.PullMessagesResponse": "messages_list message_object_trees",
    "fleet_pb2.PushMessagesRequest": "node messages_list message_object_trees"
    " clientapp_runtime_list",
    "fleet_pb2.PushMessagesResponse": "objects_to_push session_id",
    "heartbeat_pb2.SendNodeHeartbeatRequest": "node heartbeat_interval",
    "message_pb2.ConfirmMessageReceivedRequest": "node run_id message_object_id",
    "message_pb2.ObjectTree": "object_id",
    "message_pb2.PullObjectRequest": "node run_id object_id",
    "message_pb2.PullObjectResponse": "object_available object_content",
    "message_pb2.PushObjectRequest": "node run_id session_id object_id object_content",
    "node_pb2.Node": "node_id",
}


@pytest.mark.parametrize("message", FIELDS)
def test_the_protobuf_fields_exist(message: str) -> None:
    """The wire format has the fields that MedHive reads and writes."""
    module, name = message.split(".")
    descriptor = _get(f"flwr.proto.{module}", name).DESCRIPTOR
    assert set(FIELDS[message].split()) <= {field.name for field in descriptor.fields}


def test_the_attributes_exist() -> None:
    """Flower's objects have the attributes that MedHive reads or sets."""
    run = _get("flwr.supercore.run", "Run")
    assert {"run_id", "primary_task_id", "series_id"} <= set(inspect.get_annotations(run))
    state = _get("flwr.supercore.retry", "RetryState")
    assert "exception" in inspect.get_annotations(state)
    assert isinstance(
        inspect.getattr_static(
            _get("flwr.server.superlink.linkstate", "LinkState"), "object_store"
        ),
        property,
    )
    identity = type(_get("flwr.supercore.task_identity", "TaskIdentity"))
    assert {"task_id", "run_id", "node_id"} <= set(dir(identity))
    adam = _get("flwr.serverapp.strategy", "FedAdam")()
    assert {"current_arrays", "m_t", "v_t"} <= set(vars(adam))
    momentum = _get("flwr.serverapp.strategy", "FedAvgM")()
    assert {"current_arrays", "momentum_vector"} <= set(vars(momentum))


def test_a_message_keeps_its_id_where_medhive_sets_it() -> None:
    """A message's metadata keep the id under `_message_id`, and a message has an `object_id`."""
    from flwr.app import RecordDict

    from medhive.flower.optimisers import _as_reply

    message = _as_reply(np.zeros(1))
    assert isinstance(message.content, RecordDict)
    assert "_message_id" in message.metadata.__dict__
    message.metadata.__dict__["_message_id"] = message.object_id
    assert message.metadata.message_id == message.object_id


def test_the_fleet_api_has_the_paths_that_the_mailbox_watches() -> None:
    """Held polls and wake-ups hang on the paths of Flower's Fleet API."""
    from medhive.flower.mailbox import NEWS, PULL

    router = _get("flwr.superlink.routers.fleet.router", "router")
    assert {PULL, *NEWS} <= {route.path for route in router.routes}
