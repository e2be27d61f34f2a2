"""``medhive doctor`` and ``medhive doctor server``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medhive.cli.listening import TunnelChoice
from medhive.cli.options import Output, ServerHome, home
from medhive.errors import InputError, Place, SettingError

if TYPE_CHECKING:
    from medhive.doctor.finding import Finding

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print JSON for a support ticket: no secret and no patient's value in it."
    ),
]
Timeout = Annotated[
    float,
    typer.Option(min=0.1, max=60, metavar="SECONDS", help="How long each answer may take."),
]


@app.callback(invoke_without_command=True)
def site(
    context: typer.Context,
    join: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_JOIN",
            metavar="CODE",
            help="Join code from the study's statistician. It is looked at, not used up.",
            show_default=False,
        ),
    ] = None,
    server_address: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar="SERVER_ADDRESS",
            metavar="HOST:PORT",
            help="Address of the study's server.",
            show_default="where this site enrolled",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--id",
            envvar="CLIENT_ID",
            metavar="SITE",
            help="Name of this site in the study.",
            show_default="that of the join code, or of the one site enrolled here",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_DATA",
            metavar="FILE",
            help="The site's rows. The file is read here; nothing of it is sent.",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_STUDY",
            metavar="STUDY.toml",
            help="Hold the data file against this study.",
            show_default=False,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="MEDHIVE_CA",
            metavar="FILE",
            help="Certificate of the study's authority, ca.pem of the server's home.",
            show_default="from the enrolment, or of a server on this machine",
        ),
    ] = None,
    site_home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            envvar="MEDHIVE_SITE_HOME",
            help="Folder of this site's key.",
            show_default="~/.medhive/sites/SITE",
        ),
    ] = None,
    timeout: Timeout = 5.0,
    as_json: Json = False,
) -> None:
    """Check everything between this site and its study: network, server, key, disk, data file.

    Takes the options of medhive client, and changes nothing. Each fault has a line that says what
    to do next. Ends with exit code 2 if there is one. For the server: medhive doctor server.
    """
    if context.invoked_subcommand is not None:
        _require_no_option(context)
        return
    from medhive.doctor.site import SiteOptions, check_site

    options = SiteOptions(
        home=home(),
        join=join,
        server=server_address,
        site=name,
        data=data,
        study=study,
        ca=ca,
        site_home=site_home,
        timeout=timeout,
    )
    _report(check_site(options), "site", as_json)


@app.command("server")
def server(
    host: Annotated[
        str, typer.Option(envvar="MEDHIVE_HOST", help="Address that the server listens on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, envvar="MEDHIVE_PORT", help="Port that the server listens on."
        ),
    ] = 9092,
    name: Annotated[
        list[str] | None,
        typer.Option(
            envvar="MEDHIVE_NAME",
            metavar="HOST",
            help="Name under which sites reach this server, beside its noted address. May be"
            " given more than once.",
            show_default=False,
        ),
    ] = None,
    output: Output = Path("medhive-output"),
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            metavar="URI",
            help="MLflow server that records the runs.",
            show_default="a local SQLite store",
        ),
    ] = None,
    server_home: ServerHome = None,
    tunnel: Annotated[
        TunnelChoice,
        typer.Option(envvar="MEDHIVE_TUNNEL", help="How hospitals outside reach this server."),
    ] = TunnelChoice.NONE,
    tunnel_address: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_TUNNEL_ADDRESS",
            metavar="HOST:PORT",
            help="The public address where it is known beforehand.",
            show_default=False,
        ),
    ] = None,
    tunnel_command: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_TUNNEL_COMMAND",
            metavar="COMMAND",
            help="Program that opens the tunnel; it is looked for, not started.",
            show_default=False,
        ),
    ] = None,
    tunnel_pattern: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_TUNNEL_PATTERN",
            metavar="REGEX",
            help="What the address looks like in the command's output.",
            show_default=False,
        ),
    ] = None,
    timeout: Timeout = 5.0,
    as_json: Json = False,
) -> None:
    """Check a server: its home, certificates, names, sites, port, MLflow, tunnel and disk.

    Takes the options of medhive server, and changes nothing. Ends with exit code 2 if something
    is not in order.
    """
    from medhive.doctor.server import ServerOptions, check_server
    from medhive.tunnel import TunnelKind, TunnelSettings

    options = ServerOptions(
        home=server_home or home() / "server",
        output=output,
        host=host,
        port=port,
        names=tuple(name or ()),
        mlflow=mlflow,
        tunnel=TunnelSettings(
            kind=TunnelKind(tunnel.value),
            address=tunnel_address,
            command=tunnel_command,
            pattern=tunnel_pattern,
        ),
        timeout=timeout,
    )
    _report(check_server(options), "server", as_json)


def _report(findings: Iterator[Finding], role: str, as_json: bool) -> None:
    from rich.console import Console

    from medhive.doctor.show import as_ticket, show

    if as_json:
        text, ok = as_ticket(findings, role)
        typer.echo(text)
    else:
        ok = show(findings, Console(highlight=False))
    if not ok:
        raise typer.Exit(InputError.exit_code)


def _require_no_option(context: typer.Context) -> None:
    """Refuse a site's options in front of ``server``, where they would be ignored."""
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise SettingError(
                f"it stands before {context.invoked_subcommand}, and is a site's option there",
                place=Place(setting=param.opts[0]),
                next_step=f"write options after: medhive doctor {context.invoked_subcommand}",
            )
