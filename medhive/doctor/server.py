"""The checks at the server."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from cryptography import x509
from pyngrok.conf import PyngrokConfig

from medhive.doctor.files import SERVER_FREE, check_disk, not_allowed
from medhive.doctor.finding import Finding, green, grey, red, red_of, skipped
from medhive.doctor.home import CERTIFICATE, HOME, NAMES, SITES, check_home
from medhive.doctor.knock import knock
from medhive.errors import MedHiveError
from medhive.flower.node import tls_context
from medhive.identity.authority import ServerFiles
from medhive.reports.address import check_reachable, without_password
from medhive.tunnel import TunnelKind, TunnelSettings
from medhive.tunnel.command import command_agent
from medhive.tunnel.ngrok_setup import PATH, find_agent, read_token
from medhive.tunnel.opening import EVERY
from medhive.tunnel.settings import join_address

PORT, MLFLOW, TUNNEL = "port", "MLflow", "tunnel"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerOptions:
    """What ``medhive server`` would be started with.

    Parameters
    ----------
    home, output : Path
    host, port : str, int
    names : tuple of str
    mlflow : str, optional
    tunnel : TunnelSettings
    timeout : float
        Seconds that an answer may take.
    """

    home: Path
    output: Path
    host: str = "127.0.0.1"
    port: int = 9092
    names: tuple[str, ...] = ()
    mlflow: str | None = None
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
    timeout: float = 5.0


def check_server(options: ServerOptions) -> Iterator[Finding]:
    """Yield the findings at a server; nothing is started, made or downloaded."""
    local = options.host in LOOPBACK and options.tunnel.kind is TunnelKind.NONE
    names = list(options.names)
    if options.host not in (*LOOPBACK, *EVERY):
        names.append(options.host)
    try:
        yield from list(check_home(options.home, names, local=local))
    except PermissionError as error:
        yield not_allowed(HOME, error, "medhive server")
        yield from skipped((CERTIFICATE, NAMES, SITES), HOME)
    yield check_port(options)
    yield check_mlflow(options)
    yield check_tunnel(options)
    yield check_disk(options.output, SERVER_FREE)


def check_port(options: ServerOptions) -> Finding:
    """Listen on the port for a moment; where that is taken, see whether MedHive has it."""
    host, port = options.host, options.port
    where = join_address(host, port)
    if port == 0:
        return grey(PORT, "the server takes a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except socket.gaierror:
        detail = f'"{host}" is not an address of this machine'
        step = "give --host an address of this machine, such as 127.0.0.1 or 0.0.0.0"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _taken(options)
        if error.errno == errno.EACCES:
            detail, step = f"port {port} needs more rights", "give --port a number above 1023"
        else:
            detail = f"nothing can listen on {where}: {error.strerror}"
            step = "give --host an address of this machine, such as 127.0.0.1 or 0.0.0.0"
    else:
        return green(PORT, f"{where} is free")
    return red(PORT, detail, step)


def check_mlflow(options: ServerOptions) -> Finding:
    """See whether MLflow, or the database in its place, can take the record."""
    if options.mlflow is None:
        return grey(MLFLOW, f"none is given; runs are recorded in {options.output / 'mlflow.db'}")
    try:
        check_reachable(options.mlflow, options.timeout)
    except MedHiveError as error:
        # the address as it was typed may hold a password
        shown = str(error).replace(options.mlflow, without_password(options.mlflow))
        return red(MLFLOW, shown, error.next_step or "correct --mlflow")
    except PermissionError as error:
        return not_allowed(MLFLOW, error, "medhive server")
    return green(MLFLOW, f"{without_password(options.mlflow)} answers")


def check_tunnel(options: ServerOptions) -> Finding:
    """See whether the tunnel's program and its token are there; the tunnel is not opened."""
    kind = options.tunnel.kind
    if kind is TunnelKind.NONE:
        return grey(TUNNEL, "none is asked for (--tunnel)")
    try:
        if kind is TunnelKind.COMMAND:
            host = EVERY.get(options.host, options.host)
            command, _ = command_agent(options.tunnel, host, options.port).prepare()
            return green(TUNNEL, f"{command[0]} can be started")
        read_token(options.tunnel.folder)
        if not (os.environ.get(PATH) or any(map(shutil.which, ("ngrok", _own_ngrok())))):
            return grey(
                TUNNEL, "an ngrok authtoken is set; ngrok is not installed, the server downloads it"
            )
        return green(TUNNEL, f"{find_agent()} can be started, an ngrok authtoken is set")
    except MedHiveError as error:
        return red_of(TUNNEL, error)


def _taken(options: ServerOptions) -> Finding:
    """Tell a running MedHive server from other programs, and an outdated one."""
    where = join_address(EVERY.get(options.host, options.host), options.port)
    try:
        answer = knock(where, tls_context(None), options.timeout, proxies=False)
    except (httpx.TransportError, ValueError):
        answer = None
    if answer is None or not answer.is_medhive:
        return red(
            PORT,
            f"port {options.port} is taken by another program",
            "stop that program (ss -ltnp shows it), or give the server another --port",
        )
    file = ServerFiles(options.home).certificate
    if not _is_in(file, answer.certificate):
        return red(
            PORT,
            f"a MedHive server runs at {where}, with another certificate than {file}",
            "start that server again, which then shows this certificate; or check --home",
        )
    return green(PORT, f"a MedHive server runs at {where}")


def _is_in(file: Path, certificate: x509.Certificate) -> bool:
    """Say whether a file has a certificate; what is wrong with the file itself is said before."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()) == certificate
    except (OSError, ValueError):
        return True


def _own_ngrok() -> str:
    """Return where ngrok is put when it is downloaded."""
    return str(PyngrokConfig().ngrok_path)
