"""MedHive's ServerApp: an ordinary Flower app around the conduct of a study.

Under ``medhive server`` the app runs in the server's own process. ``flwr run`` starts the same
app on a stock SuperLink; the run config then says which study, and where results go.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from rich.console import Console

from medhive.data.bundled import study_text
from medhive.flower.exchange import GridExchange
from medhive.reports.result import now
from medhive.reports.tracking import Tracking
from medhive.server.conduct import conduct, new_folder, require_honourable
from medhive.server.console import ConsoleProgress
from medhive.study import Run
from medhive.studyfile import parse_study

MLFLOW_GRACE = 60.0
"""Seconds that the end of a run waits for MLflow to take the rest."""


def server_app(main: Callable[[Grid, Context], None]) -> ServerApp:
    """Return a ServerApp that does `main(grid, context)`."""
    app = ServerApp()
    app.main()(main)
    return app


def _from_run_config(grid: Grid, context: Context) -> None:
    """Run the study that the run config names; an empty value leaves what the study says."""
    config = {key: value for key, value in context.run_config.items() if value != ""}
    run_keys = {field.alias or name for name, field in Run.model_fields.items()}
    overrides = {key: value for key, value in config.items() if key in run_keys}
    if "study" in config:
        file = Path(str(config["study"]))
        text = file.read_text(encoding="utf-8")
    else:
        dataset = str(config.get("dataset", "heart-disease"))
        file = Path(f"{dataset}.toml")
        text = study_text(dataset)
    study = parse_study(text, file=file, run_config=overrides)
    require_honourable(study, file)
    output = Path(str(config["output"])).expanduser()
    folder = new_folder(output, study, now().astimezone())
    progress = ConsoleProgress(Console(stderr=True), study.run.num_server_rounds)
    tracking = (
        Tracking(folder / "outbox.jsonl", str(config["mlflow"])) if "mlflow" in config else None
    )
    try:
        exchange = GridExchange(grid, study, progress)
        conduct(study, text, exchange, progress, folder, tracking)
        exchange.finish("the study is over")
    finally:
        if tracking is not None:
            tracking.close(MLFLOW_GRACE)


app = server_app(_from_run_config)
