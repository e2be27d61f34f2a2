"""MedHive's apps on a stock Flower: its local simulation, and a SuperLink with SuperNodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from medhive.study import Run
from support import HEART_SITES, HEART_STUDY, Program, Programs, free_port, processes, until

PROJECT = Path(__file__).parents[2]
RUN_TIME = 300.0
"""Seconds that a run on stock Flower may take; it pays several for each message."""


@dataclass
class Stock:
    """Flower's own programs around a copy of the project, with a Flower home of their own."""

    folder: Path
    started: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = self.folder / "medhive-app"
        self.home = self.folder / "flower-home"
        self.app.mkdir()
        self.home.mkdir()
        for name in ("pyproject.toml", "LICENSE", "README.md"):
            shutil.copy(PROJECT / name, self.app)
        shutil.copytree(
            PROJECT / "medhive", self.app / "medhive", ignore=shutil.ignore_patterns("__pycache__")
        )
        scripts = str(Path(sys.executable).parent)
        self.environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            # what the app needs is installed, and a test does not go to a package index
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
            "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *command: object, name: str) -> Program:
        """Start one of Flower's commands."""
        words = list(map(str, command))
        log = self.folder / f"{len(self.started):02d}-{name}.log"
        program = Program(name, words, log, self.environment, self.app)
        self.started.append(program)
        return program

    def run(self, run_config: str, *options: object) -> Path:
        """Do ``flwr run .`` to its end; return the result file."""
        config = f"output='{self.folder / 'results'}' {run_config}"
        flwr = self.start("flwr", "run", ".", "--stream", "-c", config, *options, name="flwr-run")
        flwr.ends(0, timeout=RUN_TIME)
        return Path(flwr.line(r"^report folder: (.+)$")[1]) / "result.json"

    def processes(self) -> list[int]:
        """Return everything that was started with this Flower home, also what detached itself."""
        mark = f"FLWR_HOME={self.home}".encode()
        found = []
        for pid, _ in processes():
            with suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found

    def end(self) -> None:
        """Kill everything and print what it said."""

        def kill() -> bool:
            left = self.processes()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        for program in self.started:
            program.end()
        until(kill, "the end of Flower's processes", timeout=15)
        for program in self.started:
            print(program)
        for log in self.home.rglob("*.log"):
            print(f"----- {log} -----", log.read_text(errors="replace")[-4000:], sep="\n")


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Stock]:
    flower = Stock(tmp_path)
    try:
        yield flower
    finally:
        flower.end()


def simulated(programs: Programs, sites: list[str], run_config: str) -> dict[str, float]:
    """Return the terms that ``medhive simulate`` finds."""
    file = programs.folder / "simulated.json"
    data = [f"--site={site}={HEART_SITES[site]}" for site in sites]
    options = ["--output", file, "--run-config", run_config]
    programs.medhive("simulate", HEART_STUDY, *data, *options).ends(0)
    return terms(file)


def terms(file: Path) -> dict[str, float]:
    found = json.loads(file.read_text(encoding="utf-8"))["terms"]
    return {name: term["estimate"] for name, term in found.items()}


def test_the_app_lists_every_run_key() -> None:
    """Flower refuses keys that the app does not list, so it lists all that a study may say."""
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    listed = tomllib.loads(text)["tool"]["flwr"]["app"]["config"]
    keys = {item.alias or name for name, item in Run.model_fields.items()}
    assert set(listed) == keys | {"study", "dataset", "output", "mlflow", "join-timeout"}
    assert {key for key in keys if listed[key] != ""} == set()


def test_the_bundle_carries_no_code(stock: Stock) -> None:
    """What a SuperLink hands to SuperNodes names the apps and holds no program."""
    stock.start("flwr", "build", name="flwr-build").ends(0)
    (bundle,) = stock.app.glob("*.fab")
    with ZipFile(bundle) as files:
        assert set(files.namelist()) == {"pyproject.toml", "LICENSE", ".info/CONTENT"}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: medhive[ray]")
@pytest.mark.parametrize(
    ("run_config", "options", "sites"),
    [
        ("num-server-rounds=3", [], ["cleveland", "hungarian"]),
        (
            "num-server-rounds=3 strategy='fedadam' penalty='none' C=2",
            ["--federation-config", "num-supernodes=4"],
            list(HEART_SITES),
        ),
    ],
    ids=["as Flower starts it", "four sites"],
)
def test_flwr_run_on_the_local_federation(
    stock: Stock, programs: Programs, run_config: str, options: list[str], sites: list[str]
) -> None:
    """``flwr run .`` on Flower's local simulation leads to the terms of ``medhive simulate``."""
    found = terms(stock.run(run_config, *options))
    expected = simulated(programs, sites, run_config)
    assert found == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_flwr_run_on_a_deployment(stock: Stock, programs: Programs) -> None:
    """``flwr run .`` on a stock SuperLink and SuperNodes leads to the same terms."""
    address = f"127.0.0.1:{free_port()}"
    (stock.home / "config.toml").write_text(
        '[superlink]\ndefault = "study"\n'
        f'[superlink.study]\naddress = "{address}"\ninsecure = true\n',
        encoding="utf-8",
    )
    port = address.rpartition(":")[2]
    stock.start(
        "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", port, name="superlink"
    )
    until(lambda: listens(int(port)), "the SuperLink")
    sites = ["cleveland", "hungarian"]
    for site in sites:
        stock.start(
            *("flower-supernode", "--insecure", "--superlink", address, "--port", free_port()),
            *("--node-config", f"site='{site}' data='{HEART_SITES[site]}'"),
            name=site,
        )
    run_config = "num-server-rounds=1"
    found = terms(stock.run(f"study='{HEART_STUDY}' {run_config}"))
    expected = simulated(programs, sites, run_config)
    assert found == pytest.approx(expected, rel=0, abs=1e-12)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
