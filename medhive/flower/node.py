"""A site's connection: take tasks from the server's Fleet API, bring replies back."""

from __future__ import annotations

import logging
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.supercore.inflatable.inflatable_object import (
    UnexpectedObjectContentError,
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.retry import RetryInvoker, RetryState, exponential
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from google.protobuf.message import DecodeError

from medhive.errors import FederationError, IdentityError, Place, ProtocolError, SettingError
from medhive.flower.signed import PUBLIC_KEY, SigningInterceptor, sign
from medhive.flower.wire import (
    BRING,
    NOT_CONNECTED,
    RUN_OVER,
    TAKE,
    pack_parts,
    unpack_parts,
)

HEARTBEAT = 10
"""Seconds that the server is promised between two signs of life; Flower's smallest."""

READ_TIMEOUT = 30.0
"""Seconds for an answer; longer than the server holds an empty poll."""

_NEXT_STEPS = {
    "unknown-key": "enrol this site with a join code: medhive client --join CODE --data FILE",
    "revoked": "ask the study's statistician, who revoked this site",
    "old": "set this machine's clock right, by NTP",
}

_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"}
)
"""What OpenSSL says of plain HTTP, and of TLS below 1.2."""

T = TypeVar("T")


class EarlierConnection(httpx.HTTPError):
    """The server still counts an earlier connection of this site as alive."""


class _Forgotten(Exception):  # noqa: N818 - the site connects anew
    """The server was started again and does not know this node."""


class StopRequested(Exception):  # noqa: N818 - not an error
    """The person at the site asked the client to end."""


class Node:
    """One site's connection, used as a context manager.

    Parameters
    ----------
    address : str
        ``host:port`` of the server.
    root_certificates : bytes or None
        PEM of the certificate authority that the server's certificate must come from. None
        trusts whoever answers: for data that are public anyway.
    key : EllipticCurvePrivateKey
        The site's own key; it signs every request and never leaves the site.
    on_wait : callable
        Called with a sentence whenever the server does not answer and the site waits.
    give_up_after : float, optional
        Seconds after which waiting ends; for ever where nothing is said.
    stop : Event, optional
        Ends every wait when set.

    Raises
    ------
    SettingError
        If the server's certificate is not from `root_certificates` or not for `address`.
    FederationError
        If the server refuses the site, or `give_up_after` passed.
    """

    def __init__(
        self,
        address: str,
        root_certificates: bytes | None,
        key: ec.EllipticCurvePrivateKey,
        *,
        on_wait: Callable[[str], None] = lambda _: None,
        give_up_after: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._address = address
        self._on_wait = on_wait
        self._stop = stop or threading.Event()
        self._public_key = public_key_to_bytes(key.public_key())
        context = tls_context(root_certificates)
        self._client = FleetHttpClient(
            f"https://{address}",
            verify=context,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(key, key.public_key()),
                SigningInterceptor(key),
            ],
        )
        self._courier = _Courier(address, key, context)
        self._retry = RetryInvoker(
            lambda: exponential(base_delay=0.2, multiplier=1.5, max_delay=10),
            httpx.HTTPError,
            max_tries=None,
            max_time=give_up_after,
            on_backoff=self._say_waiting,
            should_giveup=_is_final,
            wait_function=self._wait,
        )
        self._node = NodeProto()
        self._closed = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._said = ""

    def __enter__(self) -> Self:
        logging.getLogger("flwr").setLevel(logging.ERROR)
        try:
            self._connect()
        except BaseException:
            self._close()
            raise
        self._heartbeat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        try:
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))
        except httpx.HTTPError:
            # the server is gone already; it marks the node offline by itself
            logging.getLogger(__name__).debug("the server did not take the goodbye")
        self._close()

    def receive(self) -> Message | None:
        """Return the next message, or None when the server had none for a while."""
        try:
            parts = unpack_parts(self._call(lambda: self._courier.post(TAKE, b"")))
        except _Forgotten:
            self._connect()
            return None
        except IdentityError as error:
            if error.reason == RUN_OVER:
                return None
            raise
        if not parts:
            return None
        head, *contents = parts
        try:
            answer = PullMessagesResponse.FromString(head)
            message_id = answer.messages_list[0].metadata.message_id
            names = [item.object_id for item in iterate_object_tree(answer.message_object_trees[0])]
            message = inflate_object_from_contents(
                message_id, dict(zip(names, contents, strict=True))
            )
        except (DecodeError, IndexError, ValueError, UnexpectedObjectContentError):
            raise ProtocolError("the server sent a message that cannot be read") from None
        if not isinstance(message, Message):
            raise ProtocolError("the server sent something that is not a message")
        message.metadata.__dict__["_message_id"] = message_id
        return message

    def send(self, reply: Message) -> None:
        """Bring a reply to the server."""
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            tree = get_object_tree(reply)
            objects = get_all_nested_objects(reply)
            head = message_to_proto(_without_content(reply))
            contents = [objects[item.object_id].deflate() for item in iterate_object_tree(tree)]
        request = PushMessagesRequest(
            node=self._node,
            messages_list=[head],
            message_object_trees=[tree],
            clientapp_runtime_list=[0.0],
        )
        body = pack_parts([request.SerializeToString(), *contents])
        try:
            self._call(lambda: self._courier.post(BRING, body))
        except _Forgotten:
            # the run that asked for it is no more
            self._connect()
        except IdentityError as error:
            if error.reason != RUN_OVER:
                raise

    def _close(self) -> None:
        self._client.close()
        self._courier.close()

    def _connect(self) -> None:
        activate = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=HEARTBEAT)
        try:
            answer = self._call(lambda: self._activate(activate))
        except _Forgotten:
            raise FederationError(
                "the server does not accept this site's signature",
                place=Place(setting=self._address),
                next_step="set this machine's clock right, by NTP",
            ) from None
        self._node = NodeProto(node_id=answer.node_id)

    def _activate(self, request: ActivateNodeRequest) -> ActivateNodeResponse:
        try:
            return self._client.ActivateNode(request)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.PRECONDITION_FAILED:
                # after a crash the server counts the old connection as alive for a while
                raise EarlierConnection("it still counts an earlier connection as alive") from None
            raise

    def _refused(self, error: httpx.HTTPStatusError) -> FederationError | IdentityError:
        """Turn the server's refusal into an error for the person at the site."""
        reason, message = read_refusal(error.response)
        if not reason:
            return FederationError(
                f"the server refused this site (HTTP {error.response.status_code})",
                place=Place(setting=self._address),
                next_step="ask the study's statistician",
            )
        return IdentityError(
            f"the server refused this site: {message}",
            reason,
            place=Place(setting=self._address),
            next_step=_NEXT_STEPS.get(reason, "ask the study's statistician"),
        )

    @staticmethod
    def _is_forgotten(error: httpx.HTTPStatusError) -> bool:
        """Say whether the server admits the key but does not know the node id any more."""
        answer = error.response
        reason, _ = read_refusal(answer)
        return answer.status_code == httpx.codes.UNAUTHORIZED and reason in ("", NOT_CONNECTED)

    def _call(self, request: Callable[[], T]) -> T:
        try:
            answer: T = self._retry.invoke(request)
        except httpx.HTTPStatusError as error:
            if self._is_forgotten(error):
                raise _Forgotten from None
            raise self._refused(error) from None
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        self._said = ""
        return answer

    def _unreachable(self, error: httpx.HTTPError) -> Exception:
        place = Place(setting=self._address)
        if handshake_failed(error):
            return SettingError(
                f"what answers there is not this study's server: {error}",
                place=place,
                next_step="check the address, and that --ca is the file that the server wrote",
            )
        return SettingError(
            f"the server cannot be reached: {error}",
            place=place,
            next_step="check the address, and that the server runs",
        )

    def _say_waiting(self, state: RetryState) -> None:
        sentence = f"waiting for the server at {self._address} ({_reason(state.exception)})"
        if sentence != self._said:
            self._said = sentence
            self._on_wait(sentence)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StopRequested

    def _beat(self) -> None:
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT)
        while not self._closed.wait(HEARTBEAT / 2):
            try:
                self._client.SendNodeHeartbeat(request)
            except httpx.HTTPError:
                # the main thread waits for the server and says so; this one just tries again
                continue


