"""``medhive server``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medhive.cli.listening import (
    Dataset,
    Host,
    JoinTimeout,
    Names,
    OpenDemo,
    OptionalStudy,
    Port,
    Tunnel,
    TunnelAddress,
    TunnelChoice,
    TunnelCommand,
    TunnelPattern,
    TunnelTimeout,
    listen_settings,
    read_contract,
    tunnel_settings,
)
from medhive.cli.options import Output, RunConfig, ServerHome


def server(
    study: OptionalStudy = None,
    dataset: Dataset = None,
    host: Host = "127.0.0.1",
    port: Port = 9092,
    name: Names = None,
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
    join_timeout: JoinTimeout = 86_400.0,
    serve_forever: Annotated[
        bool,
        typer.Option(
            "--serve-forever",
            envvar="MEDHIVE_SERVE_FOREVER",
            help="Stay after the run, and run again for new clients.",
        ),
    ] = False,
    open_demo: OpenDemo = False,
    tunnel: Tunnel = TunnelChoice.NONE,
    tunnel_address: TunnelAddress = None,
    tunnel_command: TunnelCommand = None,
    tunnel_pattern: TunnelPattern = None,
    tunnel_timeout: TunnelTimeout = 30.0,
) -> None:
    """Run a study: wait for the sites, fit the model, write the result.

    Ends with exit code 0 after the run. A home made by medhive init lets only enrolled sites
    connect; without one, the server listens for clients on this machine alone.
    """
    from rich.console import Console

    from medhive.reports.address import check_reachable
    from medhive.server.serve import ServerSettings, serve

    contract, text = read_contract(study, dataset, run_config, "server")
    if mlflow is not None and mlflow_check:
        check_reachable(mlflow)
    listen = listen_settings(
        contract,
        dataset=dataset,
        host=host,
        port=port,
        name=name,
        server_home=server_home,
        open_demo=open_demo,
        tunnel=tunnel_settings(
            tunnel, tunnel_address, tunnel_command, tunnel_pattern, tunnel_timeout
        ),
    )
    settings = ServerSettings(
        listen=listen,
        study_text=text,
        output=output,
        mlflow=mlflow or f"sqlite:///{(output / 'mlflow.db').absolute()}",
        mlflow_public=mlflow_public,
        join_timeout=join_timeout,
        serve_forever=serve_forever,
    )
    serve(settings, Console())
