"""Listening for hospitals: the socket, who may connect, and how they get here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console

from medhive.flower.admission import Refusals
from medhive.flower.link import Link
from medhive.identity.authority import ServerFiles, prepare_server
from medhive.identity.enrolment import router
from medhive.identity.gatekeeper import Gatekeeper
from medhive.identity.roster import Roster
from medhive.identity.serverhome import host_of, write_address
from medhive.server.console import print_line
from medhive.study import Study
from medhive.tunnel import TunnelSettings, open_tunnel


@dataclass(frozen=True)
class ListenSettings:
    """Where a server listens, and for whom.

    Parameters
    ----------
    study : Study
    host, port
        Where to listen; port 0 takes a free one.
    files : ServerFiles
        The server's identity.
    names : tuple of str
        Names and addresses that the certificate covers.
    roster : Roster or None
        Who may connect; anyone where there is none.
    open_demo : bool
        Whether anyone may connect from anywhere, which only bundled data allow.
    tunnel : TunnelSettings or None
        How hospitals outside reach this server.
    """

    study: Study
    host: str
    port: int
    files: ServerFiles
    names: tuple[str, ...]
    roster: Roster | None
    open_demo: bool
    tunnel: TunnelSettings | None = field(default=None)


@contextmanager
def listening(settings: ListenSettings, purpose: str, console: Console) -> Iterator[Link]:
    """Open the socket with its gatekeeper and its tunnel, and say how sites join.

    Parameters
    ----------
    settings : ListenSettings
    purpose : str
        What the sites are awaited for, in a few words.
    console : Console

    Raises
    ------
    SettingError
        If the port is busy, or the tunnel cannot be opened.
    """

    def say(line: str) -> None:
        print_line(console, line)

    refusals = Refusals(say)
    keeper = None if settings.roster is None else Gatekeeper(settings.roster, refusals, say)

    def enrolled(site: str) -> None:
        if keeper is not None:
            keeper.refresh()
        say(f'site "{site}" enrolled')

    enrolment = router(
        settings.files.ca.read_bytes(), settings.roster, enrolled, on_refused=refusals.add
    )
    with ExitStack() as stack:
        link = stack.enter_context(
            Link(
                settings.host,
                settings.port,
                settings.files.certificate,
                settings.files.key,
                admission=keeper,
                refusals=refusals,
                routes=[enrolment],
            )
        )
        if keeper is not None:
            stack.enter_context(keeper.watch(link))
        study, host = settings.study, settings.host
        say(
            f"study {study.study.name}, contract {study.sha256[:12]}: {purpose}, from"
            f" {study.run.min_available_clients} sites on"
        )
        local = f"[{host}]:{link.port}" if ":" in host else f"{host}:{link.port}"
        say(f"listening on {local}")
        if settings.tunnel is None:
            _tell_how_to_join(settings, _reachable(settings, link.port), say)
        else:

            def announce(address: str) -> None:
                names = [*settings.names, host_of(address)]
                files = prepare_server(settings.files.home, names, datetime.now(UTC))
                link.refresh_certificate()
                write_address(files.home, address)
                say(f"public address: {address}")
                _tell_how_to_join(settings, address, say)

            tunnel = open_tunnel(settings.tunnel, host, link.port, announce, say)
            announce(stack.enter_context(tunnel).address)
        yield link


def _reachable(settings: ListenSettings, port: int) -> str:
    """Return an address that another machine can use, as far as this one knows."""
    host = settings.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = settings.names[0] if settings.names else "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tell_how_to_join(settings: ListenSettings, address: str, say: Callable[[str], None]) -> None:
    if settings.open_demo:
        say(
            "OPEN DEMO: anybody who reaches this address may take part, nobody is checked."
            " It runs bundled public data only."
        )
        docker = f'docker run -e SERVER_ADDRESS="{address}" -e CLIENT_ID="1" fl-client'
        say(f"a client joins with: {docker}")
        say(f"                 or: medhive client --server {address} --id 1")
    elif settings.roster is not None:
        home = settings.files.home
        say(f"invite a site with: medhive invite SITE --home {home} --address {address}")
        say("it then joins with: medhive client --join CODE --data FILE")
        say("         or Docker: docker run -e MEDHIVE_JOIN=CODE -v /data:/data:ro fl-client")
    else:
        say(
            f"a site joins with: medhive client --server {address} --id SITE --data FILE"
            f" --ca {settings.files.ca}"
        )
