"""Keeping a tunnel open: start its program, watch it, start it again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from medhive.errors import SettingError
from medhive.tunnel.program import Exit, Program

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Up:
    """The server is reachable under this address."""

    address: str


@dataclass(frozen=True)
class Down:
    """The program runs, but its connection is lost for now."""

    reason: str


class Agent(Protocol):
    """What the supervisor knows of a kind of tunnel program."""

    @property
    def assumed(self) -> Up | None:
        """What holds when the program has run for `settle` seconds, whatever it prints."""

    @property
    def settle(self) -> float:
        """Seconds after which `assumed` holds."""

    def prepare(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return the command and the environment of a new start."""

    def read(self, line: str) -> Up | Down | None:
        """Learn from a line; raises SettingError where the program cannot succeed."""

    def failure(self, code: int | None, seconds: float) -> SettingError:
        """Say why a start failed: it ended with `code`, or nothing came for `seconds`."""

    def clean(self) -> None:
        """Remove what `prepare` made."""


class Supervisor:
    """A tunnel whose program is started again whenever it ends.

    Parameters
    ----------
    agent : Agent
        The kind of program.
    timeout : float
        Seconds that each start gets until its address is known.
    on_address : callable
        Called with each new address after the first, from the supervisor's thread.
    on_trouble : callable
        Called with a sentence when the tunnel is down, from the supervisor's thread.
    """

    def __init__(
        self,
        agent: Agent,
        timeout: float,
        on_address: Callable[[str], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._agent = agent
        self._timeout = timeout
        self._on_address = on_address
        self._on_trouble = on_trouble
        self._address = ""
        self._alive = False
        self._failure: BaseException | None = None
        self._decided = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._program: Program | None = None
        self._thread = threading.Thread(target=self._supervise, name="tunnel", daemon=True)

    @property
    def address(self) -> str:
        """The public address, ``host:port``."""
        return self._address

    @property
    def alive(self) -> bool:
        """Whether the tunnel is up."""
        return self._alive

    def open(self) -> Self:
        """Start, and wait for the first address; raises SettingError if none comes in time."""
        self._thread.start()
        try:
            self._decided.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the tunnel and every process of it; may be called twice."""
        self._closing.set()
        with self._lock:
            program = self._program
        if program is not None:
            program.end()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _supervise(self) -> None:
        pause, told = FIRST_PAUSE, ""
        try:
            while not self._closing.is_set():
                came_up, failure = self._attempt()
                self._alive = False
                if self._closing.is_set():
                    return
                if not self._address:
                    self._failure = failure
                    return
                if came_up:
                    pause, told = FIRST_PAUSE, ""
                # many servers that lose one relay must not all come back in the same second
                wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                pause = min(2 * pause, LONGEST_PAUSE)
                logger.info("%s; next start in %.1f s", failure, wait)
                if failure.cause != told:
                    told = failure.cause
                    self._on_trouble(f"{failure.cause}; the tunnel is being started again")
                self._closing.wait(wait)
        except BaseException as error:
            if self._decided.is_set():
                raise
            self._failure = error  # handed to the thread that opens the tunnel
        finally:
            self._alive = False
            self._decided.set()

    def _attempt(self) -> tuple[bool, SettingError]:
        """Run the program once; return whether it came up, and why it ended."""
        agent, came_up = self._agent, False
        try:
            command, environment = agent.prepare()
            with self._lock:
                if self._closing.is_set():
                    return False, agent.failure(None, 0.0)
                self._program = program = Program(command, environment)
            patience = self._timeout if agent.assumed is None else agent.settle
            deadline = time.monotonic() + patience
            while True:
                rest = None if came_up else max(deadline - time.monotonic(), 0.0)
                event = None if rest == 0.0 else program.next_event(rest)
                if isinstance(event, Exit):
                    return came_up, agent.failure(event.code, self._timeout)
                if event is not None:
                    news = agent.read(event)
                elif agent.assumed is not None:
                    news = agent.assumed
                else:
                    return False, agent.failure(None, self._timeout)
                if isinstance(news, Up):
                    came_up = True
                    self._up(news.address)
                elif isinstance(news, Down):
                    self._down(news.reason)
        except SettingError as error:
            return came_up, error
        finally:
            self._alive = False
            if self._program is not None:
                self._program.end()
            agent.clean()

    def _up(self, address: str) -> None:
        first, changed = not self._address, address != self._address
        if not self._alive:
            logger.info("the tunnel is up at %s", address)
        self._address, self._alive = address, True
        self._decided.set()
        if changed and not first:
            self._on_address(address)

    def _down(self, reason: str) -> None:
        if self._alive:
            self._alive = False
            self._on_trouble(reason)
