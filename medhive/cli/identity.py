"""``medhive init``, ``invite``, ``sites`` and ``revoke``: who may take part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from medhive.cli.options import ServerHome, home
from medhive.errors import Place, SettingError

Address = Annotated[
    str | None,
    typer.Option(
        envvar="MEDHIVE_ADDRESS",
        metavar="HOST:PORT",
        help="Address under which hospitals reach the server.",
        show_default=False,
    ),
]


def init(
    folder: Annotated[
        Path | None,
        typer.Argument(
            envvar="MEDHIVE_SERVER_HOME",
            metavar="DIR",
            help="The home to make.",
            show_default="~/.medhive/server",
        ),
    ] = None,
    address: Address = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            envvar="MEDHIVE_NAME",
            metavar="HOST",
            help="A further name or address for the server's certificate.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a server's home: its authority, its keys and an empty roster of sites.

    A server with such a home lets only enrolled sites connect. Back the folder up: whoever has
    it can speak as the server.
    """
    from medhive.client.joining import check_address
    from medhive.identity.serverhome import init_home, own_names

    where = folder or home() / "server"
    checked = None if address is None else check_address(address)
    names = [*(name or []), *own_names()]
    init_home(where, names, checked, datetime.now(UTC))
    typer.echo(f"the server's home is {where}")
    typer.echo(f"next: medhive invite SITE --home {where}")


def invite(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Name of the site.")],
    address: Address = None,
    days: Annotated[
        float,
        typer.Option(
            min=0.0001,
            max=365,
            envvar="MEDHIVE_DAYS",
            help="Days after which the code expires.",
        ),
    ] = 7.0,
    server_home: ServerHome = None,
) -> None:
    """Print a join code for one site. It works once; send it over a channel that you trust."""
    from medhive.client.joining import check_address
    from medhive.flower.wire import NAME_STEP, SITE_NAME
    from medhive.identity.authority import prepare_server
    from medhive.identity.joincode import JoinCode, fingerprint, new_secret
    from medhive.identity.serverhome import host_of, open_roster, read_address

    where = server_home or home() / "server"
    if SITE_NAME.fullmatch(site) is None:
        raise SettingError(
            f"{site!r} is not a name for a site", place=Place(setting="SITE"), next_step=NAME_STEP
        )
    roster = open_roster(where)
    reached = check_address(address) if address is not None else read_address(where)
    if reached is None:
        raise SettingError(
            "the join code needs the address under which the site reaches the server",
            place=Place(setting="--address"),
            next_step="add --address HOST:PORT",
        )
    now = datetime.now(UTC)
    files = prepare_server(where, [host_of(reached)], now)
    secret = new_secret()
    expires = now + timedelta(days=days)
    roster.invite(site, secret, expires)
    code = JoinCode(reached, site, fingerprint(files.ca.read_bytes()), secret)
    typer.echo(
        f'join code for "{site}", good once until {expires.astimezone():%Y-%m-%d %H:%M %Z}:',
        err=True,
    )
    typer.echo(str(code))
    typer.echo("the site runs: medhive client --join CODE --data FILE", err=True)


def sites(server_home: ServerHome = None) -> None:
    """List the sites of a server: invited, enrolled, connected, last seen, revoked."""
    from rich.console import Console
    from rich.table import Table

    from medhive.identity.joincode import key_fingerprint
    from medhive.identity.serverhome import open_roster

    roster = open_roster(server_home or home() / "server")
    entries = roster.sites(datetime.now(UTC))
    console = Console()
    if not entries:
        console.print("no site is invited yet; next: medhive invite SITE", highlight=False)
        return
    table = Table("site", "status", "connected", "last seen", "key")
    for entry in entries:
        seen = "never" if entry.last_seen is None else f"{entry.last_seen.astimezone():%F %T}"
        key = "" if entry.public_key is None else key_fingerprint(entry.public_key)
        table.add_row(entry.name, entry.status, "yes" if entry.connected else "no", seen, key)
    console.print(table)
    refused = roster.refusals()
    if refused:
        counts = ", ".join(f"{reason} {count}" for reason, count in refused.items())
        console.print(f"refused requests: {counts}", highlight=False)


def revoke(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Name of the site.")],
    server_home: ServerHome = None,
) -> None:
    """End a site's right to connect. A running server closes its connection within seconds."""
    from medhive.identity.serverhome import open_roster

    open_roster(server_home or home() / "server").revoke(site, datetime.now(UTC))
    typer.echo(f'site "{site}" is revoked; to let it in again: medhive invite {site}')
