"""Reading a site's CSV file as batches of text columns, with the file line of every row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv

from medhive.data.names import require_clean_names
from medhive.data.progress import Reading
from medhive.data.survey import BLOCK, Survey, TextFile, survey
from medhive.errors import DataError, Place

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass(frozen=True)
class Table:
    """A CSV file whose header is known and whose rows are read in batches of text.

    Parameters
    ----------
    file : Path
        The file as the user named it.
    text : TextFile
        The same with its encoding.
    delimiter : str
        One of `SEPARATORS`, or what the site file declares.
    names : tuple of str
        Column names in the file's order.
    header_line : int
        Line of the header, from 1.
    n_lines : int
        Lines in the file, blank ones included.
    n_quotes : int
        Quote characters in the file.
    notes : tuple of str
        What the data manager should know about how the file was read.
    """

    file: Path
    text: TextFile
    delimiter: str
    names: tuple[str, ...]
    header_line: int
    n_lines: int
    n_quotes: int
    notes: tuple[str, ...] = ()
    counts: Literal["line", "row"] = "line"

    @property
    def n_rows(self) -> int:
        """Rows of data, blank lines included."""
        return self.n_lines - self.header_line

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read some columns, a few megabytes at a time, as text.

        Raises
        ------
        DataError
            For a row of the wrong length or a quote that is not closed on its line.
        """
        try:
            with self.text.open() as stream:
                n_rows = 0
                for batch in self._parse(stream, columns):
                    n_rows += batch.num_rows
                    yield batch
        except pa.ArrowInvalid as error:
            self._explain()
            raise DataError(
                f"cannot be read as CSV: {error}",
                place=Place(file=self.file),
                next_step="save it again as a plain CSV file",
            ) from None
        # A quote that is never closed would swallow the lines after it without any error.
        swallowed = self.header_line + n_rows != self.n_lines
        if self.n_quotes % 2 or (self.n_quotes and swallowed):
            self._explain()

    def lines_of(self, rows: Sequence[int]) -> list[int]:
        """Return the file line of each row, both counted in the file's order; rows from 0."""
        wanted, found, row = set(rows), {}, -1
        with self.text.open_text() as text:
            for number, line in enumerate(text, start=1):
                if number <= self.header_line or _is_blank(line, self.delimiter):
                    continue
                row += 1
                if row in wanted:
                    found[row] = number
                    if len(found) == len(wanted):
                        break
        return [found[row] for row in rows]

    def require_columns(self) -> None:
        """Raise for a single column, which no study can do with: the separator is another one.

        Raises
        ------
        DataError
        """
        if len(self.names) == 1:
            raise DataError(
                f"only one column was found (separator: {_separator(self.delimiter)}), a study "
                "needs two at least",
                place=Place(file=self.file, line=self.header_line),
                next_step=f"separate the columns by {', '.join(SEPARATORS.values())}, or say "
                "delimiter = … in a site file",
            )

    def _parse(self, stream: pa.NativeFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        def skip_or_fail(row: pa_csv.InvalidRow) -> str:
            return "skip" if _is_blank(row.text, self.delimiter) else "error"

        yield from pa_csv.open_csv(
            stream,
            read_options=pa_csv.ReadOptions(
                column_names=self.names, skip_rows=self.header_line, block_size=BLOCK
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=self.delimiter,
                newlines_in_values=self.n_quotes > 0,
                ignore_empty_lines=True,
                invalid_row_handler=skip_or_fail,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )

    def _explain(self) -> None:
        """Find the line of a structural fault, slowly, and raise what it is."""
        with self.text.open_text() as text:
            reader = csv.reader(text, delimiter=self.delimiter, strict=True)
            start = 1
            try:
                for fields in reader:
                    if reader.line_num > start:
                        raise self._open_quote(start)
                    blank = _is_blank(self.delimiter.join(fields), self.delimiter)
                    if start > self.header_line and not blank:
                        self._require_width(len(fields), start)
                    start = reader.line_num + 1
            except csv.Error as error:
                if reader.line_num > start or "expected after" not in str(error):
                    raise self._open_quote(start) from None
                raise DataError(
                    "text follows a closing quote",
                    place=Place(file=self.file, line=start),
                    next_step='write a quote inside a quoted value twice: ""',
                ) from None

    def _open_quote(self, line: int) -> DataError:
        return DataError(
            "a quote opens on this line and is not closed on it",
            place=Place(file=self.file, line=line),
            next_step="close the quote, or replace a line break inside the value by a space",
        )

    def _require_width(self, found: int, line: int) -> None:
        expected = len(self.names)
        if found == expected:
            return
        more = "more" if found > expected else "fewer"
        raise DataError(
            f"{found} fields, {more} than the header's {expected}",
            place=Place(file=self.file, line=line),
            next_step=f"give the row {expected} fields; quote a value that contains a "
            f"{_separator(self.delimiter)}",
        )


def read_csv(
    path: Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    reading: Reading | None = None,
) -> Table:
    """Open a CSV file, plain or ``.gz``.

    Parameters
    ----------
    path : Path
    delimiter : str, optional
        One character; found among comma, semicolon, tab and bar where nothing is said.
    encoding : str, optional
        A codec of Python's; found by a mark, as UTF-8, or by a confident guess where nothing is
        said.
    reading : Reading, optional
        Shows how far the first pass is.

    Raises
    ------
    DataError
        If the file cannot be read, is not text, or has no usable header or no row.
    """
    try:
        return _read_header(survey(path, encoding, reading or Reading()), delimiter)
    except FileNotFoundError:
        raise DataError(
            "there is no such file", place=Place(file=path), next_step="check the path"
        ) from None
    except IsADirectoryError:
        raise DataError(
            "this is a folder, not a file",
            place=Place(file=path),
            next_step="name the CSV file inside it",
        ) from None
    except PermissionError:
        raise DataError(
            "you are not allowed to read this file",
            place=Place(file=path),
            next_step="ask its owner for permission to read it",
        ) from None
    except (OSError, EOFError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(
            f"cannot be read: {cause}",
            place=Place(file=path),
            next_step="copy or export the file again",
        ) from None


def _is_blank(line: str, delimiter: str) -> bool:
    return not line.strip() and delimiter not in line


def _read_header(found: Survey, declared: str | None) -> Table:
    path = found.file.path
    with found.file.open_text() as text:
        numbered = enumerate(text, start=1)
        line, header = next(((n, line) for n, line in numbered if line.strip()), (0, ""))
        delimiter = declared or _delimiter(header)
        has_rows = any(not _is_blank(line, delimiter) for _, line in numbered)
    if not header:
        raise DataError(
            "the file is empty",
            place=Place(file=path),
            next_step="export the data again, with the column names in the first line",
        )
    place = Place(file=path, line=line)
    try:
        (fields,) = csv.reader([header.strip("\r\n")], delimiter=delimiter, strict=True)
    except csv.Error:
        raise DataError(
            "a quote in the header is not closed", place=place, next_step="close the quote"
        ) from None
    names = tuple(field.strip() for field in fields)
    require_clean_names(place, names)
    if not has_rows:
        raise DataError(
            "a header, but no row of data", place=place, next_step="export the rows as well"
        )
    notes = (found.note,) if found.note else ()
    return Table(path, found.file, delimiter, names, line, found.n_lines, found.n_quotes, notes)


def _separator(delimiter: str) -> str:
    return SEPARATORS.get(delimiter, delimiter)


def _delimiter(header: str) -> str:
    """Choose the separator that cuts the header into most fields, quoted fields respected."""

    def n_fields(delimiter: str) -> int:
        return len(next(csv.reader([header], delimiter=delimiter), []))

    return max(SEPARATORS, key=n_fields)
