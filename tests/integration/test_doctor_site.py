"""The doctor at a site whose server is real: enrolment, files, what is shown and what is not."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from house import House
from medhive.cli.main import app
from medhive.doctor.files import SITE_FREE, check_disk
from medhive.doctor.finding import Finding
from medhive.doctor.site import REMOTE, SiteOptions, check_site
from medhive.flower.node import Node
from medhive.identity.enrolment import enrol
from medhive.identity.keys import site_key
from support import BUNDLED, HEART_STUDY

CLEVELAND = BUNDLED / "cleveland.csv"
posix = pytest.mark.skipif(os.name != "posix", reason="rights of files as POSIX has them")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("MEDHIVE_", "SERVER_ADDRESS")):
            monkeypatch.delenv(name)
    with House(tmp_path / "server") as house:
        yield house


def join(server: House, folder: Path, site: str = "ward") -> Path:
    """Enrol a site as medhive client does; return the site's home."""
    home = folder / "sites" / site
    enrol(server.invite(site), site_key(home)).save(home)
    return home


def findings_of(folder: Path, **options: object) -> dict[str, Finding]:
    return {
        finding.name: finding
        for finding in check_site(SiteOptions(home=folder, timeout=5.0, **options))  # type: ignore[arg-type]
    }


def run(folder: Path, *arguments: object, code: int) -> str:
    """Run ``medhive doctor`` and return what it prints."""
    done = CliRunner().invoke(
        app, ["doctor", *map(str, arguments)], env={"MEDHIVE_HOME": str(folder)}
    )
    assert done.exit_code == code, done.output
    return done.output


def everything_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_enrolled_site_is_all_green(server: House, tmp_path: Path) -> None:
    """Against a real server, with its data file and its study, every check is green."""
    join(server, tmp_path)
    output = run(tmp_path, "--data", CLEVELAND, "--study", HEART_STUDY, code=0)
    lines = output.splitlines()
    assert [line.split()[0] for line in lines[:10]] == ["✓"] * 10
    assert f'site "ward", server {server.address}, by its enrolment' in output
    assert "fits the study heart-disease: 303 rows, 303 used" in output
    assert "admits this site's key" in output
    assert lines[-1] == "all in order"


def test_a_join_code_is_looked_at_and_not_used_up(server: House, tmp_path: Path) -> None:
    """Before joining all is green, nothing is written at the site, and the code works after."""
    code, folder = server.invite("ward"), tmp_path / "site"
    folder.mkdir()
    found = findings_of(folder, join=str(code), data=CLEVELAND, study=HEART_STUDY)
    assert all(finding.ok for finding in found.values())
    assert "this server made the join code" in found["enrolment"].detail
    assert everything_below(folder) == {}
    assert enrol(code, site_key(folder)).site == "ward"


def test_the_doctor_does_not_disturb_a_client(server: House, tmp_path: Path) -> None:
    """While the site's client is connected, the doctor is green and the client stays connected."""
    home = join(server, tmp_path)
    with Node(server.address, server.ca, site_key(home)) as node:
        online = server.link.online()
        before = everything_below(home)
        assert findings_of(tmp_path)["enrolment"].ok
        assert server.link.online() == online
        assert len(online) == 1
        assert everything_below(home) == before
        assert node.receive() is None


def test_a_code_that_was_used_is_the_enrolment(server: House, tmp_path: Path) -> None:
    """A container that starts again brings its old code; its enrolment is what is checked."""
    code, home = server.invite("ward"), tmp_path / "sites" / "ward"
    enrol(code, site_key(home)).save(home)
    found = findings_of(tmp_path, join=str(code))
    assert "by its enrolment" in found["settings"].detail
    assert "admits this site's key" in found["enrolment"].detail
    found = findings_of(tmp_path, join=str(server.invite("ward")))
    assert "by its join code" in found["settings"].detail


def test_a_revoked_site_is_named(server: House, tmp_path: Path) -> None:
    """The server's reason is shown, and whom to ask."""
    join(server, tmp_path)
    server.roster.revoke("ward", datetime.now(UTC))
    server.keeper.refresh()
    fault = findings_of(tmp_path)["enrolment"]
    assert fault.ok is False
    assert "revoked" in fault.detail
    assert "who revoked this site" in str(fault.next_step)


