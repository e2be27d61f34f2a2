"""Tracking a run in MLflow.

What happens in a run is appended to an outbox on the disk, and a thread delivers it: MLflow
down, slow or restarted costs the run nothing and loses nothing. A delivery whose outcome is
unknown is repeated with the same run, step, time and value, which MLflow stores once.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from medhive.reports.address import check_uri, database, without_password
from medhive.reports.model import input_example, pipeline
from medhive.reports.outbox import Event, Outbox
from medhive.reports.recorded import Recorded
from medhive.reports.sender import Sender
from medhive.study import Study

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import Model
    from mlflow.tracking import MlflowClient

RUN_ID_TAG, EVENT_TAG = "medhive.run_id", "medhive.event"
MODEL_NAME = "model"
MODEL_PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
METRICS_PER_REQUEST, PARAMS_PER_REQUEST = 1000, 100  # MLflow's own limits

Status = Literal["FINISHED", "FAILED", "KILLED"]

_QUIET = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_CAUSES = {
    "timed out": "it does not answer in time",
    "refused": "nobody answers there (connection refused)",
    "resolve": "its host name is not known",
    "Connection reset": "the connection broke",
    "Connection aborted": "the connection broke",
}


class Tracking:
    """One study run in MLflow, or several one after the other; no call waits for MLflow.

    Parameters
    ----------
    outbox : Path
        File of events; what an earlier process left there is delivered too.
    uri : str
        ``http(s)://`` address of a server, or ``sqlite:///`` local store.
    experiment : str
        Name of MLflow's experiment, made where there is none.

    Raises
    ------
    SettingError
        If `uri` is no address, or the outbox is damaged.
    """

    def __init__(self, outbox: Path, uri: str, experiment: str = "medhive") -> None:
        self._shown = without_password(check_uri(uri))
        self._outbox = Outbox(outbox)
        self._delivery = _Delivery(check_uri(uri), experiment)
        self._recorded = Recorded(self._outbox.events)
        self._run: str | None = None
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        self._sender = Sender(self._outbox, self._delivery.deliver)

    def start_run(
        self,
        name: str,
        *,
        run_id: str,
        params: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        study_text: str = "",
    ) -> None:
        """Open a run, or take up again the one that an earlier process opened.

        Parameters
        ----------
        name : str
            Shown in MLflow.
        run_id : str
            MedHive's own identity of the run; a run with the same one is the same run.
        params : mapping
            All of ``[run]``.
        tags : mapping, optional
            Contract hash and versions.
        study_text : str
            The study file, kept as ``study.toml``.
        """
        opening = {"name": name, "params": {key: str(value) for key, value in params.items()}}
        opening |= {"tags": {**(tags or {}), RUN_ID_TAG: run_id}, "study": study_text}
        self._run = run_id
        if self._recorded.has_ended(run_id):
            self._append("reopened", {})
        self._append("run", opening)

    def round(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a round; a round that was recorded before is left as it is."""
        numbers = {key: float(value) for key, value in metrics.items()}
        self._append("round", {"step": step, "metrics": numbers})

    def finish(
        self,
        status: Status = "FINISHED",
        *,
        metrics: Mapping[str, float] | None = None,
        artifacts: Path | None = None,
        model: tuple[Study, ArrayLike, ArrayLike] | None = None,
    ) -> None:
        """Close the run.

        Parameters
        ----------
        status : {"FINISHED", "FAILED", "KILLED"}
        metrics : mapping, optional
            Of the whole run; ``training/completed`` is added, 1 where the run finished.
        artifacts : Path, optional
            A folder (all its files), or one file such as ``result.json``.
        model : (Study, array_like, array_like), optional
            The parameters and means that `medhive.reports.model.pipeline` takes; not kept where a
            parameter is not finite.
        """
        if artifacts is not None:
            self._append("artifacts", {"path": str(artifacts.resolve())})
        if model is not None and np.isfinite(model[1]).all():
            contract = model[0].model_dump(mode="json", by_alias=True, exclude_none=True)
            params, fill = (np.asarray(each, dtype=np.float64).tolist() for each in model[1:])
            self._append("model", {"study": contract, "params": params, "fill": fill})
        numbers = {key: float(value) for key, value in (metrics or {}).items()}
        numbers["training/completed"] = float(status == "FINISHED")
        self._append("finished", {"metrics": numbers, "status": status})

    def close(self, timeout: float) -> bool:
        """Deliver what is left, for `timeout` seconds at most, and stop.

        Returns
        -------
        bool
            Whether MLflow has everything. What it does not have stays in the outbox.
        """
        return self._sender.close(timeout)

    @property
    def pending(self) -> int:
        """How many events MLflow does not have yet."""
        return self._outbox.pending

    @property
    def run_url(self) -> str | None:
        """Address of the run's page, once a server has the run."""
        page = self._delivery.page
        return f"{self._shown}/#/{page}" if page and self._shown.startswith("http") else None

    @property
    def health(self) -> str:
        """How things are, in a few words."""
        waiting, error = self.pending, self._sender.error
        if not waiting:
            return f"MLflow at {self._shown} has everything"
        if error is None:
            return f"{waiting} events on their way to MLflow at {self._shown}"
        return f"{waiting} events wait for MLflow at {self._shown}: {_in_short(error)}"

    def _append(self, kind: str, data: dict[str, Any]) -> None:
        if self._run is None:
            raise RuntimeError("start_run comes first")
        data = {"run": self._run, "step": self._recorded.last_round(self._run), **data}
        if self._recorded.has(kind, data):
            return
        self._outbox.append(kind, data, time.time_ns() // 1_000_000)
        self._recorded.add(kind, data)
        self._sender.wake()


class _Delivery:
    """Deliveries to MLflow, each of which may be repeated."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.page: str | None = None
        self._uri = uri
        self._experiment = experiment
        self._client: MlflowClient | None = None
        self._runs: dict[str, str] = {}

    def deliver(self, event: Event) -> None:
        client, data = self._connect(), event.data
        run = self._runs.get(data["run"]) or self._find_or_create(client, event)
        match event.kind:
            case "run":
                self._log_opening(client, run, data)
            case "reopened":
                client.update_run(run, status="RUNNING")
            case "round":
                self._log_metrics(client, run, event)
            case "artifacts":
                log = client.log_artifacts if Path(data["path"]).is_dir() else client.log_artifact
                log(run, data["path"])
            case "model":
                self._log_model(client, run, event)
            case "finished":
                self._log_metrics(client, run, event)
                self._remove_others(client, run, data["run"])
                client.set_terminated(run, data["status"], event.time)

    def _connect(self) -> MlflowClient:
        if self._client is None:
            for name in ("mlflow", "alembic", "urllib3", "git"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
            warnings.filterwarnings("ignore", module=r"(mlflow|alembic|skops)\b")
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=self._uri)
        return self._client

    def _experiment_id(self, client: MlflowClient) -> str:
        known = client.get_experiment_by_name(self._experiment)
        if known is not None:
            return str(known.experiment_id)
        file = database(self._uri)
        beside = file.with_name(f"{file.stem}-artifacts").as_uri() if file else None
        return str(client.create_experiment(self._experiment, artifact_location=beside))

    def _find(self, client: MlflowClient, experiment: str, run_id: str) -> list[Run]:
        found: list[Run] = client.search_runs([experiment], f"tags.`{RUN_ID_TAG}` = '{run_id}'")
        # a slow server can carry out a request that was given up; the run in use has rounds
        return sorted(
            found, key=lambda run: (-run.data.metrics.get("rounds_completed", 0), run.info.run_id)
        )

    def _find_or_create(self, client: MlflowClient, event: Event) -> str:
        experiment = self._experiment_id(client)
        run_id, data = event.data["run"], event.data
        found = self._find(client, experiment, run_id)
        run = (
            found[0]
            if found
            else client.create_run(
                experiment,
                start_time=event.time,
                tags=data.get("tags", {RUN_ID_TAG: run_id}),
                run_name=data.get("name"),
            )
        )
        self._runs[run_id] = str(run.info.run_id)
        self.page = f"experiments/{experiment}/runs/{run.info.run_id}"
        return self._runs[run_id]

    def _remove_others(self, client: MlflowClient, run: str, run_id: str) -> None:
        for other in self._find(client, self._experiment_id(client), run_id):
            if other.info.run_id != run:
                client.delete_run(other.info.run_id)

    def _log_opening(self, client: MlflowClient, run: str, data: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in data["params"].items()]
        for start in range(0, len(params), PARAMS_PER_REQUEST):
            client.log_batch(run, params=params[start : start + PARAMS_PER_REQUEST])
        if data["study"]:
            client.log_text(run, data["study"], "study.toml")

    def _log_metrics(self, client: MlflowClient, run: str, event: Event) -> None:
        from mlflow.entities import Metric

        step, numbers = event.data["step"], event.data["metrics"]
        metrics = [Metric(key, value, event.time, step) for key, value in numbers.items()]
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            client.log_batch(run, metrics[start : start + METRICS_PER_REQUEST])

    def _log_model(self, client: MlflowClient, run: str, event: Event) -> None:
        from mlflow.entities import LoggedModelOutput

        experiment = self._experiment_id(client)
        tag = {EVENT_TAG: str(event.seq)}
        found = client.search_logged_models([experiment], f"source_run_id = '{run}'")
        models = sorted(
            (model for model in found if model.tags.get(EVENT_TAG) == tag[EVENT_TAG]),
            key=lambda model: (model.status != "READY", model.creation_timestamp, model.model_id),
        )
        logged = (
            models[0]
            if models
            else client.create_logged_model(experiment, MODEL_NAME, source_run_id=run, tags=tag)
        )
        if logged.status != "READY":
            self._upload_model(client, run, event, logged)
        outputs = client.get_run(run).outputs
        known = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if logged.model_id not in known:
            client.log_outputs(run, [LoggedModelOutput(logged.model_id, event.data["step"])])
        for other in models[1:]:
            client.delete_logged_model(other.model_id)

    def _upload_model(
        self, client: MlflowClient, run: str, event: Event, logged: LoggedModel
    ) -> None:
        from mlflow.models import Model

        description = Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            run_id=run,
            model_id=logged.model_id,
        )
        study = Study.model_validate(event.data["study"])
        with TemporaryDirectory(prefix="medhive-") as folder:
            path = Path(folder) / MODEL_NAME
            _save_model(study, event.data["params"], event.data["fill"], path, description)
            client.log_model_artifacts(logged.model_id, str(path))
        client.finalize_logged_model(logged.model_id, "READY")


def _save_model(
    study: Study, params: ArrayLike, fill: ArrayLike, path: Path, description: Model
) -> None:
    """Write the pipeline in MLflow's model format; as a pyfunc it gives probabilities."""
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, Schema, TensorSpec

    # any type: MLflow would refuse an age of 63 for a column of floating-point numbers
    any_type = AnyType()  # type: ignore[no-untyped-call]
    inputs = Schema([ColSpec(any_type, feature.name) for feature in study.features])
    outputs = Schema([TensorSpec(np.dtype(np.float64), (-1, 2))])
    mlflow.sklearn.save_model(
        pipeline(study, params, fill),
        str(path),
        mlflow_model=description,
        signature=ModelSignature(inputs, outputs),
        input_example=input_example(study),
        pip_requirements=[f"{name}=={version(name)}" for name in MODEL_PACKAGES],
        pyfunc_predict_fn="predict_proba",
    )


def _in_short(error: Exception) -> str:
    """Return the cause that a person can use out of the text that MLflow gives."""
    text = str(error) or type(error).__name__
    for sign, words in _CAUSES.items():
        if sign in text:
            return words
    return shorten(text, 200, placeholder=" …")
