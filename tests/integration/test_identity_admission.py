"""Who is let in: every refusal through a real TLS socket, and each fails without its mechanism."""

from __future__ import annotations

import inspect
import socket
import ssl
import textwrap
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from house import House, Key, knock, pem, signed, together, until
from medhive.errors import FederationError, IdentityError, SettingError
from medhive.flower import node as node_module
from medhive.flower import signed as signed_module
from medhive.flower.link import Link
from medhive.flower.node import Node
from medhive.flower.signed import NONCE, PUBLIC_KEY, SIGNATURE, TIME, Verifier, statement
from medhive.flower.wire import TAKE
from medhive.identity import enrolment
from medhive.identity.authority import prepare_server
from medhive.identity.enrolment import ENROL_PATH, enrol
from medhive.identity.gatekeeper import Gatekeeper
from medhive.identity.keys import new_key
from medhive.identity.roster import Roster

PULL = "/v1/fleet/pull-object"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "home") as open_house:
        yield open_house


def _outcome(work: Callable[[], object]) -> str:
    """Return the reason of an IdentityError; empty where there was none."""
    try:
        work()
    except IdentityError as error:
        return error.reason
    return ""


# --- attacks: each returns the reason of its refusal, and "" where it succeeds --------------------


def _connect(house: House, key: Key) -> str:
    def work() -> None:
        with house.node(key):
            pass

    return _outcome(work)


def _unknown_key(house: House) -> str:
    return _connect(house, new_key())


def _revoked_key(house: House) -> str:
    key = house.enrolled("a")
    house.roster.revoke("a", datetime.now(UTC))
    house.keeper.refresh()
    return _connect(house, key)


def _used_code(house: House) -> str:
    code = house.invite("a")
    enrol(code, new_key())
    return _outcome(lambda: enrol(code, new_key()))


def _expired_code(house: House) -> str:
    return _outcome(lambda: enrol(house.invite("a", days=-0.001), new_key()))


def _unknown_code(house: House) -> str:
    return _outcome(lambda: enrol(replace(house.invite("a"), secret=bytes(16)), new_key()))


def _other_name(house: House) -> str:
    house.invite("b")
    return _outcome(lambda: enrol(replace(house.invite("a"), site="b"), new_key()))


def _other_sites_key(house: House) -> str:
    key = house.enrolled("a")
    return _outcome(lambda: enrol(house.invite("b"), key))


def _wrong_authority(house: House) -> str:
    code = replace(house.invite("a"), authority=bytes(32))
    return _outcome(lambda: enrolment.enrol(code, new_key()))


def _key_of_another(house: House) -> str:
    """Enrol somebody else's public key, without having the private one."""
    code, victim, own = house.invite("a"), new_key(), new_key()
    text = enrolment._statement("a", code.secret, pem(victim), code.authority)
    signature = own.sign(text, ec.ECDSA(hashes.SHA256()))
    asked = {
        "site": "a",
        "secret": b64encode(code.secret).decode(),
        "public_key": pem(victim).decode(),
        "signature": b64encode(signature).decode(),
    }
    with house.http() as client:
        return str(client.post(ENROL_PATH, json=asked).json().get("reason", ""))


def _capture(house: House, path: str = PULL, body: bytes = b"a") -> tuple[Key, dict[str, str]]:
    key = house.enrolled("a")
    return key, signed(key, path, body)


def _served(reason: str) -> str:
    """Drop what Flower itself says to a request that was let through."""
    return "" if reason.startswith("HTTP") else reason


def _other_body(house: House) -> str:
    _, headers = _capture(house)
    with house.http() as client:
        return _served(knock(client, PULL, headers, b"b"))


def _other_path(house: House) -> str:
    _, headers = _capture(house)
    with house.http() as client:
        return _served(knock(client, "/v1/fleet/push-messages", headers, b"a"))


def _other_method(house: House) -> str:
    _, headers = _capture(house)
    with house.http() as client:
        answer = client.request("PUT", PULL, content=b"a", headers=headers)
    return str(answer.json().get("reason", ""))


def _other_time(house: House) -> str:
    _, headers = _capture(house)
    headers[TIME] = f"{float(headers[TIME]) + 1:.3f}"
    with house.http() as client:
        return _served(knock(client, PULL, headers, b"a"))