class _Courier:
    """Requests to the courier's routes, each signed as a whole."""

    def __init__(
        self, address: str, key: ec.EllipticCurvePrivateKey, context: ssl.SSLContext
    ) -> None:
        pem = public_key_to_bytes(key.public_key())
        self._key = key
        self._http = httpx.Client(
            base_url=f"https://{address}",
            verify=context,
            timeout=READ_TIMEOUT,
            headers={PUBLIC_KEY: b64encode(pem).decode()},
        )

    def post(self, path: str, body: bytes) -> bytes:
        """Send a request and return the answer's body."""
        headers = sign(self._key, "POST", path, body)
        answer = self._http.post(path, content=body, headers=headers)
        answer.raise_for_status()
        return answer.content

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def tls_context(root_certificates: bytes | None) -> ssl.SSLContext:
    """Return what a site accepts of a server: TLS 1.2 or later, from the study's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if root_certificates is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=root_certificates.decode("ascii"))
    return context


def _without_content(message: Message) -> Message:
    return remove_content_from_message(message) if message.has_content() else message


def read_refusal(answer: httpx.Response) -> tuple[str, str]:
    """Return reason and message of a refused request; empty where the server gave none."""
    try:
        data = answer.json()
        return str(data.get("reason", "")), str(data.get("message", ""))[:300]
    except (ValueError, AttributeError):
        return "", ""


def handshake_failed(error: BaseException) -> bool:
    """Say whether a request failed because of who answers there, so that waiting does not help."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        if isinstance(seen, ssl.SSLError) and seen.reason in _NOT_TLS:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _is_final(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code not in (429, 502, 503, 504)
    return handshake_failed(error)


def _reason(error: Exception | None) -> str:
    if isinstance(error, httpx.ConnectError):
        return "nobody answers there yet"
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    return str(error) or type(error).__name__
