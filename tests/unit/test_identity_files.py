"""The files of a server's and a site's identity: their modes, their damage, their age."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from house import together
from medhive.errors import MedHiveError, SettingError
from medhive.identity import keys
from medhive.identity.authority import prepare_server
from medhive.identity.enrolment import Enrolled
from medhive.identity.keys import key_pem, new_key, site_key, write_private
from medhive.identity.roster import Roster
from medhive.identity.serverhome import init_home, open_roster, read_address

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PUBLIC = {"ca.pem"}
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A machine where new files are everybody's."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    init_home(tmp_path / "home", [], "127.0.0.1:9092", NOW)
    return tmp_path / "home"


def _enrolled(home: Path, ca: bytes) -> Enrolled:
    enrolled = Enrolled("127.0.0.1:9092", "a", ca, "0" * 64)
    enrolled.save(home)
    return enrolled


def _modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
    }


@pytest.mark.usefixtures("open_umask")
def test_a_servers_home_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask, folders have mode 0700 and files 0600; the certificate is public."""
    init_home(tmp_path / "deep" / "er" / "home", [], "127.0.0.1:9092", NOW)
    open_roster(tmp_path / "deep/er/home").invite("a", bytes(16), NOW)
    for name, mode in _modes(tmp_path).items():
        path = tmp_path / name
        expected = 0o700 if path.is_dir() else 0o644 if path.name in PUBLIC else 0o600
        assert mode == expected, name


@pytest.mark.usefixtures("open_umask")
def test_a_sites_home_is_its_owners_alone(tmp_path: Path, home: Path) -> None:
    """Whatever the umask, folders have mode 0700, key and enrolment 0600."""
    folder = tmp_path / "medhive" / "sites" / "a"
    site_key(folder)
    _enrolled(folder, (home / "ca.pem").read_bytes())
    modes = _modes(tmp_path / "medhive")
    assert modes == {
        "sites": 0o700,
        "sites/a": 0o700,
        "sites/a/site.key": 0o600,
        "sites/a/enrolment.json": 0o600,
    }


@pytest.mark.usefixtures("open_umask")
def test_a_plain_write_would_be_everybodys(tmp_path: Path) -> None:
    """With this umask a file that is written without care can be read by all."""
    (tmp_path / "careless").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "careless").stat().st_mode) == 0o666


def test_a_second_init_changes_nothing(home: Path) -> None:
    """Keys, certificates and roster stay as they are."""
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    init_home(home, [], "127.0.0.1:9092", NOW + timedelta(days=1))
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_the_certificate_is_renewed_in_time_and_the_authority_stays(home: Path) -> None:
    """Thirty days before its end there is a new one, with the names of the old."""
    prepare_server(home, ["study.example.org"], NOW)
    ca, first = (home / "ca.pem").read_bytes(), (home / "server.pem").read_bytes()
    prepare_server(home, [], NOW + timedelta(days=360))
    assert (home / "server.pem").read_bytes() == first
    prepare_server(home, [], NOW + timedelta(days=370))
    renewed = x509.load_pem_x509_certificate((home / "server.pem").read_bytes())
    assert renewed.not_valid_after_utc > NOW + timedelta(days=700)
    names = renewed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "study.example.org" in names.get_values_for_type(x509.DNSName)
    assert (home / "ca.pem").read_bytes() == ca


@pytest.mark.parametrize("lost", ["server.key", "server.pem"])
def test_a_lost_server_key_is_made_anew(home: Path, lost: str) -> None:
    """Certificate and key are made together, and belong together afterwards."""
    (home / lost).unlink()
    files = prepare_server(home, [], NOW)
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert certificate.public_key() == keys.load_key(files.key).public_key()


def test_a_key_that_is_not_the_certificates_is_noticed(home: Path) -> None:
    """A key that was restored from another backup does not stop the server."""
    write_private(home / "server.key", key_pem(new_key()))
    files = prepare_server(home, [], NOW)
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert certificate.public_key() == keys.load_key(files.key).public_key()


