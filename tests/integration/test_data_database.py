"""Rows from real databases: SQLite, and a PostgreSQL server that the tests start."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, make_url, text

from medhive.client.public import public_error
from medhive.data.site import load_site
from medhive.data.sitefile import read_site_file
from medhive.data.sources import open_source
from medhive.errors import DataError, MedHiveError, SettingError
from medhive.study import Study
from postgres import PASSWORD, Postgres

READER, READER_PASSWORD = "reader", "hunter2-of-the-reader"
N_ROWS = 25_000

STUDY = Study.model_validate(
    {
        "study": {"name": "s", "outcome": {"column": "dead", "event": 1}},
        "features": [
            {"name": "age", "kind": "continuous", "unit": "years", "range": [0, 120]},
            {"name": "glucose", "kind": "continuous", "unit": "mg/dl"},
            {"name": "male", "kind": "binary"},
            {"name": "grade", "kind": "categorical", "levels": ["1", "2"]},
        ],
    }
)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if Postgres.programs_here() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    running = Postgres.start()
    try:
        engine = create_engine(make_url(running.url()).set(password=PASSWORD))
        with engine.begin() as connection:
            for statement in (
                "create table visits (id int, age int, glucose numeric(6,2), male boolean,"
                " grade smallint, dead boolean, seen date, note text, raw bytea)",
                "insert into visits select i, 20 + i % 60, case when i % 10 = 0 then null else"
                " 5.5 end, i % 2 = 0, 1 + i % 2, i % 3 = 0, date '2020-01-01' + i % 9, 'x%y', null"
                " from generate_series(1, 25000) i",
                f"create role {READER} login password '{READER_PASSWORD}'",
                f"grant select on visits to {READER}",
            ):
                connection.execute(text(statement))
        engine.dispose()
        yield running
    finally:
        running.close()


def site_file(folder: Path, url: str, query: str, more: str = "", tail: str = "") -> Path:
    path = folder / "site.toml"
    path.write_text(f'[data]\nurl = "{url}"\nquery = """{query}"""\n{more}\n{tail}\n')
    return path


QUERY = "select * from visits where note like '%y' order by id;"
ENV = 'password-env = "CLINIC_PASSWORD"'
UNITS = '[units]\nglucose = "mmol/l"\n'


def test_typed_rows_come_from_postgresql(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integers, decimals, booleans and NULL are read in batches as what they are."""
    monkeypatch.setenv("CLINIC_PASSWORD", READER_PASSWORD)
    file = site_file(tmp_path, server.url(READER), QUERY, ENV, UNITS)
    data = load_site(file, STUDY, "a")
    ids = np.arange(1, N_ROWS + 1)
    kept = ids[ids % 10 != 0]
    assert (data.n_rows, data.n_dropped) == (N_ROWS, N_ROWS // 10)
    np.testing.assert_array_equal(data.train.X[:, 0], 20 + kept % 60)
    np.testing.assert_allclose(data.train.X[:, 1], 5.5 * 18.0156, rtol=1e-12)
    np.testing.assert_array_equal(data.train.X[:, 2], kept % 2 == 0)
    np.testing.assert_array_equal(data.train.X[:, 3], kept % 2 == 1)
    np.testing.assert_array_equal(data.train.y, kept % 3 == 0)
    assert data.unused == ("id", "seen", "note", "raw")
    assert any("glucose, 180.156 g/mol" in note for note in data.notes)


def test_a_password_may_come_from_a_file(server: Postgres, tmp_path: Path) -> None:
    """The file's line end is no part of the password."""
    (tmp_path / "password").write_text(READER_PASSWORD + "\n")
    file = site_file(tmp_path, server.url(READER), QUERY, 'password-file = "password"')
    assert open_source(file).names[0] == "id"


def test_rows_are_streamed(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch comes before the server has made the last row."""
    monkeypatch.setenv("CLINIC_PASSWORD", READER_PASSWORD)
    query = (
        "select i as age, i as dead, case when i > 60000 then 1 / (i - i) end as x"
        " from generate_series(1, 90000) i"
    )
    source = open_source(site_file(tmp_path, server.url(READER), query, ENV))
    batches = source.batches(["age"])
    assert next(batches).num_rows > 0
    with pytest.raises(SettingError, match="division by zero"):
        list(batches)


def test_nothing_is_written(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that changes the database is refused by the database itself."""
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
    file = site_file(tmp_path, server.url(), "delete from visits returning *", ENV)
    with pytest.raises(SettingError, match="the query fails"):
        open_source(file)
    writing = "select nextval('numbers') as a, 1 as b"
    engine = create_engine(make_url(server.url()).set(password=PASSWORD))
    with engine.begin() as connection:
        connection.execute(text("create sequence numbers"))
    engine.dispose()
    with pytest.raises(SettingError, match="read-only transaction"):
        open_source(site_file(tmp_path, server.url(), writing, ENV))


BAD = {
    "wrong password": ("postgres", QUERY, "wrong-hunter2", "password authentication failed"),
    "no such database": ("elsewhere", QUERY, READER_PASSWORD, 'database "elsewhere"'),
    "no such table": ("postgres", "select * from nowhere", READER_PASSWORD, "nowhere"),
    "not allowed": ("postgres", "select * from pg_authid", READER_PASSWORD, "permission denied"),
    "not SQL": ("postgres", "selekt 1", READER_PASSWORD, "syntax error"),
    "two statements": ("postgres", "select 1; select 2", READER_PASSWORD, "the query fails"),
    "no row": ("postgres", "select * from visits where false", READER_PASSWORD, "no row"),
    "names twice": ("postgres", "select age, age from visits", READER_PASSWORD, "same name"),
    "the password in a query": (
        "postgres",
        f"select '{READER_PASSWORD}'::int",
        READER_PASSWORD,
        "invalid input syntax",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_database_that_says_no_is_explained_without_the_password(
    server: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    case: str,
) -> None:
    """What the database answers is told, and no text, log or traceback holds the password."""
    database, query, password, words = BAD[case]
    monkeypatch.setenv("CLINIC_PASSWORD", password)
    caplog.set_level(logging.DEBUG)
    file = site_file(tmp_path, server.url(READER, database), query, ENV)
    with pytest.raises(MedHiveError, match=words) as caught:
        list(open_source(file).batches(["age"]))
    logging.getLogger("site").error("failed", exc_info=caught.value)
    err = capfd.readouterr()
    said = f"{caught.value}{caught.value.next_step}{caught.value!r}{err.out}{err.err}"
    for text_ in (said + str(public_error(caught.value)), caplog.text):
        assert password not in text_
    assert caught.value.next_step
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_object_shows_the_password(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the source nor the site file holds the password in its repr."""
    monkeypatch.setenv("CLINIC_PASSWORD", READER_PASSWORD)
    file = site_file(tmp_path, server.url(READER), QUERY, ENV)
    source = open_source(file)
    assert READER_PASSWORD not in repr(source) + repr(read_site_file(file)) + str(source.file)


def test_a_server_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is an error of the setting, with the line of the url."""
    monkeypatch.setenv("CLINIC_PASSWORD", "x")
    file = site_file(tmp_path, "postgresql+psycopg://a@127.0.0.1:1/b", "select 1", ENV)
    with pytest.raises(SettingError, match="does not answer") as caught:
        open_source(file)
    assert (caught.value.place.line, caught.value.place.setting) == (2, "data.url")


def test_a_missing_password_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set, and a file that is not there or empty, are told apart."""
    monkeypatch.delenv("CLINIC_PASSWORD", raising=False)
    url = "postgresql+psycopg://a@127.0.0.1:1/b"
    with pytest.raises(SettingError, match="CLINIC_PASSWORD is not set"):
        open_source(site_file(tmp_path, url, "select 1", ENV))
    with pytest.raises(SettingError, match="cannot be read"):
        open_source(site_file(tmp_path, url, "select 1", 'password-file = "nowhere"'))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingError, match="empty"):
        open_source(site_file(tmp_path, url, "select 1", 'password-file = "empty"'))


def clinic(folder: Path) -> None:
    with sqlite3.connect(folder / "clinic.db") as connection:
        connection.execute("create table visits (age, glucose, male, grade, dead, photo)")
        rows = [(40 + i, 5.0, i % 2, 1.0 + i % 2, i % 2, b"") for i in range(30)]
        connection.executemany("insert into visits values (?, ?, ?, ?, ?, ?)", rows)
    connection.close()


def test_sqlite_is_read_beside_the_site_file(tmp_path: Path) -> None:
    """A relative SQLite path is one from the site file's folder, and the query may be a file."""
    clinic(tmp_path)
    (tmp_path / "query.sql").write_text("select age, glucose, male, grade, dead from visits;\n")
    path = tmp_path / "site.toml"
    path.write_text('[data]\nurl = "sqlite:///clinic.db"\nquery-file = "query.sql"\n')
    data = load_site(path, STUDY, "a")
    assert len(data.train) == 30
    assert data.train.X[:, 3].tolist() == [i % 2 for i in range(30)]


def test_a_row_of_a_query_is_named(tmp_path: Path) -> None:
    """A fault in a query's rows has the number of the row, and no line."""
    clinic(tmp_path)
    query = "select age, case when age = 44 then 'old' else glucose end as glucose, male, grade,"
    file = site_file(tmp_path, "sqlite:///clinic.db", query + " dead from visits")
    with pytest.raises(DataError, match='row 5, column "glucose": "old" is not a number') as caught:
        load_site(file, STUDY, "a")
    assert (caught.value.place.line, caught.value.place.row) == (None, 5)


def test_a_query_cannot_change_a_sqlite_file(tmp_path: Path) -> None:
    """The database is opened to be read, and a file that is not there is not made."""
    clinic(tmp_path)
    for query in ("delete from visits returning age, dead", "create table t (a, b)"):
        with pytest.raises(SettingError):
            open_source(site_file(tmp_path, "sqlite:///clinic.db", query))
    with sqlite3.connect(tmp_path / "clinic.db") as connection:
        assert connection.execute("select count(*) from visits").fetchone() == (30,)
    connection.close()
    with pytest.raises(SettingError, match="there is no file"):
        open_source(site_file(tmp_path, "sqlite:///clinik.db", "select 1"))
    assert not (tmp_path / "clinik.db").exists()


def test_bytes_are_no_value(tmp_path: Path) -> None:
    """A column of pictures is refused by its type."""
    clinic(tmp_path)
    source = open_source(site_file(tmp_path, "sqlite:///clinic.db", "select * from visits"))
    with pytest.raises(DataError, match="type bytes"):
        list(source.batches(["photo"]))


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """The command that installs a driver is the next step."""
    file = site_file(tmp_path, "oracle+oracledb://a@b/c", "select 1")
    with pytest.raises(SettingError, match="driver") as caught:
        open_source(file)
    assert "pip install" in (caught.value.next_step or "")


def test_decimals_are_numbers(tmp_path: Path) -> None:
    """Values of several types in one column are read by what they are."""
    from medhive.data.columns import column_of
    from medhive.errors import Place

    place = Place(file="x")
    assert column_of("a", [Decimal("1.5"), 2, None], place).to_pylist() == [1.5, 2.0, None]
    assert column_of("a", [2**70, 1], place).to_pylist() == [str(2**70), "1"]
    assert column_of("a", ["x", 1], place).to_pylist() == ["x", "1"]
    assert column_of("a", [None, None], place).to_pylist() == [None, None]
