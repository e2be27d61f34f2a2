"""Every fault between a site and its server, made with real sockets, and named right."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from medhive.doctor.finding import Finding
from medhive.doctor.site import REMOTE, SiteOptions, check_site
from medhive.identity.authority import prepare_server
from medhive.identity.joincode import JoinCode, fingerprint

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
TIMEOUT = 1.0
PASSWORD = "hidden-word"  # noqa: S105 - of no account
linux = pytest.mark.skipif(sys.platform != "linux", reason="made as Linux makes it")


@dataclass
class Authority:
    """A certificate authority of a test."""

    name: str
    start: datetime.datetime = NOW - DAY
    end: datetime.datetime = NOW + 30 * DAY
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def own(self, path: Path) -> Path:
        """Write its own certificate."""
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self.subject, self.key, self.start, self.end)
        signed = builder.add_extension(basic, critical=True).sign(self.key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(
        self,
        path: Path,
        *names: str,
        start: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + 30 * DAY,
    ) -> Path:
        """Write a server's certificate and key into one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        others = [x509.DNSName(name) for name in names if not name[0].isdigit()]
        numbers = [
            x509.IPAddress(ipaddress.ip_address(name)) for name in names if name[0].isdigit()
        ]
        signed = (
            self._builder(subject, key, start, end)
            .add_extension(x509.SubjectAlternativeName([*others, *numbers]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + pem)
        return path

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        start: datetime.datetime,
        end: datetime.datetime,
    ) -> x509.CertificateBuilder:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(authority, critical=False)
        )


class Pages(BaseHTTPRequestHandler):
    """Answers as a MedHive server does, or not quite."""

    pages: dict[str, bytes]
    ahead: float | None

    def do_GET(self) -> None:
        body = self.pages.get(self.path)
        self.send_response_only(200 if body is not None else 404)
        if self.ahead is not None:
            at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.ahead)
            self.send_header("Date", format_datetime(at, usegmt=True))
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def web(
    certificate: Path | None,
    pages: dict[str, bytes] | None = None,
    ahead: float | None = 0.0,
) -> Iterator[int]:
    """A web server with TLS, whose clock is `ahead` seconds ahead and which may not say so."""
    answers = {"/health": b'{"status":"ok"}'} if pages is None else pages
    handler = type("Handler", (Pages,), {"pages": answers, "ahead": ahead})

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: socket.socket, address: object) -> None:  # type: ignore[override]
            if certificate is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                try:
                    request = context.wrap_socket(request, server_side=True)
                except OSError:
                    return
            super().finish_request(request, address)  # type: ignore[arg-type]

        def handle_error(self, *_: object) -> None:
            return

    with serving(Server(("127.0.0.1", 0), handler)) as port:
        yield port


@contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that is no web server."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return

    with serving(Server(("127.0.0.1", 0), Handler)) as port:
        yield port


class Proxy:
    """A proxy that lets CONNECT through, or answers with a status of its own."""

    def __init__(self, answer: bytes | None = None, login: str | None = None) -> None:
        self.answer, self.login = answer, login
        self.asked: list[str] = []

    def __call__(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.recv(4096)
            if not part:
                return
            head += part
        lines = head.decode("latin-1").split("\r\n")
        self.asked.append(lines[0])
        given = [b64decode(x.split()[-1]).decode() for x in lines if x.startswith("Proxy-Auth")]
        if self.login is not None and given != [self.login]:
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="it"\r\nContent-Length: 0\r\n\r\n'
            )
            return
        if self.answer is not None:
            client.sendall(self.answer)
            return
        host, _, port = lines[0].split()[1].rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No proxy of the machine that runs the tests."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("MedHive study authority")


@pytest.fixture
def ca(authority: Authority, tmp_path: Path) -> Path:
    return authority.own(tmp_path / "ca.pem")


@pytest.fixture
def good(authority: Authority, tmp_path: Path) -> Path:
    return authority.issue(tmp_path / "good.pem", "localhost", "127.0.0.1")


