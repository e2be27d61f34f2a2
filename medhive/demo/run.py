"""The demo: one MLflow server, one MedHive server and its clients, as real processes."""

from __future__ import annotations

import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from medhive.data.bundled import bundled_sites
from medhive.demo.processes import Exit, Processes
from medhive.demo.show import show
from medhive.errors import FederationError
from medhive.identity.authority import prepare_server
from medhive.reports.mlflow_server import server_command, server_environment
from medhive.server.conduct import make_folder
from medhive.server.serve import FOLDER_LINE
from medhive.study import Study
from medhive.studyfile import read_study

LIMIT = 600.0
"""Seconds after which a demo that does not end is ended."""

HIDDEN = ("listening on", "a site joins with")
"""Lines of the server that tell a person to do what the demo does."""


@dataclass(frozen=True)
class DemoSettings:
    """What a newcomer may choose.

    Parameters
    ----------
    dataset : {"heart-disease", "wdbc"}
    sites : int or None
        Number of sites that WDBC's rows are split over.
    seed : int
    run_config : mapping
        Keys of ``[run]`` to override.
    output : Path
    keep : bool
        Leave MLflow running.
    """

    dataset: str
    sites: int | None
    seed: int
    run_config: Mapping[str, object]
    output: Path
    keep: bool


def run_demo(settings: DemoSettings, console: Console) -> None:
    """Start everything, follow the run, compare the models, end everything.

    Raises
    ------
    FederationError
        If one of the processes failed; its last lines have been printed.
    """
    start = time.monotonic()
    with TemporaryDirectory(prefix="medhive-demo-") as temporary, Processes() as processes:
        home = Path(temporary)
        text, files = bundled_sites(settings.dataset, settings.sites, settings.seed, home)
        study_file = home / f"{settings.dataset}.toml"
        study_file.write_text(text, encoding="utf-8")
        asked = {"min-available-clients": len(files), "seed": settings.seed}
        study = read_study(study_file, {**asked, **settings.run_config})
        folder = settings.output.absolute()
        make_folder(folder)
        port, mlflow_port = free_port(), free_port(prefer=8080)
        mlflow = f"http://127.0.0.1:{mlflow_port}"
        console.print(
            f"{study.study.title}: {len(files)} sites, a server and MLflow start as"
            f" {len(files) + 2} processes; TLS on 127.0.0.1:{port}",
            highlight=False,
            soft_wrap=True,
        )
        _start_mlflow(processes, folder, mlflow_port)
        _start_federation(processes, home, folder, study_file, study, files, port, mlflow)
        run_folder = _follow(processes, set(files), console)
        show(study, files, run_folder, console)
        console.print(f"[dim]{time.monotonic() - start:.1f} s from start to result[/dim]")
        if settings.keep:
            pid = processes.keep("mlflow")
            console.print(f"MLflow stays up at {mlflow}; stop it with: kill {pid}", highlight=False)


def free_port(prefer: int = 0) -> int:
    """Return a free port of 127.0.0.1: `prefer`, or the next one that is free."""
    for port in range(prefer, 65536):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise FederationError("no port is free on this machine")


def _start_mlflow(processes: Processes, folder: Path, port: int) -> None:
    store = folder / "mlflow"
    store.mkdir(exist_ok=True)
    processes.start(
        "mlflow", server_command(port), server_environment(store), log=store / "server.log"
    )


def _start_federation(
    processes: Processes,
    home: Path,
    folder: Path,
    study_file: Path,
    study: Study,
    files: Mapping[str, Path],
    port: int,
    mlflow: str,
) -> None:
    medhive = [sys.executable, "-m", "medhive"]
    identity = prepare_server(home / "server", [], datetime.now(UTC))
    run = study.run.model_dump(by_alias=True, exclude_none=True)
    server = ["server", str(study_file), "--port", str(port), "--home", str(identity.home)]
    server += ["--run-config", " ".join(f"{key}={_toml(value)}" for key, value in run.items())]
    server += ["--output", str(folder), "--join-timeout", str(LIMIT)]
    server += ["--mlflow", mlflow, "--no-mlflow-check"]
    processes.start("server", [*medhive, *server])
    for site, data in files.items():
        client = ["client", "--server", f"127.0.0.1:{port}", "--id", site, "--data", str(data)]
        client += ["--ca", str(identity.ca), "--home", str(home / site)]
        processes.start(site, [*medhive, *client])


def _follow(processes: Processes, clients: set[str], console: Console) -> Path:
    """Show what the server says until it and every client ended well; return the run's folder."""
    last: dict[str, deque[str]] = {}
    running = {"server", *clients}
    folder: Path | None = None
    deadline = time.monotonic() + LIMIT
    while running:
        event = processes.next_event(deadline - time.monotonic())
        if event is None:
            raise FederationError(f"{', '.join(sorted(running))} did not end in {LIMIT:.0f} s")
        if isinstance(event, Exit):
            running.discard(event.process)
            if event.code != 0:
                for line in last.get(event.process, ()):
                    console.print(f"{event.process}: {line}", highlight=False, markup=False)
                raise FederationError(
                    f"{event.process} ended with exit code {event.code}",
                    next_step="its last lines are above; nothing is left running",
                )
            continue
        last.setdefault(event.process, deque(maxlen=20)).append(event.text)
        if event.process == "server":
            if event.text.startswith(FOLDER_LINE):
                folder = Path(event.text.removeprefix(FOLDER_LINE).strip())
            if not event.text.startswith(HIDDEN):
                console.print(event.text, highlight=False, markup=False, soft_wrap=True)
    if folder is None:
        raise FederationError("the server did not say where its results are")
    return folder


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else repr(value)
