"""Server and clients as real processes over real TLS."""

from __future__ import annotations

import csv
import datetime
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error, Message

from medhive.flower.node import Node
from medhive.identity.authority import prepare_server
from medhive.identity.keys import new_key
from support import HEART_SITES, HEART_STUDY, Program, Programs, Served, free_port

OUTLIER = "9417.25"
"""A blood pressure that is out of range; it must not leave its site."""


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, rows: list[dict[str, str]], columns: list[str] | None = None) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One local MLflow store for all runs: its tables are made once."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def _together(server: Served, sites: tuple[str, ...]) -> dict[str, Program]:
    """Start clients so that all of them are in the run from its first round on.

    A run starts as soon as it has enough sites; one more node, which keeps the server waiting for
    its answer until all clients are there, makes them come at once.
    """
    with Node(server.address, server.ca.read_bytes(), new_key()) as node:
        while (question := node.receive()) is None:
            continue
        clients = {name: server.client(name, HEART_SITES[name]) for name in sites}
        for client in clients.values():
            client.line("connected to")
        node.send(Message(Error(0, "only here to hold the door"), reply_to=question))
    return clients


@dataclass
class Story:
    """One run with the four bundled sites, and everybody who came in between."""

    server: Served
    others: dict[str, Program] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    output: str = ""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, mlflow_store: str) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with Programs(folder) as programs:
        early = programs.medhive(
            "client", "--server", f"127.0.0.1:{(port := free_port())}", "--id", "cleveland",
            "--data", HEART_SITES["cleveland"], name="cleveland",
        )  # fmt: skip
        early.line("waiting for a server on this machine")
        server = programs.server(
            HEART_STUDY, "--mlflow", mlflow_store, "-c", "min-available-clients=4", port=port
        )
        story = Story(server, {"early": early})
        server.program.line(r"cleveland joined with 303 rows")
        server.client("hungarian", HEART_SITES["hungarian"])
        server.client("switzerland", HEART_SITES["switzerland"])

        bad = _rows(HEART_SITES["va"])
        bad[40]["trestbps"] = OUTLIER
        other_study = folder / "other.toml"
        other_study.write_text(HEART_STUDY.read_text().replace("seed = 1", "seed = 2"))
        other_ca = prepare_server(
            folder / "other-authority", [], datetime.datetime.now(datetime.UTC)
        ).ca
        story.others |= {
            "bad data": server.client("va", _write(folder / "bad.csv", bad), name="bad"),
            "other study": server.client("va", HEART_SITES["va"], "--study", other_study,
                                         "--home", folder / "key-2", name="pinned"),
            "other authority": programs.medhive(
                "client", "--server", server.address, "--id", "va", "--data", HEART_SITES["va"],
                "--ca", other_ca, "--home", folder / "key-3", name="other-authority",
            ),
            "same name": server.client("cleveland", HEART_SITES["cleveland"],
                                       "--home", folder / "key-4", name="twin"),
        }  # fmt: skip
        for name, code in {
            "bad data": 2, "other study": 4, "other authority": 2, "same name": 2
        }.items():  # fmt: skip
            story.others[name].ends(code)
        server.program.line("second client with this name")

        rows = _rows(HEART_SITES["va"])
        shuffled = _write(folder / "shuffled.csv", rows, sorted(rows[0], reverse=True))
        story.others["good"] = server.client("va", shuffled)
        story.result = json.loads(server.result().read_text())
        story.output = server.program.ends(0)
        for name in ("early", "good"):
            story.others[name].ends(0)
        yield story


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same study in one process."""
    with Programs(tmp_path_factory.mktemp("simulated")) as programs:
        path = programs.folder / "result.json"
        sites = [f"--site={name}={file}" for name, file in HEART_SITES.items()]
        programs.medhive(
            "simulate", HEART_STUDY, *sites, "--output", path, "-c", "min-available-clients=4"
        ).ends(0)
        result: dict[str, Any] = json.loads(path.read_text())
        return result


def test_processes_over_tls_find_what_one_process_finds(
    story: Story, simulated: dict[str, Any]
) -> None:
    """A federation of real processes finds the terms and the metrics of `medhive simulate`.

    One site's file has its columns in another order, which changes nothing.
    """
    assert story.result["study_sha256"] == simulated["study_sha256"]
    for part in ("terms", "standardised_terms"):
        ours = {name: term["estimate"] for name, term in story.result[part].items()}
        theirs = {name: term["estimate"] for name, term in simulated[part].items()}
        assert ours == pytest.approx(theirs, rel=0, abs=1e-12)
    assert story.result["metrics"] == pytest.approx(simulated["metrics"], rel=0, abs=1e-12)
    assert story.result["sites"] == simulated["sites"]


def test_a_client_waits_for_its_server_and_then_runs(story: Story) -> None:
    """A client that starts first says that it waits, and takes part once the server is there."""
    text = story.others["early"].text
    waits, joins = text.index("waiting for a server"), text.index("connected to")
    assert waits < joins < text.index("round 5, ")


def test_a_server_of_another_authority_is_refused(story: Story) -> None:
    """A client with another authority's certificate sends nothing and says what to check."""
    text = story.others["other authority"].text
    assert "not this study's server" in text
    assert "--ca" in text
    assert "connected to" not in text
    assert "Traceback" not in text


def test_a_second_client_with_a_name_is_turned_away(story: Story) -> None:
    """The second client with a name ends; the first one and the run go on."""
    text = story.others["same name"].text
    assert 'another client takes part as "cleveland"' in text
    assert "--id" in text
    assert "Traceback" not in text
    assert [site["name"] for site in story.result["sites"]] == sorted(HEART_SITES)


