"""``medhive demo`` as a newcomer runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medhive.reports.result import read_result
from support import DEADLINE, HEART_SITES, Program, Programs, processes


def _family(programs: Programs) -> dict[int, str]:
    """Return the demo's processes, which alone have this folder in their environment."""
    found = {}
    for pid, line in processes():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if str(programs.folder).encode() in environment:
            found[pid] = line
    return found


def _assert_nobody_is_left(programs: Programs) -> None:
    left = _family(programs)
    # a killed process may take the kernel a moment
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        left = _family(programs)
    assert not left, f"still running: {left}"


def _child(programs: Programs, words: str) -> int:
    """Return the process whose command has these words."""
    (pid,) = [pid for pid, line in _family(programs).items() if words in line]
    return pid


@dataclass
class Demo:
    """A demo that ran to its end."""

    programs: Programs
    text: str
    run: Path


def _finish(programs: Programs, *options: object) -> Demo:
    text = programs.medhive("demo", *options).ends(0)
    folder = re.search(r"^report folder: (.+)$", text, re.MULTILINE)
    assert folder, text
    return Demo(programs, text, programs.folder / folder[1])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Programs(tmp_path_factory.mktemp("demo")) as programs:
        demo = _finish(programs)
        _assert_nobody_is_left(programs)
        yield demo


def test_the_demo_shows_every_hospital(demo: Demo) -> None:
    """The printed tables compare the models for each hospital and for all of them."""
    accuracy, _, auc = demo.text.partition("Accuracy")[2].partition("AUC")
    for table in (accuracy, auc):
        for site in (*HEART_SITES, "all sites"):
            assert site in table
        assert "federated" in table
        assert "pooled fit" in table
    assert "Traceback" not in demo.text


def test_the_demo_leaves_a_valid_result(demo: Demo) -> None:
    """result.json fits its schema and holds all four sites and five rounds."""
    result = read_result(demo.run / "result.json")
    assert [site.name for site in result.sites] == sorted(HEART_SITES)
    assert result.rounds == len(result.history) == 5
    assert result.n_samples == 740


def test_the_demo_is_recorded_in_mlflow(demo: Demo) -> None:
    """MLflow's store has the run: metrics by step, who took part with how many rows, its end."""
    from mlflow.tracking import MlflowClient

    result = read_result(demo.run / "result.json")
    client = MlflowClient(tracking_uri=f"sqlite:///{demo.run.parent / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("medhive")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["training/completed"] == 1
    assert run.data.metrics["final/accuracy"] == result.metrics["accuracy"]
    assert run.data.params["num-server-rounds"] == "5"
    for name in ("loss", "accuracy"):
        history = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in history] == [1, 2, 3, 4, 5]
        assert [metric.value for metric in history] == [
            getattr(each, name) for each in result.history
        ]
    for site in result.sites:
        for name, value in {"participation": 1, "n_samples": site.n_samples}.items():
            history = client.get_metric_history(run.info.run_id, f"{name}/{site.name}")
            assert [(metric.step, metric.value) for metric in history] == [
                (step, value) for step in range(1, 6)
            ]


def test_the_demos_model_predicts(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model in MLflow's store loads as a pyfunc and gives a probability for each patient."""
    import mlflow
    import pandas as pd
    from mlflow.tracking import MlflowClient

    store = demo.run.parent / "mlflow"
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("medhive")
    (model,) = client.search_logged_models([experiment.experiment_id])
    (folder,) = {path.parent for path in (store / "artifacts").rglob("MLmodel")}
    assert model.model_id in str(folder)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    loaded = mlflow.pyfunc.load_model(str(folder))
    rows = pd.read_csv(HEART_SITES["cleveland"])
    names = [column.name for column in loaded.metadata.signature.inputs]
    given = rows[names].dropna()
    probabilities = loaded.predict(given)
    assert probabilities.shape == (len(given), 2)
    assert abs(probabilities.sum(axis=1) - 1).max() < 1e-12
    sick = rows.loc[given.index, "num"] > 0
    assert ((probabilities[:, 1] > 0.5) == sick).mean() > 0.7


def _until_rounds(programs: Programs, *options: object) -> Program:
    demo = programs.medhive("demo", "-c", "num-server-rounds=5000 local-epochs=1", *options)
    demo.line(r"^ +2/5000 ")
    return demo


def test_ctrl_c_leaves_nothing_running(programs: Programs) -> None:
    """Ctrl-C in the middle of a demo ends all of its processes and says one plain line."""
    demo = _until_rounds(programs)
    assert len(_family(programs)) >= 7
    demo.signal(signal.SIGINT)
    text = demo.ends(130)
    assert text.endswith("\nstopped\n")
    assert "Traceback" not in text
    _assert_nobody_is_left(programs)


@pytest.mark.parametrize(
    ("victim", "words"),
    [("va", "--id va"), ("server", "medhive server")],
)
def test_a_killed_process_ends_the_demo(programs: Programs, victim: str, words: str) -> None:
    """When a client or the server is killed, the demo says which, fails and leaves nothing."""
    demo = programs.medhive("demo")
    demo.line("^waiting for 4 sites")
    os.kill(_child(programs, words), signal.SIGKILL)
    text = demo.ends(5)
    assert re.search(rf"^error: {victim} ended with exit code -9$", text, re.MULTILINE)
    assert "nothing is left running" in text
    assert "Traceback" not in text
    _assert_nobody_is_left(programs)


def test_wdbc_is_cut_and_mlflow_is_kept(programs: Programs) -> None:
    """WDBC runs with three sites, and with --keep MLflow answers after the demo has ended."""
    demo = _finish(programs, "--dataset", "wdbc", "--sites", "3", "--keep")
    found = re.search(r"MLflow stays up at (\S+); stop it with: kill (\d+)", demo.text)
    assert found, demo.text
    address, pid = found[1], int(found[2])
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=DEADLINE) as answer:  # noqa: S310
            assert answer.read() == b"OK"
        assert list(_family(programs)) == [pid]
    finally:
        os.killpg(pid, signal.SIGTERM)
    _assert_nobody_is_left(programs)
    result = json.loads((demo.run / "result.json").read_text())
    assert [site["name"] for site in result["sites"]] == ["site-1", "site-2", "site-3"]
    assert result["n_samples"] == 569
    assert result["metrics"]["auc"] > 0.98
