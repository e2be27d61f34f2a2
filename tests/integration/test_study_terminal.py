"""`medhive study new` at a real terminal: it asks, proposes, and understands the answers."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from support import HEART_SITES

DEADLINE = 60.0


class Terminal:
    """A person's terminal of 80 columns with one command in it."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "medhive", *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**os.environ, "COLUMNS": "80", "TERM": "dumb"},
            start_new_session=True,
            # makes it the terminal that controls the session, or Ctrl-C would reach nobody
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)
        print(self.text)

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        assert left > 0, f"nothing came in {DEADLINE:.0f} s after\n{self.text}"
        if not select.select([self._master], [], [], left)[0]:
            return True
        try:
            new = os.read(self._master, 4096)
        except OSError:  # Linux says so when the last process has closed its end
            return False
        text = new.decode(errors="replace").replace("\r\n", "\n")
        self.text += re.sub(r"\x1b\[[0-9;]*m", "", text)
        return bool(new)

    def asks(self, pattern: str) -> str:
        """Await a prompt that was not there before; return what was printed until then."""
        deadline = time.monotonic() + DEADLINE
        while True:
            if found := re.search(pattern, self.text[self._seen :]):
                new = self.text[self._seen :]
                self._seen += found.end()
                return new
            assert self._read(deadline), f"it ended without {pattern!r}\n{self.text}"

    def type(self, answer: str) -> None:
        os.write(self._master, answer.encode())

    def stop(self, key: str) -> None:
        """Press a key until the command ends.

        A signal that comes between the prompt and the read behind it is noticed only when the
        read ends, so a person, too, may have to press Ctrl-C twice.
        """
        deadline = time.monotonic() + DEADLINE
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it did not stop\n{self.text}"
            self.type(key)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)

    def ends(self) -> int:
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        return self._process.wait(DEADLINE)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(
        tmp_path, "study", "new", "heart.toml", "--from-data", HEART_SITES["cleveland"]
    ) as opened:
        yield opened


def test_a_person_answers(terminal: Terminal, tmp_path: Path) -> None:
    """Wrong answers are explained and asked again; right ones are in the study file."""
    assert "num" in terminal.asks(r"outcome\? \[num\]: ")
    terminal.type("nun\n")
    terminal.asks(r'no column "nun"; did\syou mean "num"\?')
    terminal.asks(r"\[num\]: ")
    terminal.type("num\n")
    terminal.asks(r"event.*\[> 0\]: ")
    terminal.type("2\n")
    terminal.asks(r"4 other values, and it may have one")
    terminal.asks(r"\[> 0\]: ")
    terminal.type(">= 2\n")
    terminal.asks(r"cp: 4 codes, grades in order\?")
    terminal.asks(r"\[categorical\]: ")
    terminal.type("perhaps\n")
    terminal.asks(r"type categorical, continuous or leave out")
    terminal.asks(r"\[categorical\]: ")
    terminal.type("\n")
    for name, answer in [
        ("restecg", "leave out"),
        ("slope", "continuous"),
        ("ca", ""),
        ("thal", ""),
    ]:
        terminal.asks(rf"\n{name}: ")
        terminal.asks(r"\[categorical\]: ")
        terminal.type(answer + "\n")
    assert terminal.ends() == 0
    study = tomllib.loads((tmp_path / "heart.toml").read_text(encoding="utf-8"))
    assert study["study"]["outcome"] == {"column": "num", "event": ">= 2"}
    kinds = {feature["name"]: feature["kind"] for feature in study["features"]}
    assert kinds["cp"] == kinds["ca"] == kinds["thal"] == "categorical"
    assert kinds["slope"] == "continuous"
    assert "restecg" not in kinds
    assert max(map(len, terminal.text.splitlines())) <= 80


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_a_person_stops(terminal: Terminal, key: str, tmp_path: Path) -> None:
    """Whoever stops at a question gets exit code 130, no traceback and no file."""
    terminal.asks(r"\[num\]: ")
    terminal.stop(key)
    assert terminal.ends() == 130
    assert "Traceback" not in terminal.text
    assert list(tmp_path.iterdir()) == []


def test_yes_asks_nothing(tmp_path: Path) -> None:
    """With --yes the proposals are taken and listed, at a terminal too."""
    with Terminal(
        tmp_path, "study", "new", "a.toml", "--yes", "--from-data", HEART_SITES["va"]
    ) as terminal:
        assert terminal.ends() == 0
    assert "[num]" not in terminal.text
    assert "the event is > 0" in terminal.text
    assert (tmp_path / "a.toml").exists()


def test_bad_input_ends_with_two(tmp_path: Path) -> None:
    """The command itself ends with exit code 2, place, cause and next step, and no traceback."""
    with Terminal(tmp_path, "study", "check", "none.toml") as terminal:
        assert terminal.ends() == 2
    assert terminal.text == (
        "error: none.toml: there is no such study file\n next: check the path\n"
    )
