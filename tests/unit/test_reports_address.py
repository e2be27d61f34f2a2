"""Addresses of MLflow and names of metrics."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from subprocess import run

import pytest

from medhive.errors import SettingError
from medhive.reports.address import check_reachable, check_uri, without_password
from medhive.reports.metrics import metric_name, round_metrics


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("http://localhost:5000/", "http://localhost:5000"),
        (" https://mlflow.example.org/base ", "https://mlflow.example.org/base"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:////var/mlflow.db", "sqlite:////var/mlflow.db"),
    ],
)
def test_addresses_of_mlflow_are_taken(uri: str, clean: str) -> None:
    """A server's address and a local database are addresses."""
    assert check_uri(uri) == clean


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "localhost:5000",
        "mlruns",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://host:0",
        "http://ho st:80",
        "http://host/#/experiments/1",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite://file.db",
    ],
)
def test_other_text_is_refused_with_the_next_step(uri: str) -> None:
    """What is no address is a setting error that says how an address looks."""
    with pytest.raises(SettingError) as caught:
        check_uri(uri)
    assert caught.value.exit_code == 2
    assert "http://host:port" in str(caught.value.next_step)


def test_a_place_where_nobody_answers_is_an_error() -> None:
    """A closed port is a setting error, and the password in the address is not shown."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(SettingError, match="cannot be reached") as caught:
        check_reachable(f"http://me:secret@127.0.0.1:{port}")
    assert "secret" not in str(caught.value)
    assert without_password("http://me:secret@host:1/x") == "http://host:1/x"


def test_a_database_that_cannot_be_one_is_an_error(tmp_path: Path) -> None:
    """A missing folder, a folder and a file of another kind are refused; a new file is fine."""
    check_reachable(f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(SettingError, match="does not exist"):
        check_reachable(f"sqlite:///{tmp_path / 'no' / 'new.db'}")
    with pytest.raises(SettingError, match="is not a file"):
        check_reachable(f"sqlite:///{tmp_path}")
    (tmp_path / "notes.txt").write_text("not a database", encoding="utf-8")
    with pytest.raises(SettingError, match="another kind"):
        check_reachable(f"sqlite:///{tmp_path / 'notes.txt'}")


def test_sites_have_metric_names_that_mlflow_takes_and_tell_them_apart() -> None:
    """Any site name becomes a valid metric name, and no two become the same."""
    from mlflow.utils.validation import _validate_metric_name

    sites = ["basel", "Zürich", "Z_rich", "Zárich", "..", ".", "", "a/b", "a_b", "a//b"]
    sites += ["north site", "x" * 300, "x" * 299, "_rich", "."]
    names = {metric_name("participation", site) for site in sites}
    assert len(names) == len(set(sites))
    assert metric_name("participation", "basel") == "participation/basel"
    for name in names:
        _validate_metric_name(name)


def test_the_metrics_of_a_round_say_who_took_part() -> None:
    """Participation is 1 or 0 for each site, and what was not measured is left out."""
    metrics = round_metrics(
        loss=0.5,
        accuracy=None,
        n_samples=10,
        participants=["a"],
        absent=["b"],
        site_samples={"a": 10},
        rounds_completed=2,
        seconds=0.1,
    )
    assert metrics == {
        "loss": 0.5,
        "n_samples": 10,
        "n_samples/a": 10,
        "participants": 1,
        "participation/a": 1.0,
        "participation/b": 0.0,
        "rounds_completed": 2,
        "seconds": 0.1,
    }


def test_the_tracking_module_does_not_import_mlflow() -> None:
    """Importing MedHive's reports costs no import of MLflow."""
    program = "import sys, medhive.reports.tracking; sys.exit('mlflow' in sys.modules)"
    assert run([sys.executable, "-c", program], check=False).returncode == 0
