"""Encodings, Parquet, typed columns, and the progress bar."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from medhive.data.csvfile import read_csv
from medhive.data.progress import Reading
from medhive.data.site import load_site
from medhive.errors import DataError
from medhive.study import Study

GERMAN = (
    "Müller;Herzinsuffizienz mit erhöhtem Blutdruck;männlich\n"
    "Jäger;Vorhofflimmern, regelmäßig kontrolliert;weiblich\n"
    "Groß;Schwäche und Übelkeit nach Belastung;männlich\n"
)


def study(**outcome: object) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"column": "y", "event": 1, **outcome}},
            "privacy": {"min-rows": 1},
            "features": [
                {"name": "größe", "kind": "continuous", "range": [0, 300]},
                {"name": "flag", "kind": "binary"},
                {"name": "level", "kind": "categorical", "levels": ["1", "2", "b"]},
            ],
        }
    )


ROWS = "größe,flag,level,y\n180,1,1,1\n170,0,2,0\n165,1,b,0\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_marked_encoding_is_read(tmp_path: Path, encoding: str, end: str) -> None:
    """A file with a byte order mark needs no declaration, and what it is read as is said."""
    (tmp_path / "a.csv").write_bytes(ROWS.replace("\n", end).encode(encoding))
    data = load_site(tmp_path / "a.csv", study(), "a")
    assert data.train.X[:, 0].tolist() == [180, 170, 165]
    said = {"utf-16": ("read as UTF-16",), "utf-32": ("read as UTF-32",), "utf-8-sig": ()}
    assert data.notes == said[encoding]


@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1", "cp850", "utf-16-le", "utf-8"])
def test_a_declared_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    """What the site file declares is not guessed."""
    (tmp_path / "a.csv").write_bytes(ROWS.encode(encoding))
    site = tmp_path / "site.toml"
    site.write_text(f'[data]\nfile = "a.csv"\nencoding = "{encoding}"\n')
    assert load_site(site, study(), "a").train.X[:, 0].tolist() == [180, 170, 165]


def test_a_confident_guess_is_read_and_said(tmp_path: Path) -> None:
    """Enough words of a language tell the encoding, and that it was guessed is told."""
    (tmp_path / "a.csv").write_bytes(("Name;größe;Geschlecht\n" + GERMAN * 10).encode("cp1252"))
    table = read_csv(tmp_path / "a.csv")
    assert table.names == ("Name", "größe", "Geschlecht")
    assert table.notes == ("read as windows-1252, a guess from its words",)


def test_a_guess_without_words_is_not_made(tmp_path: Path) -> None:
    """A few letters tell nothing: the error asks for the encoding, with line and byte."""
    (tmp_path / "a.csv").write_bytes(ROWS.encode("cp1252"))
    with pytest.raises(DataError, match="not UTF-8 text: byte 0xF6 at position 2") as caught:
        read_csv(tmp_path / "a.csv")
    assert caught.value.place.line == 1
    assert "encoding = " in (caught.value.next_step or "")


def test_bytes_that_a_declared_encoding_does_not_know_are_placed(tmp_path: Path) -> None:
    """A wrong declaration is refused with the line, and no letter is replaced."""
    content = ROWS.encode("cp1252").replace(b"170", b"1\x8170")
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match="not windows-1252 text: byte 0x81") as caught:
        read_csv(tmp_path / "a.csv", encoding="cp1252")
    assert caught.value.place.line == 3


def parquet(folder: Path, **columns: pa.Array) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_typed_columns_are_read_as_what_they_are(tmp_path: Path) -> None:
    """Numbers, flags, categories and nulls of a Parquet file pass the checks of text."""
    path = parquet(
        tmp_path,
        größe=pa.array([180.5, None, 165, 150], pa.float32()),
        flag=pa.array([True, False, False, None]),
        level=pa.array([1.0, 2.0, 1.0, 1.0]),
        y=pa.array([1, 0, 0, 1], pa.int8()),
        note=pa.array([[1], [2], [3], None]),
    )
    data = load_site(path, study(), "a")
    assert data.train.X.tolist() == [[180.5, 1, 0, 0], [165, 0, 0, 0]]
    assert data.train.y.tolist() == [1, 0]
    assert data.missing == {"größe": 1, "flag": 1, "level": 0, "y": 0}
    assert data.unused == ("note",)


def test_a_dictionary_of_texts_is_text(tmp_path: Path) -> None:
    """Categories as pandas writes them are texts."""
    path = parquet(
        tmp_path,
        größe=pa.array(["180", " 170 ", "NA"]).dictionary_encode(),
        flag=pa.array(["1", "0", "1"]),
        level=pa.array(["b", "2.0", "1"], pa.large_string()),
        y=pa.array([True, False, True]),
    )
    data = load_site(path, study(), "a")
    assert data.train.X.tolist() == [[180, 1, 0, 1], [170, 0, 1, 0]]
    assert data.train.y.tolist() == [1, 0]
    assert load_site(path, study(event=True), "a").train.y.tolist() == [1, 0]


def test_a_fault_in_a_parquet_file_has_its_row(tmp_path: Path) -> None:
    """A row without a line is named by its number."""
    path = parquet(
        tmp_path,
        größe=pa.array([180.0, 400, np.inf]),
        flag=pa.array([1, 1, 2]),
        level=pa.array([1, 1, 1]),
        y=pa.array([1, 0, 1]),
    )
    with pytest.raises(DataError, match=r'row 2, column "größe": "400\.0" is') as caught:
        load_site(path, study(), "a")
    assert 'row 3, column "größe": "inf" is not a finite number' in caught.value.cause
    assert 'row 3, column "flag": "2" is not one of the levels' in caught.value.cause


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    """A needed column of a type that no check reads is named with its type."""
    path = parquet(tmp_path, größe=pa.array([[1]]), flag=pa.array([1]), level=[1], y=[1])
    with pytest.raises(DataError, match="list") as caught:
        load_site(path, study(), "a")
    assert caught.value.place.column == "größe"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"size,y\n1,1\n"])
def test_a_broken_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no Parquet file is no traceback."""
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as Parquet") as caught:
        load_site(tmp_path / "a.parquet", study(), "a")
    assert caught.value.next_step


