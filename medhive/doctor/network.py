"""The way to the server: proxy settings, names, TCP, and a proxy that lets one through."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import urllib.request
from base64 import b64encode
from dataclasses import dataclass

import httpx

from medhive.doctor.finding import Finding, green, red
from medhive.errors import Place, SettingError
from medhive.tunnel import split_address
from medhive.tunnel.settings import join_address

DNS, TCP, PROXY = "DNS", "TCP", "proxy"
MAX_HEAD = 16 * 1024
_NOT_HERE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN)


@dataclass(frozen=True)
class Route:
    """Where the first connection goes, and on to whom.

    Parameters
    ----------
    host, port : str, int
        The server.
    proxy : URL or None
        The HTTP proxy in between.
    excepted : bool
        Whether there is a proxy, and NO_PROXY keeps this server from it.
    """

    host: str
    port: int
    proxy: httpx.URL | None = None
    excepted: bool = False

    @property
    def server(self) -> str:
        """``host:port`` of the server."""
        return join_address(self.host, self.port)

    @property
    def first(self) -> tuple[str, int]:
        """Host and port of the first connection."""
        if self.proxy is None:
            return self.host, self.port
        return self.proxy.host, self.proxy.port or (443 if self.proxy.scheme == "https" else 80)

    @property
    def first_name(self) -> str:
        """What a person calls the other end of the first connection."""
        return join_address(*self.first) if self.proxy is None else f"proxy {self._proxy_name}"

    @property
    def _proxy_name(self) -> str:
        return join_address(*self.first)


def find_route(address: str) -> Route:
    """Find the way that MedHive's own connections take, by the same settings.

    Raises
    ------
    SettingError
        If the settings name a proxy that MedHive cannot use.
    """
    host, port = split_address(address)
    try:
        httpx.Client(verify=False).close()  # noqa: S501 - connects to nobody
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        kind = "a SOCKS proxy is set" if "SOCKS" in str(error) else "a proxy setting is malformed"
        raise SettingError(
            f"{kind}, which MedHive cannot use",
            place=Place(setting="HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY"),
            next_step="set HTTPS_PROXY to http://HOST:PORT of the HTTP proxy, and unset ALL_PROXY",
        ) from None
    settings = urllib.request.getproxies()
    named = settings.get("https") or settings.get("all")
    if not named:
        return Route(host, port)
    exceptions = [entry.strip() for entry in settings.get("no", "").split(",")]
    if any(_excepts(entry.lower(), host.lower(), port) for entry in exceptions if entry):
        return Route(host, port, excepted=True)
    return Route(host, port, httpx.URL(named if "://" in named else f"http://{named}"))


def check_name(route: Route) -> Finding:
    """Look up the name of the server, or of the proxy, which looks up the server's."""
    host, port = route.first
    through = ""
    if route.proxy is not None and not _is_number(route.host):
        through = f"; the proxy looks up {route.host} itself"
    if _is_number(host):
        return green(DNS, f"{host} is an address, there is no name to look up{through}")
    where = "--server" if route.proxy is None else "HTTPS_PROXY"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            return red(
                DNS,
                f"no DNS server answers when asked for {host}",
                "check that this machine is on the network, and ask IT which DNS server it uses",
            )
        return _unknown_name(host, where)
    except UnicodeError:
        return _unknown_name(host, where)
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    return green(DNS, f"{host} is {', '.join(addresses)}{through}")


def check_connection(route: Route, timeout: float) -> Finding:
    """Open a TCP connection to the server or the proxy."""
    name = route.first_name
    try:
        with socket.create_connection(route.first, timeout) as connection:
            peer = connection.getpeername()
            return green(TCP, f"{name} takes connections ({peer[0]})")
    except ConnectionRefusedError:
        detail = f"{name} refuses the connection: nothing listens on port {route.first[1]}"
        step = (
            "ask the study's statistician whether the server runs, and on this port"
            if route.proxy is None
            else "check HTTPS_PROXY with IT: host and port of the proxy"
        )
    except TimeoutError:
        detail = f"{name} does not answer within {timeout:g} s: a firewall drops the connection"
        step = (
            f"ask IT to allow outgoing TCP connections to {route.server}, or for the proxy to set"
            " in HTTPS_PROXY; if they do, the server's own firewall is next"
            if route.proxy is None
            else "check HTTPS_PROXY with IT: this machine may not reach the proxy"
        )
    except OSError as error:
        if error.errno in _NOT_HERE:
            detail = f"there is no way to {name} from this machine ({error.strerror})"
            step = "check that this machine is on the network (VPN, cable), and ask IT for a route"
        elif error.errno in (errno.EACCES, errno.EPERM):
            detail = f"this machine itself forbids the connection to {name} ({error.strerror})"
            step = f"allow it in this machine's own firewall: outgoing TCP to {name}"
        else:
            detail = f"{name} cannot be reached ({error.strerror or error})"
            step = "ask IT what is between this machine and that address"
    return red(TCP, detail, step)


