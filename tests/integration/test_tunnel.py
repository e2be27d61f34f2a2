"""Tunnels to a real TLS server, through real forwarding programs."""

from __future__ import annotations

import ctypes
import datetime
import json
import logging
import os
import queue
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyngrok import ngrok as pyngrok
from pyngrok.conf import PyngrokConfig

from medhive.errors import SettingError
from medhive.flower.link import HEALTH, Link
from medhive.identity.authority import ServerFiles, prepare_server
from medhive.tunnel import Tunnel, TunnelKind, TunnelSettings, open_tunnel, split_address

STANDIN = Path(__file__).parents[1] / "standin"
TOKEN = "2abcDEF0123456789_7ClH7Y15Zqe4bWLWF9p"  # noqa: S105 - of no account
DEADLINE = 30.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux does")


class Told:
    """What the tunnel's callbacks were told, in order."""

    def __init__(self) -> None:
        self.addresses: queue.Queue[str] = queue.Queue()
        self.troubles: queue.Queue[str] = queue.Queue()

    def open(self, settings: TunnelSettings, host: str, port: int) -> Tunnel:
        return open_tunnel(settings, host, port, self.addresses.put, self.troubles.put)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ServerFiles:
    home = tmp_path_factory.mktemp("server")
    return prepare_server(home, [], datetime.datetime.now(datetime.UTC))


@pytest.fixture(scope="module")
def port(files: ServerFiles) -> Iterator[int]:
    """Port of a real server with TLS of its own."""
    with Link("127.0.0.1", 0, files.certificate, files.key) as link:
        yield link.port


@pytest.fixture(autouse=True, scope="module")
def orphans_stay() -> Iterator[None]:
    """What loses its parent becomes this process's child, so that `children` sees it."""
    prctl, set_child_subreaper = ctypes.CDLL(None, use_errno=True).prctl, 36
    assert prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    yield
    assert prctl(set_child_subreaper, 0, 0, 0, 0) == 0


@pytest.fixture
def free_port() -> int:
    """A port for the reserved address, which the stand-in must be told beforehand."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where each start of the stand-in agent leaves its record."""
    binary = tmp_path / "bin" / "ngrok"
    binary.parent.mkdir()
    agent = shlex.join([sys.executable, str(STANDIN / "ngrok_agent.py")])
    binary.write_text(f'#!/bin/sh\nexec {agent} "$@"\n', encoding="utf-8")
    binary.chmod(0o755)
    records = tmp_path / "starts"
    records.mkdir()
    monkeypatch.setenv("NGROK_PATH", str(binary))
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    monkeypatch.setenv("STANDIN_RECORD", str(records))
    return records


def ngrok(tmp_path: Path, **options: object) -> TunnelSettings:
    return TunnelSettings(kind=TunnelKind.NGROK, folder=tmp_path, **options)  # type: ignore[arg-type]


def command(text: str, **options: object) -> TunnelSettings:
    return TunnelSettings(kind=TunnelKind.COMMAND, command=text, **options)  # type: ignore[arg-type]


def python(*arguments: str) -> str:
    return shlex.join([sys.executable, *arguments])


