"""The server's process: listen, run the study, keep the record, say where things are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid
from rich.console import Console

from medhive.flower.exchange import GridExchange
from medhive.flower.link import Link
from medhive.identity.authority import prepare_server
from medhive.reports.result import Result, now
from medhive.reports.tracking import Tracking
from medhive.server.app import MLFLOW_GRACE, server_app
from medhive.server.conduct import conduct, new_folder
from medhive.server.console import ConsoleProgress, print_line
from medhive.server.listen import ListenSettings, listening

FOLDER_LINE = "report folder:"
"""Begins the line that names the folder of a run's results."""


@dataclass(frozen=True)
class ServerSettings:
    """What a statistician says when starting a server.

    Parameters
    ----------
    listen : ListenSettings
        With the study.
    study_text : str
        The study file as written.
    output : Path
        Folder under which each run gets its own.
    mlflow : str
        Address of MLflow's store.
    mlflow_public : str or None
        Address under which people reach MLflow, where it is another one.
    join_timeout : float
        Seconds to wait for enough sites.
    serve_forever : bool
        Run the study again for whoever connects next, instead of ending.
    """

    listen: ListenSettings
    study_text: str
    output: Path
    mlflow: str
    mlflow_public: str | None
    join_timeout: float
    serve_forever: bool


def serve(settings: ServerSettings, console: Console) -> None:
    """Listen and run the study, once or for ever.

    Raises
    ------
    SettingError
        If the port is busy, a folder cannot be written, or the tunnel cannot be opened.
    FederationError
        If too few sites took part in time.
    """
    run, files = settings.listen.study.run, settings.listen.files
    purpose = f"{run.strategy}, {run.num_server_rounds} rounds"
    with listening(settings.listen, purpose, console) as link:
        while True:
            _run_once(settings, link, console)
            if not settings.serve_forever:
                return
            # a server that stays for years shows a certificate that is still good
            prepare_server(files.home, settings.listen.names, datetime.now(UTC))
            print_line(console, "ready for the next run")


def _run_once(settings: ServerSettings, link: Link, console: Console) -> None:
    study = settings.listen.study
    grid, context = link.start_run()
    folder = new_folder(settings.output, study, now().astimezone())
    progress = ConsoleProgress(console, study.run.num_server_rounds)
    tracking = Tracking(folder / "outbox.jsonl", settings.mlflow)
    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        exchange = GridExchange(grid, study, progress, settings.join_timeout)
        try:
            result = conduct(study, settings.study_text, exchange, progress, folder, tracking)
        except BaseException:
            exchange.finish("the server ended the run before there was a result", completed=False)
            raise
        results.append(result)
        exchange.finish(f"the study is over: {result.rounds} rounds, the result is at the server")

    try:
        server_app(main)(grid, context)
    finally:
        link.finish_run(grid)
        delivered = tracking.close(MLFLOW_GRACE)
    for line in _conclusion(results[0], folder, settings, tracking, delivered):
        print_line(console, line)


def _conclusion(
    result: Result, folder: Path, settings: ServerSettings, tracking: Tracking, delivered: bool
) -> list[str]:
    metrics = result.metrics
    numbers = ", ".join(
        f"{name} {metrics[name]:.4f}"
        for name in ("accuracy", "loss", "auc")
        if metrics.get(name) is not None
    )
    lines = [f"result on {result.evaluated_on} of {len(result.sites)} sites: {numbers}"]
    lines += [f"note: {warning}" for warning in result.warnings]
    lines += [f"{FOLDER_LINE} {folder}", f"MLflow: {_page(settings, tracking.run_url)}"]
    if not delivered:
        lines.append(f"{tracking.health}; what is missing stays in {folder / 'outbox.jsonl'}")
    return lines


def _page(settings: ServerSettings, page: str | None) -> str:
    """Return the address of the run's page as people reach it, or of the store."""
    if page is None:
        return settings.mlflow
    if settings.mlflow_public is None:
        return page
    return settings.mlflow_public.rstrip("/") + page[page.index("/#/") :]
