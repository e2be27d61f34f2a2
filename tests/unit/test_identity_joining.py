"""What a data manager types, and which site and server it means."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer.main
from click import Command, Group, Option

from house import House
from medhive.cli.main import app
from medhive.client.joining import Asked, StudyPlace, find_place, resolve_site
from medhive.errors import IdentityError, SettingError
from medhive.identity.enrolment import Enrolled
from medhive.identity.joincode import JoinCode
from medhive.identity.serverhome import init_home

CODE = JoinCode("127.0.0.1:9092", "cleveland", bytes(32), bytes(16))


def _asked(
    home: Path,
    join: JoinCode | None = None,
    server: str | None = None,
    site: str | None = None,
    site_home: Path | None = None,
) -> Asked:
    return resolve_site(
        home,
        join=None if join is None else str(join),
        server=server,
        site=site,
        data=Path("rows.csv"),
        ca=None,
        site_home=site_home,
    )


def _enrol_on_disk(home: Path, tmp_path: Path, *sites: str) -> None:
    files = init_home(tmp_path / "server", [], None, datetime.now(UTC))
    for site in sites:
        enrolled = Enrolled("127.0.0.1:9092", site, files.ca.read_bytes(), "")
        enrolled.save(home / "sites" / site)


def test_a_name_that_contradicts_the_code_is_refused(tmp_path: Path) -> None:
    """--id beside a code of another site is an error, not a choice."""
    with pytest.raises(IdentityError, match='"cleveland", not for "va"') as raised:
        _asked(tmp_path, CODE, site="va")
    assert raised.value.reason == "another-site"
    assert "--id" in str(raised.value)
    assert _asked(tmp_path, CODE, site="cleveland").site == "cleveland"


def test_a_code_with_a_dangerous_name_is_refused(tmp_path: Path) -> None:
    """A code cannot name a folder outside MedHive's own."""
    with pytest.raises(SettingError, match="not a name"):
        _asked(tmp_path, replace(CODE, site="../../etc"))


def test_a_code_needs_rows(tmp_path: Path) -> None:
    """A site that enrols brings data."""
    with pytest.raises(SettingError, match="brings its own rows"):
        resolve_site(
            tmp_path, join=str(CODE), server=None, site=None, data=None, ca=None, site_home=None
        )


def test_the_one_enrolled_site_needs_no_name(tmp_path: Path) -> None:
    """Without --id it is the site that is enrolled here."""
    _enrol_on_disk(tmp_path, tmp_path, "cleveland")
    assert _asked(tmp_path).site == "cleveland"


def test_several_enrolled_sites_need_a_name(tmp_path: Path) -> None:
    """With several, the error lists them."""
    _enrol_on_disk(tmp_path, tmp_path, "cleveland", "va")
    with pytest.raises(SettingError, match="cleveland, va") as raised:
        _asked(tmp_path)
    assert "--id SITE" in (raised.value.next_step or "")
    assert _asked(tmp_path, site="va").site == "va"


def test_a_folder_of_another_site_is_not_used(tmp_path: Path) -> None:
    """--home of one site with --id of another is refused before anything connects."""
    _enrol_on_disk(tmp_path, tmp_path, "cleveland")
    asked = _asked(tmp_path, site="va", site_home=tmp_path / "sites" / "cleveland")
    with pytest.raises(IdentityError, match='belongs to site "cleveland"'):
        find_place(asked, print)


def test_a_site_without_enrolment_is_told_to_enrol(tmp_path: Path) -> None:
    """Without code, enrolment and address the next step is a join code."""
    with pytest.raises(SettingError, match="not enrolled") as raised:
        find_place(_asked(tmp_path, site="va"), print)
    assert "medhive invite" in (raised.value.next_step or "")


def test_the_same_code_again_connects_and_a_new_one_enrols(tmp_path: Path) -> None:
    """A container that starts again keeps its place; a site that was revoked enrols anew."""
    said: list[str] = []

    def place(code: JoinCode) -> StudyPlace:
        return find_place(_asked(tmp_path / "site", code), said.append)

    with House(tmp_path / "server") as house:
        code = house.invite("a")
        first = place(code)
        assert len(said) == 1
        assert "enrolled" in said[0]
        house.roster.revoke("a", datetime.now(UTC))
        again = place(code)
        assert len(said) == 1, "the server is not asked"
        house.keeper.refresh()
        with pytest.raises(IdentityError, match="revoked"), house.node(again.key):
            pass
        second = place(house.invite("a"))
        assert len(said) == 2
        assert second.key.private_numbers() == first.key.private_numbers()
        with house.node(second.key):
            assert len(house.link.online()) == 1


def _options(command: Command, path: str = "medhive") -> list[tuple[str, Option]]:
    if isinstance(command, Group):
        return [
            found
            for name, each in command.commands.items()
            for found in _options(each, f"{path} {name}")
        ]
    return [(path, each) for each in command.params if isinstance(each, Option)]


@pytest.mark.parametrize("command", ["server", "client", "init", "invite", "sites", "revoke"])
def test_every_option_is_an_environment_variable_too(command: str) -> None:
    """Containers are configured without a command line."""
    options = [
        option
        for path, option in _options(typer.main.get_command(app))
        if path.split()[:2] == ["medhive", command] and option.name != "help"
    ]
    assert options
    assert [option.name for option in options if not option.envvar] == []
