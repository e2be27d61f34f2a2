"""``medhive server``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medhive.cli.options import (
    LOOPBACK,
    Output,
    RunConfig,
    ServerHome,
    home,
    parse_run_config,
)
from medhive.errors import Place, SettingError

if TYPE_CHECKING:
    from medhive.identity.roster import Roster


class TunnelChoice(StrEnum):
    """How hospitals outside reach the server."""

    NONE = "none"
    NGROK = "ngrok"
    COMMAND = "command"


def server(
    study: Annotated[
        Path | None,
        typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_DATASET",
            help="Run the study of a bundled data set instead: heart-disease or wdbc.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(envvar="MEDHIVE_HOST", help="Address to listen on; 0.0.0.0 for every one."),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, envvar="MEDHIVE_PORT", help="Port to listen on; 0 takes a free one."
        ),
    ] = 9092,
    name: Annotated[
        list[str] | None,
        typer.Option(
            envvar="MEDHIVE_NAME",
            metavar="HOST",
            help="Name or address under which sites reach this server, for its certificate."
            " May be given more than once.",
            show_default=False,
        ),
    ] = None,
    run_config: RunConfig = "",
    output: Output = Path("medhive-output"),
    mlflow: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            metavar="URI",
            help="MLflow server to record the run in; a local SQLite store where none is given.",
            show_default=False,
        ),
    ] = None,
    mlflow_public: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_MLFLOW_PUBLIC",
            metavar="URL",
            help="Address under which people reach the MLflow server, for the link to the run.",
            show_default="that of --mlflow",
        ),
    ] = None,
    mlflow_check: Annotated[
        bool,
        typer.Option(
            envvar="MEDHIVE_MLFLOW_CHECK",
            help="Insist that the MLflow server answers at the start. During the run it may be"
            " down; nothing is lost.",
        ),
    ] = True,
    server_home: ServerHome = None,
    join_timeout: Annotated[
        float,
        typer.Option(
            min=1,
            envvar="MEDHIVE_JOIN_TIMEOUT",
            metavar="SECONDS",
            help="How long to wait for enough sites before giving up.",
        ),
    ] = 86_400.0,
    serve_forever: Annotated[
        bool,
        typer.Option(
            "--serve-forever",
            envvar="MEDHIVE_SERVE_FOREVER",
            help="Stay after the run, and run again for new clients.",
        ),
    ] = False,
    open_demo: Annotated[
        bool,
        typer.Option(
            "--open-demo",
            envvar="MEDHIVE_OPEN_DEMO",
            help="Let anybody take part, unchecked, in a study of bundled public data.",
        ),
    ] = False,
    tunnel: Annotated[
        TunnelChoice,
        typer.Option(
            envvar="MEDHIVE_TUNNEL",
            help="How hospitals outside reach this server: ngrok (token in NGROK_AUTHTOKEN or"
            " .env), or a command of your own.",
        ),
    ] = TunnelChoice.NONE,
    tunnel_address: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_TUNNEL_ADDRESS",
            metavar="HOST:PORT",
            help="The public address where it is known beforehand, such as one reserved at ngrok.",
            show_default=False,
        ),
    ] = None,
    tunnel_command: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_TUNNEL_COMMAND",
            metavar="COMMAND",
            help="Program that opens a TCP tunnel to {host}:{port} and prints its address.",
            show_default=False,
        ),
    ] = None,
    tunnel_pattern: Annotated[
        str | None,
        typer.Option(
            envvar="MEDHIVE_TUNNEL_PATTERN",
            metavar="REGEX",
            help="What the address looks like in the command's output.",
            show_default="tcp://HOST:PORT or HOST:PORT",
        ),
    ] = None,
    tunnel_timeout: Annotated[
        float,
        typer.Option(
            envvar="MEDHIVE_TUNNEL_TIMEOUT",
            metavar="SECONDS",
            help="How long the tunnel may take to come up.",
        ),
    ] = 30.0,
) -> None:
    """Run a study: wait for the sites, fit the model, write the result.

    Ends with exit code 0 after the run. A home made by medhive init lets only enrolled sites
    connect; without one, the server listens for clients on this machine alone.
    """
    import datetime

    from rich.console import Console

    from medhive.data.bundled import study_text
    from medhive.identity.authority import prepare_server
    from medhive.identity.serverhome import host_of, own_names, read_address
    from medhive.reports.address import check_reachable
    from medhive.server.conduct import require_honourable
    from medhive.server.serve import ServerSettings, serve
    from medhive.studyfile import parse_study, read_study
    from medhive.tunnel import TunnelKind, TunnelSettings

    if (study is None) == (dataset is None):
        raise SettingError(
            "give a study file, or --dataset for a bundled study, and not both",
            place=Place(setting="STUDY.toml"),
            next_step="medhive server STUDY.toml",
        )
    overrides = parse_run_config(run_config)
    if study is not None:
        contract = read_study(study, overrides)
        text = study.read_text(encoding="utf-8")
    else:
        text = study_text(str(dataset))
        contract = parse_study(text, file=f"{dataset}.toml", run_config=overrides)
    require_honourable(contract, study)
    if mlflow is not None and mlflow_check:
        check_reachable(mlflow)
    folder = server_home or home() / "server"
    tunnel_settings = TunnelSettings(
        kind=TunnelKind(tunnel.value),
        address=tunnel_address,
        command=tunnel_command,
        pattern=tunnel_pattern,
        timeout=tunnel_timeout,
    )
    tunnelled = tunnel_settings.kind is not TunnelKind.NONE
    roster = _roster(folder, host, open_demo, dataset, tunnelled)
    names = list(name or [])
    if host not in LOOPBACK:
        known = read_address(folder)
        names += [] if known is None else [host_of(known)]
        names += own_names() if host in ("0.0.0.0", "::") else [host]  # noqa: S104 - compared
    settings = ServerSettings(
        study=contract,
        study_text=text,
        host=host,
        port=port,
        files=prepare_server(folder, names, datetime.datetime.now(datetime.UTC)),
        names=tuple(names),
        roster=roster,
        open_demo=open_demo,
        output=output,
        mlflow=mlflow or f"sqlite:///{(output / 'mlflow.db').absolute()}",
        mlflow_public=mlflow_public,
        join_timeout=join_timeout,
        serve_forever=serve_forever,
        tunnel=tunnel_settings if tunnelled else None,
    )
    serve(settings, Console())


def _roster(
    folder: Path, host: str, open_demo: bool, dataset: str | None, tunnelled: bool
) -> Roster | None:
    """Return who may connect; None lets anyone, which only some cases allow."""
    from medhive.identity.serverhome import ROSTER, open_roster

    if open_demo:
        if dataset is None:
            raise SettingError(
                "an open demo runs bundled public data only",
                place=Place(setting="--open-demo"),
                next_step="add --dataset wdbc, or leave --open-demo out and invite the sites",
            )
        if (folder / ROSTER).exists():
            raise SettingError(
                "this home has a roster of enrolled sites, and an open demo checks nobody",
                place=Place(file=folder, setting="--open-demo"),
                next_step="give the demo another --home, or leave --open-demo out",
            )
        return None
    if (folder / ROSTER).exists():
        return open_roster(folder)
    if host in LOOPBACK and not tunnelled:
        return None
    raise SettingError(
        "other machines could connect, and this server has no roster of enrolled sites",
        place=Place(file=folder, setting="--tunnel" if tunnelled else "--host"),
        next_step=f"make one with: medhive init {folder} (then: medhive invite SITE)",
    )