def _other_signer(house: House) -> str:
    key, _ = _capture(house)
    forged = signed(new_key(), PULL, b"a") | {PUBLIC_KEY: b64encode(pem(key)).decode()}
    with house.http() as client:
        return _served(knock(client, PULL, forged, b"a"))


def _unsigned(house: House) -> str:
    key, _ = _capture(house)
    with house.http() as client:
        return _served(knock(client, PULL, {PUBLIC_KEY: b64encode(pem(key)).decode()}, b"a"))


def _replayed(house: House) -> str:
    _, headers = _capture(house)
    with house.http() as client:
        assert _served(knock(client, PULL, headers, b"a")) == ""
        return _served(knock(client, PULL, headers, b"a"))


def _at(key: Key, seconds: float) -> dict[str, str]:
    """Sign a request with a clock that is wrong by some seconds."""
    at, nonce = f"{time.time() + seconds:.3f}", "once"
    signature = key.sign(statement("POST", PULL, at, nonce, b"a"), ec.ECDSA(hashes.SHA256()))
    return {
        PUBLIC_KEY: b64encode(pem(key)).decode(),
        TIME: at,
        NONCE: nonce,
        SIGNATURE: b64encode(signature).decode(),
    }


def _old(house: House) -> str:
    with house.http() as client:
        return _served(knock(client, PULL, _at(house.enrolled("a"), -310), b"a"))


def _from_the_future(house: House) -> str:
    with house.http() as client:
        return _served(knock(client, PULL, _at(house.enrolled("a"), 310), b"a"))


@dataclass(frozen=True)
class Case:
    """An attack, the reason of its refusal, and the line of code that refuses it."""

    attack: Callable[[House], str]
    reason: str
    owner: Any
    function: str
    line: str
    without: str
    seen: bool = True
    """Whether the server can know of it."""


CASES = [
    Case(_unknown_key, "unknown-key", Gatekeeper, "admit", '"unknown-key"', '""'),
    Case(_revoked_key, "revoked", Gatekeeper, "admit", "if revoked:", "if False:"),
    Case(_used_code, "used-code", Roster, "enrol", "if used_at is not None:", "if False:"),
    Case(
        _expired_code, "expired-code", Roster, "enrol",
        "if datetime.fromisoformat(expires_at) < now:", "if False:",
    ),
    Case(
        _unknown_code, "unknown-code", Roster, "enrol",
        "row = db.execute(", "row = (site, now.isoformat(), None) or db.execute(",
    ),
    Case(_other_name, "another-site", Roster, "enrol", "if invited != site:", "if False:"),
    Case(_other_sites_key, "another-site", Roster, "enrol", "if taken is not None:", "if False:"),
    Case(
        _wrong_authority, "wrong-authority", enrolment, "enrol",
        "if fingerprint(authority) != code.authority:", "if False:", seen=False,
    ),
    Case(
        _key_of_another, "altered", enrolment, "_checked_key",
        "or not is_signed(pem, _decoded(asked.signature), statement)", "",
    ),
    Case(_other_body, "altered", "statement", "", "hashlib.sha256(body)", "hashlib.sha256(b'')"),
    Case(_other_path, "altered", "statement", "", "method, path, at", "method, at"),
    Case(_other_method, "altered", "statement", "", "method, path, at", "path, at"),
    Case(_other_time, "altered", "statement", "", "path, at, nonce", "path, nonce"),
    Case(
        _other_signer, "altered", signed_module, "is_signed",
        "key.verify(signature, message, _ECDSA)", "pass",
    ),
    Case(
        _unsigned, "unsigned", Verifier, "verify",
        'raise Forged("unsigned", "the request is not signed by a site") from None', "return",
    ),
    Case(_replayed, "replayed", Verifier, "_first", "mark in self._seen", "False"),
    Case(_old, "old", Verifier, "verify", "if not abs(now - signed_at) <= WINDOW:", "if False:"),
    Case(_from_the_future, "old", Verifier, "verify", "abs(now - signed_at)", "(now - signed_at)"),
]  # fmt: skip
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.attack.__name__[1:])


@BY_NAME
def test_what_is_not_a_sites_own_is_refused_logged_and_counted(house: House, case: Case) -> None:
    """Each attack is refused for its own reason, with a line in the log and a counter."""
    assert case.attack(house) == case.reason
    if case.seen:
        house.refused(case.reason)


