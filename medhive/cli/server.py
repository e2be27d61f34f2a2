"""``medhive server``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medhive.cli.options import Output, RunConfig, StudyFile, home, parse_run_config


def server(
    study: StudyFile,
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
    mlflow_check: Annotated[
        bool,
        typer.Option(
            help="Insist that the MLflow server answers at the start. During the run it may be"
            " down; nothing is lost."
        ),
    ] = True,
    server_home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            help="Folder of the server's keys and certificates.",
            show_default="~/.medhive/server",
        ),
    ] = None,
    join_timeout: Annotated[
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="How long to wait for enough sites before giving up."
        ),
    ] = 86_400.0,
    serve_forever: Annotated[
        bool,
        typer.Option("--serve-forever", help="Stay after the run, and run again for new clients."),
    ] = False,
) -> None:
    """Run a study: wait for the sites, fit the model, write the result.

    Ends with exit code 0 after the run. Hospitals send sums only; see the study file for which.
    """
    import datetime

    from rich.console import Console

    from medhive.identity.authority import prepare_server
    from medhive.reports.address import check_reachable
    from medhive.server.serve import ServerSettings, serve
    from medhive.studyfile import read_study

    contract = read_study(study, parse_run_config(run_config))
    if mlflow is not None and mlflow_check:
        check_reachable(mlflow)
    store = mlflow or f"sqlite:///{(output / 'mlflow.db').absolute()}"
    names = [*(name or []), *([] if host in ("0.0.0.0", "::") else [host])]  # noqa: S104
    settings = ServerSettings(
        study=contract,
        study_text=study.read_text(encoding="utf-8"),
        host=host,
        port=port,
        files=prepare_server(
            server_home or home() / "server", names, datetime.datetime.now(datetime.UTC)
        ),
        output=output,
        mlflow=store,
        join_timeout=join_timeout,
        serve_forever=serve_forever,
    )
    serve(settings, Console())