def test_an_unknown_key_is_named(server: House, tmp_path: Path) -> None:
    """A key that is not in the roster needs a new join code."""
    home = join(server, tmp_path)
    (home / "site.key").unlink()
    site_key(home)
    fault = findings_of(tmp_path)["enrolment"]
    assert fault.ok is False
    assert "not enrolled" in fault.detail
    assert "new join code" in str(fault.next_step)


def test_a_lost_key_is_named(server: House, tmp_path: Path) -> None:
    """An enrolment without its key is a fault, and the doctor makes no key in its place."""
    key = join(server, tmp_path) / "site.key"
    key.unlink()
    fault = findings_of(tmp_path)["enrolment"]
    assert fault.ok is False
    assert f"its key {key} is gone" in fault.detail
    assert "backup" in str(fault.next_step)
    assert not key.exists()


def test_a_damaged_key_is_named(server: House, tmp_path: Path) -> None:
    """A file that is no key is named with its path."""
    key = join(server, tmp_path) / "site.key"
    key.write_text("not a key")
    fault = findings_of(tmp_path)["enrolment"]
    assert fault.ok is False
    assert str(key) in fault.detail
    assert "not a private key" in fault.detail


@posix
@pytest.mark.parametrize("name", ["site.key", "enrolment.json"])
def test_a_key_that_others_can_read_is_named(server: House, tmp_path: Path, name: str) -> None:
    """Rights that let others use the key are a fault, with the command that mends it."""
    path = join(server, tmp_path) / name
    path.chmod(0o640)
    fault = findings_of(tmp_path)["enrolment"]
    assert fault.ok is False
    assert f"{path} (mode 0640)" in fault.detail
    assert fault.next_step == f"chmod 600 {path}"


@posix
def test_a_folder_that_others_can_write_is_named(server: House, tmp_path: Path) -> None:
    """Whoever can write the folder can put another key in it; who can list it cannot."""
    home = join(server, tmp_path)
    home.chmod(0o755)
    assert findings_of(tmp_path)["enrolment"].ok
    home.chmod(0o770)
    fault = findings_of(tmp_path)["enrolment"]
    assert fault.ok is False
    assert fault.next_step == f"chmod 700 {home}"


def test_a_site_without_a_key_yet_is_left_unchecked(server: House, tmp_path: Path) -> None:
    """A client that was never started has no key to ask about, and gets none by the doctor."""
    found = findings_of(tmp_path, server=server.address, site="ward", ca=server.files.ca)
    assert found["enrolment"].ok is None
    assert "no key yet" in found["enrolment"].detail
    assert not (tmp_path / "sites").exists()


def test_an_open_demo_says_that_nobody_is_checked(server: House, tmp_path: Path) -> None:
    """Without rows and authority TLS is green, and it is said what is not checked."""
    found = findings_of(tmp_path, server=server.address, site="1")
    assert found["TLS"].ok
    assert "is not checked (open demo)" in found["TLS"].detail


# settings


def test_nobody_enrolled_is_named(tmp_path: Path) -> None:
    """Without any setting the first line says what to give, and the local checks still run."""
    found = findings_of(tmp_path)
    assert found["settings"].ok is False
    assert "--join CODE" in str(found["settings"].next_step)
    assert [found[name].ok for name in REMOTE] == [None] * len(REMOTE)
    assert found["disk"].ok


@pytest.mark.parametrize(
    ("options", "detail", "step"),
    [
        ({"join": "medhive1.abc"}, "not a whole join code", "copy all of it"),
        ({"server": "nowhere", "site": "ward"}, "is not HOST:PORT", "address that the server"),
        ({"site": "ward"}, "not enrolled in a study", "--join CODE"),
        ({"server": "a:1", "site": "../x"}, "not a name for a site", ""),
        ({"server": "a:1", "site": "ward", "ca": Path("no.pem")}, "cannot be read", "--join CODE"),
    ],
)
def test_wrong_settings_are_named(
    tmp_path: Path, options: dict[str, object], detail: str, step: str
) -> None:
    """What medhive client would refuse is a red line with its next step."""
    fault = findings_of(tmp_path, **options)["settings"]
    assert fault.ok is False
    assert detail in fault.detail
    assert step in str(fault.next_step)