@BY_NAME
def test_each_refusal_needs_its_mechanism(
    house: House, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the line that refuses it, the attack is not refused for that reason."""
    if case.owner == "statement":
        # site and server agree on the weaker statement
        weaker = _changed(statement, case.line, case.without)
        monkeypatch.setattr("medhive.flower.signed.statement", weaker)
    else:
        whole = getattr(case.owner, case.function)
        monkeypatch.setattr(case.owner, case.function, _changed(whole, case.line, case.without))
    assert case.attack(house) != case.reason


def _changed(function: Callable[..., Any], line: str, without: str) -> Callable[..., Any]:
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(line) == 1, (function, line)
    place: dict[str, Any] = {}
    code = "from __future__ import annotations\n" + source.replace(line, without)
    exec(compile(code, "changed", "exec"), function.__globals__, place)  # noqa: S102
    changed: Callable[..., Any] = place[function.__name__]
    return changed


# --- what the person at the site sees -------------------------------------------------------------


def _enrol(house: House, **changes: Any) -> None:
    enrol(replace(house.invite("a"), **changes), new_key())


@pytest.mark.parametrize(
    ("attack", "cause", "step"),
    [
        (lambda h: h.node(new_key()).__enter__(), "not enrolled", "--join CODE"),
        (lambda h: enrol(h.invite("a", days=-1), new_key()), "expired", "new join code"),
        (lambda h: _enrol(h, authority=b""), "not the one", "telephone"),
        (lambda h: _enrol(h, site="café"), "another site", "new join code"),
    ],
    ids=["unknown key", "expired code", "wrong authority", "a name that is not ASCII"],
)  # fmt: skip
def test_the_site_is_told_what_is_wrong_and_what_to_do(
    house: House, attack: Callable[[House], object], cause: str, step: str
) -> None:
    """The error has a cause, a next step and exit code 2."""
    with pytest.raises(IdentityError) as raised:
        attack(house)
    assert cause in raised.value.cause
    assert step in (raised.value.next_step or "")
    assert raised.value.exit_code == 2


def _wait_to_be_refused(node: Node) -> None:
    while True:
        node.receive()


def test_revocation_ends_a_live_connection_within_seconds(house: House) -> None:
    """A site that waits for its next task is refused within seconds of medhive revoke."""
    key = house.enrolled("a")
    with house.node(key) as node:
        house.roster.revoke("a", datetime.now(UTC))
        began = time.monotonic()
        with pytest.raises(IdentityError, match="revoked") as raised:
            _wait_to_be_refused(node)
        assert time.monotonic() - began < 5
        assert raised.value.reason == "revoked"
        assert house.link.online() == []
        assert any("was revoked; its connection is closed" in line for line in house.log)
    house.refused("revoked")


def test_a_knock_of_a_stranger_does_not_hide_a_revocation(house: House) -> None:
    """Whatever makes the server look at the roster before its watcher, the site is expelled."""
    with house.node(house.enrolled("a")):
        house.roster.revoke("a", datetime.now(UTC))
        house.keeper.refresh()
        with house.http() as client:
            assert knock(client, TAKE, signed(new_key(), TAKE)) == "unknown-key"
        until(lambda: not house.link.online(), "end of the revoked site's connection", 5)


def test_a_site_that_is_invited_again_keeps_its_key(house: House) -> None:
    """After a revocation a new code brings the same key back, on the same running server."""
    key = house.enrolled("a")
    with house.node(key):
        pass
    house.roster.revoke("a", datetime.now(UTC))
    house.keeper.refresh()
    assert _connect(house, key) == "revoked"
    enrol(house.invite("a"), key)
    with house.node(key):
        assert house.link.online() == [pem(key)]


def test_a_new_key_of_a_site_ends_the_connection_of_its_old_one(house: House) -> None:
    """A site that enrols anew has one key: the one of a stolen machine ends with it."""
    with house.node(house.enrolled("a")) as old:
        new = house.enrolled("a")
        with pytest.raises(IdentityError) as raised:
            _wait_to_be_refused(old)
        assert raised.value.reason == "unknown-key"
    assert _connect(house, new) == ""


def test_a_lost_answer_does_not_lose_the_code(house: House) -> None:
    """The same code with the same key is answered again; with another key it is used."""
    code, key = house.invite("a"), new_key()
    assert enrol(code, key) == enrol(code, key)
    assert _outcome(lambda: enrol(code, new_key())) == "used-code"
    house.roster.revoke("a", datetime.now(UTC))
    assert _outcome(lambda: enrol(code, key)) == "used-code"


def test_one_of_many_clients_wins_a_code_over_the_network(house: House) -> None:
    """Of eight clients with the same code at the same moment exactly one is enrolled."""
    code = house.invite("a")
    results = together(*[lambda: enrol(code, new_key())] * 8)
    refused = [each.reason for each in results if isinstance(each, IdentityError)]
    assert refused == ["used-code"] * 7, results


def test_one_of_many_threads_wins_a_code_in_the_file(house: House) -> None:
    """The file itself decides, and decides once."""
    secret, path = house.invite("a").secret, house.roster.path

    def enrol_once() -> None:
        Roster(path).enrol("a", secret, pem(new_key()), datetime.now(UTC))

    results = together(*[enrol_once] * 16)
    assert [each for each in results if each is None] == [None]


def test_a_code_without_its_transaction_is_won_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the look and the mark two transactions, several clients would win."""
    torn = _changed(Roster.enrol, 'db.execute("begin immediate")', "pass")
    monkeypatch.setattr(Roster, "enrol", torn)
    winners = 0
    for attempt in range(20):
        secret = house.invite(f"site{attempt}").secret
        works = [
            lambda name=f"site{attempt}", secret=secret: house.roster.enrol(
                name, secret, pem(new_key()), datetime.now(UTC)
            )
        ] * 8
        winners = max(winners, sum(each is None for each in together(*works)))
        if winners > 1:
            break
    assert winners > 1


@pytest.mark.parametrize("kind", ["P-384", "RSA", "nonsense", "unknown algorithm"])
def test_only_keys_that_can_connect_are_enrolled(house: House, kind: str) -> None:
    """A key of another kind is refused at enrolment, and is no internal error."""
    public: dict[str, Callable[[], bytes]] = {
        "P-384": lambda: pem(ec.generate_private_key(ec.SECP384R1())),
        "RSA": lambda: rsa.generate_private_key(65537, 2048).public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "nonsense": lambda: b"-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n",
        "unknown algorithm": lambda: b"-----BEGIN PUBLIC KEY-----\nMBMwCAYGKgMEBQYHAwcAAQIDBAUG\n"
        b"-----END PUBLIC KEY-----\n",
    }  # fmt: skip
    code = house.invite("a")
    asked = {
        "site": "a",
        "secret": b64encode(code.secret).decode(),
        "public_key": public[kind]().decode(),
        "signature": "AAAA",
    }
    with house.http() as client:
        answer = client.post(ENROL_PATH, json=asked)
    assert (answer.status_code, answer.json()["reason"]) == (403, "altered")


# --- TLS ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
@pytest.mark.parametrize("what", ["plain-http", "old-tls", "server-not-trusted", "no-tls"])
def test_failed_handshakes_are_logged_and_counted(house: House, what: str) -> None:
    """Plain HTTP, TLS below 1.2, a client that trusts another authority, and rubbish."""
    if what in ("plain-http", "no-tls"):
        line = b"GET / HTTP/1.1\r\n\r\n" if what == "plain-http" else bytes(50)
        with socket.create_connection(("127.0.0.1", house.link.port), timeout=20) as plain:
            plain.sendall(line)
            assert b"HTTP" not in plain.recv(1000)
    else:
        context = ssl.create_default_context()
        if what == "old-tls":
            context.load_verify_locations(house.files.ca)
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://{house.address}/health", verify=context)
    house.refused(what)


def _fake_server(answer: Callable[[socket.socket], object]) -> tuple[str, socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    answer(connection)
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}", listener


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
@pytest.mark.parametrize("what", ["plain HTTP", "TLS 1.1", "another authority"])
@pytest.mark.parametrize("how", ["connect", "enrol"])
def test_a_site_talks_to_the_studys_server_only(
    house: House, tmp_path: Path, what: str, how: str
) -> None:
    """A site ends with a clear error where something else answers, and sends it nothing."""
    other = prepare_server(tmp_path / "other", [], datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.certificate, other.key)
    if what == "TLS 1.1":
        context.load_cert_chain(house.files.certificate, house.files.key)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    heard: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        if what == "plain HTTP":
            connection.recv(2000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        with context.wrap_socket(connection, server_side=True) as shown:
            heard.append(shown.recv(2000))
            pem_text = other.ca.read_bytes()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(pem_text)}\r\n\r\n".encode()
            shown.sendall(head + pem_text)

    address, listener = _fake_server(answer)
    key = house.enrolled("a")
    code = replace(house.invite("b"), address=address)
    go = {
        "connect": lambda: Node(address, house.ca, key, give_up_after=20).__enter__(),
        "enrol": lambda: enrol(code, key, give_up_after=20),
    }[how]
    with listener, pytest.raises((SettingError, IdentityError)) as raised:
        go()
    assert raised.value.exit_code == 2
    assert raised.value.next_step
    asked = [each for each in heard if each]
    if how == "enrol" and what == "another authority":
        # it asked for the certificate, and told nothing
        assert all(each.startswith(b"GET /medhive/ca") for each in asked)
    else:
        assert asked == []


def test_a_site_without_certificate_check_would_talk_to_anybody(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the server's certificate is what keeps a site from another server."""
    other = prepare_server(tmp_path / "other", [], datetime.now(UTC))
    with Link("127.0.0.1", 0, other.certificate, other.key) as link:
        address = f"127.0.0.1:{link.port}"
        with pytest.raises(SettingError), Node(address, house.ca, new_key(), give_up_after=5):
            pass
        trusting = node_module.tls_context(None)
        monkeypatch.setattr(node_module, "tls_context", lambda _: trusting)
        with Node(address, house.ca, new_key(), give_up_after=5):
            pass


# --- a server that changes while it runs ----------------------------------------------------------


def test_a_new_certificate_is_shown_without_a_new_start(house: House) -> None:
    """A name that medhive invite adds to the certificate counts at the running server."""

    def names() -> bool:
        context = node_module.tls_context(house.ca)
        with socket.create_connection(("127.0.0.1", house.link.port)) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="study.example.org"):
                    return True
            except ssl.SSLCertVerificationError:
                return False

    with house.node(house.enrolled("a")) as node:
        assert not names()
        prepare_server(house.files.home, ["study.example.org"], datetime.now(UTC))
        until(names, "certificate with the new name", 10)
        assert node.receive() is None, "the connection that was there goes on"


def test_a_site_connects_anew_to_a_server_that_was_started_again(tmp_path: Path) -> None:
    """A client that knew the earlier server's process is online again by itself."""
    with House(tmp_path / "home") as first:
        key = first.enrolled("a")
        node = first.node(key)
        node.__enter__()
        files, port = first.files, first.link.port
    with Link("127.0.0.1", port, files.certificate, files.key, admission=first.keeper) as second:
        deadline = time.monotonic() + 25
        while second.online() != [pem(key)]:
            assert time.monotonic() < deadline
            node.receive()
        node.__exit__(None, None, None)


def test_an_unreadable_roster_does_not_stop_the_watcher(house: House) -> None:
    """A roster that is away for a moment is said to be, and revocations count again afterwards."""
    key = house.enrolled("a")
    with house.node(key):
        away = house.roster.path.rename(house.roster.path.with_suffix(".away"))
        until(lambda: any("do not count" in line for line in house.log), "line about the roster")
        away.rename(house.roster.path)
        house.roster.revoke("a", datetime.now(UTC))
        until(lambda: not house.link.online(), "end of the revoked site's connection", 5)


def test_nonces_are_kept_of_admitted_sites_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers cannot fill the memory of nonces, which would shut the sites out."""
    kept: list[str] = []
    whole = Verifier._first

    def first(self: Verifier, mark: tuple[bytes, str], at: float, now: float) -> bool:
        kept.append(mark[1])
        return whole(self, mark, at, now)

    monkeypatch.setattr(Verifier, "_first", first)
    key = house.enrolled("a")
    with house.http() as client:
        for _ in range(5):
            assert knock(client, TAKE, signed(new_key(), TAKE)) == "unknown-key"
        assert kept == []
        knock(client, TAKE, signed(key, TAKE))
        assert len(kept) == 1


def test_a_clock_that_is_wrong_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site whose clock is off is told so, by how much, and what to do."""
    key = house.enrolled("a")
    wrong = time.time() - 1000
    monkeypatch.setattr("medhive.flower.signed.time.time", lambda: wrong)
    with pytest.raises((IdentityError, FederationError)) as raised, house.node(key):
        pass
    assert "clock" in raised.value.cause
    assert "NTP" in (raised.value.next_step or "")
