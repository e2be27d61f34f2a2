"""A real engine, the two images, and the compose file's services."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import ROOT, ROUNDS, Stack, run

REQUIRED = "MEDHIVE_TEST_DOCKER"
"""Environment variable with which a missing engine is a failure."""


@pytest.fixture(scope="session")
def engine() -> None:
    try:
        run("docker", "info", seconds=20)
        run("docker", "compose", "version", seconds=20)
    except (OSError, AssertionError, subprocess.TimeoutExpired) as error:
        if os.environ.get(REQUIRED):
            raise
        reason = str(error).splitlines()[-1]
        pytest.skip(f"no Docker engine with compose answers (make test-docker wants one): {reason}")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what compose needs to build where only the machine's own network leads out."""
    file = tmp_path_factory.mktemp("compose") / "network.yaml"
    file.write_text("services:\n  server: { build: { network: host } }\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def images(engine: None, network: Path) -> None:
    build = ("docker", "build", "--network", "host", "-t", "fl-client", "-f", "Dockerfile", ".")
    run(*build, seconds=600)
    files = os.pathsep.join([str(ROOT / "compose.yaml"), str(network)])
    run("docker", "compose", "build", seconds=900, env={"COMPOSE_FILE": files})


@pytest.fixture(scope="module")
def demo(images: None, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the compose file as it is, but for a longer run."""
    longer = tmp_path_factory.mktemp("compose") / "longer.yaml"
    command = ["medhive", "server", "--run-config", f"num-server-rounds={ROUNDS}"]
    longer.write_text(f"services:\n  server:\n    command: {json.dumps(command)}\n")
    stack = Stack([ROOT / "compose.yaml", network, longer])
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
