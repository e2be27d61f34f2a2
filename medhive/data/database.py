"""Reading a site's rows from a database, streamed; the password is never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import pyarrow as pa

from medhive.data.columns import column_of
from medhive.data.names import require_clean_names
from medhive.data.sitefile import SiteFile
from medhive.errors import DataError, Place, SettingError

if TYPE_CHECKING:
    from sqlalchemy import URL, CursorResult

BATCH = 20_000
"""Rows that are fetched at a time."""

_NO_PARAMETERS = {"stream_results": True, "no_parameters": True, "max_row_buffer": BATCH}


@dataclass(frozen=True)
class QueryTable:
    """The rows that a query gives.

    Parameters
    ----------
    file : str
        The database's address without its password.
    names : tuple of str
        Column names in the query's order.
    site : SiteFile
        Says where the database is; the password is read anew for every connection.
    """

    file: str
    names: tuple[str, ...]
    site: SiteFile = field(repr=False)
    n_rows: int | None = None
    header_line: int | None = None
    notes: tuple[str, ...] = ()
    counts: Literal["line", "row"] = "row"

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Run the query, and read some of its columns a few thousand rows at a time.

        Raises
        ------
        DataError
            If a column holds something else than numbers, texts, dates, true and false.
        SettingError
            If the database does not answer or does not take the query.
        """
        place = Place(file=self.file)
        where = [self.names.index(column) for column in columns]
        with _rows(self.site) as result:
            for rows in result.partitions(BATCH):
                cells = list(zip(*rows, strict=True))
                arrays = [
                    column_of(c, cells[i], place) for c, i in zip(columns, where, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def lines_of(self, rows: Sequence[int]) -> list[int]:
        """Return the number of each row in the query's result, from 1."""
        return [row + 1 for row in rows]


def read_query(site: SiteFile) -> QueryTable:
    """Ask a database for the columns of the site file's query.

    Raises
    ------
    SettingError
        If the database, the password or the query is not there or not accepted.
    DataError
        If the query gives no row, or columns that have no name of their own.
    """
    # reading the site file made sure that it holds no password
    shown = site.settings.data.url or ""
    place = Place(file=shown)
    with _rows(site) as result:
        names = tuple(str(name) for name in result.keys())  # noqa: SIM118
        is_empty = result.fetchone() is None
    require_clean_names(place, names)
    if is_empty:
        raise DataError("the query gives no row", place=place, next_step="correct the query")
    return QueryTable(shown, names, site)


@contextmanager
def _rows(site: SiteFile) -> Iterator[CursorResult[tuple[object, ...]]]:
    """Run the query in a transaction that only reads and is rolled back."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    query, password = _query(site), _password(site)
    url = _url(site)
    if password is not None:
        url = url.set(password=password)
    try:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    except ImportError as error:
        raise site.fault(
            ("data", "url"),
            f"the driver of this database is not installed ({error.name})",
            "for PostgreSQL: pip install 'medhive[sql]', and a url postgresql+psycopg://…",
        ) from None
    except SQLAlchemyError as error:
        raise _failed(site, ("data", "url"), error, password, "correct the url") from None
    options = {"postgresql_readonly": True} if engine.dialect.name == "postgresql" else {}
    step = "check the address, the password and that this computer may connect"
    keys: tuple[str, str] = ("data", "url")
    try:
        with engine.connect().execution_options(**options) as connection:
            keys = ("data", "query" if site.settings.data.query is not None else "query-file")
            step = "try the query in the database's own program"
            with connection.exec_driver_sql(query, execution_options=_NO_PARAMETERS) as result:
                if not result.returns_rows:
                    raise site.fault(keys, "the query gives no rows", "write a SELECT")
                yield result
    except DBAPIError as error:
        raise _failed(site, keys, error.orig or error, password, step) from None
    except SQLAlchemyError as error:
        raise _failed(site, keys, error, password, step) from None
    finally:
        engine.dispose()


def _failed(
    site: SiteFile, keys: tuple[str, str], error: BaseException, password: str | None, step: str
) -> SettingError:
    text = " ".join(str(error).split())
    if password:
        text = text.replace(password, "***")
    what = "the database does not answer" if keys[1] == "url" else "the query fails"
    return site.fault(keys, f"{what}: {text}", step)


def _url(site: SiteFile) -> URL:
    """Return the address, a SQLite file as one beside the site file that is only read."""
    from sqlalchemy import make_url

    data = site.settings.data
    url = make_url(data.url or "")
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return url
    if url.database.startswith("file:"):
        return url
    path = site.beside(url.database)
    if not path.is_file():
        raise site.fault(("data", "url"), f"there is no file {path}", "check the path")
    # SQLite itself would make an empty database where there is none
    return url.set(database=f"file:{quote(str(path.resolve()))}").update_query_dict(
        {"mode": "ro", "uri": "true"}
    )


def _query(site: SiteFile) -> str:
    data = site.settings.data
    if data.query_file is None:
        query = data.query or ""
    else:
        query = _text(site, "query-file", site.beside(data.query_file))
    query = query.strip().rstrip(";").strip()
    if not query:
        key = "query" if data.query_file is None else "query-file"
        raise site.fault(("data", key), "the query is empty", "write a SELECT")
    return query


def _password(site: SiteFile) -> str | None:
    data = site.settings.data
    if data.password_file is not None:
        password = _text(site, "password-file", site.beside(data.password_file)).rstrip("\r\n")
        if not password:
            raise site.fault(
                ("data", "password-file"), "the file is empty", "write the password into it"
            )
        return password
    if data.password_env is None:
        return None
    found = os.environ.get(data.password_env)
    if not found:
        raise site.fault(
            ("data", "password-env"),
            f"the environment variable {data.password_env} is not set",
            "set it before starting MedHive",
        )
    return found


def _text(site: SiteFile, key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        cause = f"{path} is not UTF-8 text"
    except OSError as error:
        cause = f"{path} cannot be read: {error.strerror}"
    raise site.fault(("data", key), cause, "check the file")
