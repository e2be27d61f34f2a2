"""A real engine, the two images, and the compose file's services."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import ROOT, ROUNDS, Stack, run

REQUIRED = "MEDHIVE_TEST_DOCKER"
"""Environment variable that ``make test-docker`` sets; minutes of images are not a part of
``make test``."""


@pytest.fixture(scope="session")
def engine() -> None:
    if not os.environ.get(REQUIRED):
        pytest.skip("run with: make test-docker")
    run("docker", "info", seconds=20)
    run("docker", "compose", "version", seconds=20)


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