def examine(
    tmp_path: Path, address: str, ca: Path | None = None, join: str | None = None
) -> dict[str, Finding]:
    """Return the findings at a site, by name."""
    options = SiteOptions(
        home=tmp_path / "home",
        server=address,
        site=None if join else "ward",
        ca=ca,
        join=join,
        timeout=TIMEOUT,
    )
    findings = list(check_site(options))
    for finding in findings:
        assert PASSWORD not in str(finding)
        assert finding.ok is not False or finding.next_step
    return {finding.name: finding for finding in findings}


def the_fault(findings: dict[str, Finding], name: str) -> Finding:
    """Return the one fault, after making sure that nothing else is red or was checked behind it."""
    faults = [finding.name for finding in findings.values() if finding.ok is False]
    assert faults == [name]
    behind = REMOTE[REMOTE.index(name) + 1 :]
    assert all(
        findings[each].ok is None and f'"{name}"' in findings[each].detail
        for each in behind
        if each != "clock"
    )
    return findings[name]


# names


def test_an_unknown_name_is_named(tmp_path: Path) -> None:
    """A name that no DNS server has is DNS's fault, and the spelling is the next step."""
    fault = the_fault(examine(tmp_path, "no-such-host.invalid:9092"), "DNS")
    assert "no-such-host.invalid" in fault.detail
    assert "spelling in --server" in str(fault.next_step)


def _elsewhere(arguments: list[str], code: str) -> Finding:
    """Run Python code that prints a finding in namespaces of its own."""
    prefix = ["unshare", "--user", "--map-root-user", *arguments]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no namespaces for users")
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return Finding(**json.loads(done.stdout))


PRINT = "import json, dataclasses; print(json.dumps(dataclasses.asdict(found)))"


@linux
def test_a_dns_server_that_does_not_answer_is_named() -> None:
    """Without any DNS server in reach it is not the name that is wrong."""
    fault = _elsewhere(
        ["--net"],
        "from medhive.doctor.network import Route, check_name\n"
        f"found = check_name(Route('hospital.example', 9092))\n{PRINT}",
    )
    assert (fault.name, fault.ok) == ("DNS", False)
    assert "no DNS server answers" in fault.detail
    assert "which DNS server" in str(fault.next_step)


# TCP


def test_a_refused_connection_is_named(tmp_path: Path) -> None:
    """Where nothing listens, the server does not run."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}"), "TCP")
    assert f"127.0.0.1:{port} refuses" in fault.detail
    assert "whether the server runs" in str(fault.next_step)


@linux
def test_a_dropped_connection_is_named(tmp_path: Path) -> None:
    """Where nobody answers at all, a firewall drops: a matter for IT, not for the server."""
    waiting: list[socket.socket] = []
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # nobody accepts: the queue is full after a few, and the kernel drops the others
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{full.getsockname()[1]}"), "TCP")
        for each in waiting:
            each.close()
    assert "does not answer within 1 s" in fault.detail
    assert "ask IT to allow outgoing TCP" in str(fault.next_step)


@linux
def test_an_address_without_a_route_is_named(tmp_path: Path) -> None:
    """Where there is no way there, this machine's network is what to look at."""
    fault = the_fault(examine(tmp_path, "255.255.255.255:9092"), "TCP")
    assert "no way to 255.255.255.255:9092" in fault.detail
    assert "on the network" in str(fault.next_step)


@linux
def test_a_firewall_of_this_machine_is_named() -> None:
    """Where this machine forbids the connection itself, its own firewall is what to look at."""
    if not Path("/usr/sbin/ip").exists() and not Path("/sbin/ip").exists():
        pytest.skip("no ip command to forbid a route with")
    fault = _elsewhere(
        ["--net"],
        "import subprocess\n"
        "for line in ('link set lo up', 'route add prohibit 198.51.100.0/24'):\n"
        "    subprocess.run(['ip', *line.split()], check=True)\n"
        "from medhive.doctor.network import Route, check_connection\n"
        f"found = check_connection(Route('198.51.100.7', 9092), 1.0)\n{PRINT}",
    )
    assert (fault.name, fault.ok) == ("TCP", False)
    assert "this machine itself forbids" in fault.detail
    assert "firewall" in str(fault.next_step)


