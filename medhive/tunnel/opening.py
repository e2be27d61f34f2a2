"""Opening the tunnel that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from medhive.tunnel.command import command_agent
from medhive.tunnel.ngrok import ngrok_agent
from medhive.tunnel.settings import Tunnel, TunnelKind, TunnelSettings, join_address
from medhive.tunnel.supervisor import Supervisor

EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - looked up, not bound


@dataclass(frozen=True)
class Direct:
    """No tunnel: hospitals reach the server's own address."""

    address: str
    alive: bool = True

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def open_tunnel(
    settings: TunnelSettings,
    host: str,
    port: int,
    on_address: Callable[[str], None],
    on_trouble: Callable[[str], None],
) -> Tunnel:
    """Make the server reachable from outside, and keep it so until the tunnel is closed.

    Parameters
    ----------
    settings : TunnelSettings
        Which tunnel.
    host, port : str, int
        Where the server listens.
    on_address : callable
        Called with a new address whenever it has changed after the first, from another thread.
    on_trouble : callable
        Called with a sentence for people when the tunnel is down, from another thread. The
        tunnel is being started again by then.

    Returns
    -------
    Tunnel
        Open, its first address known; use it as a context manager.

    Raises
    ------
    SettingError
        If the tunnel cannot be opened, or no address is known after `settings.timeout` seconds.
    """
    host = EVERY.get(host, host)
    if settings.kind is TunnelKind.NONE:
        return Direct(join_address(host, port))
    make = ngrok_agent if settings.kind is TunnelKind.NGROK else command_agent
    return Supervisor(make(settings, host, port), settings.timeout, on_address, on_trouble).open()