def check_proxy(route: Route, timeout: float) -> Finding:
    """Ask the proxy for a connection to the server, by CONNECT."""
    if route.proxy is None:
        why = "NO_PROXY keeps this server from it" if route.excepted else "none is set"
        return green(PROXY, f"not used: {why}")
    try:
        status, wants = _ask(route, timeout)
    except (OSError, ValueError) as error:
        return red(PROXY, *_no_answer(route, error, timeout))
    if 200 <= status < 300:
        return green(PROXY, f"{join_address(*route.first)} lets connections to the server through")
    detail, step = _refusal(route, status, wants)
    return red(PROXY, detail, step)


def _excepts(entry: str, host: str, port: int) -> bool:
    """Say whether an entry of NO_PROXY means a server, as httpx reads it."""
    if entry == "*":
        return True
    scheme, given, rest = entry.rpartition("://")
    if given:
        exact = httpx.URL(f"https://{rest}")
        return scheme in ("all", "https") and _is(exact.host, exact.port, host, port)
    if _is_number(entry.split("/")[0]):
        return entry.split("/")[0] == host
    name, _, wanted = entry.partition(":")
    if name == "localhost" and not wanted:
        return host == name
    ends = host.endswith(name if name.startswith(".") else f".{name}")
    # httpx drops port 443 of an https address, so that no entry with that port means it
    return (host == name or ends) and (not wanted or (wanted == str(port) and port != 443))


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is(name: str, wanted: int | None, host: str, port: int) -> bool:
    return name == host and wanted in (None, port)


def _unknown_name(host: str, where: str) -> Finding:
    return red(
        DNS,
        f'there is no machine named "{host}" for this network\'s DNS',
        f"check the spelling in {where}; if it is right, ask IT whether this machine may look up"
        " names outside, or for the proxy to set in HTTPS_PROXY",
    )


def _ask(route: Route, timeout: float) -> tuple[int, str]:
    """Return the proxy's status, and the ways to log in that it offers."""
    if route.proxy is None:
        raise ValueError("no proxy to ask")
    head = f"CONNECT {route.server} HTTP/1.1\r\nHost: {route.server}\r\nAccept: */*\r\n"
    if route.proxy.username or route.proxy.password:
        login = f"{route.proxy.username}:{route.proxy.password}".encode()
        head += f"Proxy-Authorization: Basic {b64encode(login).decode()}\r\n"
    with socket.create_connection(route.first, timeout) as plain:
        connection = plain
        if route.proxy.scheme == "https":
            context = ssl.create_default_context()
            connection = context.wrap_socket(plain, server_hostname=route.proxy.host)
        connection.sendall(f"{head}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = connection.recv(4096)
            answer += part
            if not part or len(answer) > MAX_HEAD:
                raise ValueError("not the head of an answer")
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    version, _, status = lines[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("not HTTP")
    offered = [line.partition(":") for line in lines[1:]]
    wants = [value.split()[0] for key, _, value in offered if _wants(key) and value.strip()]
    return int(status[:3]), ", ".join(dict.fromkeys(wants))


def _wants(header: str) -> bool:
    return header.strip().lower() == "proxy-authenticate"


def _no_answer(route: Route, error: Exception, timeout: float) -> tuple[str, str]:
    proxy = join_address(*route.first)
    if route.proxy is not None and route.proxy.scheme == "https":
        reason = getattr(error, "reason", None) or error
        return (
            f"no TLS with the proxy at {proxy} ({reason})",
            "check HTTPS_PROXY with IT: most proxies want http:// in it, also for https",
        )
    if isinstance(error, TimeoutError):
        return (
            f"the proxy at {proxy} brings no connection to {route.server} within {timeout:g} s",
            "ask the study's statistician whether the server runs; if it does, ask IT what the"
            " proxy's log says",
        )
    return (
        f"what answers at {proxy} is not an HTTP proxy",
        "check HTTPS_PROXY with IT: host and port of the proxy",
    )


def _refusal(route: Route, status: int, wants: str) -> tuple[str, str]:
    if route.proxy is None:
        raise ValueError("no proxy refused")
    allow = f"ask IT to allow CONNECT to {route.server} on the proxy"
    if status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
        if wants and "basic" not in wants.lower().split(", "):
            return (
                f"the proxy wants a login by {wants}, which MedHive does not speak (HTTP 407)",
                f"{allow} without a login, or for a local relay that logs in (such as Px or"
                " CNTLM) to set in HTTPS_PROXY",
            )
        if route.proxy.username:
            return (
                "the proxy does not accept the user name and password (HTTP 407)",
                "correct them in HTTPS_PROXY; write special characters as %XX",
            )
        return (
            "the proxy wants a user name and a password (HTTP 407)",
            f"set HTTPS_PROXY=http://USER:PASSWORD@{join_address(*route.first)}",
        )
    if status in (502, 503, 504):
        return (
            f"the proxy cannot reach {route.server} (HTTP {status})",
            "ask the study's statistician whether the server runs; if it does, ask IT what the"
            " proxy's log says",
        )
    if status in (400, 403, 405):
        hint = "" if route.port == 443 else "; many allow port 443 alone"
        return f"the proxy forbids connections to {route.server} (HTTP {status}){hint}", allow
    return f"the proxy does not let the connection through (HTTP {status})", allow