def test_bad_data_are_explained_at_the_site(story: Story) -> None:
    """The site reads file, line, column and value of what is wrong with its data."""
    text = story.others["bad data"].text
    assert re.search(rf'bad\.csv, line 42, column "trestbps": "{OUTLIER}" is outside', text)
    assert " next: " in text
    assert "Traceback" not in text


def test_bad_data_are_not_explained_at_the_server(story: Story) -> None:
    """The server hears that a site's data do not fit, and neither value nor column nor line."""
    assert "its data do not fit the study" in story.output
    assert OUTLIER not in story.output
    assert "trestbps" not in story.output
    assert "bad.csv" not in story.output
    assert "42" not in re.sub(r"\d+\.\d+|contract \w+", "", story.output)


def test_a_site_with_corrected_data_takes_part(story: Story) -> None:
    """The run waits on after a site's failure and finishes with that site's good file."""
    failed = story.output.index("do not fit")
    assert failed < story.output.index("va joined with 130 rows")


def test_a_client_of_another_study_refuses(story: Story) -> None:
    """A site takes part in no other study than the one it named; both sides read why."""
    reason = r"the server runs another study \(heart-disease, [0-9a-f]{12}\)"
    assert re.search(reason, story.others["other study"].text)
    assert re.search(reason, story.output)
    assert "Traceback" not in story.others["other study"].text


def test_a_server_that_stays_serves_the_next_clients(programs: Programs, mlflow_store: str) -> None:
    """With --serve-forever a second run starts for new clients, until Ctrl-C ends the server.

    Of the first clients one waited for the address, and one's rows are all of one class.
    """
    healthy = [row for row in _rows(HEART_SITES["hungarian"]) if row["num"] == "0"]
    one_class = _write(programs.folder / "healthy.csv", healthy)
    identity = prepare_server(
        programs.folder / "home" / "server", [], datetime.datetime.now(datetime.UTC)
    )
    port = free_port()
    patient = programs.medhive(
        "client", "--server", f"localhost:{port}", "--id", "cleveland",
        "--data", HEART_SITES["cleveland"], "--ca", identity.ca, name="patient",
    )  # fmt: skip
    patient.line(r"waiting for the server at localhost:\d+ \(nobody answers there yet\)")
    server = programs.server(
        HEART_STUDY, "--serve-forever", "--mlflow", mlflow_store, "-c", "num-server-rounds=2",
        port=port,
    )  # fmt: skip
    first = [patient, server.client("healthy", one_class)]
    path = server.result()
    result = json.loads(path.read_text())
    assert [site["name"] for site in result["sites"]] == ["cleveland", "healthy"]
    assert all(term["estimate"] is not None for term in result["terms"].values())
    for client in first:
        client.ends(0)
    server.program.line("^ready for the next run$")
    second = [server.client("cleveland", HEART_SITES["cleveland"], name="cleveland-again"),
              server.client("va", HEART_SITES["va"])]  # fmt: skip
    server.program.line(r"(?s)ready for the next run.*ready for the next run")
    for client in second:
        client.ends(0)
    folders = {match[1] for match in re.finditer(r"^report folder: (.+)$", server.program.text,
                                                 re.MULTILINE)}  # fmt: skip
    assert len(folders) == 2
    assert json.loads(path.read_text()) == result
    server.program.signal(signal.SIGINT)
    assert server.program.ends(130).endswith("stopped\n")


def test_ctrl_c_ends_a_client_and_then_the_server(programs: Programs, mlflow_store: str) -> None:
    """Ctrl-C at a client leaves the run to the others; Ctrl-C at the server ends it.

    Both say one plain line and exit with 130, and MLflow's run is KILLED.
    """
    server = programs.server(
        HEART_STUDY, "--mlflow", mlflow_store, "-c", "num-server-rounds=5000 local-epochs=1"
    )
    clients = _together(server, ("cleveland", "switzerland", "va"))
    server.program.line(r"^ +\d+/5000 +3 ")
    clients["va"].signal(signal.SIGINT)
    text = clients["va"].ends(130)
    assert text.endswith("\nstopped\n")
    assert "Traceback" not in text
    server.program.line(r"(?s)va left: .*/5000 +2 ")
    server.program.signal(signal.SIGINT)
    text = server.program.ends(130)
    assert text.endswith("\nstopped\n")
    assert "Traceback" not in text
    for name in ("cleveland", "switzerland"):
        assert "ended the run before there was a result" in clients[name].ends(5)
    (folder,) = (programs.folder / "medhive-output").iterdir()
    assert not (folder / "result.json").exists()

    from mlflow.tracking import MlflowClient

    (run,) = MlflowClient(tracking_uri=mlflow_store).search_runs(
        ["1"], f"tags.`medhive.run_id` = '{folder.name}'"
    )
    assert run.info.status == "KILLED"
    assert run.data.metrics["training/completed"] == 0


def test_a_run_survives_the_death_of_a_client(programs: Programs, mlflow_store: str) -> None:
    """A client that is killed is left out once its signs of life stop, and the rest finish."""
    server = programs.server(
        HEART_STUDY, "--mlflow", mlflow_store, "-c", "num-server-rounds=30 local-epochs=1"
    )
    clients = _together(server, ("cleveland", "switzerland", "va"))
    server.program.line(r"^ +\d+/30 +3 ")
    clients["va"].signal(signal.SIGKILL)
    result = json.loads(server.result().read_text())
    text = server.program.ends(0)
    assert re.search("va left: ", text)
    assert result["rounds"] == 30
    assert result["history"][-1]["sites"] == ["cleveland", "switzerland"]
    assert "va" in result["history"][0]["sites"]
    for name in ("cleveland", "switzerland"):
        clients[name].ends(0)
