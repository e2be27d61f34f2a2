"""Tracking with real MLflow servers that are up, late, hanging, killed and restarted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medhive.errors import SettingError
from medhive.reports.address import check_reachable
from medhive.reports.metrics import metric_name, round_metrics
from medhive.reports.mlflow_server import server_command, server_environment
from medhive.reports.result import run_keys
from medhive.reports.tracking import Tracking
from medhive.study import Study
from medhive.studyfile import parse_study

STUDY = """
[study]
name = "heart"
outcome = { column = "num", event = "> 0" }
[run]
num-server-rounds = 3
[[features]]
name = "age"
kind = "continuous"
range = [18, 110]
[[features]]
name = "cp"
kind = "categorical"
levels = { 4 = "asymptomatic", 1 = "typical", 2 = "atypical", 3 = "non-anginal" }
reference = 1
[[features]]
name = "sex"
kind = "binary"
"""
PARAMS = np.array([-4.0, 0.05, 1.7, -0.2, 0.3, 0.9])  # intercept, age, cp[4], cp[2], cp[3], sex


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A real MLflow server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                server_command(self.port),
                env=server_environment(self.folder),
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        try:
            wait_for(self.answers)
        except AssertionError:
            pytest.fail((self.folder / "server.log").read_text())

    def answers(self) -> bool:
        try:
            check_reachable(self.uri, timeout=1.0)
        except SettingError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "mlflow")
    yield server
    server.kill()


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY, file="study.toml")


def of_round(step: int) -> dict[str, float]:
    return round_metrics(
        loss=1.0 / step,
        accuracy=0.5 + step / 10,
        n_samples=300,
        participants=["Zürich", "basel"],
        absent=["bern"],
        site_samples={"Zürich": 200, "basel": 100},
        rounds_completed=step,
        seconds=0.25,
    )


def start(tracking: Tracking, study: Study, run_id: str) -> None:
    tracking.start_run(
        "heart",
        run_id=run_id,
        params=run_keys(study),
        tags={"medhive.study_sha256": study.sha256},
        study_text=STUDY,
    )


def finish(tracking: Tracking, study: Study, folder: Path) -> None:
    output = folder / "result.json"
    output.write_text('{"schema": 1}', encoding="utf-8")
    tracking.finish(metrics={"auc": 0.9}, artifacts=output, model=(study, PARAMS, PARAMS[1:]))


def rest(uri: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
    request = urllib.request.Request(  # noqa: S310
        f"{uri}/api/2.0/mlflow/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return dict(json.load(answer))


def runs_of(uri: str, run_id: str) -> list:  # type: ignore[type-arg]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("medhive")
    assert experiment is not None
    return list(
        client.search_runs([experiment.experiment_id], f"tags.`medhive.run_id` = '{run_id}'")
    )


def steps_of(uri: str, run: str, key: str) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    history = MlflowClient(tracking_uri=uri).get_metric_history(run, key)
    return [(metric.step, metric.value) for metric in history]


def assert_whole(uri: str, run_id: str, rounds: int) -> str:
    """Check that MLflow has one run with every round once, and return MLflow's id of it."""
    (run,) = runs_of(uri, run_id)
    for key in ("loss", "accuracy", "participants", "n_samples", "seconds", "rounds_completed"):
        expected = [(step, of_round(step)[key]) for step in range(1, rounds + 1)]
        assert steps_of(uri, run.info.run_id, key) == expected, key
    assert run.data.metrics["training/completed"] == 1.0
    assert run.info.status == "FINISHED"
    return str(run.info.run_id)


