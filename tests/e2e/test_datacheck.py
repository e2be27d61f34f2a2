"""``medhive data check`` and ``--allow-drop`` as a data manager uses them, in real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import HEART_SITES, HEART_STUDY, Programs

BAD_LINE = 42


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with Programs(tmp_path) as programs:
        yield programs


def broken(folder: Path) -> Path:
    """Write VA's rows with one blood pressure that is out of range."""
    lines = HEART_SITES["va"].read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("trestbps")
    cells = lines[BAD_LINE - 1].split(",")
    cells[column] = "9417"
    lines[BAD_LINE - 1] = ",".join(cells)
    path = folder / "va.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_good_file_ends_with_0_and_a_page(programs: Programs, tmp_path: Path) -> None:
    """The report ends with the verdict, the page is written, and the exit code is 0."""
    text = programs.medhive(
        "data", "check", "--study", HEART_STUDY, "--data", HEART_SITES["switzerland"],
        "--html", "report.html",
    ).ends(0)  # fmt: skip
    assert "WARNING chol: every row has the same value, 0" in text
    assert "READY, with 4 warnings: the rows fit the contract." in text
    assert "\x1b" not in text
    assert "not meant to leave the hospital" in (tmp_path / "report.html").read_text("utf-8")


def test_a_broken_file_ends_with_2_and_its_line(programs: Programs, tmp_path: Path) -> None:
    """A value out of range is named with its line and column; --allow-drop is explicit."""
    check = ("data", "check", "--study", HEART_STUDY, "--data", broken(tmp_path))
    text = programs.medhive(*check).ends(2)
    assert f'BREAK   trestbps, line {BAD_LINE}: "9417" is outside' in text
    assert "NOT READY: 1 break of the contract" in text
    assert "Traceback" not in text
    text = programs.medhive(*check, "--allow-drop").ends(0)
    assert "the rows fit the contract once 1 row that breaks it is dropped." in text
    assert f"WARNING trestbps, line {BAD_LINE}: dropped: " in text


def test_the_report_as_json(programs: Programs, tmp_path: Path) -> None:
    """With --json nothing but JSON is printed, and the exit code is the same."""
    text = programs.medhive(
        "data", "check", "--study", HEART_STUDY, "--data", broken(tmp_path), "--json"
    ).ends(2)
    content = json.loads(text)
    assert [f["where"] for f in content["findings"] if f["level"] == "break"] == [
        f"line {BAD_LINE}"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "no rows are named"),
        (("--data", "a.csv", "--site", "b.toml"), "both --data and --site"),
        (("--data", "a.csv"), "there is no such file"),
        (("--site", "b.toml"), "b.toml"),
        (("--data", HEART_SITES["va"], "--html", "no/where.html"), "there is no folder"),
        (("--data", HEART_SITES["va"], "--not-an-identifier", "x"), "not a feature"),
    ],
)
def test_wrong_options_name_the_next_step(
    programs: Programs, options: tuple[object, ...], words: str
) -> None:
    """An option that cannot be used ends with exit code 2, the cause and a next step."""
    text = programs.medhive("data", "check", "--study", HEART_STUDY, *options).ends(2)
    assert words in text
    assert " next: " in text
    assert "Traceback" not in text


def test_a_client_drops_broken_rows_only_with_the_option(
    programs: Programs, tmp_path: Path
) -> None:
    """A client refuses a broken file; with --allow-drop it takes part and says what it left out."""
    path = broken(tmp_path)
    server = programs.server(
        HEART_STUDY, "--mlflow", f"sqlite:///{tmp_path / 'mlflow.db'}", "-c", "num-server-rounds=2"
    )
    text = server.client("va", path, name="strict").ends(2)
    assert f"line {BAD_LINE}" in text
    loose = server.client("va", path, "--allow-drop", "--home", tmp_path / "key", name="loose")
    other = server.client("cleveland", HEART_SITES["cleveland"])
    text = loose.ends(0)
    assert "va: DROPPED 1 row that breaks the contract (--allow-drop): trestbps (1)" in text
    other.ends(0)
    assert "9417" not in server.program.ends(0)


def test_allow_drop_needs_rows_of_ones_own(programs: Programs) -> None:
    """Without rows there is nothing to drop: the option is refused, not ignored."""
    text = programs.medhive("client", "--id", "a", "--allow-drop").ends(2)
    assert "--allow-drop" in text
