"""Hospitals that bring a site file, as real processes."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest

from support import Program, Programs, Served

EXAMPLE = Path(__file__).parents[2] / "examples" / "omop"
PASSWORD = "hunter2-of-the-client"  # noqa: S105


@pytest.fixture
def omop(tmp_path: Path) -> Path:
    """The OMOP example with both of its databases, in a folder of its own."""
    folder = tmp_path / "omop"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.db", "__pycache__"))
    make = runpy.run_path(str(EXAMPLE / "make_omop.py"))["make_omop"]
    make(folder / "omop.db")
    make(folder / "omop-si.db", 400, 2, True)
    return folder


def client(server: Served, name: str, *options: object, **environment: str) -> Program:
    where = ["--server", server.address, "--ca", server.ca]
    return server.programs.medhive(
        "client", "--id", name, *where, *options, name=name, environment=environment
    )


def test_hospitals_with_site_files_fit_one_model(programs: Programs, omop: Path) -> None:
    """Two databases become one result; a hospital whose limits forbid the study stays out."""
    server = programs.server(omop / "study.toml", "-c", "num-server-rounds=2")
    strict = omop / "strict.toml"
    text = (omop / "site.toml").read_text()
    strict.write_text(text.replace("min-rows = 50", 'strategies = ["fedprox"]'))
    refusing = client(server, "strict", "--site", strict)
    said = refusing.ends(4)
    assert "limits do not allow the study's strategy" in said
    server.program.line("this site's own limits do not allow the study's strategy")
    south = client(server, "south", "--site", omop / "site.toml")
    north = client(server, "north", MEDHIVE_SITE_FILE=str(omop / "site-si.toml"))
    result = json.loads(server.result().read_text())
    assert {site["name"] for site in result["sites"]} == {"south", "north"}
    assert "converted" not in south.ends(0)
    assert "glucose converted from mmol/l to mg/dl (glucose, 180.156 g/mol)" in north.ends(0)
    server.program.ends(0)


def test_a_client_never_prints_the_password(programs: Programs, omop: Path) -> None:
    """A database that is not there ends the client with the reason, and without the password."""
    (omop / "site.toml").write_text(
        '[data]\nurl = "postgresql+psycopg://reader@127.0.0.1:1/clinic"\n'
        'query = "select 1"\npassword-env = "CLINIC_PASSWORD"\n'
    )
    server = programs.server(omop / "study.toml")
    where = ["--site", omop / "site.toml"]
    said = client(server, "south", *where, CLINIC_PASSWORD=PASSWORD).ends(2)
    assert "line 2, data.url: the database does not answer" in said
    assert PASSWORD not in said
    assert "Traceback" not in said


def test_rows_are_named_once(programs: Programs, omop: Path) -> None:
    """--data and --site contradict each other, wherever they come from."""
    program = programs.medhive(
        "client", "--id", "a", "--server", "127.0.0.1:1", "--site", omop / "site.toml",
        environment={"MEDHIVE_DATA": "a.csv"},
    )  # fmt: skip
    assert "both --data and --site say where the rows are" in program.ends(2)
