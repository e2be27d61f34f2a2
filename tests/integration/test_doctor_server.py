"""The doctor at the server: every fault is made for real, and named right."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medhive.cli.main import app
from medhive.doctor.finding import Finding
from medhive.doctor.server import ServerOptions, check_server
from medhive.flower.link import Link
from medhive.identity.authority import prepare_server
from medhive.identity.serverhome import init_home, open_roster
from medhive.tunnel import TunnelKind, TunnelSettings

NOW = datetime.now(UTC)
EVERYWHERE = "0.0.0.0"  # noqa: S104 - looked at, not bound for long
TOKEN = "2abcDEF0123456789_7ClH7Y15Zqe4bWLWF9p"  # noqa: S105 - of no account
PASSWORD = "hidden-word"  # noqa: S105 - of no account
posix = pytest.mark.skipif(os.name != "posix", reason="rights of files as POSIX has them")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("MEDHIVE_", "MLFLOW_", "NGROK_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one invited site."""
    folder = tmp_path / "server"
    init_home(folder, ["hive.example"], "hive.example:9092", NOW)
    open_roster(folder).invite("ward", b"s" * 16, NOW + timedelta(days=1))
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def findings_of(home: Path, **options: object) -> dict[str, Finding]:
    settings = {"port": free_port(), "output": home.parent / "output", "timeout": 2.0, **options}
    findings = list(check_server(ServerOptions(home=home, **settings)))  # type: ignore[arg-type]
    for finding in findings:
        assert finding.ok is not False or finding.next_step
        assert PASSWORD not in str(finding)
        assert TOKEN not in str(finding)
    return {finding.name: finding for finding in findings}


def the_fault(findings: dict[str, Finding], name: str) -> Finding:
    """Return the one fault, after making sure that nothing else is red."""
    assert [each.name for each in findings.values() if each.ok is False] == [name]
    return findings[name]


def run(*arguments: object, code: int) -> str:
    done = CliRunner().invoke(app, ["doctor", "server", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.output


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """A plain web server that says the same to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def test_a_server_in_order_has_no_red_line(home: Path, tmp_path: Path) -> None:
    """A fresh home, a free port, MLflow's database and a tunnel command: all green, exit code 0."""
    database = tmp_path / "mlflow.db"
    output = run(
        *("--home", home, "--host", EVERYWHERE, "--port", free_port()),
        *("--output", tmp_path / "output", "--mlflow", f"sqlite:///{database}"),
        *("--tunnel", "command", "--tunnel-command", f"{sys.executable} -m relay {{port}}"),
        code=0,
    )
    lines = output.splitlines()
    assert [line.split()[0] for line in lines[:8]] == ["✓"] * 8
    assert "good for another 396 days" in output
    assert "sites reach it at hive.example:9092" in output
    assert "1 invited; 0 connected" in output
    assert lines[-1] == "all in order"
    assert not (tmp_path / "output").exists()


# home


def test_a_folder_that_is_no_home_is_named(tmp_path: Path) -> None:
    """A server for other machines needs medhive init first."""
    fault = the_fault(findings_of(tmp_path / "none", host=EVERYWHERE), "home")
    assert "is not a server's home" in fault.detail
    assert "medhive init" in str(fault.next_step)
    assert not (tmp_path / "none").exists()


def test_a_home_without_a_roster_serves_this_machine_alone(tmp_path: Path) -> None:
    """What is enough for clients on this machine is too little for others, or a tunnel."""
    folder = tmp_path / "server"
    prepare_server(folder, [], NOW)
    assert all(each.ok is not False for each in findings_of(folder).values())
    the_fault(findings_of(folder, host=EVERYWHERE), "home")
    tunnel = TunnelSettings(TunnelKind.COMMAND, command=sys.executable)
    the_fault(findings_of(folder, tunnel=tunnel), "home")


@posix
@pytest.mark.parametrize("name", ["ca.key", "server.key", "roster.db", "address.json"])
def test_a_secret_that_others_can_read_is_named(home: Path, name: str) -> None:
    """The file, its rights and the command that mends them are named."""
    (home / name).chmod(0o644)
    fault = the_fault(findings_of(home), "home")
    assert f"{home / name} (mode 0644)" in fault.detail
    assert fault.next_step == f"chmod 600 {home / name}"


@posix
def test_a_home_that_others_can_write_is_named(home: Path) -> None:
    """Whoever can write the folder can change who may take part."""
    home.chmod(0o777)
    assert the_fault(findings_of(home), "home").next_step == f"chmod 700 {home}"


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("ca.key", "restore the folder from a backup"),
        ("server.key", "start the server: it makes both"),
        ("server.pem", "start the server: it makes both"),
    ],
)
def test_a_lost_file_is_named(home: Path, name: str, step: str) -> None:
    """A file of the identity that is gone is named, and whether the server can make it again."""
    (home / name).unlink()
    fault = the_fault(findings_of(home), "home")
    assert f"{home / name} is gone" in fault.detail
    assert step in str(fault.next_step)


