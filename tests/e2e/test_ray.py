"""A simulation on Ray: a local one, a cluster that runs already, and none at all."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support import HEART_SITES, HEART_STUDY, Program, Programs, free_port, processes, until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: medhive[ray]"),
]

SITES = [f"--site={name}={file}" for name, file in HEART_SITES.items()]


def simulate(programs: Programs, *options: object, name: str = "ray") -> Program:
    return programs.medhive("simulate", HEART_STUDY, *SITES, *options, name=name)


def terms(file: Path) -> dict[str, float]:
    found = json.loads(file.read_text(encoding="utf-8"))["terms"]
    return {name: term["estimate"] for name, term in found.items()}


def shown(text: str) -> list[str]:
    """Return what a terminal showed, without times and the order in which sites came."""
    lines = [re.sub(r"^( *\d+/\d+ .*) +\d+\.\d\d$", r"\1", line) for line in text.splitlines()]
    return sorted(
        line.rstrip() for line in lines if not line.startswith(("waiting for ", "result: "))
    )


def left_of(program: Program) -> list[str]:
    """Return the command lines of the program's session that still run."""
    found = []
    for pid, line in processes():
        with suppress(ProcessLookupError):
            if os.getsid(pid) == program.pid:
                found.append(line)
    return found


@pytest.fixture
def inline(programs: Programs, tmp_path: Path) -> tuple[dict[str, float], list[str]]:
    """Terms and terminal of the same study in one process."""
    file = tmp_path / "inline.json"
    text = simulate(programs, "--output", file, name="inline").ends(0)
    return terms(file), shown(text)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A Ray cluster of one machine; its address."""
    port = free_port()
    # Ray's sockets do not fit into the long path of a test's own folder
    with TemporaryDirectory(prefix="ray-") as folder:
        options = {
            "port": port,
            "temp-dir": folder,
            "num-cpus": 2,
            "ray-client-server-port": free_port(),
            "dashboard-port": free_port(),
            "dashboard-agent-listen-port": free_port(),
            "include-dashboard": "false",
        }
        head = Program(
            "ray-head",
            [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
            + [f"--{key}={value}" for key, value in options.items()],
            tmp_path / "ray-head.log",
            {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            tmp_path,
        )
        try:
            head.line("Ray runtime started")
            yield f"127.0.0.1:{port}"
        finally:
            head.end()
            print(head)


def test_ray_gives_what_one_process_gives(
    programs: Programs, tmp_path: Path, inline: tuple[dict[str, float], list[str]]
) -> None:
    """A local Ray leads to the same terms, shows the same lines and leaves no process behind."""
    file = tmp_path / "ray.json"
    run = simulate(programs, "--backend", "ray", "--output", file)
    text = run.ends(0)
    assert terms(file) == pytest.approx(inline[0], rel=0, abs=1e-12)
    assert shown(text) == inline[1]
    until(lambda: not left_of(run), "the end of Ray's processes", timeout=15)


def test_a_cluster_gives_what_one_process_gives(
    programs: Programs,
    tmp_path: Path,
    cluster: str,
    inline: tuple[dict[str, float], list[str]],
) -> None:
    """A Ray cluster that runs already leads to the same terms and shows the same lines."""
    file = tmp_path / "cluster.json"
    run = simulate(programs, "--backend", "ray", "--ray-address", cluster, "--output", file)
    text = run.ends(0)
    assert terms(file) == pytest.approx(inline[0], rel=0, abs=1e-12)
    assert shown(text) == inline[1]


@pytest.mark.parametrize("silent", [False, True], ids=["nobody listens", "somebody is silent"])
def test_an_address_without_a_cluster_is_refused(programs: Programs, silent: bool) -> None:
    """Where no cluster answers, the error says so within seconds, and nothing else is shown."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if silent:
            other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        run = simulate(programs, "--backend", "ray", "--ray-address", address)
        lines = run.ends(2, timeout=45).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"error: --ray-address: no Ray cluster answers at '{address}'")
    assert lines[1].startswith(" next: give HOST:PORT")


def test_a_site_s_bad_row_is_told_as_in_one_process(programs: Programs, tmp_path: Path) -> None:
    """The error of a site's rows is the one that the inline simulation shows."""
    bad = tmp_path / "bad.csv"
    bad.write_text(HEART_SITES["va"].read_text(encoding="utf-8") + "1,2,3\n", encoding="utf-8")
    here = programs.medhive("simulate", HEART_STUDY, f"--site=va={bad}", SITES[0]).ends(2)
    ray = programs.medhive(
        "simulate", HEART_STUDY, f"--site=va={bad}", SITES[0], "--backend", "ray"
    ).ends(2)
    assert ray.splitlines() == here.splitlines()[-2:]
    assert "3 fields" in ray


def test_ctrl_c_ends_ray_too(programs: Programs) -> None:
    """Ctrl-C ends a simulation with exit code 130 and leaves no Ray process."""
    run = simulate(programs, "--backend", "ray", "--run-config", "num-server-rounds=10000")
    run.line(r"^ +2/10000 ")
    run.signal(signal.SIGINT)
    text = run.ends(130, timeout=45)
    assert text.splitlines()[-1] == "stopped"
    until(lambda: not left_of(run), "the end of Ray's processes", timeout=15)
