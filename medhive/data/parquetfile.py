"""Reading a site's Parquet file in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from medhive.data.columns import plain_column
from medhive.data.names import require_clean_names
from medhive.errors import DataError, Place

BATCH = 1 << 16
"""Rows that are read at a time."""


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file.

    Parameters
    ----------
    file : Path
        The file as the user named it.
    names : tuple of str
        Column names in the file's order.
    n_rows : int
    """

    file: Path
    names: tuple[str, ...]
    n_rows: int
    header_line: int | None = None
    notes: tuple[str, ...] = ()
    counts: Literal["line", "row"] = "row"

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read some columns as text, numbers, or true and false.

        Raises
        ------
        DataError
            If the file is damaged, or a column holds something else.
        """
        place = Place(file=self.file)
        try:
            # no row group as a whole, which may be as large as the file
            with pq.ParquetFile(self.file, pre_buffer=False) as file:
                for batch in file.iter_batches(BATCH, columns=list(columns)):
                    arrays = [plain_column(c, batch.column(c), place) for c in columns]
                    yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.file, error) from None

    def lines_of(self, rows: Sequence[int]) -> list[int]:
        """Return the number of each row, from 1."""
        return [row + 1 for row in rows]


def read_parquet(path: Path) -> ParquetTable:
    """Open a Parquet file.

    Raises
    ------
    DataError
        If it cannot be read, or has no usable column or no row.
    """
    place = Place(file=path)
    try:
        with pq.ParquetFile(path) as file:
            names, n_rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    except FileNotFoundError:
        raise DataError("there is no such file", place=place, next_step="check the path") from None
    except PermissionError:
        raise DataError(
            "you are not allowed to read this file",
            place=place,
            next_step="ask its owner for permission to read it",
        ) from None
    except (pa.ArrowException, OSError) as error:
        if path.is_dir():
            raise DataError(
                "this is a folder, not a file",
                place=place,
                next_step="name the Parquet file inside it",
            ) from None
        raise _unreadable(path, error) from None
    require_clean_names(place, names)
    if not n_rows:
        raise DataError("no row of data", place=place, next_step="export the rows as well")
    return ParquetTable(path, names, n_rows)


def _unreadable(path: Path, error: Exception) -> DataError:
    first = (str(error).splitlines() or ["damaged"])[0]
    return DataError(
        f"cannot be read as Parquet: {first}",
        place=Place(file=path),
        next_step="write the file again",
    )
