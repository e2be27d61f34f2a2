"""Running Docker, and the compose file's services under a name and on ports of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROUNDS = 150
TOKEN = "2fQ9secretTokenThatNoLogMayShow"  # noqa: S105 - nobody's


def run(*command: str, seconds: float = 120, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it says; a failure shows it."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert done.returncode == 0, (
        f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}"
    )
    return done.stdout


def now() -> str:
    return datetime.now(UTC).isoformat()


def logs(container: str, since: str = "0") -> str:
    return run("docker", "logs", "--since", since, container)


def await_line(container: str, pattern: str, since: str, seconds: float = 60) -> re.Match[str]:
    """Follow a container's log until a line has the pattern."""
    follow = ["docker", "logs", "--follow", "--since", since, container]
    with subprocess.Popen(
        follow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        timer = Timer(seconds, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(pattern, line):
                    return found
        finally:
            timer.cancel()
            process.kill()
    pytest.fail(f"{container} did not say {pattern!r} in {seconds} s:\n{logs(container, since)}")


def inspect(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("docker", "inspect", name))[0]
    return found


@dataclass
class Stack:
    """The services of compose files.

    Parameters
    ----------
    files : list of Path
    env : dict of str to str
        Environment of compose, beside names and ports.
    """

    files: list[Path]
    env: dict[str, str] = field(default_factory=dict)
    clients: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"medhive-test-{uuid.uuid4().hex[:8]}"
        with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as two:
            port, self.mlflow_port = one.getsockname()[1], two.getsockname()[1]
        self.server, self.mlflow = f"{self.name}-server-1", f"{self.name}-mlflow-1"
        self.env |= {
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_FILE": os.pathsep.join(str(file) for file in self.files),
            "MEDHIVE_PORT": str(port),
            "MLFLOW_PORT": str(self.mlflow_port),
            "NGROK_AUTHTOKEN": TOKEN,
            "MEDHIVE_TUNNEL": "none",
        }

    def compose(self, *arguments: str, seconds: float = 120) -> str:
        return run("docker", "compose", *arguments, seconds=seconds, env=self.env)

    def up(self) -> None:
        try:
            self.compose("up", "--detach", "--wait", seconds=180)
        except AssertionError as error:
            pytest.fail(f"{error}\n{self.compose('logs')}")

    def client(self, *options: str) -> str:
        """Start a client's container and return its name."""
        name = f"{self.name}-client-{len(self.clients)}"
        self.clients.append(name)
        run("docker", "run", "--detach", "--name", name, *options, "fl-client")
        return name

    def ended(self, client: str, seconds: float = 150) -> None:
        """Await the end of a client, which must be that of the study."""
        deadline = time.monotonic() + seconds
        state: dict[str, Any] = {"Status": "unknown"}
        # a container that Docker starts again after a failure ends more than once
        while state["Status"] != "exited" and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                run("docker", "wait", client, seconds=deadline - time.monotonic())
            state = inspect(client)["State"]
        said = f"{state}; {client}:\n{logs(client)}\nserver:\n{logs(self.server)}"
        assert state["Status"] == "exited", said
        assert state["ExitCode"] == 0, said
        assert "the study is over" in logs(client), said

    def remove_clients(self) -> None:
        if self.clients:
            run("docker", "rm", "--force", "--volumes", *self.clients)
            self.clients.clear()

    def down(self) -> None:
        self.remove_clients()
        self.compose("down", "--volumes", "--timeout", "1")