def test_a_damaged_enrolment_is_named(server: House, tmp_path: Path) -> None:
    """An enrolment that cannot be read is named with its file."""
    path = join(server, tmp_path) / "enrolment.json"
    path.write_text("{")
    fault = findings_of(tmp_path, site="ward")["settings"]
    assert fault.ok is False
    assert str(path) in fault.detail
    assert "join code" in str(fault.next_step)


@posix
def test_another_users_files_are_named(server: House, tmp_path: Path) -> None:
    """Whoever may not look at the site's files, or the server's, is told who may."""
    home = join(server, tmp_path)
    for folder, command, whose in (
        (home, ["--id", "ward"], "medhive client"),
        (server.files.home, ["server"], "medhive server"),
    ):
        mode = folder.stat().st_mode
        folder.chmod(0)
        # in a namespace without users nobody, not even root, may look at every file
        without = ["unshare", "--user"] if os.geteuid() == 0 else []
        try:
            done = subprocess.run(
                [*without, sys.executable, "-m", "medhive", "doctor", *command],
                env={**os.environ, "MEDHIVE_HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            folder.chmod(mode)
        if done.returncode == 1 and "unshare" in done.stderr:
            pytest.skip("this machine makes no namespaces for users")
        assert done.returncode == 2, done.stderr
        assert f"this user may not look at {folder}" in done.stdout
        assert f"run this as the user that runs {whose}" in done.stdout


# disk


def _on_small_disk(tmp_path: Path, options: str, prepare: str) -> Finding:
    """Check a disk of one megabyte, mounted in a namespace of its own."""
    prefix = ["unshare", "--user", "--map-root-user", "--mount"]
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=1m{options} none "$1" && {prepare} exec "$2" -c "$3" "$1"'
    code = (
        "import sys, json, dataclasses, pathlib\n"
        "from medhive.doctor.files import SITE_FREE, check_disk\n"
        "found = check_disk(pathlib.Path(sys.argv[1]) / 'home', SITE_FREE)\n"
        "print(json.dumps(dataclasses.asdict(found)))"
    )
    if (
        sys.platform != "linux"
        or subprocess.run(
            [*prefix, "mount", "-t", "tmpfs", "none", str(disk)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this machine lets users mount nothing")
    done = subprocess.run(
        [*prefix, "sh", "-c", script, "sh", str(disk), sys.executable, code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return Finding(**json.loads(done.stdout))


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """A disk without room is named by what the system says."""
    fill = 'dd if=/dev/zero of="$1/fill" bs=64k 2>/dev/null;'
    fault = _on_small_disk(tmp_path, "", fill)
    assert fault.ok is False
    assert f"cannot be written: {os.strerror(errno.ENOSPC)}" in fault.detail
    assert "free space" in str(fault.next_step)


def test_a_disk_with_little_room_is_named(tmp_path: Path) -> None:
    """A disk that can be written, and is too small, is named with what is left."""
    fault = _on_small_disk(tmp_path, "", "")
    assert fault.ok is False
    assert "has 1.0 MB left, less than 50.0 MB" in fault.detail
    assert "free space" in str(fault.next_step)


def test_a_read_only_disk_is_named(tmp_path: Path) -> None:
    """A disk that takes nothing is named, and rights are the next step."""
    fault = _on_small_disk(tmp_path, ",ro", "")
    assert fault.ok is False
    assert f"cannot be written: {os.strerror(errno.EROFS)}" in fault.detail
    assert "let this user write it" in str(fault.next_step)


def test_too_little_room_is_named_on_any_machine(tmp_path: Path) -> None:
    """More is asked for than any disk has."""
    fault = check_disk(tmp_path, 10**24)
    assert fault.ok is False
    assert "less than" in fault.detail


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    """A file where the home should be is no disk fault of another kind."""
    (tmp_path / "home").write_text("")
    fault = check_disk(tmp_path / "home" / "sites", SITE_FREE)
    assert fault.ok is False
    assert "is a file, not a folder" in fault.detail


# data file


def test_without_a_data_file_nothing_is_called_right(tmp_path: Path) -> None:
    """A check that was not made is grey and says how to make it."""
    found = findings_of(tmp_path)["data file"]
    assert found.ok is None
    assert "--data FILE" in found.detail


def test_a_data_file_can_be_read_without_a_study(tmp_path: Path) -> None:
    """Rows and columns are counted; values are checked against a study alone."""
    found = findings_of(tmp_path, data=CLEVELAND)["data file"]
    assert found.ok
    assert "303 rows, 14 columns" in found.detail
    assert "--study" in found.detail


SECRET = "77777"  # noqa: S105 - a value of a patient


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (None, "there is no such file"),
        ("", "the file is empty"),
        ("age,sex\n", "no row of data"),
        (f"age,sex\n1,2\n3,4,{SECRET}\n", "3 fields, more than the header's 2"),
    ],
)
def test_a_data_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: str | None, detail: str
) -> None:
    """The fault, the file and the line are named."""
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_text(content)
    found = findings_of(tmp_path, data=path)["data file"]
    assert found.ok is False
    assert str(path) in found.detail
    assert detail in found.detail
    assert found.next_step


@pytest.mark.parametrize("what", ["value", "header"])
def test_a_ticket_holds_no_value_of_a_patient(tmp_path: Path, what: str) -> None:
    """A bad value, or a first patient in the header's place, is shown here and not in a ticket."""
    lines = CLEVELAND.read_text().splitlines()
    if what == "value":
        lines[5] = ",".join([SECRET, *lines[5].split(",")[1:]])
    else:
        lines[0] = ",".join([SECRET, *(str(1000 + n) for n in range(13))])
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    arguments = ("--data", path, "--study", HEART_STUDY)
    on_screen = run(tmp_path, *arguments, code=2)
    assert SECRET in on_screen
    ticket = run(tmp_path, *arguments, "--json", code=2)
    assert SECRET not in ticket
    assert "303" not in ticket
    (check,) = [c for c in json.loads(ticket)["checks"] if c["check"] == "data file"]
    assert check["status"] == "failed"
    assert "does not fit, at line" in check["detail"]


def test_too_few_rows_are_named(tmp_path: Path) -> None:
    """Rows below the study's min-rows are a fault before the server asks for them."""
    path = tmp_path / "few.csv"
    path.write_text("\n".join(CLEVELAND.read_text().splitlines()[:6]) + "\n")
    found = findings_of(tmp_path, data=path, study=HEART_STUDY)["data file"]
    assert found.ok is False
    assert "min-rows" in found.detail


def test_a_study_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    """A fault of the study file is not taken for one of the data."""
    study = tmp_path / "study.toml"
    study.write_text("[study]\nname = 1\n")
    found = findings_of(tmp_path, data=CLEVELAND, study=study)["data file"]
    assert found.ok is False
    assert str(study) in found.detail


# tickets and commands


def test_a_ticket_holds_no_secret(
    server: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the join code nor its secret, nor a proxy's password, is in a ticket."""
    code = server.invite("ward")
    monkeypatch.setenv("HTTPS_PROXY", "http://it:hidden-word@127.0.0.1:1")
    for arguments, end in (((), 2), (("--json",), 2)):
        output = run(tmp_path, "--join", code, *arguments, code=end)
        assert str(code) not in output
        assert str(code).removeprefix("medhive1.")[-30:] not in output
        assert code.secret.hex() not in output
        assert "hidden-word" not in output
    ticket = json.loads(output)
    assert ticket["role"] == "site"
    assert ticket["ok"] is False
    assert [c["check"] for c in ticket["checks"] if c["status"] == "failed"] == ["TCP"]


def test_a_sites_option_before_server_is_refused(tmp_path: Path) -> None:
    """An option that would be ignored is an error that says where it belongs."""
    done = CliRunner().invoke(app, ["doctor", "--id", "x", "server"])
    assert done.exception is not None
    assert "stands before server" in str(done.exception)


def test_a_terminal_without_the_signs_gets_words(tmp_path: Path) -> None:
    """Where ✓ and ✗ cannot be printed, words stand in their place, on one line a check."""
    done = subprocess.run(
        [sys.executable, "-m", "medhive", "doctor"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "MEDHIVE_HOME": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    lines = done.stdout.decode("ascii").splitlines()
    assert lines[0].startswith("FAIL settings    ")
    assert lines[1].lstrip().startswith("next: ")
    assert any(line.startswith("ok   disk        ") for line in lines)
    assert any(line.startswith("--   TCP         ") for line in lines)
