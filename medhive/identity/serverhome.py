"""A server's home: its authority, its certificate, its roster, and the address it is known by."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from medhive.errors import Place, SettingError
from medhive.identity.authority import ServerFiles, prepare_server
from medhive.identity.keys import write_private
from medhive.identity.roster import Roster

ROSTER, ADDRESS = "roster.db", "address.json"


def init_home(home: Path, names: Iterable[str], address: str | None, now: datetime) -> ServerFiles:
    """Make a home, or complete one: a second call changes nothing that is there.

    Parameters
    ----------
    home : Path
    names : iterable of str
        Names and addresses for the certificate.
    address : str, optional
        ``host:port`` that is written into join codes.
    now : datetime
    """
    if address is not None:
        names = [*names, host_of(address)]
    files = prepare_server(home, names, now)
    Roster(home / ROSTER)
    if address is not None:
        write_address(home, address)
    return files


def open_roster(home: Path) -> Roster:
    """Return the roster of a home.

    Raises
    ------
    SettingError
        If the folder is not a home.
    """
    path = home / ROSTER
    if not path.exists():
        raise SettingError(
            "this is not a server's home",
            place=Place(file=home, setting="--home"),
            next_step=f"make it with: medhive init {home}",
        )
    return Roster(path)


def write_address(home: Path, address: str) -> None:
    """Keep the address that hospitals reach the server at."""
    write_private(home / ADDRESS, json.dumps({"address": address}).encode())


def read_address(home: Path) -> str | None:
    """Return the address that hospitals reach the server at, where it is known.

    Raises
    ------
    SettingError
        If the file is damaged.
    """
    path = home / ADDRESS
    if not path.exists():
        return None
    try:
        return str(json.loads(path.read_bytes())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingError(
            "this file is damaged",
            place=Place(file=path),
            next_step="delete it, and give the address again with medhive init --address",
        ) from None


def host_of(address: str) -> str:
    """Return the host of ``host:port``."""
    return address.rpartition(":")[0].strip("[]")


def own_names() -> list[str]:
    """Return the names and addresses under which this machine is known on its own networks."""
    name = socket.gethostname()
    names = [name, socket.getfqdn()]
    try:
        found = socket.getaddrinfo(name, None)
    except socket.gaierror:
        found = []
    names += [str(address[0]).partition("%")[0] for *_, address in found]
    # the address of the interface that leads out; nothing is sent by connecting a UDP socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            names.append(str(probe.getsockname()[0]))
        except OSError:
            return list(dict.fromkeys(names))
    return list(dict.fromkeys(names))