# proxy


def test_a_proxy_that_lets_through_is_used(
    tmp_path: Path, ca: Path, good: Path, environment: pytest.MonkeyPatch
) -> None:
    """Behind a proxy everything is checked through it, and the proxy looks up the name."""
    proxy = Proxy(login=f"it:{PASSWORD}")
    with web(good) as server, raw(proxy) as port:
        environment.setenv("HTTPS_PROXY", f"http://it:{PASSWORD}@127.0.0.1:{port}")
        found = examine(tmp_path, f"localhost:{server}", ca)
    assert [found[name].ok for name in REMOTE[:6]] == [True] * 6
    assert "the proxy looks up localhost itself" in found["DNS"].detail
    assert f"proxy 127.0.0.1:{port}" in found["TCP"].detail
    assert proxy.asked == [f"CONNECT localhost:{server} HTTP/1.1"] * 3


def test_without_a_proxy_none_is_used(tmp_path: Path, ca: Path, good: Path) -> None:
    """No setting, no proxy."""
    with web(good) as server:
        found = examine(tmp_path, f"127.0.0.1:{server}", ca)
    assert found["proxy"] == Finding("proxy", True, "not used: none is set")


def test_no_proxy_keeps_the_server_from_the_proxy(
    tmp_path: Path, ca: Path, good: Path, environment: pytest.MonkeyPatch
) -> None:
    """A server in NO_PROXY is reached directly, and it is said so."""
    environment.setenv("HTTPS_PROXY", "http://no-such-host.invalid:3128")
    environment.setenv("NO_PROXY", "127.0.0.1")
    with web(good) as server:
        found = examine(tmp_path, f"127.0.0.1:{server}", ca)
    assert found["TLS"].ok
    assert found["proxy"] == Finding("proxy", True, "not used: NO_PROXY keeps this server from it")


def _status(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""]).encode()


@pytest.mark.parametrize(
    ("answer", "detail", "step"),
    [
        (_status("403 Forbidden"), "forbids connections to", "ask IT to allow CONNECT to"),
        (_status("405 Not Allowed"), "many allow port 443 alone", "ask IT to allow CONNECT to"),
        (_status("503 Unavailable"), "cannot reach", "whether the server runs"),
        (_status("302 Found"), "does not let the connection through (HTTP 302)", "allow CONNECT"),
        (
            _status("407 Login", "Proxy-Authenticate: NTLM", "Proxy-Authenticate: Negotiate"),
            "wants a login by NTLM, Negotiate, which MedHive does not speak",
            "local relay",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "is not an HTTP proxy", "check HTTPS_PROXY with IT"),
        (b"", "is not an HTTP proxy", "check HTTPS_PROXY with IT"),
    ],
)
def test_a_proxy_that_does_not_let_through_is_named(
    tmp_path: Path, environment: pytest.MonkeyPatch, answer: bytes, detail: str, step: str
) -> None:
    """Each way in which a proxy says no has its own next step."""
    with raw(Proxy(answer)) as port:
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        fault = the_fault(examine(tmp_path, "hospital.example:9092"), "proxy")
    assert detail in fault.detail
    assert step in str(fault.next_step)


@pytest.mark.parametrize(
    ("login", "detail", "step"),
    [
        ("", "wants a user name and a password", "set HTTPS_PROXY=http://USER:PASSWORD@"),
        (f"it:{PASSWORD}@", "does not accept the user name and password", "correct them"),
    ],
)
def test_a_proxy_that_wants_a_password_is_named(
    tmp_path: Path, environment: pytest.MonkeyPatch, login: str, detail: str, step: str
) -> None:
    """A missing password and a wrong one are told apart."""
    with raw(Proxy(login="it:another")) as port:
        environment.setenv("HTTPS_PROXY", f"http://{login}127.0.0.1:{port}")
        fault = the_fault(examine(tmp_path, "hospital.example:9092"), "proxy")
    assert detail in fault.detail
    assert step in str(fault.next_step)