def test_a_run_with_its_rounds_sites_files_and_model_is_in_mlflow(
    server: Server, study: Study, tmp_path: Path
) -> None:
    """Parameters, metrics by step, participation, artifacts and a model that predicts arrive."""
    import mlflow
    from mlflow.tracking import MlflowClient

    tracking = Tracking(tmp_path / "outbox.jsonl", server.uri)
    start(tracking, study, "whole")
    for step in (1, 2, 3):
        tracking.round(step, of_round(step))
    finish(tracking, study, tmp_path)
    assert tracking.close(60), tracking.health
    assert "has everything" in tracking.health

    run_id = assert_whole(server.uri, "whole", 3)
    assert tracking.run_url is not None
    assert tracking.run_url.endswith(f"/runs/{run_id}")
    run = MlflowClient(tracking_uri=server.uri).get_run(run_id)
    assert run.data.params == {key: str(value) for key, value in run_keys(study).items()}
    assert run.data.params["num-server-rounds"] == "3"
    assert run.data.tags["medhive.study_sha256"] == study.sha256
    assert run.data.metrics["auc"] == 0.9
    assert run.data.metrics["participation/basel"] == 1.0
    assert run.data.metrics["participation/bern"] == 0.0
    assert run.data.metrics[metric_name("n_samples", "Zürich")] == 200
    listed = rest(server.uri, f"artifacts/list?run_id={run_id}")["files"]
    assert {file["path"] for file in listed} >= {"study.toml", "result.json"}  # type: ignore[attr-defined]

    mlflow.set_tracking_uri(server.uri)
    frame = pd.DataFrame(
        {"note": ["a", "b", "c"], "sex": [1, 0, 1], "cp": [4, 1, 2], "age": [63, 50, 41]}
    )
    logit = np.array([-4 + 63 * 0.05 + 1.7 + 0.9, -4 + 50 * 0.05, -4 + 41 * 0.05 - 0.2 + 0.9])
    by_hand = 1 / (1 + np.exp(-logit))
    loaded = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    np.testing.assert_allclose(loaded.predict(frame)[:, 1], by_hand, rtol=1e-12)
    text = frame.astype({"cp": str, "age": float})
    np.testing.assert_allclose(loaded.predict(text)[:, 1], by_hand, rtol=1e-12)
    fitted = mlflow.sklearn.load_model(f"runs:/{run_id}/model")
    np.testing.assert_array_equal(fitted.predict(frame), (by_hand > 0.5).astype(int))
    requirements = Path(mlflow.pyfunc.get_model_dependencies(f"runs:/{run_id}/model")).read_text()
    assert all("==" in line for line in requirements.split())


def test_what_happened_before_the_server_started_is_delivered(
    own_server: Server, study: Study, tmp_path: Path
) -> None:
    """A run that began and ended while nobody answered is whole once the server is there."""
    tracking = Tracking(tmp_path / "outbox.jsonl", own_server.uri)
    start(tracking, study, "early")
    for step in (1, 2):
        tracking.round(step, of_round(step))
    finish(tracking, study, tmp_path)
    wait_for(lambda: "refused" in tracking.health)
    assert tracking.pending == 6
    assert tracking.run_url is None
    own_server.start()
    assert tracking.close(60), tracking.health
    assert_whole(own_server.uri, "early", 2)


def test_a_killed_and_restarted_server_has_every_round_once(
    own_server: Server, study: Study, tmp_path: Path
) -> None:
    """A server killed in mid-run loses nothing and gets nothing twice."""
    own_server.start()
    tracking = Tracking(tmp_path / "outbox.jsonl", own_server.uri)
    start(tracking, study, "killed")
    tracking.round(1, of_round(1))
    wait_for(lambda: tracking.pending == 0)
    own_server.kill()
    for step in (2, 3):
        tracking.round(step, of_round(step))
    wait_for(lambda: "wait for MLflow" in tracking.health)
    own_server.start()
    finish(tracking, study, tmp_path)
    assert tracking.close(60), tracking.health
    assert_whole(own_server.uri, "killed", 3)


def test_requests_of_unknown_outcome_are_not_recorded_twice(
    server: Server, study: Study, tmp_path: Path
) -> None:
    """A server that stands still and goes on later has one run and every round once."""
    server.signal(signal.SIGSTOP)
    try:
        tracking = Tracking(tmp_path / "outbox.jsonl", server.uri)
        start(tracking, study, "frozen")
        tracking.round(1, of_round(1))
        wait_for(lambda: "in time" in tracking.health)
    finally:
        server.signal(signal.SIGCONT)
    wait_for(lambda: tracking.pending == 0)
    server.signal(signal.SIGSTOP)
    try:
        tracking.round(2, of_round(2))
        wait_for(lambda: "in time" in tracking.health)
    finally:
        server.signal(signal.SIGCONT)
    finish(tracking, study, tmp_path)
    assert tracking.close(60), tracking.health
    assert_whole(server.uri, "frozen", 2)


