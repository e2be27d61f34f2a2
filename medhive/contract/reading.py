"""The one place where drafting reads files: a site's columns, and a codebook's records."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from medhive.data.csvfile import SEPARATORS, Table, read_csv
from medhive.errors import DataError, Place


def columns_of(path: Path) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield every column of a site's file, as text.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    table = read_csv(path)
    batches = list(table.batches(table.names))
    for name in table.names:
        yield name, pa.chunked_array([batch.column(name) for batch in batches])


def open_codebook(path: Path) -> Table:
    """Take the first look at a codebook, as at a site's file: format, separator, header.

    Raises
    ------
    DataError
        If it is not a table of text.
    """
    return read_csv(path)


def records_of(table: Table) -> Iterator[tuple[int, list[str]]]:
    """Yield a codebook's records, each with its first line.

    A record may have several lines, unlike a site's row: dictionaries have line breaks in labels.

    Raises
    ------
    DataError
        For a quote that is not closed, a record that is too long, or text that is not UTF-8.
    """
    path, start = table.file, 1
    with (
        gzip.open(path) if path.suffix == ".gz" else path.open("rb") as binary,
        io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as stream,
    ):
        reader = csv.reader(stream, delimiter=table.delimiter, strict=True)
        try:
            for fields in reader:
                if start > table.header_line and any(map(str.strip, fields)):
                    _require_width(table, fields, start)
                    yield start, [field.strip() for field in fields]
                start = reader.line_num + 1
        except UnicodeDecodeError:
            raise DataError(
                "not UTF-8 text",
                place=Place(file=path),
                next_step='save the codebook as "CSV UTF-8"',
            ) from None
        except csv.Error:
            raise DataError(
                "a quote opens here, or in the lines below, and is not closed rightly",
                place=Place(file=path, line=start),
                next_step='close the quote; write a quote inside a quoted text twice: ""',
            ) from None


def _require_width(table: Table, fields: list[str], line: int) -> None:
    if len(fields) > len(table.names):
        raise DataError(
            f"{len(fields)} fields, more than the header's {len(table.names)}",
            place=Place(file=table.file, line=line),
            next_step=f"put quotes around a text that contains a {SEPARATORS[table.delimiter]}",
        )
