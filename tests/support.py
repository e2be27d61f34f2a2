"""What the tests with real processes share: starting, awaiting and ending them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

from flwr.app import Message, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID

DEADLINE = 90.0
"""Seconds after which an awaited condition counts as failed, on a busy machine."""

LAST_LINES = 40
"""Lines of every process that a failure shows."""

BUNDLED = Path(str(resources.files("medhive.data"))) / "bundled"
HEART_STUDY = BUNDLED / "heart-disease.toml"
HEART_SITES = {
    name: BUNDLED / f"{name}.csv" for name in ("cleveland", "hungarian", "switzerland", "va")
}


class Program:
    """A process that leads its own group and session; its output goes to a file.

    Parameters
    ----------
    name : str
    command : list of str
    log : Path
    environment : mapping
    folder : Path
        Where it runs.
    """

    def __init__(
        self, name: str, command: list[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.log = log
        self._text = ""
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process, group and session id."""
        return self._process.pid

    @property
    def text(self) -> str:
        """What it printed so far."""
        with self._changed:
            return self._text

    def line(self, pattern: str, timeout: float = DEADLINE) -> re.Match[str]:
        """Await a line that the pattern matches somewhere; fail when it cannot come any more."""
        deadline = time.monotonic() + timeout
        regex = re.compile(pattern, re.MULTILINE)
        with self._changed:
            while True:
                if found := regex.search(self._text):
                    return found
                left = deadline - time.monotonic()
                assert left > 0, f"{self.name} did not print {pattern!r} in {timeout:.0f} s\n{self}"
                assert self._reader.is_alive(), f"{self.name} ended without {pattern!r}\n{self}"
                self._changed.wait(min(left, 1.0))

    def ends(self, code: int, timeout: float = DEADLINE) -> str:
        """Await the end with this exit code; return everything that it printed."""
        try:
            found = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout:.0f} s\n{self}") from None
        self._reader.join(5)
        assert found == code, f"{self.name} ended with {found}, not {code}\n{self}"
        return self.text

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, as Ctrl-C or a crash would come."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Kill the whole group, whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(5)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self.log.open("w", encoding="utf-8") as log, self._process.stdout as lines:
            for line in lines:
                log.write(line)
                log.flush()
                with self._changed:
                    self._text += line
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def __str__(self) -> str:
        lines = self.text.splitlines()[-LAST_LINES:]
        return "\n".join([f"----- {self.name}, last lines of {self.log} -----", *lines])


class Programs:
    """Real MedHive processes in one temporary folder, ended together.

    Parameters
    ----------
    folder : Path
        Holds their logs, keys and results; it is their MEDHIVE_HOME and working folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in self._started:
            program.end()
        # pytest shows this with a test that failed, and drops it otherwise
        print(self)

    def medhive(
        self, *arguments: object, name: str = "", environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start ``medhive ARGUMENTS``."""
        name = name or f"{arguments[0]}-{len(self._started) + 1}"
        command = [sys.executable, "-m", "medhive", *map(str, arguments)]
        home = {"MEDHIVE_HOME": str(self.folder / "home"), "COLUMNS": "200"}
        # an address or a store of the person who runs the tests is not the tests' business
        mine = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MEDHIVE_", "MLFLOW_")) and key not in ("SERVER_ADDRESS",)
        }
        program = Program(
            name,
            command,
            self.folder / f"{len(self._started):02d}-{name}.log",
            {**mine, **home, **(environment or {})},
            self.folder,
        )
        self._started.append(program)
        return program

    def server(self, study: Path, *options: object, name: str = "server", port: int = 0) -> Served:
        """Start a server; return it once it listens."""
        program = self.medhive("server", study, "--port", port, *options, name=name)
        address = program.line(r"^listening on (\S+)$")[1]
        ca = program.line(r"--ca (\S+)$")[1]
        return Served(program, address, Path(ca), self)

    def __str__(self) -> str:
        return "\n".join(map(str, self._started))


@dataclass(frozen=True)
class Served:
    """A server that listens."""

    program: Program
    address: str
    ca: Path
    programs: Programs

    def client(self, site: str, data: Path, *options: object, name: str = "") -> Program:
        """Start a client of this server."""
        where = ["--server", self.address, "--ca", self.ca]
        return self.programs.medhive(
            "client", "--id", site, "--data", data, *where, *options, name=name or site
        )

    def result(self) -> Path:
        """Await the end of a run; return its result file."""
        folder = self.program.line(r"^report folder: (.+)$")[1]
        return self.programs.folder / folder / "result.json"


def until(condition: Callable[[], object], what: str, timeout: float = DEADLINE) -> None:
    """Await a condition of this process that no event announces."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come in {timeout:.0f} s"
        time.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody listens on, for what must be known before a server starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes() -> Iterator[tuple[int, str]]:
    """Yield id and command line of every process of this machine."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if line:  # a zombie has none
                yield int(entry.name), line


def flower_message(content: RecordDict, node_id: int = 1, message_type: str = "train") -> Message:
    """Return a message as it comes from a node, without a run around it."""
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=node_id,
        dst_node_id=SUPERLINK_NODE_ID,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=1.0,
        message_type=message_type,
    )
    return make_message(metadata=metadata, content=content)