# certificates


def test_an_expired_certificate_is_named(tmp_path: Path) -> None:
    """The date and this machine's clock are named, and that a start renews the certificate."""
    folder = tmp_path / "server"
    init_home(folder, [], None, NOW - timedelta(days=500))
    fault = the_fault(findings_of(folder), "certificate")
    assert f"expired on {NOW - timedelta(days=103):%F}" in fault.detail
    assert f"clock says {datetime.now(UTC):%F}" in fault.detail
    assert "start the server again" in str(fault.next_step)


def test_an_expired_authority_is_named(tmp_path: Path) -> None:
    """When the authority ends, every site has to be invited again."""
    folder = tmp_path / "server"
    init_home(folder, [], None, NOW - timedelta(days=4000))
    fault = the_fault(findings_of(folder), "certificate")
    assert "the authority's certificate expired on" in fault.detail
    assert "invite every site again" in str(fault.next_step)


def test_a_certificate_of_the_future_is_named(tmp_path: Path) -> None:
    """A clock that was set back is seen by the certificate's begin."""
    folder = tmp_path / "server"
    init_home(folder, [], None, NOW + timedelta(days=30))
    fault = the_fault(findings_of(folder), "certificate")
    assert "begins at" in fault.detail
    assert "clock" in str(fault.next_step)


def test_a_certificate_that_ends_soon_is_no_fault(tmp_path: Path) -> None:
    """A server renews it by itself in time, and says so."""
    folder = tmp_path / "server"
    init_home(folder, [], None, NOW - timedelta(days=380))
    found = findings_of(folder)["certificate"]
    assert found.ok
    assert "renewed when the server starts again" in found.detail


def test_a_certificate_of_another_authority_is_named(home: Path, tmp_path: Path) -> None:
    """Files mixed from two homes are told apart."""
    other = init_home(tmp_path / "other", ["hive.example"], None, NOW)
    (home / "server.pem").write_bytes(other.certificate.read_bytes())
    fault = the_fault(findings_of(home), "certificate")
    assert "server.pem is not from the authority ca.pem" in fault.detail


def test_a_certificate_without_its_key_is_named(home: Path, tmp_path: Path) -> None:
    """A key that belongs to another certificate is named."""
    other = init_home(tmp_path / "other", [], None, NOW)
    (home / "server.key").write_bytes(other.key.read_bytes())
    fault = the_fault(findings_of(home), "certificate")
    assert "server.key is not the key of server.pem" in fault.detail


def test_a_damaged_certificate_is_named(home: Path) -> None:
    """A file that is no certificate is named."""
    (home / "server.pem").write_text("no certificate")
    fault = the_fault(findings_of(home), "certificate")
    assert "not a certificate that MedHive wrote" in fault.detail


@pytest.mark.parametrize("how", ["address", "name", "host"])
def test_a_name_that_is_not_in_the_certificate_is_named(home: Path, how: str) -> None:
    """The address in the home, --name and --host must all be names of the certificate."""
    options: dict[str, object] = {}
    missing = "other.example"
    if how == "address":
        (home / "address.json").write_text(json.dumps({"address": f"{missing}:9092"}))
    elif how == "name":
        options["names"] = (missing,)
    else:
        missing = "127.0.0.2"
        options["host"] = missing
    fault = the_fault(findings_of(home, **options), "names")
    assert f"not for {missing}, only for localhost, hive.example, 127.0.0.1, ::1" in fault.detail
    assert fault.next_step == f"start the server with --name {missing}"


