"""The server's process: listen, run the study, keep the record, say where things are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid
from rich.console import Console

from medhive.flower.exchange import GridExchange
from medhive.flower.link import Link
from medhive.identity.authority import ServerFiles
from medhive.reports.result import Result, now
from medhive.reports.tracking import Tracking
from medhive.server.app import MLFLOW_GRACE, server_app
from medhive.server.conduct import conduct, new_folder
from medhive.server.console import ConsoleProgress
from medhive.study import Study

FOLDER_LINE = "report folder:"
"""Begins the line that names the folder of a run's results."""


@dataclass(frozen=True)
class ServerSettings:
    """What a statistician says when starting a server.

    Parameters
    ----------
    study : Study
    study_text : str
        The study file as written.
    host, port
        Where to listen; port 0 takes a free one.
    files : ServerFiles
        The server's identity.
    output : Path
        Folder under which each run gets its own.
    mlflow : str
        Address of MLflow's store.
    join_timeout : float
        Seconds to wait for enough sites.
    serve_forever : bool
        Run the study again for whoever connects next, instead of ending.
    """

    study: Study
    study_text: str
    host: str
    port: int
    files: ServerFiles
    output: Path
    mlflow: str
    join_timeout: float
    serve_forever: bool


def serve(settings: ServerSettings, console: Console) -> None:
    """Listen and run the study, once or for ever.

    Raises
    ------
    SettingError
        If the port is busy, or a folder cannot be written.
    FederationError
        If too few sites took part in time.
    """
    with Link(settings.host, settings.port, settings.files.certificate, settings.files.key) as link:
        _announce(settings, link.port, console)
        while True:
            _run_once(settings, link, console)
            if not settings.serve_forever:
                return
            console.print("ready for the next run", highlight=False)


def _run_once(settings: ServerSettings, link: Link, console: Console) -> None:
    study = settings.study
    grid, context = link.start_run()
    folder = new_folder(settings.output, study, now().astimezone())
    progress = ConsoleProgress(console, study.run.num_server_rounds)
    tracking = Tracking(folder / "outbox.jsonl", settings.mlflow)
    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        exchange = GridExchange(grid, study, progress, settings.join_timeout)
        note = "the run ended before there was a result; see the server's log"
        try:
            results.append(
                conduct(study, settings.study_text, exchange, progress, folder, tracking)
            )
            note = f"the study is over: {study.run.num_server_rounds} rounds, result at the server"
        finally:
            exchange.finish(note)

    try:
        server_app(main)(grid, context)
    finally:
        link.finish_run(grid)
        delivered = tracking.close(MLFLOW_GRACE)
    _conclude(results[0], folder, settings.mlflow, tracking, delivered, console.print)


def _announce(settings: ServerSettings, port: int, console: Console) -> None:
    study, host = settings.study, settings.host
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [
        f"study {study.study.name}, contract {study.sha256[:12]}:"
        f" {study.run.strategy}, {study.run.num_server_rounds} rounds,"
        f" from {study.run.min_available_clients} sites on",
        f"listening on {address}",
        f"a site joins with: medhive client --server {address} --id SITE --data FILE"
        f" --ca {settings.files.ca}",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _conclude(
    result: Result,
    folder: Path,
    uri: str,
    tracking: Tracking,
    delivered: bool,
    say: Callable[..., None],
) -> None:
    metrics = result.metrics
    numbers = ", ".join(
        f"{name} {metrics[name]:.4f}"
        for name in ("accuracy", "loss", "auc")
        if metrics.get(name) is not None
    )
    lines = [f"result on {result.evaluated_on} of {len(result.sites)} sites: {numbers}"]
    lines += [f"note: {warning}" for warning in result.warnings]
    lines += [f"{FOLDER_LINE} {folder}", f"MLflow: {tracking.run_url or uri}"]
    if not delivered:
        lines.append(f"{tracking.health}; what is missing stays in {folder / 'outbox.jsonl'}")
    for line in lines:
        say(line, highlight=False, soft_wrap=True, markup=False)
