"""Seconds a round with many real sites: ``python benchmarks/nodes/run.py --sites 4 50``.

One ``medhive server`` process, and the sites as threads of a few light processes, each with a key,
a TLS connection and rows of its own, through the code of ``medhive client``. The rows are made so
that every lost or doubled contribution would show: the model's `n_samples` of each round, and the
federated mean, are compared with the pooled rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
STUDY = """
[study]
name = "nodes"
outcome = {{ column = "y", event = 1 }}
[run]
num-server-rounds = {rounds}
min-available-clients = {sites}
{features}
"""
N_FEATURES, N_ROWS = 20, 100


def make_study(folder: Path, sites: int, rounds: int) -> tuple[Path, list[Path], np.ndarray]:
    """Write the study and one CSV a site; return them with the pooled rows."""
    rng = np.random.default_rng(1)
    names = [f"x{i}" for i in range(N_FEATURES)]
    weights = rng.normal(size=N_FEATURES) / 3
    files, pooled = [], []
    for site in range(sites):
        X = rng.normal(size=(N_ROWS, N_FEATURES))
        y = (rng.random(N_ROWS) < 1 / (1 + np.exp(-X @ weights))).astype(int)
        path = folder / f"site-{site}.csv"
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([*names, "y"])
            writer.writerows(
                [*map(repr, map(float, x)), int(event)] for x, event in zip(X, y, strict=True)
            )
        files.append(path)
        pooled.append(X)
    features = "".join(f'[[features]]\nname = "{name}"\nkind = "continuous"\n' for name in names)
    study = folder / "nodes.toml"
    study.write_text(STUDY.format(rounds=rounds, sites=sites, features=features))
    return study, files, np.concatenate(pooled)


def run_sites(port: int, ca: Path, homes: Path, files: list[Path]) -> None:
    """Run some sites as threads of this process."""
    from medhive.client.runtime import ClientSettings, run_client
    from medhive.identity.keys import site_key

    errors: list[BaseException] = []

    def one(file: Path) -> None:
        settings = ClientSettings(
            server=f"127.0.0.1:{port}",
            site=file.stem,
            data=file,
            root_certificates=ca.read_bytes(),
            key=site_key(homes / file.stem),
        )
        try:
            run_client(settings, lambda _: None)
        except BaseException as error:  # noqa: BLE001 - raised after the others ended
            errors.append(error)

    threads = [threading.Thread(target=one, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def measure(sites: int, rounds: int, processes: int) -> dict[str, object]:
    """Run a federation and return its figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        study, files, pooled = make_study(folder, sites, rounds)
        command = [sys.executable, "-m", "medhive", "server", str(study), "--port", "0"]
        command += ["--home", str(folder / "home"), "--output", str(folder / "out")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        for line in server.stdout:
            if found := re.match(r"listening on .*:(\d+)", line):
                break
        port, ca = int(found[1]), folder / "home" / "ca.pem"
        # scikit-learn warns of a few iterations, and its filter is not made for threads
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
        start = time.perf_counter()
        sites_command = [sys.executable, __file__, "--port", str(port), "--ca", str(ca)]
        sites_command += ["--homes", str(folder / "keys")]
        clients = [
            subprocess.Popen([*sites_command, *map(str, files[i::processes])], env=quiet)
            for i in range(processes)
        ]
        server.stdout.read()
        codes = [process.wait() for process in (*clients, server)]
        seconds = time.perf_counter() - start
        assert codes == [0] * len(codes), codes
        (path,) = (folder / "out").glob("nodes-*/result.json")
        result = json.loads(path.read_text())
    lost = [r["round"] for r in result["history"] if r["n_samples"] != sites * N_ROWS]
    mean = np.array([scale["mean"] for scale in result["standardisation"].values()])
    per_round = np.array([r["seconds"] for r in result["history"]])
    return {
        "sites": sites,
        "rounds": rounds,
        "rounds_with_lost_or_doubled_rows": lost,
        "largest_error_of_the_federated_mean": float(np.abs(mean - pooled.mean(axis=0)).max()),
        "seconds_a_round": {
            "median": float(np.median(per_round)),
            "min": float(per_round.min()),
            "max": float(per_round.max()),
        },
        "seconds_from_first_client_to_end": seconds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def main() -> None:
    """Measure, print a table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="+", default=[4, 50])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--port", type=int)
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--homes", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    given = parser.parse_args()
    if given.port:
        run_sites(given.port, given.ca, given.homes, given.files)
        return
    figures = [measure(sites, given.rounds, given.processes) for sites in given.sites]
    lines = [
        "| sites | rounds | seconds a round: median (min to max) | lost or doubled |",
        "|---|---|---|---|",
    ]
    for figure in figures:
        s = figure["seconds_a_round"]
        lines.append(
            f"| {figure['sites']} | {figure['rounds']}"
            f" | {s['median']:.2f} ({s['min']:.2f} to {s['max']:.2f})"
            f" | {len(figure['rounds_with_lost_or_doubled_rows'])} |"
        )
    print("\n".join(lines))
    (HERE / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    (HERE / "README.md").write_text(
        "# Many sites on one server\n\n"
        "A round is one training and one evaluation, each asked of every site over TLS; the\n"
        "sites are threads of two processes on the same two cores as the server. Repeat with\n"
        "`python benchmarks/nodes/run.py`.\n\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
