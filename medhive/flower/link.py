"""The server's socket for hospitals: Flower's Fleet API alone, over TLS, in this process."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from flwr.app import Context, RecordDict
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SubStatus
from flwr.supercore.constant import (
    FLWR_IN_MEMORY_DB_NAME,
    NOOP_FEDERATION_ID,
    NodeStatus,
    TaskType,
)
from flwr.supercore.error import http_error_translator
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.config_loader import (
    get_federation_manager,
    get_objectstore_linkstate_factories,
)
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from medhive.errors import FederationError, Place, SettingError
from medhive.flower import door
from medhive.flower.admission import Admission, AdmissionMiddleware, Anyone, Refusals
from medhive.flower.courier import Courier, OwnReplies
from medhive.flower.grid import LinkGrid
from medhive.flower.mailbox import Mailbox, MailboxMiddleware
from medhive.flower.signed import Verifier

HEALTH = "/health"
MAX_NODES = 10_000
"""Keys that may take part: more than hospitals, fewer than a stranger can make in an open demo."""


class Link:
    """A listening server, used as a context manager.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        Port to listen on; 0 takes a free one.
    certificate, key : Path
        PEM files of the server's certificate chain and private key.
    admission : Admission
        Decides which keys may speak.
    refusals : Refusals
        Counts those that may not.
    routes : sequence of APIRouter
        What strangers may use besides, such as enrolment.

    Raises
    ------
    SettingError
        If the port is busy or the address is not this machine's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        certificate: Path,
        key: Path,
        *,
        admission: Admission | None = None,
        refusals: Refusals | None = None,
        routes: Sequence[APIRouter] = (),
    ) -> None:
        self._socket = _listen(host, port)
        self._mailbox = Mailbox()
        self._admission = admission or Anyone()
        refusals = refusals or Refusals()
        self._keys: dict[int, bytes] = {}
        self._making = threading.Lock()
        _, factory = get_objectstore_linkstate_factories(
            FLWR_IN_MEMORY_DB_NAME, get_federation_manager(is_simulation=False)
        )
        self._state = factory.state()
        app = _fleet_app(
            self._mailbox,
            Middleware(
                AdmissionMiddleware,
                admission=self._admission,
                verifier=Verifier(),
                refusals=refusals,
                known=self._know,
                for_strangers=frozenset({HEALTH}.union(*map(_paths, routes))),
            ),
            Middleware(Courier, state=self._state, mailbox=self._mailbox),
        )
        for router in routes:
            app.include_router(router)
        app.state.linkstate_factory = factory
        # Flower then refuses to register nodes by itself; a node is made when its key is admitted
        app.state.enable_supernode_auth = True
        app.state.fleet_event_log_plugin = None
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=int(door.KEEP_ALIVE),
            # the door itself keeps to the number, at the cost of strangers; this is for sites
            limit_concurrency=door.MAX_CONNECTIONS + 1,
            h11_max_incomplete_event_size=door.MAX_HEAD,
            http=door.Protocol,
            loop=f"{door.__name__}:{door.Loop.__name__}",
            proxy_headers=False,
        )
        config.load()
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
            door.report_handshakes(config.ssl, refusals.add)
        self._tls = config.ssl
        self._certificate, self._key = certificate, key
        self._shown = certificate.stat().st_mtime_ns
        self._server = uvicorn.Server(config)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="link", daemon=True)

    @property
    def port(self) -> int:
        """The port that hospitals connect to."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        flower = logging.getLogger("flwr")
        flower.setLevel(logging.ERROR)
        flower.addFilter(_is_not_routine)
        door.allow_files()
        self._thread.start()
        self._mailbox.wait_attached(self._thread)
        if self._failure is not None:
            raise FederationError(f"the server's socket failed: {self._failure}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._mailbox.close()
        self._thread.join()
        self._socket.close()

    def start_run(self) -> tuple[LinkGrid, Context]:
        """Open a Flower run and return what a ServerApp is called with."""
        run_id = self._state.create_run(
            fab_id=None,
            fab_version=None,
            fab_hash=None,
            override_config={},
            federation_id=NOOP_FEDERATION_ID,
            federation_config=None,
            flwr_aid=NOOP_FLWR_AID,
            primary_task_type=TaskType.SERVER_APP,
        )
        run = self._state.get_run_info(run_ids=[run_id])[0]
        task_id = run.primary_task_id
        if task_id is None or not self._state.claim_task(task_id):
            raise FederationError("Flower did not open the run")
        self._state.activate_task(task_id)
        TaskIdentity.task_id = task_id
        TaskIdentity.run_id = run_id
        TaskIdentity.node_id = self._state.get_node_id()
        context = Context(
            run_id=run_id,
            node_id=TaskIdentity.node_id,
            node_config={},
            state=RecordDict(),
            run_config={},
            series_id=run.series_id,
        )
        return LinkGrid(self._state, run, self._mailbox, self._site_of), context

    def refresh_certificate(self) -> None:
        """Show the certificate that the files hold by now to those who connect from now on."""
        written = self._certificate.stat().st_mtime_ns
        if self._tls is not None and written != self._shown:
            self._tls.load_cert_chain(self._certificate, self._key)
            self._shown = written

    def online(self) -> list[bytes]:
        """Return the public keys of the nodes that are connected."""
        nodes = self._state.get_node_info(owner_aids=[NOOP_FLWR_AID], statuses=[NodeStatus.ONLINE])
        return [bytes(node.public_key) for node in nodes]

    def expel(self, public_key: bytes) -> None:
        """End a node's connection: its held poll ends, and the run does not wait for it.

        The node is not deleted: Flower would never take its key again, and a site that was revoked
        may be invited again. What it sends is refused by admission.
        """
        node_id = self._state.get_node_id_by_public_key(public_key)
        if node_id is not None and self._state.deactivate_node(node_id):
            self._mailbox.post([node_id])
            self._mailbox.tell()

    def _know(self, public_key: bytes) -> bool:
        """Make the node of an admitted key where there is none; say whether there is room."""
        with self._making:
            if self._state.get_node_id_by_public_key(public_key) is None:
                if len(self._keys) >= MAX_NODES:
                    return False
                node_id = self._state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public_key, 0)
                self._keys[node_id] = public_key
            return True

    def _site_of(self, node_id: int) -> str | None:
        key = self._keys.get(node_id)
        return None if key is None else self._admission.admit(key).site

    def finish_run(self, grid: LinkGrid) -> None:
        """Close the run that `start_run` opened."""
        task_id = grid.run.primary_task_id
        if task_id is not None:
            self._state.finish_task(task_id, sub_status=SubStatus.COMPLETED, details="")

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:  # noqa: BLE001 - handed to the thread that starts the link
            self._failure = error


def _fleet_app(mailbox: Mailbox, *outer: Middleware) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        mailbox.attach(asyncio.get_running_loop())
        yield

    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            *outer,
            Middleware(BaseHTTPMiddleware, dispatch=http_error_translator),
            Middleware(ProtobufTranslationMiddleware),
            Middleware(NodeAuthMiddleware),
            Middleware(OwnReplies),
            Middleware(MailboxMiddleware, mailbox=mailbox),
        ],
    )
    app.include_router(fleet_router)

    @app.get(HEALTH)
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _is_not_routine(record: logging.LogRecord) -> bool:
    """Leave out what is an error to Flower and an answer to a client, such as a second try."""
    return "[ApiError:" not in record.getMessage()


def _paths(router: APIRouter) -> set[str]:
    return {route.path for route in router.routes if isinstance(route, APIRoute)}


def _listen(host: str, port: int) -> socket.socket:
    place = Place(setting=f"{host}:{port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except socket.gaierror:
        raise SettingError(
            f'"{host}" is not an address',
            place=place,
            next_step="give --host an address of this machine, such as 127.0.0.1 or 0.0.0.0",
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            cause, step = f"port {port} is busy", "stop the program that uses it, or give --port"
        elif error.errno == errno.EACCES:
            cause, step = f"port {port} needs more rights", "give --port a number above 1023"
        else:
            cause = f"cannot listen here: {error.strerror}"
            step = "give --host an address of this machine"
        raise SettingError(cause, place=place, next_step=step) from None
    return listener
