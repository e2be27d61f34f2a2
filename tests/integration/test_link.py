"""The server's socket: what it serves, to whom, and how fast it wakes who waits."""

from __future__ import annotations

import datetime
import re
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.routing import iter_route_contexts
from flwr.app import Message
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.superlink.main import create_app

from medhive.flower.link import HEALTH, Link
from medhive.flower.node import Node, StopRequested
from medhive.flower.signed import PUBLIC_KEY, sign
from medhive.flower.wire import Task, encode_task, to_record
from medhive.identity.authority import ServerFiles, prepare_server
from medhive.identity.keys import new_key
from support import until

ACTIVATE = "/v1/fleet/activate-node"
PROTOBUF = {"content-type": "application/protobuf"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ServerFiles:
    return prepare_server(
        tmp_path_factory.mktemp("server"), [], datetime.datetime.now(datetime.UTC)
    )


@pytest.fixture
def link(files: ServerFiles) -> Iterator[Link]:
    with Link("127.0.0.1", 0, files.certificate, files.key) as link:
        yield link


@pytest.fixture
def browser(link: Link, files: ServerFiles) -> Iterator[httpx.Client]:
    """A stranger who trusts the server."""
    trust = ssl.create_default_context(cafile=str(files.ca))
    with httpx.Client(base_url=f"https://127.0.0.1:{link.port}", verify=trust) as client:
        yield client


class Waiter:
    """A site in a thread, which waits for one message."""

    def __init__(self, link: Link, files: ServerFiles) -> None:
        self.arrived: float | None = None
        self._stop = threading.Event()
        self._address = f"127.0.0.1:{link.port}"
        self._ca = files.ca.read_bytes()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        try:
            with Node(self._address, self._ca, new_key(), stop=self._stop) as node:
                while not self._stop.is_set():
                    if node.receive() is not None:
                        self.arrived = time.monotonic()
                        return
        except StopRequested:
            return

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)


def _held_polls(link: Link) -> int:
    # a poll that is held has an event that it waits for
    return len(link._mailbox._arrived)


def test_only_the_fleet_api_is_served(browser: httpx.Client) -> None:
    """Of everything that Flower's SuperLink serves, hospitals reach the Fleet API and /health."""
    served, hidden = set(), set()
    for context in iter_route_contexts(create_app().routes):
        path = re.sub(r"\{[^}]*\}", "x", str(getattr(context.route, "path", "")))
        for method in getattr(context.route, "methods", None) or {"GET"}:
            status = browser.request(method, path, headers=PROTOBUF).status_code
            (hidden if status == httpx.codes.NOT_FOUND else served).add(path)
    fleet = {path for path in served | hidden if path.startswith("/v1/fleet/")}
    assert served == fleet | {HEALTH}
    assert len(fleet) >= 10
    for api in ("/v1/control/", "/v1/runtime/", "/docs", "/openapi.json"):
        assert any(path.startswith(api) for path in hidden), api


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/metrics", "/v1/"])
def test_nothing_is_shown_to_the_curious(browser: httpx.Client, path: str) -> None:
    """There is no page, no API description and no hint at the software behind the socket."""
    answer = browser.get(path)
    assert answer.status_code == httpx.codes.NOT_FOUND
    assert "server" not in answer.headers


def _activation(key: ec.EllipticCurvePrivateKey) -> bytes:
    request = ActivateNodeRequest(
        public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=10
    )
    return bytes(request.SerializeToString())


