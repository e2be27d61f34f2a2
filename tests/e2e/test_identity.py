"""Identity through the command line: real processes, a real proxy, real refusals."""

from __future__ import annotations

import re
import selectors
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from house import until
from medhive.identity.authority import prepare_server
from medhive.identity.enrolment import Enrolled
from medhive.identity.joincode import JoinCode
from medhive.identity.keys import site_key
from support import HEART_SITES, HEART_STUDY, Program, Programs, free_port

MINIMUM = "min-available-clients=2 num-server-rounds=2"


@dataclass
class Federation:
    """A home and its server, and the machines of the sites."""

    programs: Programs
    home: Path
    port: int
    server: Program | None = None
    codes: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: object, code: int = 0) -> str:
        """Run a command of the statistician to its end."""
        return self.programs.medhive(*arguments, "--home", self.home).ends(code)

    def invite(self, site: str, *options: object) -> str:
        """Return a join code."""
        text = self.run("invite", site, *options)
        (code,) = re.findall(r"^medhive1\.\S+$", text, re.MULTILINE)
        return str(code)

    def start(self) -> Program:
        """Start the server and await its socket."""
        self.server = self.programs.medhive(
            "server", HEART_STUDY, "--home", self.home, "--port", self.port, "-c", MINIMUM,
            name="server",
        )  # fmt: skip
        self.server.line("^listening on")
        return self.server

    def client(
        self, machine: str, *options: object, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start a client on a machine of its own."""
        home = self.programs.folder / machine
        return self.programs.medhive(
            "client", *options, name=machine,
            environment={"MEDHIVE_HOME": str(home), **(environment or {})},
        )  # fmt: skip

    def sites(self) -> str:
        """Return what medhive sites prints."""
        return self.run("sites")


@pytest.fixture
def federation(programs: Programs) -> Federation:
    home, port = programs.folder / "srv", free_port()
    programs.medhive("init", home, "--address", f"127.0.0.1:{port}").ends(0)
    return Federation(programs, home, port)


def _row(table: str, site: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if re.search(rf"│ {site} ", line)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def _data(site: str) -> tuple[str, Path]:
    return "--data", HEART_SITES[site]


def test_sites_enrol_once_and_connect_by_key_and_are_revoked(federation: Federation) -> None:
    """The whole life of a site: invited, enrolled, connected, refused elsewhere, revoked."""
    first, second = federation.invite("cleveland"), federation.invite("va")
    late = federation.invite("late", "--days", "0.0001")
    assert _row(federation.sites(), "va")[:4] == ["va", "invited", "no", "never"]
    server = federation.start()

    waiting = federation.client("m1", "--join", first, *_data("cleveland"))
    waiting.line("enrolled; from now on")
    waiting.line("connected to")
    server.line('site "cleveland" enrolled')

    used = federation.client("m2", "--join", first, *_data("cleveland")).ends(2)
    assert "was used before" in used
    assert "next: ask the study's statistician for a new join code" in used
    server.line("refused a request from 127.0.0.1: used-code")

    ca = federation.home / "ca.pem"
    address = f"127.0.0.1:{federation.port}"
    stranger = federation.client(
        "m3", "--server", address, "--id", "cleveland", "--ca", ca, *_data("cleveland")
    ).ends(2)
    assert "not enrolled in this study" in stranger
    assert "medhive client --join CODE" in stranger
    server.line("refused a request from 127.0.0.1: unknown-key")

    until(lambda: _row(federation.sites(), "late")[1] == "invitation expired", "expiry", 60)
    assert "has expired" in federation.client("m4", "--join", late, *_data("va")).ends(2)
    server.line("refused a request from 127.0.0.1: expired-code")

    table = federation.sites()
    assert _row(table, "cleveland")[1:3] == ["enrolled", "yes"]
    assert re.search(r"refused requests: .*unknown-key \d+.*used-code 1", table)

    federation.run("revoke", "cleveland")
    text = waiting.ends(2, timeout=15)
    assert "it was revoked from this study" in text
    assert "next: ask the study's statistician, who revoked this site" in text
    server.line('site "cleveland" was revoked; its connection is closed')
    assert _row(federation.sites(), "cleveland")[1:3] == ["revoked", "no"]
    refused = federation.client("m1", *_data("cleveland")).ends(2)
    assert "it was revoked" in refused

    # invited again, on the same machine with the same key, and the study goes through
    again = federation.invite("cleveland")
    back = federation.client("m1", "--join", again, *_data("cleveland"))
    other = federation.client("m5", *_data("va"), environment={"MEDHIVE_JOIN": second})
    back.ends(0)
    other.ends(0)
    text = server.ends(0)
    assert "Traceback" not in text
    assert re.search(r"result on .* of 2 sites", text)


def test_a_container_that_starts_again_gives_its_code_again(federation: Federation) -> None:
    """The same code on the same machine connects; everything comes from the environment."""
    code = federation.invite("cleveland")
    environment = {"MEDHIVE_JOIN": code, "MEDHIVE_DATA": str(HEART_SITES["cleveland"])}
    # it waits for a server that is not there yet
    early = federation.client("m1", environment=environment)
    early.line("waiting for the server at")
    federation.start()
    early.line("enrolled; from now on")
    early.line("connected to")
    early.end()
    for more in (
        {},
        {"CLIENT_ID": "cleveland"},
        {"SERVER_ADDRESS": f"127.0.0.1:{federation.port}"},
    ):
        again = federation.client("m1", environment=environment | more)
        again.line("connected to|counts an earlier connection")
        assert "enrolled" not in again.text
        again.end()
    wrong = federation.client("m1", environment=environment | {"CLIENT_ID": "va"}).ends(2)
    assert 'made for site "cleveland", not for "va"' in wrong


def test_a_server_that_took_the_address_gets_nothing(federation: Federation) -> None:
    """A code leads to the server that made it; another one there is refused by the site."""
    code = federation.invite("cleveland")
    impostor = federation.programs.folder / "impostor"
    address = f"127.0.0.1:{federation.port}"
    federation.programs.medhive("init", impostor, "--address", address).ends(0)
    federation.home = impostor
    server = federation.start()
    text = federation.client("m1", "--join", code, *_data("cleveland")).ends(2)
    assert "is not the one that made the join code" in text
    assert "by telephone" in text
    assert "enrolled" not in server.text.replace("roster of enrolled", "")


@dataclass
class ConnectProxy:
    """A small CONNECT proxy, as hospitals have; it notes where it was asked to go."""

    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                browser, _ = self._listener.accept()
                threading.Thread(target=self._tunnel, args=(browser,), daemon=True).start()

    def _tunnel(self, browser: socket.socket) -> None:
        with closing(browser), suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += browser.recv(1)
            method, where, _ = head.split(b" ", 2)
            assert method == b"CONNECT"
            self.asked.append(where.decode())
            # the name that the site asked for is known to the proxy alone
            port = int(where.rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as server:
                browser.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _pump(browser, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(one, selectors.EVENT_READ, other)
        ready.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in ready.select():
                assert isinstance(key.fileobj, socket.socket)
                part = key.fileobj.recv(65536)
                if not part:
                    return
                key.data.sendall(part)


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    return ConnectProxy()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_a_hospitals_proxy_is_used_for_everything(
    federation: Federation, proxy: ConnectProxy, variable: str
) -> None:
    """Enrolment and study go through HTTPS_PROXY, to a name that only the proxy knows."""
    name = f"study.invalid:{federation.port}"
    code = federation.invite("cleveland", "--address", name)
    other = federation.invite("va", "--address", name)
    server = federation.start()
    with proxy as address:
        environment = {variable: address, "NO_PROXY": "", "no_proxy": ""}
        one = federation.client("m1", "--join", code, *_data("cleveland"), environment=environment)
        two = federation.client("m2", "--join", other, *_data("va"), environment=environment)
        one.ends(0)
        two.ends(0)
    server.ends(0)
    assert set(proxy.asked) == {name}
    assert len(proxy.asked) >= 8


@pytest.mark.parametrize("name", ["site.key", "enrolment.json"])
def test_a_damaged_file_of_a_site_is_an_error_of_its_own(federation: Federation, name: str) -> None:
    """Exit code 2, the file's name and a next step; no traceback."""
    files = prepare_server(federation.home, [], datetime.now(UTC))
    folder = federation.programs.folder / "m1" / "sites" / "cleveland"
    site_key(folder)
    Enrolled("127.0.0.1:1", "cleveland", files.ca.read_bytes(), "").save(folder)
    (folder / name).write_bytes(b"damaged")
    text = federation.client("m1", "--id", "cleveland", *_data("cleveland")).ends(2)
    assert name in text
    assert "next: " in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("command", "name"),
    [(command, "roster.db") for command in ("server", "invite", "sites", "revoke")]
    + [("server", "server.pem"), ("invite", "server.pem"), ("invite", "address.json")],
)
def test_a_damaged_home_is_an_error_of_its_own(
    federation: Federation, name: str, command: str
) -> None:
    """No command of the server ends with a traceback."""
    (federation.home / name).write_bytes(b"damaged" * 1000)
    what = {"server": HEART_STUDY, "invite": "a", "revoke": "a"}.get(command)
    text = federation.run(command, *([] if what is None else [what]), code=2)
    assert name in text.replace("\n", "")
    assert "next: " in text
    assert "Traceback" not in text


def test_a_code_from_an_e_mail_is_read_over_its_line_breaks(federation: Federation) -> None:
    """Line breaks are ignored; a code that lost a character is not."""
    code = federation.invite("cleveland")
    federation.start()
    broken = code[:-5] + code[-4:]
    text = federation.client("m0", "--join", broken, *_data("cleveland")).ends(2)
    assert "not a whole join code" in text
    folded = "\n".join(code[i : i + 60] for i in range(0, len(code), 60))
    assert JoinCode.read(folded).site == "cleveland"
    federation.client("m1", "--join", folded, *_data("cleveland")).line("connected to")
