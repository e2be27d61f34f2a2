"""What strangers can do to the server's socket: harm nobody, and not for long."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sqlite3
import ssl
import sys
import threading
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.routing import iter_route_contexts
from flwr.superlink.main import create_app

from house import House, Key, knock, pem, signed, together
from medhive.flower import admission, door
from medhive.flower import link as link_module
from medhive.flower.admission import Anyone
from medhive.flower.door import Bodies, Bucket
from medhive.flower.signed import Verifier
from medhive.flower.wire import BRING, TAKE
from medhive.identity import enrolment
from medhive.identity.enrolment import CA_PATH, ENROL_PATH, enrol
from medhive.identity.joincode import JoinCode, fingerprint
from medhive.identity.keys import new_key
from support import Program

HEAD = "{method} {path} HTTP/1.1\r\nHost: x\r\n"
OPEN_FILES = 4000
NO_ROUTE = "/v1/fleet/no-such-route"

APART = """
import sys, threading
sys.path[:0] = {path!r}
from pathlib import Path
from house import House
from medhive.flower.signed import sign
with House(Path({home!r})) as house:
    print("address", house.address, flush=True)
    threading.Event().wait()
"""


@dataclass(frozen=True)
class Apart:
    """A house in a process of its own, so that its memory can be told from the strangers'."""

    program: Program
    port: int
    home: House
    ca: Path

    @property
    def rss(self) -> float:
        """Memory of the process, in MiB."""
        pages = Path(f"/proc/{self.program.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def tls(self) -> ssl.SSLSocket:
        """Return a stranger's connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return ssl.create_default_context(cafile=str(self.ca)).wrap_socket(
            plain, server_hostname="127.0.0.1"
        )


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    folder = tmp_path_factory.mktemp("apart")
    home = folder / "home"
    owner = House(home)  # only for its roster
    owner.link._socket.close()
    script = APART.format(path=sys.path, home=str(home))
    command = [sys.executable, "-c", script]
    program = Program("house", command, folder / "house.log", os.environ, folder)
    try:
        port = int(program.line(r"^address 127.0.0.1:(\d+)$")[1])
        yield Apart(program, port, owner, home / "ca.pem")
    finally:
        program.end()
        print(program)


@contextmanager
def _healthy(apart: Apart) -> Iterator[None]:
    """Ask for the health again and again meanwhile; every answer must come within a second."""
    over, slowest, count = threading.Event(), [0.0], [0]

    def ask() -> None:
        context = ssl.create_default_context(cafile=str(apart.ca))
        with httpx.Client(verify=context, timeout=30, trust_env=False) as client:
            while True:
                began = time.monotonic()
                answer = client.get(f"https://127.0.0.1:{apart.port}/health")
                slowest[0] = max(slowest[0], time.monotonic() - began)
                assert answer.status_code == httpx.codes.OK
                count[0] += 1
                # one more after the strangers are through, however quick they were
                if over.wait(0.1):
                    break

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    print(f"{count[0]} health requests, the slowest took {slowest[0]:.2f} s")
    assert count[0] > 0
    assert slowest[0] < 1.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "home") as open_house:
        yield open_house


def _answer(connection: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    received = b""
    with suppress(ConnectionError, ssl.SSLError):
        while part := connection.recv(65536):
            received += part
    return received


def test_nothing_but_fleet_enrolment_and_health_is_served(house: House) -> None:
    """Every other route of Flower's SuperLink, and its documentation, is not there."""
    app = create_app()
    asked = 0
    with house.http() as client:
        for context in iter_route_contexts(app.routes):
            path = str(getattr(context.route, "path", ""))
            if path.startswith("/v1/fleet/") or path == "/health":
                continue
            for method in getattr(context.route, "methods", None) or {"GET"}:
                answer = client.request(method, path.replace("{", "").replace("}", ""))
                assert answer.status_code == httpx.codes.NOT_FOUND, (method, path)
                asked += 1
                time.sleep(1 / admission.STRANGER_RATE)
        for path in ("/docs", "/openapi.json", "/redoc", "/", "/health/", "/v1/control/list-runs/"):
            assert client.get(path).status_code == httpx.codes.NOT_FOUND, path
    assert asked > 60


def test_nobody_speaks_for_another_address(house: House) -> None:
    """What a stranger says about where it comes from is not written into the log."""
    with house.http() as client:
        lie = {"x-forwarded-for": "192.0.2.7", "forwarded": "for=192.0.2.7"}
        assert knock(client, TAKE, lie | signed(new_key(), TAKE)) == "unknown-key"
    house.refused("unknown-key")
    assert [line for line in house.log if "192.0.2.7" in line] == []
    assert any("from 127.0.0.1: unknown-key" in line for line in house.log)


# --- sizes ----------------------------------------------------------------------------------------

TEN_GB = 10 * 10**9


@pytest.mark.parametrize("path", ["/health", ENROL_PATH, TAKE, BRING, "/nothing"])
def test_ten_gigabytes_are_refused_before_they_are_sent(apart: Apart, path: str) -> None:
    """A request that declares a huge body is answered and ended before its body comes."""
    with apart.tls() as connection:
        head = HEAD.format(method="POST", path=path) + f"Content-Length: {TEN_GB}\r\n\r\n"
        connection.sendall(head.encode())
        answer = _answer(connection)
    assert answer.split(b" ")[1] in (b"413", b"401", b"404"), answer


@pytest.mark.parametrize("who", ["stranger", "site"])
def test_an_endless_body_costs_no_memory(apart: Apart, who: str) -> None:
    """A chunked body without end is cut off, and the server's memory stays flat meanwhile."""
    before, sent, most = apart.rss, 0, 0.0
    headers = ""
    if who == "site":
        code = apart.home.invite("endless")
        key = new_key()
        enrol(_at(code, apart), key)
        headers = "".join(f"{n}: {v}\r\n" for n, v in signed(key, BRING, b"x").items())
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    with _healthy(apart), apart.tls() as connection:
        path = BRING if who == "site" else ENROL_PATH
        head = (
            HEAD.format(method="POST", path=path) + headers + "Transfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        began = time.monotonic()
        with suppress(ConnectionError, ssl.SSLError):
            while time.monotonic() - began < 30:
                connection.sendall(chunk)
                sent += 1
                most = max(most, apart.rss)
        took = time.monotonic() - began
    growth = most - before
    print(
        f"{who}: {sent} MiB sent in {took:.1f} s until the end,"
        f" memory {before:.0f} MiB, at most +{growth:.0f}"
    )
    assert took < 10
    assert growth < (3.5 * door.MAX_OBJECT / 2**20 if who == "site" else 30)


def _at(code: JoinCode, apart: Apart) -> JoinCode:
    return replace(code, address=f"127.0.0.1:{apart.port}")


def test_strangers_bodies_for_the_fleet_are_not_read(apart: Apart) -> None:
    """Twenty strangers who bring 64 MB each are refused by their heads: memory stays flat."""
    before = apart.rss
    key = signed(new_key(), BRING)
    headers = "".join(f"{name}: {value}\r\n" for name, value in key.items())
    head = HEAD.format(method="POST", path=BRING) + headers
    head += f"Content-Length: {door.MAX_OBJECT - 1}\r\n\r\n"
    with _healthy(apart), ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(apart.tls())
            with suppress(ConnectionError, ssl.SSLError):
                connection.sendall(head.encode() + bytes(2 * 2**20))
            assert _answer(connection)[:20] in (b"", b"HTTP/1.1 401 Unautho")
    assert apart.rss - before < 40


def test_bodies_of_all_sites_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being read at one moment never exceeds the bound; the others are told to wait."""
    monkeypatch.setattr(door, "MAX_HELD", 100)
    monkeypatch.setattr(door, "MAX_OBJECT", 80)
    bodies = Bodies()
    scope = {"type": "http", "headers": []}

    async def first_of_two() -> tuple[str, bytes]:
        wait = asyncio.Event()

        async def slow() -> dict[str, object]:
            if not wait.is_set():
                await wait.wait()
                return {"type": "http.request", "body": b"", "more_body": False}
            raise AssertionError

        parts = [{"type": "http.request", "body": bytes(60), "more_body": True}]

        async def begin() -> dict[str, object]:
            return parts.pop() if parts else await slow()

        reading = asyncio.create_task(bodies.read(scope, begin, 80, 5))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        async def whole() -> dict[str, object]:
            return {"type": "http.request", "body": bytes(60), "more_body": False}

        try:
            await bodies.read(scope, whole, 80, 5)  # type: ignore[arg-type]
            reason = ""
        except door.Refused as refused:
            reason = refused.reason
        wait.set()
        body = await reading
        assert await bodies.read(scope, whole, 80, 5) == bytes(60)  # type: ignore[arg-type]
        return reason, body

    assert asyncio.run(first_of_two()) == ("busy", bytes(60))


@pytest.mark.parametrize("what", ["one long line", "many lines", "a long path"])
def test_large_heads_are_refused(apart: Apart, what: str) -> None:
    """A head of a megabyte ends the connection before it is all read."""
    lines = {
        "one long line": f"GET /health HTTP/1.1\r\nHost: x\r\nA: {'a' * 2**20}\r\n\r\n",
        "many lines": "GET /health HTTP/1.1\r\nHost: x\r\n" + "A: a\r\n" * 2**18 + "\r\n",
        "a long path": f"GET /{'a' * 2**20} HTTP/1.1\r\nHost: x\r\n\r\n",
    }[what]
    before = apart.rss
    with apart.tls() as connection:
        with suppress(ConnectionError, ssl.SSLError):
            connection.sendall(lines.encode())
        answer = _answer(connection)
    assert answer == b"" or b" 400 " in answer[:20]
    assert apart.rss - before < 10


# --- time -----------------------------------------------------------------------------------------


def _silent(house: House) -> socket.socket:
    return house.tls()


def _slow_head(house: House) -> socket.socket:
    connection = house.tls()
    connection.sendall(b"GET /health HTTP/1.1\r\n")
    return connection


def _slow_body(house: House) -> socket.socket:
    connection = house.tls()
    head = HEAD.format(method="POST", path=ENROL_PATH) + "Content-Length: 1000\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def _no_handshake(house: House) -> socket.socket:
    return socket.create_connection(("127.0.0.1", house.link.port), timeout=60)


def _second_head(house: House) -> socket.socket:
    """Be a site once, and then send half a request."""
    connection = house.tls()
    key = house.enrolled("a")
    _ask_as_site(connection, key)
    connection.sendall(b"POST ")
    return connection


def _ask_as_site(connection: socket.socket, key: Key) -> None:
    """Send a request that is admitted, and read its answer."""
    headers = "".join(f"{n}: {v}\r\n" for n, v in signed(key, NO_ROUTE).items())
    head = HEAD.format(method="POST", path=NO_ROUTE) + headers + "Content-Length: 0\r\n\r\n"
    connection.sendall(head.encode())
    answer = b""
    while b"Not Found" not in answer.partition(b"\r\n\r\n")[2]:
        part = connection.recv(65536)
        assert part, answer
        answer += part
    assert b" 404 " in answer


LOITERERS = [_no_handshake, _silent, _slow_head, _slow_body, _second_head]


def _seconds(connection: socket.socket, drip: bytes) -> float:
    """Return after how long the server ends a connection that drips on."""
    began = time.monotonic()
    connection.settimeout(0.2)
    while time.monotonic() - began < 6:
        try:
            if not connection.recv(65536):
                break
        except TimeoutError:
            with suppress(OSError):
                connection.send(drip)
        except (ConnectionError, ssl.SSLError):
            break
    return time.monotonic() - began


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[House]:
    """A house whose deadlines are one second, and whose room is for ten."""
    for name in ("HANDSHAKE", "FIRST_REQUEST"):
        monkeypatch.setattr(door, name, 1.0)
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 10)
    with House(tmp_path / "home") as open_house:
        yield open_house


@pytest.mark.parametrize("loiter", LOITERERS, ids=lambda each: each.__name__[1:])
def test_who_does_not_get_on_is_hung_up_on(
    hurried: House, loiter: Callable[[House], socket.socket]
) -> None:
    """Silence, a head and a body that drip, and a connection without TLS end at the deadline."""
    with loiter(hurried) as connection:
        drip = b"" if loiter in (_silent, _no_handshake) else b"a"
        assert 0.5 < _seconds(connection, drip) < 4


@pytest.mark.parametrize("loiter", LOITERERS[1:], ids=lambda each: each.__name__[1:])
def test_the_deadlines_are_what_ends_them(
    hurried: House, monkeypatch: pytest.MonkeyPatch, loiter: Callable[[House], socket.socket]
) -> None:
    """Without deadlines the same connections stay."""
    monkeypatch.setattr(door, "FIRST_REQUEST", 60.0)
    with loiter(hurried) as connection:
        assert _seconds(connection, b"") > 5


def test_a_stranger_is_served_once_a_connection(house: House) -> None:
    """A stranger's connection ends with its answer, so that it cannot be kept for later."""
    with house.tls() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = _answer(connection)
    assert b" 200 " in answer
    assert b"connection: close" in answer


def test_a_site_keeps_its_connection(house: House) -> None:
    """The requests of a site go over one connection."""
    key = house.enrolled("a")
    with house.tls() as connection:
        for _ in range(3):
            _ask_as_site(connection, key)


# --- numbers --------------------------------------------------------------------------------------


def _crowd(house: House, size: int) -> list[ssl.SSLSocket]:
    return [house.tls() for _ in range(size)]


def test_strangers_make_room_and_sites_stay(hurried: House) -> None:
    """With every place taken by strangers a site is served, and keeps its place."""
    key = hurried.enrolled("a")
    crowd = _crowd(hurried, 15)
    with hurried.node(key):
        crowd += _crowd(hurried, 30)
        assert hurried.link.online() == [pem(key)]
        with hurried.http() as client:
            assert client.get("/health").status_code == httpx.codes.OK
    for connection in crowd:
        connection.close()


def test_a_crowd_shuts_the_others_out_where_nobody_makes_room(
    hurried: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were no stranger sent away, a crowd would take every place."""
    monkeypatch.setattr(door, "FIRST_REQUEST", 30.0)
    plain = door.H11Protocol.connection_made
    monkeypatch.setattr(door.Protocol, "connection_made", plain)
    crowd = _crowd(hurried, 15)
    with hurried.http() as client:
        assert client.get("/health").status_code == httpx.codes.SERVICE_UNAVAILABLE
    for connection in crowd:
        connection.close()


def test_fifteen_hundred_idle_connections_do_no_harm(apart: Apart) -> None:
    """Strangers who open 1500 connections and leave them cost little, and a site is served."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < OPEN_FILES:
        pytest.skip(f"needs {OPEN_FILES} open files")
    before = apart.rss
    crowd: list[ssl.SSLSocket] = []
    with _healthy(apart):
        crowd.extend(apart.tls() for _ in range(1500))
        key = new_key()
        began = time.monotonic()
        enrol(_at(apart.home.invite("crowded"), apart), key, give_up_after=20)
        took = time.monotonic() - began
    grown = apart.rss - before
    print(f"1500 connections: memory +{grown:.0f} MiB, enrolment took {took:.2f} s")
    for connection in crowd:
        connection.close()
    assert took < 5
    assert grown < 250


def test_connections_without_tls_do_not_use_up_the_files(tmp_path: Path) -> None:
    """With the usual limit of 1024 files, 1500 connections that say nothing keep nobody out."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        pytest.skip(f"needs {OPEN_FILES} open files")
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, {hard}))"
    script = limited + APART.format(path=sys.path, home=str(tmp_path / "home"))
    command = [sys.executable, "-c", script]
    program = Program("limited", command, tmp_path / "house.log", os.environ, tmp_path)
    with ExitStack() as stack:
        stack.callback(program.end)
        port = int(program.line(r"^address 127.0.0.1:(\d+)$")[1])
        for _ in range(1500):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        context = ssl.create_default_context(cafile=str(tmp_path / "home" / "ca.pem"))
        answer = httpx.get(f"https://127.0.0.1:{port}/health", verify=context, timeout=5)
        assert answer.status_code == httpx.codes.OK


def test_strangers_together_have_a_rate_and_sites_wait_for_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many requests of strangers get 429; a site that enrols meanwhile asks again."""
    stack = house.link._server.config.loaded_app
    while not isinstance(stack, admission.AdmissionMiddleware):
        stack = getattr(stack, "middleware_stack", None) or getattr(stack, "app", None)
    monkeypatch.setattr(stack, "_strangers", defaultdict(lambda: Bucket(4, 2)))
    with house.http() as client:
        codes = [client.get(CA_PATH).status_code for _ in range(10)]
        assert codes.count(httpx.codes.TOO_MANY_REQUESTS) >= 5
        # a flood on one path keeps nobody from another
        assert client.get("/health").status_code == httpx.codes.OK
        assert knock(client, TAKE, signed(new_key(), TAKE)) in ("too-many", "unknown-key")
    key, said = new_key(), list[str]()
    while "waiting" not in "".join(said):
        enrol(house.invite("a"), key, on_wait=said.append, give_up_after=30)
    assert "429" in said[0]
    house.refused("too-many", 5)
    with house.node(key):
        assert house.link.online() == [pem(key)]


def test_a_busy_site_waits_and_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site over its rate gets 429 and sends its request again, signed anew."""
    monkeypatch.setattr(admission, "SITE_BURST", 1.0)
    monkeypatch.setattr(admission, "SITE_RATE", 2.0)
    said: list[str] = []
    key = house.enrolled("a")
    node = house.node(key)
    node._on_wait = said.append
    with node:
        node.receive()
    assert any("429" in line for line in said)
    house.refused("too-many")


def test_an_open_demo_holds_so_many_keys_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where anybody may come, made-up keys cannot grow the server's memory without end."""
    monkeypatch.setattr(link_module, "MAX_NODES", 3)
    with House(tmp_path / "home", Anyone()) as house, house.http() as client:
        keys = [new_key() for _ in range(5)]
        reasons = [knock(client, "/v1/fleet/x", signed(key, "/v1/fleet/x")) for key in keys]
        assert reasons == ["HTTP 404"] * 3 + ["full"] * 2
        assert knock(client, "/v1/fleet/x", signed(keys[0], "/v1/fleet/x")) == "HTTP 404"


def test_the_memory_of_nonces_ends_with_their_window() -> None:
    """A nonce is forgotten when its request would be too old anyway."""
    now = [1000.0]
    verifier = Verifier(lambda: now[0])
    assert verifier._first((b"k", "1"), 1000.0, now[0])
    assert not verifier._first((b"k", "1"), 1000.0, now[0])
    now[0] = 1301.0
    assert verifier._first((b"k", "2"), 1301.0, now[0])
    assert len(verifier._seen) == 1


def test_a_slow_roster_does_not_stop_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the roster is locked an enrolment waits, and everybody else is served."""
    lock = sqlite3.connect(house.roster.path)
    lock.execute("begin exclusive")
    results: list[object] = []
    waiting = threading.Thread(
        target=lambda: results.extend(together(lambda: _ask_to_enrol(house)))
    )
    waiting.start()
    time.sleep(0.3)
    began = time.monotonic()
    with house.http() as client:
        assert client.get("/health").status_code == httpx.codes.OK
    assert time.monotonic() - began < 1
    lock.rollback()
    lock.close()
    waiting.join()
    assert results == [403]


def _ask_to_enrol(house: House) -> int:
    key, secret = new_key(), bytes(16)
    text = enrolment._statement("a", secret, pem(key), fingerprint(house.ca))
    asked = {
        "site": "a",
        "secret": b64encode(secret).decode(),
        "public_key": pem(key).decode(),
        "signature": b64encode(key.sign(text, ec.ECDSA(hashes.SHA256()))).decode(),
    }
    with house.http() as client:
        return client.post(ENROL_PATH, json=asked).status_code