def test_a_proxy_without_tls_is_named(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    """Where https:// is set for a proxy of http://, that is the next step."""
    with raw(Proxy(_status("400 Bad Request"))) as port:
        environment.setenv("HTTPS_PROXY", f"https://127.0.0.1:{port}")
        fault = the_fault(examine(tmp_path, "hospital.example:9092"), "proxy")
    assert "no TLS with the proxy" in fault.detail
    assert "http:// in it" in str(fault.next_step)


def test_a_proxy_that_waits_for_the_server_is_named(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """A proxy that takes the request and says nothing waits for a server that does not answer."""
    done = threading.Event()
    with raw(lambda _: done.wait(30) and None) as port:
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        fault = the_fault(examine(tmp_path, "hospital.example:9092"), "proxy")
        done.set()
    assert "brings no connection to hospital.example:9092 within 1 s" in fault.detail
    assert "whether the server runs" in str(fault.next_step)


def test_a_proxy_that_is_not_there_is_named(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """A proxy's own name and port are checked in the server's place."""
    environment.setenv("HTTPS_PROXY", "http://no-such-host.invalid:3128")
    fault = the_fault(examine(tmp_path, "hospital.example:9092"), "DNS")
    assert "spelling in HTTPS_PROXY" in str(fault.next_step)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed.getsockname()[1]}")
        fault = the_fault(examine(tmp_path, "hospital.example:9092"), "TCP")
    assert "refuses" in fault.detail
    assert "check HTTPS_PROXY with IT" in str(fault.next_step)


def test_a_socks_proxy_is_named(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy, which would end the client, is a fault of the settings."""
    environment.setenv("ALL_PROXY", f"socks5://it:{PASSWORD}@127.0.0.1:1080")
    found = examine(tmp_path, "hospital.example:9092")
    assert found["proxy"].ok is False
    assert "SOCKS" in found["proxy"].detail
    assert found["TCP"].ok is None


# TLS


def test_plain_http_is_named(tmp_path: Path, ca: Path) -> None:
    """A port that speaks plain HTTP is another program's."""
    with web(None) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
    assert "speaks plain HTTP" in fault.detail
    assert "host and port" in str(fault.next_step)


def _greet(client: socket.socket) -> None:
    client.sendall(b"220 mail.example ESMTP\r\n")
    client.recv(4096)


def test_another_protocol_is_named(tmp_path: Path, ca: Path) -> None:
    """A port that speaks neither TLS nor HTTP is another program's."""
    with raw(_greet) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
    assert "does not speak TLS" in fault.detail


def test_a_hung_up_handshake_is_named(tmp_path: Path, ca: Path) -> None:
    """A tunnel without a server behind it takes the connection and hangs up."""
    with raw(lambda client: client.recv(4096) and None) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
    assert "hangs up when TLS begins" in fault.detail
    assert "behind its tunnel" in str(fault.next_step)


def test_a_silent_server_is_named(tmp_path: Path, ca: Path) -> None:
    """A server that takes connections and says nothing is not well."""
    done = threading.Event()
    with raw(lambda _: done.wait(30) and None) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
        done.set()
    assert "says nothing for 1 s" in fault.detail
    assert "whether the server" in str(fault.next_step)


def test_a_certificate_of_tls_inspection_is_named(tmp_path: Path, ca: Path) -> None:
    """A certificate from another authority is named by its issuer, and IT is the next step."""
    inspector = Authority("Clinic Web Gateway CA")
    with web(inspector.issue(tmp_path / "i.pem", "127.0.0.1")) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
    assert 'from "Clinic Web Gateway CA"' in fault.detail
    assert f"except 127.0.0.1:{port} from TLS inspection" in str(fault.next_step)


def test_another_studys_authority_is_named(tmp_path: Path, ca: Path) -> None:
    """Another MedHive server is told from a gateway that inspects TLS."""
    other = Authority("MedHive study authority")
    with web(other.issue(tmp_path / "o.pem", "127.0.0.1")) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
    assert "another MedHive server" in fault.detail
    assert "new join code" in str(fault.next_step)


def test_a_certificate_for_another_name_is_named(
    tmp_path: Path, authority: Authority, ca: Path
) -> None:
    """The names of the certificate are listed, and how to get the missing one."""
    pem = authority.issue(tmp_path / "n.pem", "hive.example", "10.9.8.7")
    with web(pem) as port:
        fault = the_fault(examine(tmp_path, f"localhost:{port}", ca), "TLS")
        by_number = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
    assert "not for localhost; its names are: hive.example, 10.9.8.7" in fault.detail
    assert "--name localhost" in str(fault.next_step)
    assert "not for 127.0.0.1;" in by_number.detail


def test_an_expired_certificate_is_named(tmp_path: Path, authority: Authority, ca: Path) -> None:
    """With both clocks right, the server's certificate is what has to be renewed."""
    pem = authority.issue(tmp_path / "e.pem", "127.0.0.1", start=NOW - 9 * DAY, end=NOW - 2 * DAY)
    with web(pem) as port:
        found = examine(tmp_path, f"127.0.0.1:{port}", ca)
        fault = the_fault(found, "TLS")
    assert f"the server's certificate expired on {NOW - 2 * DAY:%F}" in fault.detail
    assert f"the server's {NOW:%F}" in fault.detail
    assert "start the server again" in str(fault.next_step)
    assert found["clock"].ok


def test_an_expired_authority_is_named(tmp_path: Path) -> None:
    """The authority's end is told from that of the server's certificate."""
    old = Authority("MedHive study authority", start=NOW - 9 * DAY, end=NOW - DAY)
    pem = old.issue(tmp_path / "e.pem", "127.0.0.1")
    with web(pem) as port:
        found = examine(tmp_path, f"127.0.0.1:{port}", old.own(tmp_path / "old.pem"))
        fault = the_fault(found, "TLS")
    assert "the study's authority's certificate expired on" in fault.detail
    assert "new join code" in str(fault.next_step)


@pytest.mark.parametrize("days", [-20, 20], ids=["behind", "ahead"])
def test_a_certificate_that_only_this_machines_clock_rejects_is_named(
    tmp_path: Path, authority: Authority, ca: Path, days: int
) -> None:
    """Where the certificate is in time by the server's clock, this machine's is wrong."""
    # by this machine's clock the server lives `-days` days in the future
    theirs = NOW - days * DAY
    pem = authority.issue(tmp_path / "t.pem", "127.0.0.1", start=theirs - DAY, end=theirs + DAY)
    with web(pem, ahead=-days * DAY.total_seconds()) as port:
        found = examine(tmp_path, f"127.0.0.1:{port}", ca)
    assert found["TLS"].ok is False
    assert ("expired" if days > 0 else "is not valid before") in found["TLS"].detail
    assert found["TLS"].next_step == "set this machine's clock by NTP, or ask IT to"
    assert found["clock"].ok is False
    assert ("ahead of" if days > 0 else "behind") in found["clock"].detail
    assert found["enrolment"].ok is None


def test_tls_that_is_not_a_web_server_is_named(tmp_path: Path, ca: Path, good: Path) -> None:
    """A mail server with TLS is not MedHive."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(good)

    def greet(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secure:
            secure.sendall(b"* OK IMAP4rev1 ready\r\n")
            secure.recv(4096)

    with raw(greet) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "TLS")
    assert "not MedHive" in fault.detail


# the server behind TLS


@pytest.mark.parametrize("pages", [{}, {"/health": b"<html>Log in</html>"}])
def test_another_web_server_is_named(
    tmp_path: Path, ca: Path, good: Path, pages: dict[str, bytes]
) -> None:
    """Another program with a certificate of the authority is not MedHive."""
    with web(good, pages) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", ca), "server")
    assert "something else than MedHive" in fault.detail
    assert "host and port" in str(fault.next_step)


@pytest.mark.parametrize(
    ("ahead", "way", "refused"),
    [
        (-125, "125 s ahead of", "above 300 s requests are refused"),
        (125, "125 s behind", "above 300 s requests are refused"),
        (-400, "400 s ahead of", "; requests are refused"),
    ],
)
def test_a_clock_that_is_off_is_named(
    tmp_path: Path, ca: Path, good: Path, ahead: float, way: str, refused: str
) -> None:
    """Seconds and direction are named, and whether requests are refused already."""
    seconds = [int(way.split()[0]) + more for more in (-1, 0, 1)]
    with web(good, ahead=ahead) as port:
        found = examine(tmp_path, f"127.0.0.1:{port}", ca)["clock"]
    assert found.ok is False
    assert any(way.replace(way.split()[0], str(each)) in found.detail for each in seconds)
    assert refused in found.detail
    assert "NTP" in str(found.next_step)


@pytest.mark.parametrize("ahead", [-50, 0, 50])
def test_a_clock_within_a_minute_is_in_order(
    tmp_path: Path, ca: Path, good: Path, ahead: float
) -> None:
    """Less than a minute is no fault."""
    with web(good, ahead=ahead) as port:
        assert examine(tmp_path, f"127.0.0.1:{port}", ca)["clock"].ok


def test_a_server_without_a_time_leaves_the_clock_unchecked(
    tmp_path: Path, ca: Path, good: Path
) -> None:
    """What was not seen is not called right."""
    with web(good, ahead=None) as port:
        assert examine(tmp_path, f"127.0.0.1:{port}", ca)["clock"].ok is None


# join codes


def test_a_join_code_of_another_server_is_named(
    tmp_path: Path, authority: Authority, ca: Path, good: Path
) -> None:
    """A server whose authority is not the join code's is not trusted, and one asks by telephone."""
    other = prepare_server(tmp_path / "other", [], NOW)
    code = JoinCode("127.0.0.1:1", "ward", fingerprint(other.ca.read_bytes()), b"s" * 16)
    pages = {"/health": b'{"status":"ok"}', "/medhive/ca": ca.read_bytes()}
    with web(good, pages) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", join=str(code)), "TLS")
    assert "not the one that made the join code" in fault.detail
    assert fingerprint(ca.read_bytes()).hex()[:16] in fault.detail
    assert "telephone" in str(fault.next_step)


def test_a_join_code_is_seen_through_tls_inspection(tmp_path: Path, ca: Path) -> None:
    """A gateway that hands the authority's certificate on still cannot pass for the server."""
    inspector = Authority("Clinic Web Gateway CA")
    code = JoinCode("127.0.0.1:1", "ward", fingerprint(ca.read_bytes()), b"s" * 16)
    pages = {"/health": b'{"status":"ok"}', "/medhive/ca": ca.read_bytes()}
    with web(inspector.issue(tmp_path / "i.pem", "127.0.0.1"), pages) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", join=str(code)), "TLS")
    assert 'from "Clinic Web Gateway CA"' in fault.detail


def test_a_join_code_for_what_is_no_server_is_named(tmp_path: Path, ca: Path, good: Path) -> None:
    """What shows no authority is not the server that made a join code."""
    code = JoinCode("127.0.0.1:1", "ward", fingerprint(ca.read_bytes()), b"s" * 16)
    with web(good) as port:
        fault = the_fault(examine(tmp_path, f"127.0.0.1:{port}", join=str(code)), "TLS")
    assert "shows no study's authority" in fault.detail
