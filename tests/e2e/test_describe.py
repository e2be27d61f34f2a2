"""``medhive describe`` as real processes over real TLS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import HEART_SITES, HEART_STUDY, Programs, Served

FILES = {"contract.json", "study.toml", "table1.csv", "table1.html", "table1.json"}


def _listening(programs: Programs, *options: object) -> Served:
    program = programs.medhive("describe", HEART_STUDY, "--port", 0, *options, name="server")
    address = program.line(r"^listening on (\S+)$")[1]
    ca = program.line(r"--ca (\S+)$")[1]
    return Served(program, address, Path(ca), programs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three centres show a table of their own; switzerland does not."""
    with Programs(tmp_path_factory.mktemp("describe")) as programs:
        server = _listening(programs, "--run-config", "min-available-clients=4")
        clients = [
            server.client(name, HEART_SITES[name], *options)
            for name, options in {
                "cleveland": ["--allow-site-tables"],
                "hungarian": ["--allow-site-tables"],
                "va": ["--allow-site-tables"],
                "switzerland": [],
            }.items()
        ]
        for client in clients:
            assert "to describe the study; no model is fitted" in client.ends(0)
        output = server.program.ends(0)
        assert "Coronary disease in four centres" in output
        assert "+ switzerland joined\n" in output
        name = server.program.line(r"^report folder: (.+)$")[1]
        folder = programs.folder / name
        (folder / "output.txt").write_text(output, encoding="utf-8")
        return folder


def test_the_files_are_left(folder: Path) -> None:
    """Server and clients end with exit code 0, and the table is there in three forms."""
    assert {path.name for path in folder.iterdir()} >= FILES
    table = json.loads((folder / "table1.json").read_text())
    assert table["rows"]["all"]["n"] == 920
    assert table["sites"] == ["cleveland", "hungarian", "switzerland", "va"]


def test_the_site_that_allows_no_table_and_its_company_have_none(folder: Path) -> None:
    """Nor is its number of patients said; the smallest other site shows no table either."""
    table = json.loads((folder / "table1.json").read_text())
    assert set(table["without_table"]) == {"switzerland", "va"}
    columns = [column["id"] for column in table["columns"] if column["site"]]
    assert columns == ["site:cleveland", "site:hungarian"]
    head = (folder / "table1.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head.endswith("all,no event,event,site:cleveland,site:hungarian")
    assert "joined with" not in (folder / "output.txt").read_text(encoding="utf-8")


def test_files_on_this_machine_are_described_without_waiting(tmp_path: Path) -> None:
    """With --site nobody is awaited, and an option that would be ignored is refused."""
    sites = [
        option for site in HEART_SITES.items() for option in ("--site", "=".join(map(str, site)))
    ]
    with Programs(tmp_path) as programs:
        program = programs.medhive("describe", HEART_STUDY, *sites)
        output = program.ends(0)
        assert max(len(line) for line in output.splitlines() if "report folder" not in line) <= 100
        refused = programs.medhive("describe", HEART_STUDY, *sites, "--port", 1).ends(2)
        assert "--port: this option has no effect with --site" in refused
