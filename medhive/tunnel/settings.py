"""What a tunnel is asked for, and what the server gets."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

from medhive.errors import Place, SettingError

_ADDRESS = re.compile(r"(?:tcp://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})/?")


class TunnelKind(StrEnum):
    """Who makes the server reachable."""

    NONE = "none"
    NGROK = "ngrok"
    COMMAND = "command"


class Tunnel(Protocol):
    """An open tunnel; a context manager that closes it.

    Attributes
    ----------
    address : str
        ``host:port`` under which hospitals reach the server now, or did last.
    alive : bool
        Whether the tunnel is up.
    """

    @property
    def address(self) -> str: ...  # noqa: D102

    @property
    def alive(self) -> bool: ...  # noqa: D102

    def close(self) -> None:
        """End the tunnel and every process of it; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class TunnelSettings:
    """The options of a tunnel, checked against each other.

    Parameters
    ----------
    kind : TunnelKind
        Who makes the server reachable.
    address : str, optional
        The public address where it is known beforehand: an address reserved at ngrok, or the
        one that the command's relay always gives. With a command, ``host`` alone will do if
        `pattern` finds the port.
    command : str, optional
        Command line of the program, for the kind ``command``; ``{host}`` and ``{port}`` stand
        for the server's own address. No shell reads it.
    pattern : str, optional
        Regular expression that finds the address in a line of the program's output: a group
        ``address``, or groups ``host`` and ``port``, or else its first group or whole match.
        With `address` given it may match just the line that says the tunnel is up.
    timeout : float
        Seconds that the tunnel gets to come up.
    folder : Path
        Where a ``.env`` file with NGROK_AUTHTOKEN is looked for.

    Raises
    ------
    SettingError
        If an option is missing, malformed, or would have no effect.
    """

    kind: TunnelKind = TunnelKind.NONE
    address: str | None = None
    command: str | None = None
    pattern: str | None = None
    timeout: float = 30.0
    folder: Path = Path()

    def __post_init__(self) -> None:
        if self.kind is TunnelKind.COMMAND and not (self.command or "").strip():
            raise _error("--tunnel-command", "no command is given", "give the tunnel's command")
        unused = {
            "--tunnel-command": self.command and self.kind is not TunnelKind.COMMAND,
            "--tunnel-pattern": self.pattern and self.kind is not TunnelKind.COMMAND,
            "--tunnel-address": self.address and self.kind is TunnelKind.NONE,
        }
        for option, without_effect in unused.items():
            if without_effect:
                cause = f"has no effect with --tunnel {self.kind.value}"
                step = f"leave out {option}, or choose the --tunnel that it belongs to"
                raise _error(option, cause, step)
        if self.kind is TunnelKind.NGROK and self.address is not None:
            split_address(self.address)
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise _error(
                "--tunnel-timeout", f"{self.timeout} is not a time", "give seconds above 0"
            )


def split_address(text: str) -> tuple[str, int]:
    """Split ``host:port``, ``[ipv6]:port`` or ``tcp://host:port``.

    Returns
    -------
    tuple of (str, int)
        The host, an IPv6 address without its brackets, and the port.

    Raises
    ------
    SettingError
        If `text` is none of these.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or not 0 < int(match[2]) < 65536:
        raise _error(
            "--tunnel-address",
            f'"{text}" is not an address',
            "write it as HOST:PORT, such as 1.tcp.eu.ngrok.io:12345",
        )
    return match[1].strip("[]"), int(match[2])


def join_address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _error(option: str, cause: str, step: str) -> SettingError:
    return SettingError(cause, place=Place(setting=option), next_step=step)
