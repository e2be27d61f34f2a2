"""Where a site's rows come from: one protocol for CSV, Parquet and databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from medhive.data.csvfile import read_csv
from medhive.data.database import read_query
from medhive.data.parquetfile import read_parquet
from medhive.data.progress import Reading
from medhive.data.sitefile import PARQUET, SiteFile, read_site_file

__all__ = ["Source", "open_source", "read_csv", "site_file_of"]


class Source(Protocol):
    """Rows that are read in batches, from the first to the last.

    Attributes
    ----------
    file : Path or str
        The file as the user named it, or the database's address without its password.
    names : tuple of str
        Column names.
    n_rows : int or None
        Rows, about; None where only reading tells.
    header_line : int or None
        Line of the column names, in a text file.
    counts : {"line", "row"}
        What `lines_of` returns the numbers of.
    notes : tuple of str
        What the data manager should know about how it was read.
    """

    @property
    def file(self) -> Path | str: ...  # noqa: D102
    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def n_rows(self) -> int | None: ...  # noqa: D102
    @property
    def header_line(self) -> int | None: ...  # noqa: D102
    @property
    def counts(self) -> Literal["line", "row"]: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read some columns, each as text, int64, float64 or boolean."""

    def lines_of(self, rows: Sequence[int]) -> list[int]:
        """Return the line or the number, from 1, of rows that are counted from 0."""


def site_file_of(data: Path) -> SiteFile | None:
    """Read a site file; None where the path is one of data, not of settings."""
    return read_site_file(data) if data.suffix.casefold() == ".toml" else None


def open_source(data: Path | SiteFile, reading: Reading | None = None) -> Source:
    """Open a site's rows: a CSV or Parquet file, or what a site file says.

    Raises
    ------
    DataError
        If the file cannot be read or has no usable columns or no row.
    SettingError
        If the site file is wrong, or the database does not answer.
    """
    site = data if isinstance(data, SiteFile) else site_file_of(data)
    if site is None:
        return _open_file(Path(str(data)), reading)
    settings = site.settings.data
    if settings.url is not None:
        return read_query(site)
    path = site.beside(settings.file or "")
    return _open_file(path, reading, settings.delimiter, settings.encoding)


def _open_file(
    path: Path,
    reading: Reading | None,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Source:
    if path.name.casefold().endswith(PARQUET):
        return read_parquet(path)
    return read_csv(path, delimiter=delimiter, encoding=encoding, reading=reading)