def test_a_parquet_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    """No file, a folder, and a file without rows are told apart."""
    with pytest.raises(DataError, match="no such file"):
        load_site(tmp_path / "a.parquet", study(), "a")
    (tmp_path / "b.parquet").mkdir()
    with pytest.raises(DataError, match="folder"):
        load_site(tmp_path / "b.parquet", study(), "a")
    with pytest.raises(DataError, match="no row of data"):
        load_site(
            parquet(tmp_path, a=pa.array([], pa.int8()), y=pa.array([], pa.int8())), study(), "a"
        )


def test_a_bar_is_shown_only_to_a_person_who_waits() -> None:
    """A terminal sees a bar after the patience; a quick reading and a file see nothing."""

    def shown(terminal: bool, patience: float) -> str:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=80)
        with Reading(console, patience) as reading, reading.stage("reading a.csv", 10) as stage:
            stage.advance(5)
            bar = reading.bar()
            assert bar is None or bar.tasks[0].percentage == 50
        return screen.getvalue()

    assert "reading a.csv" in shown(terminal=True, patience=-1)
    assert shown(terminal=True, patience=60) == ""
    assert shown(terminal=False, patience=-1) == ""


def test_loading_moves_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_site` shows its passes through a bar of its own."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr("medhive.data.site.Reading", lambda: Reading(console, -1))
    (tmp_path / "a.csv").write_text(ROWS)
    load_site(tmp_path / "a.csv", study(), "a")
    assert "surveying a.csv" in screen.getvalue()
    assert "reading a.csv" in screen.getvalue()