def records(folder: Path) -> list[dict[str, object]]:
    paths = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def health(address: str, files: ServerFiles) -> bytes:
    """Ask the server for its health by HTTPS, trusting the study's authority alone."""
    context = ssl.create_default_context(cafile=str(files.ca))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(f"https://{address}{HEALTH}", timeout=DEADLINE) as response:
        return bytes(response.read())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # a killed process that its own parent has not yet reaped is over
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def await_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def children() -> set[int]:
    """Ids of the living processes that this one started, at any remove."""
    with subprocess.Popen(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], stdout=subprocess.PIPE, text=True
    ) as ps:
        rows = [line.split() for line in ps.communicate()[0].splitlines()]
    parents = {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}
    del parents[ps.pid]
    found: set[int] = set()
    new = {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found


def await_alone() -> None:
    deadline = time.monotonic() + 5.0
    while left := children():
        assert time.monotonic() < deadline, f"processes {left} still run"


# ngrok


def test_tls_is_end_to_end_through_ngrok(
    tmp_path: Path, starts: Path, told: Told, port: int, files: ServerFiles
) -> None:
    """A hospital that trusts the study's authority alone reaches the server through ngrok."""
    with told.open(ngrok(tmp_path), "127.0.0.1", port) as tunnel:
        assert tunnel.alive
        assert split_address(tunnel.address)[1] != port
        assert json.loads(health(tunnel.address, files)) == {"status": "ok"}
    assert not tunnel.alive
    await_gone(int(str(records(starts)[0]["pid"])))
    assert told.addresses.empty()
    assert told.troubles.empty()


def test_the_stand_in_is_an_agent_to_pyngrok_itself(
    tmp_path: Path, starts: Path, port: int, files: ServerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands for ngrok's agent here satisfies pyngrok's own start and connect."""
    monkeypatch.delenv("NGROK_AUTHTOKEN")
    configuration = tmp_path / "ngrok.yml"
    configuration.write_text(f"version: '2'\nauthtoken: {TOKEN}\n", encoding="utf-8")
    own = PyngrokConfig(
        ngrok_path=os.environ["NGROK_PATH"], config_path=str(configuration), config_version="2"
    )
    try:
        url = str(pyngrok.connect(f"127.0.0.1:{port}", "tcp", pyngrok_config=own).public_url)
        assert json.loads(health(url.removeprefix("tcp://"), files)) == {"status": "ok"}
    finally:
        pyngrok.kill(own)
    await_alone()


def test_a_killed_agent_is_replaced_and_its_new_address_announced(
    tmp_path: Path, starts: Path, told: Told, port: int, files: ServerFiles
) -> None:
    """When the agent is killed, another one is started; its address is announced and works."""
    with told.open(ngrok(tmp_path), "127.0.0.1", port) as tunnel:
        first = tunnel.address
        os.kill(int(str(records(starts)[0]["pid"])), signal.SIGKILL)
        assert "started again" in told.troubles.get(timeout=DEADLINE)
        second = told.addresses.get(timeout=DEADLINE)
        assert second == tunnel.address != first
        assert tunnel.alive
        assert json.loads(health(second, files)) == {"status": "ok"}
    for start in records(starts):
        await_gone(int(str(start["pid"])))


def test_a_lost_connection_is_told_and_its_return_seen(
    tmp_path: Path, starts: Path, told: Told, port: int, files: ServerFiles
) -> None:
    """A session that the agent loses and wins back keeps its address; the loss is told."""
    with told.open(ngrok(tmp_path), "127.0.0.1", port) as tunnel:
        os.kill(int(str(records(starts)[0]["pid"])), signal.SIGUSR1)
        assert "lost its connection" in told.troubles.get(timeout=DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while not tunnel.alive:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert json.loads(health(tunnel.address, files)) == {"status": "ok"}
    assert told.addresses.empty()


def test_a_reserved_address_is_kept_when_the_agent_dies(
    tmp_path: Path, starts: Path, told: Told, port: int, files: ServerFiles, free_port: int
) -> None:
    """With a reserved address the tunnel comes back under the same one, and nothing changes."""
    address = f"127.0.0.1:{free_port}"
    with told.open(ngrok(tmp_path, address=address), "127.0.0.1", port) as tunnel:
        assert tunnel.address == address
        os.kill(int(str(records(starts)[0]["pid"])), signal.SIGKILL)
        told.troubles.get(timeout=DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while not tunnel.alive:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert json.loads(health(address, files)) == {"status": "ok"}
    assert told.addresses.empty()


def test_the_token_is_in_one_private_file_and_nowhere_else(
    tmp_path: Path,
    starts: Path,
    told: Told,
    port: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The token is in a file of mode 600, gone once read; in no argument, environment or log."""
    caplog.set_level(logging.DEBUG)
    with told.open(ngrok(tmp_path), "127.0.0.1", port):
        (start,) = records(starts)
        assert (start["mode"], start["folder_mode"]) == ("0o600", "0o700")
        assert not Path(str(start["configuration"])).exists()
        assert TOKEN not in json.dumps(start)
        for name in ("cmdline", "environ"):
            assert TOKEN.encode() not in Path(f"/proc/{start['pid']}/{name}").read_bytes()
    printed = "".join(capfd.readouterr())
    assert "client session established" in caplog.text, "the agent's log is there"
    assert TOKEN not in caplog.text + printed


def test_a_refused_token_is_named_but_not_shown(
    tmp_path: Path,
    starts: Path,
    told: Told,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A refusal is an error with ngrok's code; the token that the agent prints is hidden."""
    caplog.set_level(logging.DEBUG)
    token = "refused-5Zqe4bWLWF9p7Y15Zqe4"  # noqa: S105 - of no account
    monkeypatch.setenv("NGROK_AUTHTOKEN", token)
    with pytest.raises(SettingError, match=r"refused the authtoken.*ERR_NGROK_107") as caught:
        told.open(ngrok(tmp_path), "127.0.0.1", port)
    assert caught.value.exit_code == 2
    assert "dashboard.ngrok.com" in str(caught.value.next_step)
    shown = "".join([str(caught.value), caplog.text, *capfd.readouterr()])
    assert "Your authtoken: ***" in caplog.text, "the agent did print it"
    assert token not in shown
    await_alone()


def test_an_account_without_a_card_is_told_so(
    tmp_path: Path, starts: Path, told: Told, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that ngrok's interface refuses is an error with the reason."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", "nocard-5Zqe4bWLWF9p")
    with pytest.raises(SettingError, match=r"card.*ERR_NGROK_8013"):
        told.open(ngrok(tmp_path), "127.0.0.1", port)
    await_alone()


def test_a_service_that_cannot_be_reached_is_told_within_the_deadline(
    tmp_path: Path, starts: Path, told: Told, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that only retries is given up at the deadline, with its own reason."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", "offline-5Zqe4bWLWF9p")
    with pytest.raises(SettingError, match=r"within 2 seconds.*no such host") as caught:
        told.open(ngrok(tmp_path, timeout=2.0), "127.0.0.1", port)
    assert "port 443" in str(caught.value.next_step)
    await_alone()


def test_a_silent_program_is_not_taken_for_ngrok(
    tmp_path: Path, starts: Path, told: Told, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that prints nothing is ended at the deadline, whatever it is."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    silent.chmod(0o755)
    monkeypatch.setenv("NGROK_PATH", str(silent))
    with pytest.raises(SettingError, match=r"no address within 0\.5 seconds"):
        told.open(ngrok(tmp_path, timeout=0.5), "127.0.0.1", port)
    await_alone()


def test_the_agent_is_reached_past_a_proxy(
    tmp_path: Path, starts: Path, told: Told, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY, usual in hospitals, is not asked for the agent on this computer."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with told.open(ngrok(tmp_path), "127.0.0.1", port) as tunnel:
        assert tunnel.alive


def test_the_token_of_a_dotenv_file_is_used(
    tmp_path: Path, starts: Path, told: Told, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable the token comes from .env, and the environment stays as it was."""
    monkeypatch.delenv("NGROK_AUTHTOKEN")
    (tmp_path / ".env").write_text(f'NGROK_AUTHTOKEN="{TOKEN}"\n', encoding="utf-8")
    with told.open(ngrok(tmp_path), "127.0.0.1", port) as tunnel:
        assert tunnel.alive
        assert "NGROK_AUTHTOKEN" not in os.environ


def test_a_missing_token_is_an_error(
    tmp_path: Path, starts: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token nothing is started, and the error says where to put one."""
    monkeypatch.delenv("NGROK_AUTHTOKEN")
    with pytest.raises(SettingError, match="authtoken is missing") as caught:
        told.open(ngrok(tmp_path), "127.0.0.1", 1)
    assert ".env" in str(caught.value.next_step)
    (tmp_path / ".env").write_text("NGROK_AUTHTOKEN=\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"\.env.*authtoken is missing"):
        told.open(ngrok(tmp_path), "127.0.0.1", 1)
    assert not records(starts)


def test_a_missing_agent_without_a_network_is_an_error(
    tmp_path: Path, starts: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ngrok is neither installed nor to be downloaded, the error says how to get it."""
    monkeypatch.delenv("NGROK_PATH")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(tmp_path / "own" / "ngrok"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(SettingError, match="not installed, and cannot be downloaded") as caught:
        told.open(ngrok(tmp_path), "127.0.0.1", 1)
    assert caught.value.exit_code == 2
    assert "NGROK_PATH" in str(caught.value.next_step)


def test_a_wrong_ngrok_path_is_an_error(
    tmp_path: Path, starts: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NGROK_PATH is never passed over for another ngrok."""
    monkeypatch.setenv("NGROK_PATH", str(tmp_path / "nothing"))
    with pytest.raises(SettingError, match="NGROK_PATH: there is no program"):
        told.open(ngrok(tmp_path), "127.0.0.1", 1)


# any program


FORWARD = python(str(STANDIN / "forwarder.py"), "{host}", "{port}")


def test_tls_is_end_to_end_through_a_command(
    told: Told, port: int, files: ServerFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """Any forwarding program will do; its address is read from its output, its secrets hidden."""
    caplog.set_level(logging.DEBUG)
    with told.open(command(FORWARD), "0.0.0.0", port) as tunnel:  # noqa: S104
        assert json.loads(health(tunnel.address, files)) == {"status": "ok"}
    assert "main.go" in caplog.text, "the program's output is in the log"
    assert "hunter2hunter2" not in caplog.text
    await_alone()


def test_a_command_is_ended_with_all_that_it_started(told: Told, port: int) -> None:
    """Closing ends the program's own children, even one that ignores a request to end."""
    stubborn = f"trap '' TERM; {FORWARD} & wait"
    with told.open(command(f"sh -c {shlex.quote(stubborn)}"), "127.0.0.1", port):
        assert len(children()) >= 3
    await_alone()


def test_nothing_outlives_a_killed_server(tmp_path: Path, port: int) -> None:
    """When the server itself is killed, the tunnel's processes end with it."""
    script = (
        "import sys\n"
        "from medhive.tunnel import *\n"
        "s = TunnelSettings(kind=TunnelKind.COMMAND, command=sys.argv[1])\n"
        "t = open_tunnel(s, '127.0.0.1', int(sys.argv[2]), print, print)\n"
        "print(t.address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script, FORWARD, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline()
        family = children() - {server.pid}
        assert len(family) == 2, "the guard and the forwarder"
        server.kill()
    for pid in family:
        await_gone(pid)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("no-such-program-anywhere {port}", 'no program "no-such-program-anywhere"'),
        (python("-c", "print('Permission denied'); raise SystemExit(7)"), "code 7.*Permission"),
        (
            python("-c", "import time; print('hello', flush=True); time.sleep(60)"),
            'no address.*"hello"',
        ),
        (python("-c", "import time; time.sleep(60)"), "no address.*printed nothing"),
        ("sh -c 'sleep 600 & exit 3'", "code 3.*printed nothing"),
        ("ssh 'unclosed", "no closing quotation"),
    ],
)
def test_a_command_that_brings_no_tunnel_is_an_error(text: str, cause: str, told: Told) -> None:
    """A command that does not exist, ends, or prints no address is an error; none is left."""
    with pytest.raises(SettingError, match=f"(?s)tunnel-command: .*{cause}") as caught:
        told.open(command(text, timeout=1.0), "127.0.0.1", 9092)
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    await_alone()


def test_secrets_of_a_command_are_not_in_its_errors(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a secret in the command line nor one in the environment gets into error or log."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("RELAY_PASSWORD", "correct-horse")
    code = "import os, sys; print(sys.argv[2], os.environ['RELAY_PASSWORD']); raise SystemExit(1)"
    with pytest.raises(SettingError, match=r"\*\*\* \*\*\*") as caught:
        told.open(command(python("-c", code, "--token", "abcdef123")), "127.0.0.1", 9092)
    assert "correct-horse" not in str(caught.value) + caplog.text
    assert "abcdef123" not in str(caught.value) + caplog.text


def test_a_known_address_needs_no_output(told: Told, port: int) -> None:
    """With --tunnel-address a silent program that stays is enough; one that ends is an error."""
    stays = python("-c", "import time; time.sleep(60)")
    with told.open(command(stays, address="relay.example:443"), "127.0.0.1", port) as tunnel:
        assert tunnel.address == "relay.example:443"
    with pytest.raises(SettingError, match="exit code 0; it printed nothing"):
        told.open(command(python("-c", ""), address="relay.example:443"), "127.0.0.1", port)


def test_a_command_that_ends_later_is_started_again(told: Told, port: int) -> None:
    """A program that ends after it was up is started again, and its new address announced."""
    code = (
        "import sys, os, time\n"
        "print(f'tcp://relay.example:{20000 + os.getpid() % 10000}', flush=True)\n"
        "time.sleep(0.3)\n"
    )
    with told.open(command(python("-c", code)), "127.0.0.1", port) as tunnel:
        first = tunnel.address
        assert "ended with exit code 0" in told.troubles.get(timeout=DEADLINE)
        assert told.addresses.get(timeout=DEADLINE) != first


def test_closing_waits_for_no_pause(told: Told, port: int) -> None:
    """A tunnel that is down and waits for its next start closes at once, and may close twice."""
    flag = python("-c", "print('tcp://relay.example:1000', flush=True)")
    tunnel = told.open(command(flag), "127.0.0.1", port)
    told.troubles.get(timeout=DEADLINE)
    before = time.monotonic()
    tunnel.close()
    tunnel.close()
    assert time.monotonic() - before < 1.0
    assert not [t.name for t in threading.enumerate() if t.name.startswith("tunnel")]
    await_alone()


def test_no_tunnel_is_the_servers_own_address(told: Told) -> None:
    """With --tunnel none the address is the server's, and nothing is started."""
    with told.open(TunnelSettings(), "127.0.0.1", 9092) as tunnel:
        assert (tunnel.address, tunnel.alive) == ("127.0.0.1:9092", True)
    await_alone()
