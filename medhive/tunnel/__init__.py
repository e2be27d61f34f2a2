"""Reaching the server from outside: a TCP tunnel that a program keeps open, TLS untouched."""

from medhive.tunnel.opening import open_tunnel
from medhive.tunnel.settings import Tunnel, TunnelKind, TunnelSettings, split_address

__all__ = ["Tunnel", "TunnelKind", "TunnelSettings", "open_tunnel", "split_address"]