def _identified(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return {PUBLIC_KEY: b64encode(public_key_to_bytes(key.public_key())).decode()}


def test_unsigned_requests_are_refused(browser: httpx.Client) -> None:
    """Every route of the Fleet API answers 401 to a request without a signature."""
    for context in iter_route_contexts(create_app().routes):
        path = str(getattr(context.route, "path", ""))
        if path.startswith("/v1/fleet/"):
            assert browser.post(path, content=b"").status_code == httpx.codes.UNAUTHORIZED, path


@pytest.mark.parametrize("wrong", ["another key", "another body", "another path", "nonsense"])
def test_wrong_signatures_are_refused(browser: httpx.Client, wrong: str) -> None:
    """A signature of another key, for other bytes or for another path opens nothing."""
    key = new_key()
    body = _activation(key)
    headers: dict[str, Any] = {
        "another key": sign(new_key(), "POST", ACTIVATE, body),
        "another body": sign(key, "POST", ACTIVATE, body + b"x"),
        "another path": sign(key, "POST", "/v1/fleet/push-messages", body),
        "nonsense": sign(key, "POST", ACTIVATE, body) | {"medhive-signature": "bm9uc2Vuc2U="},
    }[wrong]
    answer = browser.post(ACTIVATE, content=body, headers=headers | _identified(key))
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert answer.json()["reason"] == "altered"


def test_a_request_is_taken_once(browser: httpx.Client) -> None:
    """A signed request that is sent again, as an eavesdropper would, is refused."""
    key = new_key()
    body = _activation(key)
    headers = sign(key, "POST", ACTIVATE, body) | _identified(key)
    browser.post(ACTIVATE, content=body, headers=headers)
    again = browser.post(ACTIVATE, content=body, headers=headers)
    assert again.status_code == httpx.codes.UNAUTHORIZED
    assert again.json()["reason"] == "replayed"


def test_plain_http_gets_no_answer(link: Link) -> None:
    """A request without TLS ends without a response."""
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{link.port}{HEALTH}", timeout=15)


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
def test_old_tls_is_refused(link: Link, files: ServerFiles) -> None:
    """One and the same client is served with TLS 1.2 and not with TLS 1.1 or 1.0."""

    def ask(version: ssl.TLSVersion) -> int:
        context = ssl.create_default_context(cafile=str(files.ca))
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
        address = f"https://127.0.0.1:{link.port}{HEALTH}"
        return httpx.get(address, verify=context).status_code

    assert ask(ssl.TLSVersion.TLSv1_2) == httpx.codes.OK
    for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1):
        with pytest.raises(httpx.ConnectError, match="SSL"):
            ask(version)


def test_another_name_is_not_certified(files: ServerFiles) -> None:
    """The certificate holds for the names that it was made for, and needs the authority."""
    trust = ssl.create_default_context(cafile=str(files.ca))
    with Link("0.0.0.0", 0, files.certificate, files.key) as link:  # noqa: S104
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://127.0.0.1:{link.port}{HEALTH}")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://127.0.0.2:{link.port}{HEALTH}", verify=trust)


def test_a_held_poll_ends_when_a_message_comes(link: Link, files: ServerFiles) -> None:
    """A site that waits has its message within a second, not after the next poll."""
    grid, _ = link.start_run()
    waiter = Waiter(link, files)
    try:
        until(lambda: list(grid.get_node_ids()) and _held_polls(link), "a held poll")
        (node_id,) = grid.get_node_ids()
        content = to_record(encode_task(Task("join", 0, 0, "{}")))
        pushed = time.monotonic()
        grid.push_messages([Message(content, node_id, "query")])
        until(lambda: waiter.arrived is not None, "the message")
        assert waiter.arrived is not None
        assert waiter.arrived - pushed < 1
    finally:
        waiter.stop()


def test_the_socket_closes_while_sites_wait(files: ServerFiles) -> None:
    """Held polls do not hold up the server's end, nor a start on the same port after it."""
    with Link("127.0.0.1", 0, files.certificate, files.key) as link:
        port = link.port
        waiters = [Waiter(link, files) for _ in range(3)]
        until(lambda: _held_polls(link) == 3, "three held polls")
        start = time.monotonic()
    assert time.monotonic() - start < 3
    with Link("127.0.0.1", port, files.certificate, files.key) as again:
        assert again.port == port
    for waiter in waiters:
        waiter.stop()


def test_the_private_key_is_the_servers_alone(files: ServerFiles) -> None:
    """Keys are readable by their owner only, and the authority's certificate by all."""
    for path in (files.key, files.ca_key):
        assert Path(path).stat().st_mode & 0o077 == 0
    assert files.ca.stat().st_mode & 0o044 == 0o044
