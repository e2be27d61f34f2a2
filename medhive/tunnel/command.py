"""A tunnel kept open by any program, such as ssh, frp or bore."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence

from medhive.errors import Place, SettingError
from medhive.tunnel.redact import Redactor, secrets_of
from medhive.tunnel.settings import TunnelSettings, join_address, split_address
from medhive.tunnel.supervisor import Up

logger = logging.getLogger(__name__)

SETTLE = 1.0
"""Seconds after which a program with a known address and no pattern counts as up."""
DEFAULT_PATTERN = (
    r"(?:^|[\s\"'=(<>])"
    # after tcp:// any name; alone, what can only be a host, not a file ("main.go:12") in brackets
    r"(?P<address>tcp://(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+):\d{1,5}"
    r"|(?:localhost|\[[0-9A-Fa-f:.]+\]|(?:\d{1,3}\.){3}\d{1,3}|(?:[\w-]+\.)+[A-Za-z][\w-]*):\d{1,5})"
    r"(?=/?(?:[\s\"',;)<>]|\.?$|\.\s))"
)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104 - compared


def command_agent(settings: TunnelSettings, host: str, port: int) -> CommandAgent:
    """Return the agent for these settings; raises SettingError if the program does not exist."""
    command = _split(settings.command or "", host, port)
    return CommandAgent(command, _compile(settings.pattern), settings.address, host, port)


class CommandAgent:
    """A program that prints the tunnel's address.

    Parameters
    ----------
    command : sequence of str
        Path of the program, and its arguments.
    pattern : Pattern, optional
        Finds the address in a line; None for `DEFAULT_PATTERN`, or for none where the address
        is known beforehand.
    known : str, optional
        The address, or its host, where it is known beforehand.
    host, port : str, int
        The server's own address, never taken for the tunnel's.
    """

    settle = SETTLE

    def __init__(
        self,
        command: Sequence[str],
        pattern: re.Pattern[str] | None,
        known: str | None,
        host: str,
        port: int,
    ) -> None:
        self._command = command
        self._known = known
        self._assumed: Up | None = None
        if pattern is None and known is not None:
            self._assumed = Up(join_address(*split_address(known)))
        elif pattern is None:
            pattern = re.compile(DEFAULT_PATTERN)
        self._pattern = pattern
        self._hosts = _LOCAL | {host}
        self._port = port
        self._redactor = Redactor(secrets_of(command, os.environ))
        self._last = ""

    @property
    def assumed(self) -> Up | None:
        """The known address, where no pattern says when the tunnel is up."""
        return self._assumed

    def prepare(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return the command and this process's environment."""
        self._last = ""
        return self._command, os.environ

    def read(self, line: str) -> Up | None:
        """Find the address in a line."""
        line = _COLOUR.sub("", line).strip()
        shown = self._redactor.hide(line)
        logger.debug("%s: %s", self._name, shown)
        self._last = shown or self._last
        if self._pattern is None:
            return None
        for match in self._pattern.finditer(line):
            if (address := self._address(match)) is not None:
                return Up(address)
        return None

    def failure(self, code: int | None, seconds: float) -> SettingError:
        """Say why the program did not bring the tunnel up, or ended."""
        last = f'; its last line is "{self._last}"' if self._last else "; it printed nothing"
        if code is None:
            return SettingError(
                f"{self._name} named no address within {seconds:g} seconds{last}",
                place=Place(setting="--tunnel-command"),
                next_step="give --tunnel-pattern a regular expression that finds the address in"
                " its output, or --tunnel-address if the address is always the same",
            )
        return SettingError(
            f"{self._name} ended with exit code {code}{last}",
            place=Place(setting="--tunnel-command"),
            next_step="try the command by hand; it must stay running in the foreground",
        )

    def clean(self) -> None:
        """Do nothing: `prepare` makes nothing."""

    @property
    def _name(self) -> str:
        return os.path.basename(self._command[0])

    def _address(self, match: re.Match[str]) -> str | None:
        groups = match.groupdict()
        if "port" in groups:
            host = groups.get("host") or (self._known or "").rpartition(":")[0] or self._known
            text = f"{host}:{match['port']}"
        elif "address" in groups:
            text = match["address"]
        else:
            text = self._known or (match[1] if match.re.groups else match[0])
        try:
            host, port = split_address(text or "")
        except SettingError:
            return None
        if port == self._port and host in self._hosts:
            return None
        return join_address(host, port)


def _split(text: str, host: str, port: int) -> list[str]:
    place = Place(setting="--tunnel-command")
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise SettingError(
            f"the command cannot be read: {error}".lower(),
            place=place,
            next_step="close every quotation mark",
        ) from None
    # not str.format: a program's own braces stay as they are
    command = [part.replace("{host}", host).replace("{port}", str(port)) for part in command]
    program = shutil.which(command[0])
    if program is None:
        raise SettingError(
            f'there is no program "{command[0]}"',
            place=place,
            next_step="install it, or give its full path",
        )
    return [program, *command[1:]]


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise SettingError(
            f"not a regular expression: {error}",
            place=Place(setting="--tunnel-pattern"),
            next_step=r"write it like (?P<host>[\w.-]+):(?P<port>\d+)",
        ) from None