def _file(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda home: (home / name).write_bytes(content)


def _newer(home: Path) -> None:
    with sqlite3.connect(home / "roster.db") as db:
        db.execute("pragma user_version = 2")


def _torn(home: Path) -> None:
    data = (home / "roster.db").read_bytes()
    (home / "roster.db").write_bytes(data[:4096] + bytes(len(data) - 4096))


def _use(home: Path) -> None:
    prepare_server(home, [], NOW)
    roster = open_roster(home)
    roster.invite("a", bytes(16), NOW)
    roster.sites(NOW)
    read_address(home)


SERVER_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "ca.pem is not a certificate": (_file("ca.pem", b"x"), "ca.pem"),
    "ca.key is not a key": (_file("ca.key", b"x"), "ca.key"),
    "server.pem is not a certificate": (_file("server.pem", b"\xff"), "server.pem"),
    "server.key is not a key": (_file("server.key", b"x"), "server.key"),
    "the authority's key is gone": (lambda home: (home / "ca.key").unlink(), "home"),
    "roster is text": (_file("roster.db", b"not a database at all, but text" * 99), "roster.db"),
    "roster is torn": (_torn, "roster.db"),
    "roster of a newer version": (_newer, "roster.db"),
    "roster is a folder": (
        lambda home: ((home / "roster.db").unlink(), (home / "roster.db").mkdir()),
        "roster.db",
    ),
    "address is not JSON": (_file("address.json", b"{"), "address.json"),
    "address is a list": (_file("address.json", b"[1]"), "address.json"),
}


@pytest.mark.parametrize("name", SERVER_DAMAGE)
def test_a_damaged_home_is_named(home: Path, name: str) -> None:
    """Damage ends with the file's name, a next step and exit code 2."""
    damage, where = SERVER_DAMAGE[name]
    damage(home)
    (home / "server.pem").unlink() if name.startswith(("ca.", "the auth")) else None
    with pytest.raises(SettingError) as raised:
        _use(home)
    assert where in str(raised.value)
    assert raised.value.next_step
    assert raised.value.exit_code == 2


def test_another_certificate_in_its_place_is_replaced(home: Path) -> None:
    """A certificate without names, such as the authority's, is not taken for the server's."""
    (home / "server.pem").write_bytes((home / "ca.pem").read_bytes())
    prepare_server(home, [], NOW)
    assert (home / "server.pem").read_bytes() != (home / "ca.pem").read_bytes()


def _as(value: object) -> bytes:
    return json.dumps(value).encode()


GOOD = {"version": 1, "address": "127.0.0.1:9092", "site": "a", "ca": ""}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        _as(GOOD),
        _as(GOOD | {"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}),
        _as(GOOD | {"ca": "é"}),
        _as(GOOD | {"site": 3}),
        _as(GOOD | {"version": 2}),
        _as({"version": 1}),
        b"[" * 100_000,
    ],
    ids=range(12),
)
def test_a_damaged_enrolment_is_named(tmp_path: Path, content: bytes) -> None:
    """Whatever is in enrolment.json, the site is told that it is damaged."""
    (tmp_path / "enrolment.json").write_bytes(content)
    with pytest.raises(SettingError, match="damaged") as raised:
        Enrolled.load(tmp_path)
    assert "enrolment.json" in str(raised.value)
    assert raised.value.next_step


def test_an_enrolment_is_read_as_it_was_written(tmp_path: Path, home: Path) -> None:
    """Also one without the code's digest, which earlier versions did not keep."""
    enrolled = _enrolled(tmp_path, (home / "ca.pem").read_bytes())
    assert Enrolled.load(tmp_path) == enrolled
    data = json.loads((tmp_path / "enrolment.json").read_bytes())
    del data["code"]
    (tmp_path / "enrolment.json").write_bytes(_as(data))
    kept = Enrolled.load(tmp_path)
    assert kept is not None
    assert kept.code == ""


@pytest.mark.parametrize("content", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\n", b"\xff"])
def test_a_damaged_site_key_is_named(tmp_path: Path, content: bytes) -> None:
    """A damaged key is not replaced by a new one in silence."""
    (tmp_path / "site.key").write_bytes(content)
    with pytest.raises(SettingError, match=r"site\.key"):
        site_key(tmp_path)
    assert (tmp_path / "site.key").read_bytes() == content


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be ends with an error of MedHive's own."""
    (tmp_path / "home").write_bytes(b"")
    for make in (site_key, lambda path: init_home(path, [], None, NOW)):
        with pytest.raises(MedHiveError) as raised:
            make(tmp_path / "home" / "below")
        assert raised.value.exit_code == 2


def test_clients_of_one_site_that_start_together_have_one_key(tmp_path: Path) -> None:
    """Of many that make the key at the same moment all use the one that is kept."""
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        made = together(*[lambda folder=folder: key_pem(site_key(folder))] * 6)
        assert set(made) == {(folder / "site.key").read_bytes()}
        assert [path.name for path in folder.iterdir()] == ["site.key"]


def test_a_roster_that_was_deleted_is_not_replaced_by_an_empty_one(home: Path) -> None:
    """A running server says that its roster is gone, and does not start a new one."""
    roster = Roster(home / "roster.db")
    (home / "roster.db").unlink()
    with pytest.raises(SettingError, match=r"roster\.db"):
        roster.keys()
    assert not (home / "roster.db").exists()