def test_a_damaged_roster_is_named(home: Path) -> None:
    """A roster that is no database is named with its file."""
    (home / "roster.db").write_bytes(b"no database" * 100)
    fault = the_fault(findings_of(home), "sites")
    assert str(home / "roster.db") in fault.detail
    assert "backup" in str(fault.next_step)


# port


def test_a_port_of_another_program_is_named(home: Path) -> None:
    """A busy port is another program's unless MedHive answers there."""
    with answering(b"hello") as port:
        fault = the_fault(findings_of(home, port=port), "port")
    assert f"port {port} is taken by another program" in fault.detail
    assert "--port" in str(fault.next_step)


def test_a_port_of_a_silent_program_is_named(home: Path) -> None:
    """A program that never answers does not hold the doctor up."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        the_fault(findings_of(home, port=silent.getsockname()[1], timeout=0.5), "port")


def test_a_running_server_is_recognised(home: Path) -> None:
    """A port that MedHive itself has is in order."""
    with Link("127.0.0.1", 0, home / "server.pem", home / "server.key") as link:
        where = f"127.0.0.1:{link.port}"
        found = findings_of(home, port=link.port)["port"]
    assert found == Finding("port", True, f"a MedHive server runs at {where}")


def test_a_running_server_with_an_old_certificate_is_named(home: Path) -> None:
    """A name that was added while the server runs is in the file, and not yet at the server."""
    with Link("127.0.0.1", 0, home / "server.pem", home / "server.key") as link:
        prepare_server(home, ["new.example"], NOW)
        fault = the_fault(findings_of(home, port=link.port), "port")
    assert "with another certificate than" in fault.detail
    assert "start that server again" in str(fault.next_step)


def test_an_address_of_another_machine_is_named(home: Path) -> None:
    """A server can listen on its own machine's addresses alone."""
    fault = findings_of(home, host="192.0.2.1", names=("192.0.2.1",))["port"]
    assert fault.ok is False
    assert "192.0.2.1" in fault.detail
    assert EVERYWHERE in str(fault.next_step)
    fault = findings_of(home, host="no-such-host.invalid")["port"]
    assert '"no-such-host.invalid" is not an address' in fault.detail


@pytest.mark.skipif(sys.platform != "linux", reason="rights as Linux has them")
def test_a_port_that_needs_rights_is_named(home: Path) -> None:
    """Without rights the low ports are not for this user."""
    code = (
        "import sys, json, dataclasses, pathlib\n"
        "from medhive.doctor.server import ServerOptions, check_port\n"
        "found = check_port(ServerOptions(pathlib.Path(sys.argv[1]), pathlib.Path(), port=443))\n"
        "print(json.dumps(dataclasses.asdict(found)))"
    )
    # a user namespace that nobody is mapped into has no rights over the network outside it
    prefix = ["unshare", "--user"]
    low = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    if int(low) < 444 or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("every user of this machine may listen on every port")
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code, str(home)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode and "Permission denied" in done.stderr:
        pytest.skip("Python itself is not readable without rights here")
    assert done.returncode == 0, done.stderr
    fault = Finding(**json.loads(done.stdout))
    assert (fault.name, fault.ok) == ("port", False)
    assert "port 443 needs more rights" in fault.detail
    assert "above 1023" in str(fault.next_step)


# MLflow


def test_an_mlflow_that_is_not_there_is_named(home: Path) -> None:
    """Nobody answers: the address without its password, and the next step."""
    uri = f"http://it:{PASSWORD}@127.0.0.1:{free_port()}"
    fault = the_fault(findings_of(home, mlflow=uri), "MLflow")
    assert "cannot be reached" in fault.detail
    assert "start MLflow" in str(fault.next_step)


def test_another_program_in_mlflows_place_is_named(home: Path) -> None:
    """Another web server is not MLflow."""
    with answering(b"hello") as port:
        fault = the_fault(findings_of(home, mlflow=f"http://127.0.0.1:{port}"), "MLflow")
    assert "not as MLflow does" in fault.detail
    assert fault.next_step == "correct the address"