def test_a_delivery_that_is_repeated_changes_nothing(
    server: Server, study: Study, tmp_path: Path
) -> None:
    """With its cursor lost, the whole outbox is delivered again and nothing is there twice."""
    from mlflow.tracking import MlflowClient

    outbox = tmp_path / "outbox.jsonl"
    tracking = Tracking(outbox, server.uri)
    start(tracking, study, "again")
    tracking.round(1, of_round(1) | {"odd": float("nan")})
    finish(tracking, study, tmp_path)
    assert tracking.close(60), tracking.health
    outbox.with_suffix(".sent").unlink()
    second = Tracking(outbox, server.uri)
    assert second.pending == 5
    assert second.close(60), second.health
    run_id = assert_whole(server.uri, "again", 1)
    assert len(steps_of(server.uri, run_id, "odd")) == 1
    client = MlflowClient(tracking_uri=server.uri)
    run = client.get_run(run_id)
    assert len(run.outputs.model_outputs) == 1
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert [model.status for model in found] == ["READY"]


class Wire(ThreadingHTTPServer):
    """A bad network before a server: of each request that writes, the first answer is lost.

    The request itself arrives at once, or `delay` seconds after the client has given it up.
    """

    daemon_threads = True

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), _Hop)
        self.port, self.delay = port, delay
        self.lost: set[str] = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Hop(BaseHTTPRequestHandler):
    server: Wire

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = f"{self.command} {self.path}"
        if name.endswith("log-batch"):
            name += sha256(body).hexdigest()
        if self.command != "GET" and "search" not in self.path and name not in self.server.lost:
            self.server.lost.add(name)
            carry_out = threading.Timer(self.server.delay, self.forward, [body])
            carry_out.start()
            if not self.server.delay:
                carry_out.join()
            self.close_connection = True
            return
        status, kind, answer = self.forward(body)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def forward(self, body: bytes) -> tuple[int, str, bytes]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers.get("Content-Type", "application/json"), content


@pytest.mark.parametrize(("name", "delay"), [("lost", 0.0), ("late", 0.7)])
def test_lost_answers_and_late_requests_change_nothing(
    name: str, delay: float, server: Server, study: Study, tmp_path: Path
) -> None:
    """Where every first answer is lost, or every request arrives late, nothing is there twice."""
    from mlflow.tracking import MlflowClient

    wire = Wire(server.port, delay)
    try:
        tracking = Tracking(tmp_path / "outbox.jsonl", f"http://127.0.0.1:{wire.server_port}")
        start(tracking, study, name)
        for step in (1, 2):
            tracking.round(step, of_round(step))
        finish(tracking, study, tmp_path)
        assert tracking.close(90), tracking.health
        assert any("runs/create" in request for request in wire.lost)
        assert any("logged-models" in request for request in wire.lost)
    finally:
        wire.shutdown()
        wire.server_close()
    run_id = assert_whole(server.uri, name, 2)
    client = MlflowClient(tracking_uri=server.uri)
    run = client.get_run(run_id)
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert [model.status for model in found] == ["READY"]
    assert [output.model_id for output in run.outputs.model_outputs] == [found[0].model_id]


def test_a_restarted_process_goes_on_with_its_run(
    server: Server, study: Study, tmp_path: Path
) -> None:
    """A process that ended in mid-run and repeats its last round adds to the same run."""
    first = Tracking(tmp_path / "outbox.jsonl", server.uri)
    start(first, study, "resumed")
    first.round(1, of_round(1))
    first.finish("KILLED")
    assert first.close(60), first.health
    second = Tracking(tmp_path / "outbox.jsonl", server.uri)
    start(second, study, "resumed")
    second.round(1, of_round(1) | {"seconds": 99.0})
    second.round(2, of_round(2))
    finish(second, study, tmp_path)
    assert second.close(60), second.health
    assert_whole(server.uri, "resumed", 2)


