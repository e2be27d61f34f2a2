"""MedHive's ServerApp: an ordinary Flower app around the conduct of a study.

Under ``medhive server`` the app runs in the server's own process. ``flwr run`` starts the same
app on a stock SuperLink; the run config then says which study, and where results go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from rich.console import Console

from medhive.data.bundled import study_text
from medhive.errors import MedHiveError, Place, SettingError
from medhive.flower.exchange import GridExchange
from medhive.reports.result import now
from medhive.reports.tracking import Tracking
from medhive.server.conduct import conduct, new_folder, require_honourable
from medhive.server.console import ConsoleProgress
from medhive.study import Run, Study
from medhive.studyfile import parse_study, read_study

MLFLOW_GRACE = 60.0
"""Seconds that the end of a run waits for MLflow to take the rest."""

DEFAULT_OUTPUT = "~/medhive-output"
"""Where results go: a stock SuperLink runs in a folder that nobody chose."""


def server_app(main: Callable[[Grid, Context], None]) -> ServerApp:
    """Return a ServerApp that does `main(grid, context)`."""
    app = ServerApp()
    app.main()(main)
    return app


def _from_run_config(grid: Grid, context: Context) -> None:
    """Run the study that the run config names."""
    console = Console(stderr=True)
    # an empty text is how the app's defaults say nothing
    config = {key: value for key, value in context.run_config.items() if value != ""}
    try:
        folder = _run(grid, config, ConsoleProgress(console, 0))
    except MedHiveError as error:
        # Flower shows the error in its traceback, without the next step
        console.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        if error.next_step:
            console.print(f" next: {error.next_step}", highlight=False, markup=False)
        raise
    console.print(f"report folder: {folder}", highlight=False, markup=False, soft_wrap=True)


def _run(grid: Grid, config: Mapping[str, Any], progress: ConsoleProgress) -> Path:
    study, text = _study(config)
    progress.rounds = study.run.num_server_rounds
    output = Path(str(config.get("output", DEFAULT_OUTPUT))).expanduser().absolute()
    folder = new_folder(output, study, now().astimezone())
    tracking = (
        Tracking(folder / "outbox.jsonl", str(config["mlflow"])) if "mlflow" in config else None
    )
    try:
        exchange = GridExchange(grid, study, progress, _join_timeout(config))
        conduct(study, text, exchange, progress, folder, tracking)
    finally:
        if tracking is not None:
            tracking.close(MLFLOW_GRACE)
    return folder


def _study(config: Mapping[str, Any]) -> tuple[Study, str]:
    """Return the study with the run config's overrides, and the text of its file."""
    run_keys = {field.alias or name for name, field in Run.model_fields.items()}
    overrides = {key: value for key, value in config.items() if key in run_keys}
    if "study" in config:
        # the SuperLink's working folder is not the one of whoever typed the path
        file = Path(str(config["study"])).expanduser().absolute()
        study = read_study(file, overrides)
        text = file.read_text(encoding="utf-8")
    else:
        dataset = str(config.get("dataset", "heart-disease"))
        file, text = Path(f"{dataset}.toml"), study_text(dataset)
        study = parse_study(text, file=file, run_config=overrides)
    require_honourable(study, file)
    return study, text


def _join_timeout(config: Mapping[str, Any]) -> float:
    given = config.get("join-timeout", 600.0)
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise SettingError(
            f"{given!r} is not a number of seconds",
            place=Place(file="--run-config", setting="join-timeout"),
            next_step="write join-timeout=600, for instance",
        )
    return float(given)


app = server_app(_from_run_config)