def test_an_address_that_is_none_is_named_without_its_password(home: Path) -> None:
    """A malformed address is shown without the password in it."""
    fault = the_fault(findings_of(home, mlflow=f"ftp://it:{PASSWORD}@mlflow.example"), "MLflow")
    assert "is not an address of MLflow" in fault.detail


# tunnel


def _ngrok(folder: Path) -> Path:
    """A program in ngrok's place; nobody starts it."""
    program = folder / "ngrok"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return program


def test_ngrok_without_a_token_is_named(home: Path, tmp_path: Path) -> None:
    """A missing authtoken is named with where to get it."""
    tunnel = TunnelSettings(TunnelKind.NGROK, folder=tmp_path)
    fault = the_fault(findings_of(home, tunnel=tunnel), "tunnel")
    assert "authtoken is missing" in fault.detail
    assert "NGROK_AUTHTOKEN" in str(fault.next_step)


def test_ngrok_that_is_not_where_it_should_be_is_named(
    home: Path, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """NGROK_PATH without a program behind it is named; the token is not shown."""
    environment.setenv("NGROK_AUTHTOKEN", TOKEN)
    environment.setenv("NGROK_PATH", str(tmp_path / "ngrok"))
    tunnel = TunnelSettings(TunnelKind.NGROK, folder=tmp_path)
    fault = the_fault(findings_of(home, tunnel=tunnel), "tunnel")
    assert f'there is no program "{tmp_path / "ngrok"}"' in fault.detail
    assert "NGROK_PATH" in str(fault.next_step)


def test_ngrok_that_is_not_installed_is_not_downloaded(
    home: Path, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """The doctor downloads nothing, and says that the server will."""
    for name, value in (("NGROK_AUTHTOKEN", TOKEN), ("PATH", ""), ("HOME", str(tmp_path))):
        environment.setenv(name, value)
    environment.setenv("XDG_CONFIG_HOME", str(tmp_path))
    environment.setattr("medhive.doctor.server._own_ngrok", lambda: str(tmp_path / "ngrok"))
    found = findings_of(home, tunnel=TunnelSettings(TunnelKind.NGROK, folder=tmp_path))["tunnel"]
    assert found.ok is None
    assert "the server downloads it" in found.detail
    assert not (tmp_path / "ngrok").exists()


def test_ngrok_in_order_is_green(
    home: Path, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """With program and token the tunnel can be opened; the token is not shown."""
    program = _ngrok(tmp_path)
    environment.setenv("PATH", str(tmp_path))
    (tmp_path / ".env").write_text(f"NGROK_AUTHTOKEN={TOKEN}\n")
    found = findings_of(home, tunnel=TunnelSettings(TunnelKind.NGROK, folder=tmp_path))["tunnel"]
    assert found.ok
    assert str(program) in found.detail


@pytest.mark.parametrize(
    ("command", "pattern", "detail"),
    [
        ("no-such-program-here {port}", None, 'no program "no-such-program-here"'),
        (f"{shlex.quote(sys.executable)} '", None, "no closing quotation"),
        (shlex.quote(sys.executable), "(", "not a regular expression"),
    ],
)
def test_a_tunnel_command_that_cannot_work_is_named(
    home: Path, command: str, pattern: str | None, detail: str
) -> None:
    """A missing program, an open quotation mark and a bad pattern are found without a start."""
    tunnel = TunnelSettings(TunnelKind.COMMAND, command=command, pattern=pattern)
    fault = the_fault(findings_of(home, tunnel=tunnel), "tunnel")
    assert detail in fault.detail


# tickets


def test_a_ticket_holds_no_secret_of_the_server(
    home: Path, environment: pytest.MonkeyPatch
) -> None:
    """Neither MLflow's password nor ngrok's token is in a ticket."""
    environment.setenv("NGROK_AUTHTOKEN", TOKEN)
    ticket = run(
        *("--home", home, "--port", free_port(), "--tunnel", "ngrok", "--json"),
        *("--mlflow", f"http://it:{PASSWORD}@127.0.0.1:{free_port()}"),
        code=2,
    )
    assert TOKEN not in ticket
    assert PASSWORD not in ticket
    checks = json.loads(ticket)["checks"]
    assert [check["check"] for check in checks if check["status"] == "failed"] == ["MLflow"]