def test_a_hanging_server_blocks_neither_a_round_nor_the_end(study: Study, tmp_path: Path) -> None:
    """Against a socket that accepts and never answers, calls return at once and close in time."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        tracking = Tracking(tmp_path / "outbox.jsonl", uri)
        begin = time.monotonic()
        start(tracking, study, "hang")
        for step in range(1, 21):
            tracking.round(step, of_round(step))
        assert time.monotonic() - begin < 2.0
        wait_for(lambda: "in time" in tracking.health)
        begin = time.monotonic()
        assert not tracking.close(1.0)
        assert time.monotonic() - begin < 1.5
        assert tracking.pending == 21
        with pytest.raises(SettingError, match="no answer in time"):
            check_reachable(uri, timeout=0.3)


def test_a_local_store_keeps_its_artifacts_beside_it(study: Study, tmp_path: Path) -> None:
    """With a sqlite address the run is in the file and the artifacts are in a folder beside it."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    check_reachable(uri)
    tracking = Tracking(tmp_path / "outbox.jsonl", uri)
    start(tracking, study, "local")
    tracking.round(1, of_round(1))
    finish(tracking, study, tmp_path)
    assert tracking.close(90), tracking.health
    assert_whole(uri, "local", 1)
    assert tracking.run_url is None
    assert list((tmp_path / "mlflow-artifacts").rglob("result.json"))
    assert list((tmp_path / "mlflow-artifacts").rglob("MLmodel"))


@pytest.mark.parametrize("kind", ["server", "sqlite"])
def test_mlflow_says_nothing_on_the_terminal(
    kind: str, server: Server, study: Study, tmp_path: Path
) -> None:
    """A program that tracks a whole run, first against nobody, prints nothing of MLflow's."""
    uri = server.uri if kind == "server" else f"sqlite:///{tmp_path / 'mlflow.db'}"
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    program = """
import sys, time
from pathlib import Path
from medhive.reports.tracking import Tracking
from medhive.studyfile import read_study
folder, uri = Path(sys.argv[1]), sys.argv[2]
assert "mlflow" not in sys.modules
study = read_study(folder / "study.toml")
for number, address in enumerate(("http://127.0.0.1:9", uri)):
    tracking = Tracking(folder / f"{number}.jsonl", address)
    tracking.start_run("quiet", run_id="quiet-" + folder.name, params={"seed": 1}, study_text="x")
    tracking.round(1, {"loss": 1.0})
    model = (study, [0, .1, .2, .3, .4, .5], [0] * 5)
    tracking.finish(artifacts=folder / "study.toml", model=model)
    assert tracking.close(4 if number == 0 else 60) == bool(number), tracking.health
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), uri],
        capture_output=True,
        text=True,
        timeout=120,
        env={key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_server_ends_cleanly_and_leaves_no_process(own_server: Server) -> None:
    """The local MLflow server is one process, and SIGTERM ends it at once."""
    own_server.start()
    assert own_server.process is not None
    pid = own_server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if children.exists():
        assert children.read_text() == ""
    own_server.signal(signal.SIGTERM)
    assert own_server.process.wait(10) in (0, -signal.SIGTERM)


def test_mlflow_itself_hands_over_what_the_local_server_is_given() -> None:
    """The environment of the local server uses the names that this MLflow reads."""
    from mlflow.server import constants

    known = {getattr(constants, name) for name in dir(constants) if name.endswith("_ENV_VAR")}
    given = {name for name in server_environment(Path()) if name.startswith("_MLFLOW_SERVER")}
    assert given <= known


def test_mlflow_models_serve_answers_with_probabilities(
    server: Server, study: Study, tmp_path: Path
) -> None:
    """``mlflow models serve`` predicts with the logged model over HTTP."""
    tracking = Tracking(tmp_path / "outbox.jsonl", server.uri)
    start(tracking, study, "served")
    finish(tracking, study, tmp_path)
    assert tracking.close(60), tracking.health
    (run,) = runs_of(server.uri, "served")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", f"runs:/{run.info.run_id}/model", "--port", str(port)]
    # MLflow starts the uvicorn that it finds on the path
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"MLFLOW_TRACKING_URI": server.uri, "PATH": path}
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    columns, rows = ["age", "cp", "sex"], [[63, 4, 1], [50, 1, 0]]
    body = json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
    )
    answers: list[bytes] = []

    def answered() -> bool:
        assert process.poll() is None, (tmp_path / "serve.log").read_text()
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                answers.append(answer.read())
        except OSError:
            return False
        return True

    try:
        wait_for(answered, 90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
    predictions = np.array(json.loads(answers[0])["predictions"])
    by_hand = 1 / (1 + np.exp(-np.array([-4 + 63 * 0.05 + 1.7 + 0.9, -4 + 50 * 0.05])))
    np.testing.assert_allclose(predictions[:, 1], by_hand, rtol=1e-12)
