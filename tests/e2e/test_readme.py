"""The README is true: each of its commands runs, and what it shows is what comes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from support import DEADLINE, Program, Programs, free_port

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line]
MEDHIVE = ".venv/bin/medhive "
BY_HAND, BETWEEN = "A study by hand", "Between hospitals"


def _medhive(heading: str, name: str) -> list[list[str]]:
    """Return the arguments of each `medhive NAME` command under a heading of the README."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
    lines = "".join(block.findall(section)).splitlines()
    found = [shlex.split(c.removeprefix(MEDHIVE)) for c in lines if c.startswith(MEDHIVE + name)]
    assert found, f"no medhive {name} under {heading}"
    return found


@pytest.fixture
def clone(programs: Programs) -> Programs:
    """A folder in which the README's relative paths lead to the project's files."""
    (programs.folder / "medhive").symlink_to(ROOT / "medhive")
    return programs


def test_every_command_is_run_here() -> None:
    """The README has no command that the tests below do not run."""
    known = ("make demo", "make test", ".venv/bin/mlflow server ")
    known += tuple(
        f"{MEDHIVE}{name} " for name in ("server", "client", "simulate", "init", "invite")
    )
    assert [c for c in COMMANDS if not c.startswith(known)] == []
    assert COMMANDS.count("make demo") == COMMANDS.count("make test") == 1


@pytest.mark.parametrize(
    ("target", "runs"), [("demo", "medhive demo"), ("test", "python -m pytest")]
)
def test_make_installs_the_pins_and_runs(target: str, runs: str, tmp_path: Path) -> None:
    """In a new clone, `make demo` and `make test` install what is pinned and run one command."""
    # under `make test` this is no part of that make
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", target, f"VENV={tmp_path / 'venv'}"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert any("--requirement requirements.txt" in line for line in lines)
    assert ("requirements-dev.txt" in done.stdout) == (target == "test")
    assert lines[-1].endswith(runs)


def test_the_demo_prints_the_table_of_the_readme(programs: Programs) -> None:
    """The table in the README is the demo's own, number for number."""
    (shown,) = re.findall(r"^```text\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    demo = programs.medhive("demo", environment={"COLUMNS": "90"})
    printed = [line.rstrip() for line in demo.ends(0, timeout=150).splitlines()]
    for line in shown.splitlines():
        assert line in printed, f"{line!r} is not in\n{demo}"


def test_a_study_in_three_terminals(clone: Programs) -> None:
    """The README's server and clients fit a model and leave it where the README says."""
    (arguments,) = _medhive(BY_HAND, "server")
    server = clone.medhive(*arguments, environment={"MEDHIVE_PORT": "0"})
    address = server.line(r"^listening on (\S+)$")[1]
    clients = [
        clone.medhive(*(address if word == "127.0.0.1:9092" else word for word in words))
        for words in _medhive(BY_HAND, "client")
    ]
    server.ends(0)
    for client in clients:
        assert "sums" in client.ends(0)
    (folder,) = clone.folder.glob("medhive-output/heart-disease-*")
    section = TEXT.split("## Where the results are")[1].split("##")[0]
    names = re.findall(r"`([\w.]+\.(?:json|jsonl|toml))`", section)
    assert {"result.json", "contract.json"} <= set(names)
    assert [name for name in names if not (folder / name).is_file()] == []
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert [site["name"] for site in result["sites"]] == ["cleveland", "hungarian"]
    _look_at_mlflow(clone)


def _look_at_mlflow(clone: Programs) -> None:
    """Await the page that the README's MLflow command serves: the run's store."""
    (command,) = (c for c in COMMANDS if c.startswith(".venv/bin/mlflow "))
    port = free_port()
    words = shlex.split(command.removeprefix(".venv/bin/").replace("5000", str(port)))
    words = [sys.executable, "-m", *words]
    mlflow = Program("mlflow", words, clone.folder / "mlflow.log", os.environ, clone.folder)
    try:
        _await(f"http://127.0.0.1:{port}/health", mlflow)
    finally:
        mlflow.end()


def _await(url: str, program: Program) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"nobody answers at {url}\n{program}")


def test_hospitals_enrol_with_join_codes(clone: Programs) -> None:
    """The README's codes let both hospitals in, and the run ends well."""
    port = str(free_port())

    def here(words: list[str]) -> list[str]:
        return [word.replace("stats.example.org:9092", f"127.0.0.1:{port}") for word in words]

    (init,) = _medhive(BETWEEN, "init")
    clone.medhive(*here(init)).ends(0)
    codes = {}
    for words in _medhive(BETWEEN, "invite"):
        printed = clone.medhive(*words).ends(0)
        # apart from the code itself everything is a sentence
        (codes[words[1]],) = (line for line in printed.splitlines() if " " not in line)
    (arguments,) = _medhive(BETWEEN, "server")
    server = clone.medhive(*arguments, environment={"MEDHIVE_PORT": port})
    server.line(r"^listening on ")
    (client,) = _medhive(BETWEEN, "client")
    clients = [
        clone.medhive(*(code if w == "CODE" else w.replace("cleveland", site) for w in client))
        for site, code in codes.items()
    ]
    server.ends(0)
    for program in clients:
        program.ends(0)


def test_simulate_writes_a_result(clone: Programs) -> None:
    """The README's simulation writes the result file that it names."""
    (arguments,) = _medhive(BY_HAND, "simulate")
    clone.medhive(*arguments).ends(0)
    result = json.loads((clone.folder / "result.json").read_text(encoding="utf-8"))
    assert result["n_samples"] == 564
